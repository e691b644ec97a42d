//! `mounts[].options` of config.json: flags, recursive flags, the filesystem's own options (runtime
//! spec, config.md "Linux mount options").

use std::{fs, path::PathBuf};

use integration::{
    Bundle, Feature, Kind, Mount, Test,
    bundle::{bind, tmpfs},
    needs, only_on,
};
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

/// Runs the bundle and returns the mount on `target`.
#[track_caller]
fn mounted(test: &Test, bundle: &Bundle, target: &str) -> Mount {
    let facts = test.facts(bundle);
    let mount = facts.mount(target);
    mount.unwrap_or_else(|| panic!("nothing on {target}: {:#?}", facts.mounts)).clone()
}

#[test]
fn every_flag_of_a_mount_is_set() {
    let test = Test::new();
    let flags = [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
    ];
    let mut bundle = test.bundle();
    for (option, _) in flags {
        bundle = bundle.mount(tmpfs(&format!("/mnt-{option}"), &[option]));
    }
    let facts = test.facts(&bundle);
    for (option, shown) in flags {
        let mount = facts.mount(&format!("/mnt-{option}")).expect(option);
        assert!(mount.has(shown), "{option}: {:?}", mount.options);
    }
    assert!(facts.mount("/mnt-nosuid").expect("a mount").has("rw"));
}

#[test]
fn flags_of_the_filesystem_are_set() {
    let test = Test::new();
    let bundle = test
        .bundle()
        .mount(tmpfs("/sync", &["sync"]))
        .mount(tmpfs("/dirsync", &["dirsync"]))
        .mount(tmpfs("/strict", &["strictatime"]));
    let facts = test.facts(&bundle);
    assert!(facts.mount("/sync").expect("a mount").super_options.contains("sync"));
    assert!(facts.mount("/dirsync").expect("a mount").super_options.contains("dirsync"));
    let strict = facts.mount("/strict").expect("a mount");
    assert!(!strict.has("relatime") && !strict.has("noatime"), "{:?}", strict.options);
}

#[test]
fn a_later_option_overrides_an_earlier_one() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun opens /dev/null on the host after its nodev mount");
    let pairs = [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];
    let mut bundle = test.bundle();
    for (set, clear) in pairs {
        bundle = bundle
            .mount(tmpfs(&format!("/{clear}"), &[set, clear]))
            .mount(tmpfs(&format!("/not-{clear}"), &[clear, set]));
    }
    let facts = test.facts(&bundle);
    for (set, clear) in pairs {
        assert!(!facts.mount(&format!("/{clear}")).expect(clear).has(set), "{set} then {clear}");
        assert!(facts.mount(&format!("/not-{clear}")).expect(clear).has(set), "{clear} then {set}");
    }
}

#[test]
fn nosymfollow_is_set() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 leaves it to the filesystem");
    if !test.knows_option("nosymfollow") {
        return;
    }
    let mount = mounted(&test, &test.bundle().mount(tmpfs("/mnt", &["nosymfollow"])), "/mnt");
    assert!(mount.has("nosymfollow"), "{:?}", mount.options);
}

#[test]
fn other_options_go_to_the_filesystem() {
    let test = Test::new();
    needs!(Feature::Root);
    let bundle =
        test.bundle().mount(tmpfs("/mnt", &["size=64k", "mode=1751", "nr_inodes=77", "uid=12"]));
    let facts = test.facts_with(&["--stat", "/mnt"], bundle);
    let options = &facts.mount("/mnt").expect("a mount").super_options;
    assert!(
        ["size=64k", "nr_inodes=77", "uid=12"].iter().all(|o| options.contains(*o)),
        "{options:?}"
    );
    let stat = facts.stats["/mnt"].as_ref().expect("a directory");
    assert_eq!((stat.mode, stat.uid), (0o1751, 12));
}

#[test]
fn a_tmpfs_without_a_mode_keeps_that_of_the_directory_below() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "an invention of runc");
    let bundle = test.bundle().mount(tmpfs("/var", &[]));
    let below = bundle.rootfs().join("var");
    fs::set_permissions(below, std::os::unix::fs::PermissionsExt::from_mode(0o2710))
        .expect("chmod");
    let facts = test.facts_with(&["--stat", "/var"], bundle);
    assert_eq!(facts.stats["/var"].as_ref().expect("a directory").mode & 0o777, 0o710);
}

#[test]
fn a_read_only_bind_mount_refuses_to_be_written() {
    let test = Test::new();
    let source = test.dir().join("file");
    fs::write(&source, "content").expect("a file");
    let bundle = test.bundle().mount(bind(&source, "/file", &["bind", "ro"]));
    let output = test.run(&bundle.args(&["/bin/probe", "write", "/file", "changed"]));
    assert_eq!((output.status, output.stdout.trim()), (1, "EROFS"));
    assert_eq!(fs::read_to_string(&source).expect("the source"), "content");
}

