//! Where mounts come from and go to: sources and destinations of every kind, links on both sides,
//! and what a tmpfs takes over from the directory that it covers.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use integration::{
    Bundle, Feature, Kind, Mount, Test,
    bundle::{bind, tmpfs},
    needs, only_on,
};
use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::mkfifo,
};
use serde_json::json;

/// Runs the bundle and returns the mount on `target`.
#[track_caller]
fn mounted(test: &Test, bundle: &Bundle, target: &str) -> Mount {
    let facts = test.facts(bundle);
    let mount = facts.mount(target);
    mount.unwrap_or_else(|| panic!("nothing on {target}: {:#?}", facts.mounts)).clone()
}

#[test]
fn a_directory_is_bound_and_its_target_made() {
    let test = Test::new();
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    fs::write(source.join("file"), "content").expect("a file");
    let bundle = test.bundle().mount(bind(&source, "/deep/er/target", &["rbind", "rw"]));
    let facts = test.facts_with(&["--read", "/deep/er/target/file", "--stat", "/deep/er"], bundle);
    assert_eq!(facts.files["/deep/er/target/file"].as_deref(), Ok("content"));
    let parent = facts.stats["/deep/er"].as_ref().expect("a directory");
    if !test.excuses(&[Kind::Crun], "the group may write to it") {
        assert_eq!((parent.mode, parent.uid), (0o755, 0));
    }
    let mount = facts.mount("/deep/er/target").expect("a mount");
    assert!(mount.has("rw") && mount.root.ends_with("/source"), "{mount:?}");
}

#[test]
fn a_file_is_bound_on_a_file_that_is_made() {
    let test = Test::new();
    let source = test.dir().join("file");
    fs::write(&source, "content").expect("a file");
    let bundle = test.bundle().mount(bind(&source, "/new/dir/file", &["bind"]));
    let rootfs = bundle.rootfs();
    let bundle = bundle.args(&["/bin/probe", "write", "/new/dir/file", "changed"]);
    test.run(&bundle).ok();
    assert_eq!(fs::read_to_string(&source).expect("the source"), "changed");
    assert_eq!(fs::read_to_string(rootfs.join("new/dir/file")).expect("the target"), "");
}

#[test]
fn a_relative_source_is_looked_up_in_the_bundle() {
    let test = Test::new();
    let bundle = test.bundle();
    fs::create_dir(bundle.dir.join("data")).expect("a directory");
    fs::write(bundle.dir.join("data/file"), "here").expect("a file");
    let bundle = bundle.mount(bind("data".as_ref(), "/data", &["bind"]));
    let facts = test.facts_with(&["--read", "/data/file"], bundle);
    assert_eq!(facts.files["/data/file"].as_deref(), Ok("here"));
}

#[test]
fn mounts_are_made_in_order() {
    let test = Test::new();
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    let bundle = test
        .bundle()
        .mount(tmpfs("/a", &[]))
        .mount(bind(&source, "/a/b", &["bind"]))
        .mount(tmpfs("/a/b/c", &["ro"]));
    let facts = test.facts(&bundle);
    let targets: Vec<&str> = facts.mounts.iter().map(|mount| mount.target.as_str()).collect();
    let position = |target| targets.iter().position(|t| *t == target).expect(target);
    assert!(position("/a") < position("/a/b") && position("/a/b") < position("/a/b/c"));
    assert!(source.join("c").is_dir(), "the target is made in the bound directory");
}

#[test]
fn a_later_mount_covers_an_earlier_one_on_the_same_target() {
    let test = Test::new();
    let bundle = test.bundle().mount(tmpfs("/a", &["size=64k"])).mount(tmpfs("/a", &["size=128k"]));
    assert!(mounted(&test, &bundle, "/a").super_options.contains("size=128k"));
}

