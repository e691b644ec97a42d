//! config.md "Linux mount options" and "POSIX-platform Mounts": id-mapped mounts.

use std::{fs, os::unix::fs::chown, path::PathBuf};

use integration::{Bundle, Facts, Feature, Test, bundle::bind, needs};
use serde_json::{Value, json};

use super::{
    AUTHOR,
    mount_options::OPTIONS,
    place::{Source, on},
    refuses, remove,
};
use crate::{Statement, must, should, should_not};

const FIELDS: &str = r#"config.md "POSIX-platform Mounts""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config.mounts.options.idmap",
        OPTIONS,
        "idmap | SHOULD | Indicates that the mount MUST have an idmapping applied.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "idmap")));
        assert!(is_mapped(&facts, "/data"), "the mount has no mapping");
    }),
    should_not(
        "config.mounts.options.idmap.not-passed-on",
        OPTIONS,
        "idmap | SHOULD | […] This option SHOULD NOT be passed to the underlying mount(2) call.",
    )
    .untestable("no filesystem knows the word, so a mount that succeeds has not been given it"),
    must(
        "config.mounts.options.idmap.mappings",
        OPTIONS,
        "idmap | SHOULD | […] If uidMappings or gidMappings are specified for the mount, the \
         runtime MUST use those values for the mount's mapping.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "idmap")));
        assert_eq!(owner(&facts), (SHOWN, SHOWN + 1));
    }),
    must(
        "config.mounts.options.idmap.mappings-in-user-namespace",
        OPTIONS,
        "idmap | SHOULD | […] If uidMappings or gidMappings are specified for the mount, the \
         runtime MUST use those values for the mount's mapping.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts, Feature::UserNamespaces);
        let bundle = test.bundle().user_namespace(SHOWN - 500, 1000);
        let facts = seen(test, bundle.mount(mapped(&file(test), "idmap")));
        assert_eq!(owner(&facts), (500, 501), "the ids of the mount, in the user namespace");
    }),
    must(
        "config.mounts.options.idmap.of-the-user-namespace",
        OPTIONS,
        "idmap | SHOULD | […] If they are not specified, the runtime MAY use the container's user \
         namespace mapping, otherwise an error MUST be returned.",
    )
    .test(|test| takes_the_user_namespaces_mapping_or_fails(test, "idmap")),
    must(
        "config.mounts.options.idmap.without-mapping",
        OPTIONS,
        "idmap | SHOULD | […] If there are no uidMappings and gidMappings specified and the \
         container isn't using user namespaces, an error MUST be returned.",
    )
    .test(|test| {
        refuses(test, &test.bundle().mount(unmapped(&file(test), "idmap")));
    }),
    should(
        "config.mounts.options.idmap.mount-setattr",
        OPTIONS,
        "idmap | SHOULD | […] This SHOULD be implemented using mount_setattr(MOUNT_ATTR_IDMAP), \
         available since Linux 5.12.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "idmap")));
        assert!(is_mapped(&facts, "/data"), "the mount has no mapping");
    }),
    must(
        "config.mounts.options.idmap.not-recursive",
        OPTIONS,
        "ridmap | SHOULD | Indicates that the mount MUST have an idmapping applied, and the \
         mapping is applied recursively.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let source = Source::plain(test);
        let facts = seen(test, test.bundle().mount(tree(&source, "idmap")));
        assert!(is_mapped(&facts, "/data"), "the mount has no mapping");
        assert!(!is_mapped(&facts, "/data/below"), "what is below it has one too");
    }),
    must(
        "config.mounts.options.ridmap",
        OPTIONS,
        "ridmap | SHOULD | Indicates that the mount MUST have an idmapping applied, and the \
         mapping is applied recursively.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let source = Source::plain(test);
        let facts = seen(test, test.bundle().mount(tree(&source, "ridmap")));
        for target in ["/data", "/data/below"] {
            assert!(is_mapped(&facts, target), "{target} has no mapping");
        }
    }),
    should_not(
        "config.mounts.options.ridmap.not-passed-on",
        OPTIONS,
        "ridmap | SHOULD | […] This option SHOULD NOT be passed to the underlying mount(2) call.",
    )
    .untestable("no filesystem knows the word, so a mount that succeeds has not been given it"),
    must(
        "config.mounts.options.ridmap.mappings",
        OPTIONS,
        "ridmap | SHOULD | […] If uidMappings or gidMappings are specified for the mount, the \
         runtime MUST use those values for the mount's mapping.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "ridmap")));
        assert_eq!(owner(&facts), (SHOWN, SHOWN + 1));
    }),
    must(
        "config.mounts.options.ridmap.of-the-user-namespace",
        OPTIONS,
        "ridmap | SHOULD | […] If they are not specified, the runtime MAY use the container's user \
         namespace mapping, otherwise an error MUST be returned.",
    )
    .test(|test| takes_the_user_namespaces_mapping_or_fails(test, "ridmap")),
    must(
        "config.mounts.options.ridmap.without-mapping",
        OPTIONS,
        "ridmap | SHOULD | […] If there are no uidMappings and gidMappings specified and the \
         container isn't using user namespaces, an error MUST be returned.",
    )
    .test(|test| {
        refuses(test, &test.bundle().mount(unmapped(&file(test), "ridmap")));
    }),
    should(
        "config.mounts.options.ridmap.mount-setattr",
        OPTIONS,
        "ridmap | SHOULD | […] This SHOULD be implemented using mount_setattr(MOUNT_ATTR_IDMAP), \
         available since Linux 5.12.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "ridmap")));
        assert!(is_mapped(&facts, "/data"), "the mount has no mapping");
    }),
];