#[test]
fn flags_of_a_bind_mount_are_set_and_the_sources_are_kept() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn, Runc], "crun 1.8 drops the nosuid and nodev of a source");
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("tmpfs"), &source, Some("tmpfs"), flags, None::<&str>).expect("a tmpfs");
    let bundle = test.bundle().mount(bind(&source, "/plain", &["bind"])).mount(bind(
        &source,
        "/hard",
        &["bind", "ro", "noexec", "noatime"],
    ));
    let facts = test.facts(&bundle);
    umount(&source).expect("umount");
    let plain = facts.mount("/plain").expect("a mount");
    assert!(plain.has("nodev") && plain.has("nosuid") && !plain.has("ro"), "{:?}", plain.options);
    let hard = facts.mount("/hard").expect("a mount");
    assert!(["ro", "noexec", "noatime"].iter().all(|o| hard.has(o)), "{:?}", hard.options);
}

#[test]
fn flags_that_only_the_filesystem_sees_are_set() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun leaves lazytime to the filesystem");
    if !test.knows_option("lazytime") {
        return;
    }
    let bundle = test
        .bundle()
        .mount(tmpfs("/lazy", &["lazytime"]))
        .mount(tmpfs("/hasty", &["lazytime", "nolazytime"]))
        .mount(tmpfs("/quiet", &["silent", "loud", "silent"]))
        .mount(tmpfs("/version", &["iversion", "noiversion"]))
        .mount(tmpfs("/mand", &["mand", "nomand"]));
    let facts = test.facts(&bundle);
    let super_options = |target: &str| &facts.mount(target).expect(target).super_options;
    assert!(super_options("/lazy").contains("lazytime"), "{:?}", super_options("/lazy"));
    assert!(!super_options("/hasty").contains("lazytime"), "{:?}", super_options("/hasty"));
    assert!(!super_options("/mand").contains("mand"), "{:?}", super_options("/mand"));
    assert!(facts.mount("/quiet").is_some() && facts.mount("/version").is_some());
}

#[test]
fn of_the_words_about_access_times_the_last_one_counts() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn], "the kernel takes strictatime out of several, in any order");
    let cases: [(&[&str], Option<&str>); 6] = [
        (&["noatime", "strictatime"], None),
        (&["strictatime", "noatime"], Some("noatime")),
        (&["noatime", "relatime"], Some("relatime")),
        (&["noatime", "atime"], Some("relatime")),
        (&["strictatime", "nostrictatime"], Some("relatime")),
        (&["strictatime", "norelatime"], None),
    ];
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    let mut bundle = test.bundle();
    for (number, (words, _)) in cases.iter().enumerate() {
        let words = [&["bind"], *words].concat();
        bundle = bundle.mount(tmpfs(&format!("/new-{number}"), &words[1..])).mount(bind(
            &source,
            &format!("/bound-{number}"),
            &words,
        ));
    }
    let facts = test.facts(&bundle);
    for (number, (words, expected)) in cases.iter().enumerate() {
        for target in [format!("/new-{number}"), format!("/bound-{number}")] {
            let mount = facts.mount(&target).expect("a mount");
            assert_eq!(policy(mount), *expected, "{words:?} on {target}");
        }
    }
}

/// The word for when access times are written; none is shown for "always".
fn policy(mount: &Mount) -> Option<&str> {
    ["noatime", "relatime"].into_iter().find(|word| mount.has(word))
}

/// A directory of the host with a mount below it, `sub`.
fn nested(test: &Test, flags: MsFlags) -> PathBuf {
    let source = test.dir().join("source");
    fs::create_dir_all(source.join("sub")).expect("a directory");
    // A mount of its own on top as well, so that both start alike.
    for target in [&source, &source.join("sub")] {
        fs::create_dir_all(target).expect("a directory");
        mount(Some("tmpfs"), target, Some("tmpfs"), flags & !MsFlags::MS_RDONLY, None::<&str>)
            .expect("a tmpfs");
    }
    for target in [&source.join("sub"), &source] {
        let again = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        mount(None::<&str>, target, None::<&str>, again, None::<&str>).expect("a remount");
    }
    source
}

fn remove(source: &std::path::Path) {
    umount(&source.join("sub")).expect("umount");
    umount(source).expect("umount");
}

