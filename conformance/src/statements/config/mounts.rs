//! config.md "Mounts" and "POSIX-platform Mounts".

use std::fs;

use integration::{
    Test,
    bundle::{bind, tmpfs},
};
use serde_json::json;

use super::{AUTHOR, SOLARIS, WINDOWS, place::on, refuses, remove};
use crate::{Statement, must, must_not, optional, required, should};

const MOUNTS: &str = r#"config.md "Mounts""#;
const TYPES: &str = r#"config.md "POSIX-platform Mounts""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config.mounts.optional",
        MOUNTS,
        "mounts (array of objects, OPTIONAL) specifies additional mounts beyond root.",
    )
    .test(|test| {
        let empty = test.bundle_named("empty").edit(|config| config["mounts"] = json!([]));
        test.run(&empty.args(&["/bin/true"])).ok();
        let absent = test.bundle_named("absent").edit(|config| remove(config, "mounts"));
        test.run(&absent.args(&["/bin/true"])).ok();
    }),
    must(
        "config.mounts.order.nested",
        MOUNTS,
        "The runtime MUST mount entries in the listed order.",
    )
    .test(|test| {
        let bundle = test.bundle().mount(tmpfs("/a", &[])).mount(tmpfs("/a/b", &["ro"]));
        let facts = test.facts_with(&["--stat", "/a/b"], bundle);
        assert!(on(&facts, "/a/b").has("ro"));
        assert!(facts.stats["/a/b"].is_ok(), "the outer mount covers the inner one: {facts:#?}");
    }),
    must(
        "config.mounts.order.covered",
        MOUNTS,
        "The runtime MUST mount entries in the listed order.",
    )
    .test(|test| {
        let bundle = test.bundle().mount(tmpfs("/a/b", &[])).mount(tmpfs("/a", &[]));
        let facts = test.facts_with(&["--stat", "/a/b"], bundle);
        let nothing = Err("ENOENT".to_owned());
        assert_eq!(facts.stats["/a/b"], nothing, "the outer mount comes last and covers");
    }),
    must("config.mounts.order.same", MOUNTS, "The runtime MUST mount entries in the listed order.")
        .test(the_last_mount_on_a_place_is_the_one_seen),
    required(
        "config.mounts.destination.required",
        MOUNTS,
        "destination (string, REQUIRED) Destination of mount point: path inside container.",
    )
    .test(|test| {
        let entry = json!({ "type": "tmpfs", "source": "tmpfs" });
        refuses(test, &test.bundle().mount(entry));
    }),
    should(
        "config.mounts.destination.absolute",
        MOUNTS,
        "Linux: This value SHOULD be an absolute path.",
    )
    .untestable(AUTHOR),
    must(
        "config.mounts.destination.relative",
        MOUNTS,
        "For compatibility with old tools and configurations, it MAY be a relative path, in which \
         case it MUST be interpreted as relative to \"/\".",
    )
    .test(|test| {
        let bundle = test.bundle().mount(tmpfs("some/place", &[]));
        let bundle = super::process(bundle, "cwd", json!("/tmp"));
        assert_eq!(on(&test.facts(&bundle), "/some/place").fstype, "tmpfs");
    }),
    must(
        "config.mounts.destination.windows-absolute",
        MOUNTS,
        "Windows: This value MUST be an absolute path.",
    )
    .untestable(WINDOWS),
    must_not(
        "config.mounts.destination.windows-nested",
        MOUNTS,
        "One mount destination MUST NOT be nested within another mount (e.g., c:\\foo and \
         c:\\foo\\bar).",
    )
    .untestable(WINDOWS),
    must(
        "config.mounts.destination.solaris-absolute",
        MOUNTS,
        "Solaris: This value MUST be an absolute path.",
    )
    .untestable(SOLARIS),
    must(
        "config.mounts.destination.others-absolute",
        MOUNTS,
        "For all other platforms: This value MUST be an absolute path.",
    )
    .untestable("it is about platforms other than Linux"),
    optional(
        "config.mounts.source.optional",
        MOUNTS,
        "source (string, OPTIONAL) A device name, but can also be a file or directory name for \
         bind mounts or a dummy.",
    )
    .test(|test| {
        let bundle = test.bundle().mount(json!({ "destination": "/data", "type": "tmpfs" }));
        assert_eq!(on(&test.facts(&bundle), "/data").fstype, "tmpfs");
    }),
    optional(
        "config.mounts.source.file",
        MOUNTS,
        "source (string, OPTIONAL) A device name, but can also be a file or directory name for \
         bind mounts or a dummy.",
    )
    .test(|test| {
        let file = test.dir().join("file");
        fs::write(&file, "of the host").expect("a file");
        let bundle = test.bundle().mount(bind(&file, "/data/file", &["bind"]));
        let facts = test.facts_with(&["--read", "/data/file"], bundle);
        assert_eq!(facts.files["/data/file"].as_deref(), Ok("of the host"));
    }),
    optional(
        "config.mounts.source.absolute",
        MOUNTS,
        "source (string, OPTIONAL) […] Path values for bind mounts are either absolute or relative \
         to the bundle.",
    )
    .test(|test| {
        let place = test.dir().join("place");
        fs::create_dir(&place).expect("a directory");
        fs::write(place.join("file"), "absolute").expect("a file");
        let bundle = test.bundle().mount(bind(&place, "/data", &["bind"]));
        let facts = test.facts_with(&["--read", "/data/file"], bundle);
        assert_eq!(facts.files["/data/file"].as_deref(), Ok("absolute"));
    }),
    optional(
        "config.mounts.source.relative",
        MOUNTS,
        "source (string, OPTIONAL) […] Path values for bind mounts are either absolute or relative \
         to the bundle.",
    )
    .test(|test| {
        let bundle = test.bundle();
        fs::create_dir(bundle.dir.join("place")).expect("a directory");
        fs::write(bundle.dir.join("place/file"), "relative").expect("a file");
        let bundle = bundle.mount(bind("place".as_ref(), "/data", &["bind"]));
        let facts = test.facts_with(&["--read", "/data/file"], bundle);
        assert_eq!(facts.files["/data/file"].as_deref(), Ok("relative"));
    }),
    optional(
        "config.mounts.source.bind",
        MOUNTS,
        "source (string, OPTIONAL) […] A mount is a bind mount if it has either bind or rbind in \
         the options.",
    )
    .test(|test| {
        let place = test.dir().join("place");
        fs::create_dir(&place).expect("a directory");
        fs::write(place.join("file"), "bound").expect("a file");
        for kind in [json!("none"), json!("bind"), json!("tmpfs"), json!("dummy"), json!(null)] {
            for option in ["bind", "rbind"] {
                let mut entry = bind(&place, "/data", &[option]);
                entry["type"] = kind.clone();
                let name = format!("{kind}-{option}").replace('"', "");
                let bundle = test.bundle_named(&name).mount(entry);
                let facts = test.facts_with(&["--read", "/data/file"], bundle);
                assert_eq!(facts.files["/data/file"].as_deref(), Ok("bound"), "type {kind}");
            }
        }
    }),
    optional(
        "config.mounts.options.optional",
        MOUNTS,
        "options (array of strings, OPTIONAL) Mount options of the filesystem to be used.",
    )
    .test(|test| {
        let mut entry = tmpfs("/data", &[]);
        remove(&mut entry, "options");
        let facts = test.facts(&test.bundle().mount(entry));
        let mount = on(&facts, "/data");
        assert!(mount.has("rw"), "{mount:?}");
    }),
    must(
        "config.mounts.options.windows",
        MOUNTS,
        "Windows: runtimes MUST support ro, mounting the filesystem read-only when ro is given.",
    )
    .untestable(WINDOWS),
];