#[test]
fn a_symlink_in_the_target_is_resolved_inside_the_root() {
    let test = Test::new();
    let bundle = test.bundle().mount(tmpfs("/link/mnt", &[]));
    fs::create_dir(bundle.rootfs().join("real")).expect("a directory");
    std::os::unix::fs::symlink("/real", bundle.rootfs().join("link")).expect("a link");
    assert_eq!(mounted(&test, &bundle, "/real/mnt").fstype, "tmpfs");
}

#[test]
fn a_relative_destination_counts_from_the_root() {
    let test = Test::new();
    let output = test.run(&test.bundle().mount(tmpfs("relative/target", &[])));
    // "MUST be absolute" (runtime spec): a runtime may refuse; runc warns and mounts below /.
    if output.status == 0 {
        assert!(integration::test::parse(&output.stdout).mount("/relative/target").is_some());
    } else {
        output.fails_with("relative/target");
    }
}

#[test]
fn tmpcopyup_fills_a_tmpfs_with_what_it_covers() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc, Crun], "an extension of the runc family");
    let bundle =
        test.bundle().file("/data/sub/file", "content").mount(tmpfs("/data", &["tmpcopyup"]));
    let rootfs = bundle.rootfs();
    let facts = test.facts_with(&["--read", "/data/sub/file"], bundle);
    assert_eq!(facts.files["/data/sub/file"].as_deref(), Ok("content"));
    assert_eq!(facts.mount("/data").expect("a mount").fstype, "tmpfs");
    assert_eq!(fs::read_to_string(rootfs.join("data/sub/file")).expect("below"), "content");
}

#[test]
fn a_long_list_of_long_paths_is_no_problem() {
    let test = Test::new();
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    let part = "d".repeat(200);
    let deep = [part.as_str(); 12].join("/");
    let mut bundle = test.bundle();
    for number in 0..40 {
        bundle = bundle.mount(bind(&source, &format!("/{number}/{deep}"), &["bind"]));
    }
    let facts = test.facts(&bundle);
    assert!(facts.mount(&format!("/39/{deep}")).is_some());
}

#[test]
fn the_root_itself_of_the_host_can_be_bound_and_leaks_nothing() {
    let test = Test::new();
    let bundle = test.bundle().mount(bind("/".as_ref(), "/host", &["rbind", "rslave", "ro"]));
    let facts = test.facts_with(&["--stat", "/host/etc/passwd"], bundle);
    assert!(facts.stats["/host/etc/passwd"].is_ok());
}
/// A directory with one thing of every kind.
fn things(test: &Test) -> PathBuf {
    let things = test.dir().join("things");
    fs::create_dir_all(things.join("dir")).expect("a directory");
    fs::write(things.join("dir/inner"), "inner").expect("a file");
    fs::write(things.join("file"), "text").expect("a file");
    mkfifo(&things.join("fifo"), Mode::S_IRUSR).expect("a fifo");
    drop(UnixListener::bind(things.join("socket")).expect("a socket"));
    mknod(&things.join("char"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5)).expect("a device");
    symlink("file", things.join("link")).expect("a link");
    symlink("dir", things.join("dirlink")).expect("a link");
    symlink("/nowhere/at/all", things.join("dangling")).expect("a link");
    things
}

#[test]
fn a_source_may_be_of_any_kind() {
    let test = Test::new();
    let things = things(&test);
    let kinds = [
        ("file", "file"),
        ("dir", "dir"),
        ("fifo", "fifo"),
        ("socket", "socket"),
        ("char", "char"),
        ("link", "file"),
        ("dirlink", "dir"),
    ];
    let mut bundle = test.bundle();
    let mut options = vec![];
    let targets = kinds.map(|(name, _)| format!("/deep/er/{name}"));
    for ((name, _), target) in kinds.iter().zip(&targets) {
        bundle = bundle.mount(bind(&things.join(name), target, &["bind"]));
        options.extend(["--stat", target]);
    }
    let facts = test.facts_with(&options, bundle);
    for ((name, kind), target) in kinds.iter().zip(&targets) {
        assert_eq!(facts.stats[target].as_ref().expect("a target").kind, *kind, "{name}");
        assert!(facts.mount(target).is_some(), "{name}");
    }
}