/// The part of "POSIX-platform Mounts" that is about id mappings.
pub(super) const POSIX: &[Statement] = &[
    should(
        "config.mounts.uid-mappings.mount-setattr",
        FIELDS,
        "uidMappings (array of type LinuxIDMapping, OPTIONAL) […] This SHOULD be implemented using \
         mount_setattr(MOUNT_ATTR_IDMAP), available since Linux 5.12.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "idmap")));
        assert!(is_mapped(&facts, "/data"), "the mount has no mapping");
        assert_eq!(owner(&facts).0, SHOWN);
    }),
    should(
        "config.mounts.uid-mappings.option",
        FIELDS,
        "If specified, the options field of the mounts structure SHOULD contain either idmap or \
         ridmap to specify whether the mapping should be applied recursively for rbind mounts, as \
         well as to ensure that older runtimes will not silently ignore this field.",
    )
    .untestable(AUTHOR),
    must(
        "config.mounts.uid-mappings.both",
        FIELDS,
        "If specified, it MUST be specified along with gidMappings.",
    )
    .test(|test| {
        let mut entry = mapped(&file(test), "idmap");
        remove(&mut entry, "gidMappings");
        refuses(test, &test.bundle().mount(entry));
    }),
    should(
        "config.mounts.gid-mappings.mount-setattr",
        FIELDS,
        "gidMappings (array of type LinuxIDMapping, OPTIONAL) […] This SHOULD be implemented using \
         mount_setattr(MOUNT_ATTR_IDMAP), available since Linux 5.12.",
    )
    .test(|test| {
        needs!(Feature::IdMappedMounts);
        let facts = seen(test, test.bundle().mount(mapped(&file(test), "idmap")));
        assert!(is_mapped(&facts, "/data"), "the mount has no mapping");
        assert_eq!(owner(&facts).1, SHOWN + 1);
    }),
    should(
        "config.mounts.gid-mappings.option",
        FIELDS,
        "If specified, the options field of the mounts structure SHOULD contain either idmap or \
         ridmap to specify whether the mapping should be applied recursively for rbind mounts, as \
         well as to ensure that older runtimes will not silently ignore this field.",
    )
    .untestable(AUTHOR),
    must(
        "config.mounts.gid-mappings.both",
        FIELDS,
        "If specified, it MUST be specified along with uidMappings.",
    )
    .test(|test| {
        let mut entry = mapped(&file(test), "idmap");
        remove(&mut entry, "uidMappings");
        refuses(test, &test.bundle().mount(entry));
    }),
];

/// The ids of the file on disk; its group is one more.
const STORED: u32 = 1500;
/// What a mapping makes of [`STORED`].
const SHOWN: u32 = 2500;

/// A directory of the host that holds `file`, which belongs to [`STORED`].
fn file(test: &Test) -> PathBuf {
    let place = test.dir().join("place");
    fs::create_dir(&place).expect("a directory");
    fs::write(place.join("file"), "").expect("a file");
    chown(place.join("file"), Some(STORED), Some(STORED + 1)).expect("chown");
    place
}

fn unmapped(place: &std::path::Path, option: &str) -> Value {
    bind(place, "/data", &["rbind", option])
}

/// With mappings of two ids, from [`STORED`] to [`SHOWN`].
fn mapped(place: &std::path::Path, option: &str) -> Value {
    let mappings = json!([{ "containerID": STORED, "hostID": SHOWN, "size": 2 }]);
    let mut entry = unmapped(place, option);
    entry["uidMappings"] = mappings.clone();
    entry["gidMappings"] = mappings;
    entry
}

/// A mount that has another one below it; see [`Source`].
fn tree(source: &Source, option: &str) -> Value {
    mapped(source.path(), option)
}

#[track_caller]
fn seen(test: &Test, bundle: Bundle) -> Facts {
    test.facts_with(&["--stat", "/data/file"], bundle)
}

/// As mountinfo has it.
#[track_caller]
fn is_mapped(facts: &Facts, target: &str) -> bool {
    on(facts, target).has("idmapped")
}

/// Of `/data/file`.
#[track_caller]
fn owner(facts: &Facts) -> (u32, u32) {
    let stat = facts.stats["/data/file"].as_ref().expect("the file is there");
    (stat.uid, stat.gid)
}

#[track_caller]
fn takes_the_user_namespaces_mapping_or_fails(test: &Test, option: &str) {
    needs!(Feature::IdMappedMounts, Feature::UserNamespaces);
    let bundle = test.bundle().user_namespace(100_000, 65536);
    let bundle = bundle.mount(unmapped(&file(test), option));
    let output = test.run(&bundle.args(&["/bin/probe", "facts", "--stat", "/data/file"]));
    if output.status == 0 {
        let facts = integration::test::parse(output.ok());
        assert_eq!(owner(&facts), (STORED, STORED + 1), "the namespace's own mapping is used");
    } else {
        output.fails();
    }
}