/// Recursive words, and what a mount shows for them.
const RECURSIVE: [(&str, &str); 8] = [
    ("rro", "ro"),
    ("rnosuid", "nosuid"),
    ("rnodev", "nodev"),
    ("rnoexec", "noexec"),
    ("rnodiratime", "nodiratime"),
    ("rnosymfollow", "nosymfollow"),
    ("rnoatime", "noatime"),
    ("rrelatime", "relatime"),
];

/// The recursive words that take away again, and what they take.
const RECURSIVE_CLEAR: [(&str, &str); 7] = [
    ("rrw", "ro"),
    ("rsuid", "nosuid"),
    ("rdev", "nodev"),
    ("rexec", "noexec"),
    ("rdiratime", "nodiratime"),
    ("rsymfollow", "nosymfollow"),
    ("ratime", "noatime"),
];

#[test]
fn recursive_words_set_flags_on_all_mounts_below() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn, Runc], "crun passes flags on that mean something else to mount_setattr");
    if !test.knows_option("rnosymfollow") {
        return;
    }
    let source = nested(&test, MsFlags::MS_STRICTATIME);
    let mut bundle = test.bundle();
    for (word, _) in RECURSIVE {
        bundle = bundle.mount(bind(&source, &format!("/{word}"), &["rbind", word]));
    }
    let output = test.run(&bundle);
    remove(&source);
    let facts = integration::test::parse(output.ok());
    for (word, shown) in RECURSIVE {
        for target in [format!("/{word}"), format!("/{word}/sub")] {
            let mount = facts.mount(&target).expect("a mount");
            assert!(mount.has(shown), "{word} on {target}: {:?}", mount.options);
            let others = RECURSIVE.iter().filter(|(_, other)| *other != shown);
            assert!(others.into_iter().all(|(_, other)| !mount.has(other)), "{word}: {mount:?}");
        }
    }
}

#[test]
fn recursive_words_take_flags_from_all_mounts_below() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn], "ratime alone is invalid to the kernel, and runc and crun pass it on");
    let flags = MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_NODIRATIME
        | MsFlags::MS_NOATIME
        | MsFlags::from_bits_retain(256);
    let source = nested(&test, flags);
    let mut bundle = test.bundle();
    for (word, _) in RECURSIVE_CLEAR {
        bundle = bundle.mount(bind(&source, &format!("/{word}"), &["rbind", word]));
    }
    let output = test.run(&bundle);
    remove(&source);
    let facts = integration::test::parse(output.ok());
    for (word, taken) in RECURSIVE_CLEAR {
        for target in [format!("/{word}"), format!("/{word}/sub")] {
            let mount = facts.mount(&target).expect("a mount");
            for (_, flag) in RECURSIVE_CLEAR {
                assert_eq!(mount.has(flag), flag != taken, "{word} on {target}: {mount:?}");
            }
        }
    }
}

#[test]
fn recursive_words_about_access_times_replace_the_policy() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn], "runc and crun pass invalid pairs on to the kernel");
    let source = nested(&test, MsFlags::MS_NOATIME);
    let cases: [(&[&str], Option<&str>); 7] = [
        (&["rstrictatime"], None),
        (&["rrelatime"], Some("relatime")),
        (&["rstrictatime", "rnoatime"], Some("noatime")),
        (&["rnoatime", "rstrictatime"], None),
        (&["rnoatime", "rrelatime"], Some("relatime")),
        // Relatime is what is there without another policy: nothing can be taken away.
        (&["rnorelatime"], Some("noatime")),
        (&["rnostrictatime"], Some("relatime")),
    ];
    let mut bundle = test.bundle();
    for (number, (words, _)) in cases.iter().enumerate() {
        let words = [&["rbind"], *words].concat();
        bundle = bundle.mount(bind(&source, &format!("/{number}"), &words));
    }
    let output = test.run(&bundle);
    remove(&source);
    let facts = integration::test::parse(output.ok());
    for (number, (words, expected)) in cases.iter().enumerate() {
        for target in [format!("/{number}"), format!("/{number}/sub")] {
            let mount = facts.mount(&target).expect("a mount");
            assert_eq!(policy(mount), *expected, "{words:?} on {target}: {:?}", mount.options);
        }
    }
}