#[test]
fn names_are_any_bytes_that_json_can_hold() {
    let test = Test::new();
    let long = "n".repeat(255);
    for (number, name) in
        ["with\nnewline", "with\ttab", "back\\slash", "ümläut \u{1f980}", " ", &long]
            .into_iter()
            .enumerate()
    {
        let source = test.dir().join(name);
        fs::write(&source, "text").expect("a file");
        let target = format!("/{name}/{name}");
        let bundle =
            test.bundle_named(&number.to_string()).mount(bind(&source, &target, &["bind"]));
        let facts = test.facts_with(&["--read", &target], bundle);
        assert_eq!(facts.files[&target].as_deref(), Ok("text"), "{name:?}");
        assert!(facts.mount(&target).is_some(), "{name:?}: {:#?}", facts.mounts);
    }
}

#[test]
fn names_that_are_too_long_are_refused() {
    let test = Test::new();
    let source = things(&test).join("file");
    let deep = ["d".repeat(200).as_str(); 21].join("/");
    for (name, target) in [("name", "n".repeat(256)), ("path", deep)] {
        let bundle = test.bundle_named(name);
        let bundle = bundle.mount(bind(&source, &format!("/{target}"), &["bind"]));
        let output = test.create_fails(&bundle);
        assert!(output.stderr.to_lowercase().contains("file name too long"), "{output:?}");
    }
}

#[test]
fn a_file_and_a_directory_do_not_cover_each_other() {
    let test = Test::new();
    let things = things(&test);
    for (name, source, target) in [
        ("a", "file", "/var"),
        ("b", "dir", "/etc/passwd"),
        ("c", "fifo", "/var"),
        ("d", "file", "/etc/passwd/below"),
    ] {
        let bundle = test.bundle_named(name).mount(bind(&things.join(source), target, &["bind"]));
        let output = test.create_fails(&bundle);
        assert!(output.stderr.to_lowercase().contains("not a directory"), "{output:?}");
    }
    let output = test.create_fails(&test.bundle_named("e").mount(tmpfs("/etc/passwd", &[])));
    assert!(output.stderr.to_lowercase().contains("not a directory"), "{output:?}");
}

#[test]
fn a_destination_with_dots_is_the_place_that_they_lead_to() {
    let test = Test::new();
    let source = things(&test).join("file");
    let bundle = test.bundle().mount(bind(&source, "/a/../b/./c//d", &["bind"])).mount(bind(
        &source,
        "/var/x/..//y",
        &["bind"],
    ));
    let facts = test.facts(&bundle);
    for target in ["/b/c/d", "/var/y"] {
        assert!(facts.mount(target).is_some(), "{target}: {:#?}", facts.mounts);
    }
    if test.excuses(&[Kind::Crun], "makes the directories that the path leaves again") {
        return;
    }
    assert!(!bundle.rootfs().join("a").exists() && !bundle.rootfs().join("var/x").exists());
}

#[test]
fn the_root_itself_is_no_destination() {
    let test = Test::new();
    let things = things(&test);
    for (number, mount) in
        [tmpfs("/", &[]), bind(&things.join("dir"), "/.", &["rbind"]), tmpfs("/link", &[])]
            .into_iter()
            .enumerate()
    {
        let bundle = test.bundle_named(&number.to_string()).mount(mount);
        symlink("/", bundle.rootfs().join("link")).expect("a link");
        test.create_fails(&bundle);
    }
}

