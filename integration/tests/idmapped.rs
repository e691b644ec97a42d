//! Id-mapped mounts: owners as the container sees them, and as the host does (runtime spec,
//! config.md "Linux mount options"; mount_setattr(2)).

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use integration::{
    Bundle, Feature, Kind, Test, bundle::bind, host::skipped, needs, only_on, test::parse,
};
use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

const HOST_ID: u32 = 100_000;
const SIZE: u32 = 65_536;

/// False on an older runtime that says itself that it cannot.
fn maps_ids(test: &Test) -> bool {
    let features = || test.call(&["features"]).stdout;
    let can = test.runtime.is(Kind::Rtn)
        || serde_json::from_str::<Value>(&features()).is_ok_and(|features| {
            features.pointer("/linux/mountExtensions/idmap/enabled") == Some(&json!(true))
        });
    if !can {
        skipped("this runtime has no id-mapped mounts");
    }
    can
}

/// A directory of the host that anybody may write to, with a file of user 5 and group 7.
fn source(test: &Test) -> PathBuf {
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    fs::write(source.join("file"), "text").expect("a file");
    chown(source.join("file"), Some(5), Some(7)).expect("chown");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).expect("chmod");
    source
}

fn ranges(container: u32, host: u32, size: u32) -> Value {
    json!([{ "containerID": container, "hostID": host, "size": size }])
}

/// A bind mount on /m with mappings of its own.
fn mapped(source: &Path, options: &[&str], uids: Value, gids: Value) -> Value {
    let mut mount = bind(source, "/m", options);
    mount["uidMappings"] = uids;
    mount["gidMappings"] = gids;
    mount
}

/// Runs the bundle, whose process makes /m/new; returns the owners of /m/file and /m/new inside.
#[track_caller]
fn owners(test: &Test, bundle: Bundle) -> [(u32, u32); 2] {
    let script = "probe write /m/new x >&2; exec probe facts --stat /m/file --stat /m/new";
    let facts = parse(test.run(&bundle.shell(script)).ok());
    ["/m/file", "/m/new"].map(|path| {
        let stat = facts.stats[path].as_ref().expect(path);
        (stat.uid, stat.gid)
    })
}

fn owner(path: &Path) -> (u32, u32) {
    let stat = fs::metadata(path).expect("the file");
    (stat.uid(), stat.gid())
}

#[test]
fn owners_are_mapped_both_ways() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    let mount = mapped(&source, &["bind"], ranges(0, 1000, 100), ranges(0, 2000, 100));
    let bundle = test.bundle().mount(mount);
    let bundle =
        bundle.edit(|config| config["process"]["user"] = json!({ "uid": 1003, "gid": 2004 }));
    assert_eq!(owners(&test, bundle), [(1005, 2007), (1003, 2004)]);
    assert_eq!(owner(&source.join("new")), (3, 4));
    assert_eq!(owner(&source.join("file")), (5, 7));
}

#[test]
fn without_mappings_those_of_the_container_are_taken() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    for word in ["idmap", "ridmap"] {
        if word == "ridmap" && test.excuses(&[Kind::Crun], "does not know the word") {
            continue;
        }
        let bundle = test.bundle_named(word).user_namespace(HOST_ID, SIZE);
        let bundle = bundle.mount(bind(&source, "/m", &["rbind", word]));
        assert_eq!(owners(&test, bundle), [(5, 7), (0, 0)]);
        assert_eq!(owner(&source.join("new")), (0, 0), "the mount stands for the host's own ids");
        fs::remove_file(source.join("new")).expect("the new file");
    }
}

#[test]
fn a_mapping_of_its_own_in_a_user_namespace() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    let uids = json!([
        { "containerID": 0, "hostID": HOST_ID + 30, "size": 6 },
        { "containerID": 500, "hostID": HOST_ID, "size": 1 },
    ]);
    // The directory's own group as well: nothing is made in a place of nobody's.
    let gids = json!([
        { "containerID": 7, "hostID": HOST_ID, "size": 1 },
        { "containerID": 0, "hostID": HOST_ID + 40, "size": 1 },
    ]);
    let mount = mapped(&source, &["bind", "idmap"], uids, gids);
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).mount(mount);
    assert_eq!(owners(&test, bundle), [(35, 0), (0, 0)]);
    assert_eq!(owner(&source.join("new")), (500, 7));
}

#[test]
fn a_user_namespace_by_path_maps_the_mount() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    let other = test.create_as(
        "-other",
        &[],
        &test.bundle_named("other").user_namespace(HOST_ID, SIZE).serve(),
    );
    let path = format!("/proc/{}/ns/user", other.pid);
    let bundle =
        test.bundle().user_namespace(HOST_ID, SIZE).namespace("user", Some(Path::new(&path)));
    let bundle = bundle.mount(bind(&source, "/m", &["bind", "idmap"]));
    let seen = owners(&test, bundle);
    other.remove();
    assert_eq!(seen, [(5, 7), (0, 0)]);
    assert_eq!(owner(&source.join("new")), (0, 0));
}