/// The part of "POSIX-platform Mounts" that is not about id mappings.
pub(super) const POSIX: &[Statement] = &[
    optional(
        "config.mounts.type.filesystems",
        TYPES,
        "type (string, OPTIONAL) The type of the filesystem to be mounted. Linux: filesystem types \
         supported by the kernel as listed in /proc/filesystems […].",
    )
    .test(every_virtual_filesystem_of_the_kernel_can_be_mounted),
    optional(
        "config.mounts.type.unknown",
        TYPES,
        "type (string, OPTIONAL) The type of the filesystem to be mounted. Linux: filesystem types \
         supported by the kernel as listed in /proc/filesystems […].",
    )
    .test(|test| {
        let entry = json!({ "destination": "/data", "type": "no-such-fs", "source": "none" });
        refuses(test, &test.bundle().mount(entry));
    }),
];

fn the_last_mount_on_a_place_is_the_one_seen(test: &Test) {
    let mut bundle = test.bundle();
    for name in ["first", "second", "third"] {
        let place = test.dir().join(name);
        fs::create_dir(&place).expect("a directory");
        fs::write(place.join("file"), name).expect("a file");
        bundle = bundle.mount(bind(&place, "/data", &["bind"]));
    }
    let facts = test.facts_with(&["--read", "/data/file"], bundle);
    assert_eq!(facts.files["/data/file"].as_deref(), Ok("third"));
    let count = facts.mounts.iter().filter(|mount| mount.target == "/data").count();
    assert_eq!(count, 3, "each entry is a mount");
}

/// Those of the kernel's list that need neither a device nor options of their own.
fn every_virtual_filesystem_of_the_kernel_can_be_mounted(test: &Test) {
    let known = fs::read_to_string("/proc/filesystems").expect("the kernel's list");
    let wanted = ["tmpfs", "proc", "sysfs", "mqueue", "devpts", "ramfs"];
    let kinds: Vec<&str> =
        wanted.into_iter().filter(|kind| known.contains(&format!("\t{kind}\n"))).collect();
    let mount = |kind: &&str| {
        let target = format!("/fs-{kind}");
        json!({ "destination": target, "type": kind, "source": "dummy" })
    };
    let bundle = kinds.iter().map(mount).fold(test.bundle(), integration::Bundle::mount);
    let facts = test.facts(&bundle);
    for kind in kinds {
        assert_eq!(on(&facts, &format!("/fs-{kind}")).fstype, kind);
    }
}