#[test]
fn what_a_link_points_to_is_made_if_it_is_missing() {
    let test = Test::new();
    let things = things(&test);
    let bundle = test
        .bundle()
        .mount(bind(&things.join("file"), "/etc/resolv.conf", &["bind"]))
        .mount(bind(&things.join("dir"), "/dir", &["bind"]))
        .mount(tmpfs("/new", &[]));
    let rootfs = bundle.rootfs();
    symlink("../run/resolve/stub.conf", rootfs.join("etc/resolv.conf")).expect("a link");
    symlink("../../../../up/above", rootfs.join("dir")).expect("a link");
    symlink("/data/x", rootfs.join("new")).expect("a link");
    if test.excuses(&[Kind::Crun], "makes missing targets of links for files only") {
        return;
    }
    let facts = test.facts_with(&["--read", "/etc/resolv.conf"], bundle);
    assert_eq!(facts.files["/etc/resolv.conf"].as_deref(), Ok("text"));
    for target in ["/run/resolve/stub.conf", "/up/above", "/data/x"] {
        assert!(facts.mount(target).is_some(), "{target}: {:#?}", facts.mounts);
    }
    assert!(rootfs.join("run/resolve/stub.conf").is_file() && rootfs.join("up/above").is_dir());
    assert!(!test.dir().join("up").exists() && !Path::new("/up").exists());
}

#[test]
fn a_link_does_not_lead_a_mount_into_proc() {
    let test = Test::new();
    let things = things(&test);
    for (name, source, link) in
        [("a", "dir", "/proc/sys"), ("b", "dir", "/proc"), ("c", "file", "/proc/kallsyms")]
    {
        let bundle = test.bundle_named(name).mount(bind(&things.join(source), "/link", &["bind"]));
        symlink(link, bundle.rootfs().join("link")).expect("a link");
        let output = test.run(&bundle.args(&["/bin/true"]));
        if output.status == 0 && test.excuses(&[Kind::Crun], "covers what is there") {
            continue;
        }
        output.fails();
        test.assert_clean();
    }
}

#[test]
fn copy_symlink_makes_the_same_link() {
    let test = Test::new();
    only_on!(test, [Rtn], "an extension of crun's, which fails at a dangling link before 1.19");
    let things = things(&test);
    let mut bundle = test.bundle();
    for name in ["link", "dangling", "file"] {
        let target = format!("/copies/{name}");
        bundle = bundle.mount(bind(&things.join(name), &target, &["bind", "copy-symlink"]));
    }
    let options =
        ["--stat", "/copies/link", "--stat", "/copies/dangling", "--read", "/copies/file"];
    let rootfs = bundle.rootfs();
    for _ in ["new", "there already"] {
        let bundle = Bundle { dir: bundle.dir.clone(), config: bundle.config.clone() };
        let facts = test.facts_with(&options, bundle);
        let link = |name: &str| facts.stats[name].as_ref().expect("a link").target.clone();
        assert_eq!(link("/copies/link").as_deref(), Some("file"));
        assert_eq!(link("/copies/dangling").as_deref(), Some("/nowhere/at/all"));
        assert_eq!(facts.files["/copies/file"].as_deref(), Ok("text"), "no link is mounted");
        let mounts = facts.mounts.iter().filter(|mount| mount.target.starts_with("/copies"));
        assert_eq!(mounts.count(), 1);
    }
    fs::remove_file(rootfs.join("copies/link")).expect("the link");
    symlink("elsewhere", rootfs.join("copies/link")).expect("a link");
    test.create_fails(&bundle);
    assert_eq!(fs::read_link(rootfs.join("copies/link")).expect("a link"), Path::new("elsewhere"));
}

#[test]
fn src_nofollow_mounts_the_link() {
    let test = Test::new();
    only_on!(test, [Rtn], "crun 1.28 follows the source unless it is told dest-nofollow, too");
    let source = things(&test).join("dangling");
    let bundle = test.bundle().mount(bind(&source, "/m", &["bind", "src-nofollow"]));
    let facts = test.facts_with(&["--stat", "/m"], bundle);
    let stat = facts.stats["/m"].as_ref().expect("the link");
    assert_eq!(stat.target.as_deref(), Some("/nowhere/at/all"));
    assert!(facts.mount("/m").is_some(), "{:#?}", facts.mounts);
}