#[test]
fn a_file_is_mapped_like_a_directory() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let mount = mapped(&source(&test).join("file"), &["bind"], ranges(5, 50, 1), ranges(7, 70, 1));
    let facts = test.facts_with(&["--stat", "/m"], test.bundle().mount(mount));
    let stat = facts.stats["/m"].as_ref().expect("the file");
    assert_eq!((stat.uid, stat.gid, stat.kind.as_str()), (50, 70, "file"));
}

#[test]
fn what_is_not_mapped_is_nobodys() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let mount = mapped(&source(&test), &["bind"], ranges(0, 0, 5), ranges(0, 0, 7));
    let script = "probe try chown /m/file 1; exec probe facts --stat /m/file";
    let output = test.run(&test.bundle().mount(mount).capabilities(&["CAP_CHOWN"]).shell(script));
    let (refused, facts) = output.ok().split_once('\n').expect("two lines");
    let stat = parse(facts).stats["/m/file"].clone().expect("the file");
    assert_eq!((stat.uid, stat.gid), (65_534, 65_534));
    assert_eq!(refused, "EOVERFLOW");
}

#[test]
fn other_options_hold_as_well() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    let options = ["bind", "ro", "nosuid", "noexec", "rprivate"];
    let mount = mapped(&source, &options, ranges(0, 1000, 100), ranges(0, 1000, 100));
    let facts = test.facts_with(&["--stat", "/m/file"], test.bundle().mount(mount));
    let mount = facts.mount("/m").expect("the mount");
    assert!(["ro", "nosuid", "noexec"].iter().all(|flag| mount.has(flag)), "{mount:?}");
    assert!(mount.propagation.is_empty(), "{mount:?}");
    assert_eq!(facts.stats["/m/file"].as_ref().expect("the file").uid, 1005);
}

#[test]
fn idmap_is_for_the_mount_and_ridmap_for_all_below() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    only_on!(test, [Rtn, Runc], "crun does not know ridmap");
    let source = source(&test);
    let below = source.join("below");
    fs::create_dir(&below).expect("a directory");
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    fs::write(below.join("file"), "text").expect("a file");
    chown(below.join("file"), Some(5), Some(7)).expect("chown");
    let run = |word: &str| {
        let mount = mapped(&source, &["rbind", word], ranges(0, 1000, 100), ranges(0, 1000, 100));
        let bundle = test.bundle_named(word).mount(mount);
        let bundle =
            bundle.args(&["/bin/probe", "facts", "--stat", "/m/file", "--stat", "/m/below/file"]);
        test.run(&bundle)
    };
    let outputs = [run("idmap"), run("ridmap")];
    umount(&below).expect("umount");
    for (output, expected) in outputs.iter().zip([[1005, 5], [1005, 1005]]) {
        let facts = parse(output.ok());
        let seen = ["/m/file", "/m/below/file"]
            .map(|path| facts.stats[path].as_ref().expect("a file").uid);
        assert_eq!(seen, expected);
    }
}

#[test]
fn crun_writes_the_mapping_behind_the_word() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    only_on!(test, [Rtn, Crun], "crun's own syntax");
    let source = source(&test);
    let cases = [
        ("idmap=uids=0-100300-10;gids=0-100400-5#7-100000-1", (305, 0)),
        // Relative: ids of the container.
        ("idmap=uids=@0-300-10;gids=@0-400-10", (305, 407)),
        ("idmap=uids=@0-0-10;gids=@0-0-10", (5, 7)),
    ];
    for (number, (option, expected)) in cases.into_iter().enumerate() {
        let bundle = test.bundle_named(&number.to_string()).user_namespace(HOST_ID, SIZE);
        let bundle = bundle.mount(bind(&source, "/m", &["bind", option]));
        let facts = test.facts_with(&["--stat", "/m/file"], bundle);
        let stat = facts.stats["/m/file"].as_ref().expect("the file");
        assert_eq!((stat.uid, stat.gid), expected, "{option}");
    }
}

#[test]
fn a_relative_range_may_cover_several_of_the_containers() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    only_on!(test, [Rtn], "crun takes the first one for all");
    let source = source(&test);
    let several = json!([
        { "containerID": 0, "hostID": HOST_ID, "size": 5 },
        { "containerID": 5, "hostID": 300_000, "size": 1000 },
    ]);
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).edit(|config| {
        config["linux"]["uidMappings"] = several.clone();
        config["linux"]["gidMappings"] = several;
    });
    let bundle = bundle.mount(bind(&source, "/m", &["bind", "idmap=uids=@0-0-100;gids=@0-0-100"]));
    assert_eq!(owners(&test, bundle), [(5, 7), (0, 0)]);
    assert_eq!(owner(&source.join("new")), (0, 0));
}