#[test]
fn a_plain_word_is_for_the_mount_and_a_recursive_one_for_all() {
    let test = Test::new();
    let source = nested(&test, MsFlags::empty());
    let bundle = test
        .bundle()
        .mount(bind(&source, "/one", &["rbind", "ro"]))
        .mount(bind(&source, "/all", &["rbind", "rro"]))
        .mount(bind(&source, "/below", &["rbind", "rro", "rrw"]))
        .shell(
            "for mount in one all below; do for file in /$mount/file /$mount/sub/file; do \
             echo $(probe write $file x); done; done",
        );
    let output = test.run(&bundle);
    remove(&source);
    let told: Vec<&str> = output.stdout.lines().collect();
    if told != ["EROFS", "ok", "EROFS", "EROFS", "ok", "ok"]
        && test.excuses(&[Kind::Runc, Kind::Crun], "rro then rrw is rro")
    {
        return;
    }
    assert_eq!(told, ["EROFS", "ok", "EROFS", "EROFS", "ok", "ok"], "{output:?}");
}

#[test]
fn what_recursive_flags_forbid_is_forbidden_below() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 has no rnosymfollow");
    if !test.knows_option("rnosymfollow") {
        return;
    }
    let source = nested(&test, MsFlags::empty());
    fs::copy(integration::bundle::PROBE, source.join("sub/probe")).expect("a program");
    std::os::unix::fs::symlink("/etc/passwd", source.join("sub/link")).expect("a link");
    let device = nix::sys::stat::makedev(1, 3);
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&source.join("sub/null"), kind, nix::sys::stat::Mode::all(), device)
        .expect("mknod");
    let words = ["rbind", "rnoexec", "rnodev", "rnosymfollow"];
    let script = "/a/sub/probe exit 0; echo $?; probe try open /a/sub/null; \
                  probe try open /a/sub/link; /b/sub/probe exit 0; echo $?; \
                  probe try open /b/sub/null; probe try open /b/sub/link";
    let bundle = test
        .bundle()
        .mount(bind(&source, "/a", &words))
        .mount(bind(&source, "/b", &["rbind"]))
        .edit(|c| c["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]));
    let output = test.run(&bundle.shell(script));
    remove(&source);
    let told: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(told, ["126", "EACCES", "ELOOP", "0", "ok", "ok"], "{output:?}");
}

#[test]
fn recursive_words_work_on_a_new_filesystem() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc ignores them there, crun sends the kernel an invalid pair");
    let words = ["rnosuid", "rnodev", "rnoexec", "rnoatime"];
    let mount = mounted(&test, &test.bundle().mount(tmpfs("/mnt", &words)), "/mnt");
    assert!(words.iter().all(|word| mount.has(&word[1..])), "{:?}", mount.options);
}

#[test]
fn a_remount_changes_what_is_there() {
    let test = Test::new();
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    let remount = |destination: &str, options: &[&str]| json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options });
    let mut bundle = test
        .bundle()
        .mount(tmpfs("/small", &["size=64k"]))
        .mount(remount("/small", &["remount", "size=128k", "noexec"]));
    let bound = !test.excuses(&[Kind::Runc, Kind::Crun], "a bind remount needs a source");
    if bound {
        bundle = bundle
            .mount(bind(&source, "/bound", &["bind", "nosuid"]))
            .mount(remount("/bound", &["remount", "bind", "ro"]));
    }
    let facts = test.facts(&bundle);
    let small = facts.mount("/small").expect("the tmpfs");
    assert!(small.super_options.contains("size=128k") && small.has("noexec"), "{small:?}");
    assert_eq!(facts.mounts.iter().filter(|mount| mount.target == "/small").count(), 1);
    if bound {
        let bound = facts.mount("/bound").expect("the bind mount");
        assert!(bound.has("ro") && bound.has("nosuid"), "{bound:?}");
        assert!(!bound.super_options.contains("ro"), "the filesystem itself: {bound:?}");
    }
}

#[test]
fn options_longer_than_the_kernel_takes_are_refused() {
    let test = Test::new();
    let lower: Vec<String> = (0..12)
        .map(|number| {
            let dir = test.dir().join(format!("{number:0>200}"));
            fs::create_dir(&dir).expect("a directory");
            fs::write(dir.join(format!("file-{number}")), "lower").expect("a file");
            dir.to_string_lossy().into_owned()
        })
        .collect();
    let overlay = |layers: &[String]| json!({ "destination": "/o", "type": "overlay", "source": "overlay", "options": [format!("lowerdir={}", layers.join(":"))] });
    let bundle = test.bundle().mount(overlay(&lower));
    let facts = test.facts_with(&["--read", "/o/file-0", "--read", "/o/file-11"], bundle);
    for file in ["/o/file-0", "/o/file-11"] {
        assert_eq!(facts.files[file].as_deref(), Ok("lower"));
    }
    let long = [lower.clone(), lower.clone()].concat();
    let output = test.create_fails(&test.bundle_named("long").mount(overlay(&long)));
    if !test.excuses(&[Kind::Runc, Kind::Crun], "says what mount(2) said") {
        output.fails_with("of 4096 bytes");
    }
}