#[test]
fn dest_nofollow_covers_the_link() {
    let test = Test::new();
    only_on!(test, [Rtn], "an extension of crun's, since 1.19");
    let things = things(&test);
    let bundle = test
        .bundle()
        .mount(bind(&things.join("file"), "/covered", &["bind", "dest-nofollow"]))
        .mount(bind(&things.join("link"), "/both", &["bind", "src-nofollow", "dest-nofollow"]))
        .mount(bind(&things.join("file"), "/made", &["bind", "dest-nofollow"]));
    let rootfs = bundle.rootfs();
    for name in ["covered", "both"] {
        symlink("/etc/passwd", rootfs.join(name)).expect("a link");
    }
    let options = ["--stat", "/covered", "--stat", "/both", "--read", "/made"];
    let facts = test.facts_with(&options, bundle);
    assert_eq!(facts.stats["/covered"].as_ref().expect("a file").kind, "file");
    assert_eq!(facts.stats["/both"].as_ref().expect("a link").target.as_deref(), Some("file"));
    assert_eq!(facts.files["/made"].as_deref(), Ok("text"));
    assert!(facts.mount("/etc/passwd").is_none(), "{:#?}", facts.mounts);
    assert_eq!(fs::read_link(rootfs.join("covered")).expect("a link"), Path::new("/etc/passwd"));
}

#[test]
fn options_about_links_hold_in_a_user_namespace() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    only_on!(test, [Rtn], "an extension of crun's, since 1.19");
    let things = things(&test);
    let bundle = test
        .bundle()
        .user_namespace(100_000, 65_536)
        .mount(bind(&things.join("link"), "/copied", &["bind", "copy-symlink"]))
        .mount(bind(&things.join("link"), "/both", &["bind", "src-nofollow", "dest-nofollow"]));
    symlink("/etc/passwd", bundle.rootfs().join("both")).expect("a link");
    let facts = test.facts_with(&["--stat", "/copied", "--stat", "/both"], bundle);
    for path in ["/copied", "/both"] {
        let stat = facts.stats[path].as_ref().expect("a link");
        assert_eq!(stat.target.as_deref(), Some("file"), "{path}");
    }
    assert!(facts.mount("/copied").is_none() && facts.mount("/both").is_some());
}

#[test]
fn a_tmpfs_on_nothing_has_a_mode_of_its_own() {
    let test = Test::new();
    let bundle = test.bundle().mount(tmpfs("/new/tmpfs", &[]));
    let facts = test.facts_with(&["--stat", "/new/tmpfs", "--stat", "/new"], bundle);
    assert_eq!(facts.stats["/new/tmpfs"].as_ref().expect("a directory").mode, 0o1777);
    if !test.excuses(&[Kind::Crun], "the group may write to it") {
        assert_eq!(facts.stats["/new"].as_ref().expect("a directory").mode, 0o755);
    }
}

#[test]
fn tmpcopyup_keeps_owners_modes_and_kinds() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn, Runc, Crun], "an extension of the runc family");
    let bundle = test.bundle().mount(tmpfs("/data", &["tmpcopyup"]));
    let data = bundle.rootfs().join("data");
    fs::create_dir_all(data.join("sub/deep")).expect("a directory");
    for (name, mode) in [("setuid", 0o6755), ("secret", 0o000), ("plain", 0o640)] {
        let file = data.join(name);
        fs::write(&file, name).expect("a file");
        chown(&file, Some(3), Some(4)).expect("chown");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    fs::hard_link(data.join("plain"), data.join("other")).expect("a hard link");
    symlink("/etc/passwd", data.join("link")).expect("a link");
    lchown(data.join("link"), Some(5), Some(6)).expect("chown");
    chown(data.join("sub"), Some(7), Some(8)).expect("chown");
    fs::set_permissions(data.join("sub"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o2750)).expect("chmod");
    let names = ["", "/setuid", "/secret", "/plain", "/other", "/link", "/sub", "/sub/deep"];
    let paths = names.map(|name| format!("/data{name}"));
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let facts = test.facts_with(&options, bundle);
    let seen = |name: &str| {
        let stat = facts.stats[&format!("/data{name}")].as_ref().expect("a copy");
        (stat.kind.as_str(), stat.mode, stat.uid, stat.gid)
    };
    if !test.excuses(&[Kind::Crun], "1.8 has a mode of its own for the top") {
        assert_eq!(seen(""), ("dir", 0o2750, 0, 0));
    }
    assert_eq!(seen("/setuid"), ("file", 0o6755, 3, 4));
    assert_eq!(seen("/secret"), ("file", 0, 3, 4));
    assert_eq!(seen("/plain"), ("file", 0o640, 3, 4));
    assert_eq!(seen("/other"), seen("/plain"));
    assert_eq!(seen("/link"), ("link", 0o777, 5, 6));
    if seen("/sub").1 == 0o1777 || !test.excuses(&[Kind::Runc], "1.1 umasks directories") {
        assert_eq!(seen("/sub"), ("dir", 0o1777, 7, 8));
    }
    assert_eq!(seen("/sub/deep").0, "dir");
    assert_eq!(fs::metadata(data.join("secret")).expect("the file below").uid(), 3);
}