#[test]
fn a_mapped_volume_is_shared_with_the_host_only_if_it_is_to_be() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    // A mount of its own: the one that the root filesystem is on becomes private.
    mount(Some("tmpfs"), &source, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    fs::create_dir(source.join("late")).expect("a directory");
    for (name, root, options, shared) in [
        ("shared", "rshared", &["rbind", "rshared"][..], true),
        ("plain", "rslave", &["rbind"], false),
        ("slave", "rshared", &["rbind", "rslave"], false),
    ] {
        let bundle = test
            .bundle_named(name)
            .edit(|config| config["linux"]["rootfsPropagation"] = json!(root))
            .capabilities(&["CAP_SYS_ADMIN"])
            .mount(mapped(&source, options, ranges(0, 0, 100), ranges(0, 0, 100)))
            .args(&["/bin/probe", "try", "mount-tmpfs", "/m/late"]);
        let output = test.run(&bundle);
        let arrived = umount(&source.join("late")).is_ok();
        assert_eq!(output.stdout.trim(), "ok", "{output:?}");
        if arrived != shared
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{name}: {arrived}"))
        {
            continue;
        }
        assert_eq!(arrived, shared, "{name}");
    }
    umount(&source).expect("umount");
}

#[test]
fn the_hosts_own_user_namespace_maps_nothing() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    only_on!(test, [Rtn], "runc wants maps for it");
    let bundle = test.bundle().namespace("user", Some(Path::new("/proc/self/ns/user")));
    let bundle = bundle.mount(bind(&source(&test), "/m", &["bind", "idmap"]));
    test.create_fails(&bundle).fails_with("(config.json: mounts[6])");
}

#[test]
fn many_mounts_with_one_mapping() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    let mut bundle = test.bundle();
    for number in 0..50 {
        let mut mount = mapped(&source, &["bind"], ranges(0, 1000, 100), ranges(0, 1000, 100));
        mount["destination"] = json!(format!("/many/{number}"));
        bundle = bundle.mount(mount);
    }
    let facts = test.facts_with(&["--stat", "/many/0/file", "--stat", "/many/49/file"], bundle);
    for number in [0, 49] {
        let stat = facts.stats[&format!("/many/{number}/file")].as_ref().expect("the file");
        assert_eq!(stat.uid, 1005);
    }
}

#[test]
fn what_cannot_be_mapped_is_refused_and_leaves_nothing() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    let source = source(&test);
    let one = ranges(0, 1000, 1);
    let mut half = bind(&source, "/m", &["bind"]);
    half["uidMappings"] = one.clone();
    let mut other_half = bind(&source, "/m", &["bind"]);
    other_half["gidMappings"] = one.clone();
    let tmpfs = json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs",
                        "options": [], "uidMappings": one.clone(), "gidMappings": one.clone() });
    let overlapping = json!([
        { "containerID": 0, "hostID": 1000, "size": 10 },
        { "containerID": 5, "hostID": 5000, "size": 10 },
    ]);
    let cases = [
        ("nobody's mapping", bind(&source, "/m", &["bind", "idmap"]), "mounts[6].options[1]"),
        ("only users", half, "mounts[6].gidMappings"),
        ("only groups", other_half, "mounts[6].uidMappings"),
        ("not a bind mount", tmpfs, "mounts[6].uidMappings"),
        (
            "ranges that overlap",
            mapped(&source, &["bind"], overlapping, one.clone()),
            "mounts[6].uidMappings[1]",
        ),
        (
            "a filesystem that cannot",
            mapped("/proc/sys".as_ref(), &["bind"], one.clone(), one),
            "mounts[6]",
        ),
    ];
    for (what, mount, path) in cases {
        if what == "not a bind mount" && test.excuses(&[Kind::Crun], "maps a new tmpfs") {
            continue;
        }
        let bundle = test.bundle_named(&what.replace(' ', "-")).mount(mount);
        let output = test.create_fails(&bundle);
        if !test.excuses(&[Kind::Runc, Kind::Crun], "no JSON paths") {
            output.fails_with(&format!("config.json: {path}"));
        }
        if what == "a filesystem that cannot" {
            assert!(output.stderr.to_lowercase().contains("invalid argument"), "{output:?}");
        }
    }
}

#[test]
fn a_mount_below_that_cannot_be_mapped_fails_ridmap_only() {
    let test = Test::new();
    needs!(Feature::Root);
    if !maps_ids(&test) {
        return;
    }
    only_on!(test, [Rtn, Runc], "crun does not know ridmap");
    let source = source(&test);
    let below = source.join("below");
    fs::create_dir(&below).expect("a directory");
    mount(Some("proc"), &below, Some("proc"), MsFlags::empty(), None::<&str>).expect("a procfs");
    let entry =
        |word: &str| mapped(&source, &["rbind", word], ranges(0, 0, 100), ranges(0, 0, 100));
    let one = test.run(&test.bundle_named("one").mount(entry("idmap")).args(&["/bin/true"]));
    let all = test.run(&test.bundle_named("all").mount(entry("ridmap")).args(&["/bin/true"]));
    umount(&below).expect("umount");
    one.ok();
    all.fails();
}