#[test]
fn tmpcopyup_copies_nodes_and_attributes() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn, Crun], "runc fails at a fifo, a socket or a node");
    let bundle = test.bundle().mount(tmpfs("/data", &["tmpcopyup"]));
    let data = bundle.rootfs().join("data");
    fs::create_dir(&data).expect("a directory");
    mkfifo(&data.join("fifo"), Mode::from_bits_retain(0o600)).expect("a fifo");
    drop(UnixListener::bind(data.join("socket")).expect("a socket"));
    mknod(&data.join("zero"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5)).expect("a node");
    fs::copy("/bin/busybox", data.join("busybox")).expect("a program");
    fs::set_permissions(data.join("busybox"), fs::Permissions::from_mode(0o755)).expect("chmod");
    // cap_setpcap+ep: struct vfs_cap_data, version 2 (linux/capability.h).
    let mut capability = [0_u8; 20];
    capability[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    capability[4..8].copy_from_slice(&(1_u32 << 8).to_le_bytes());
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(data.join("busybox"), "security.capability", &capability, flags)
        .expect("a capability");
    let bundle = bundle.capabilities(&["CAP_SETPCAP"]).edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_SETPCAP"] });
    });
    let script = "/data/busybox grep CapEff /proc/self/status; cd /data && stat -c '%n %F %t:%T' fifo socket zero";
    let output = test.run(&bundle.shell(script));
    let lines: Vec<&str> = output.ok().lines().collect();
    if !test.excuses(&[Kind::Crun], "forgets the attributes") {
        assert_eq!(lines[0].split_whitespace().last(), Some("0000000000000100"), "{output:?}");
    }
    assert_eq!(
        lines[1..],
        ["fifo fifo 0:0", "socket socket 0:0", "zero character special file 1:5"]
    );
}

#[test]
fn tmpcopyup_fills_what_becomes_read_only_and_in_a_user_namespace() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    only_on!(test, [Rtn, Runc, Crun], "an extension of the runc family");
    let plain = test.bundle_named("plain");
    let mut bundles = vec![plain];
    if !Feature::UserNamespaces.missing() {
        bundles.push(test.bundle_named("user").user_namespace(100_000, 65_536));
    }
    for bundle in bundles {
        let bundle = bundle.mount(tmpfs("/etc", &["tmpcopyup", "ro", "nosuid"]));
        let options = ["--read", "/etc/group", "--stat", "/etc/group"];
        let facts = test.facts_with(&options, bundle);
        let mount = facts.mount("/etc").expect("the tmpfs");
        assert!(mount.has("nosuid"), "{mount:?}");
        if mount.has("ro") || !test.excuses(&[Kind::Crun], "leaves it writable") {
            assert!(mount.has("ro"), "{mount:?}");
        }
        assert!(facts.files["/etc/group"].as_ref().is_ok_and(|text| text.contains("root:x:0:")));
        let stat = facts.stats["/etc/group"].as_ref().expect("the copy");
        assert_eq!((stat.uid, stat.mode), (0, 0o644));
    }
}
