//! `mounts` of config.json: kinds, options, targets, propagation (runtime spec, config.md "Mounts").

use std::fs;

use integration::{Feature, Kind, Mount, Test, host, needs, only_on};
use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

/// Runs the bundle and returns the mount on `target`.
#[track_caller]
fn mounted(test: &Test, bundle: &integration::Bundle, target: &str) -> Mount {
    let facts = test.facts(bundle);
    facts
        .mount(target)
        .unwrap_or_else(|| panic!("nothing on {target}: {:#?}", facts.mounts))
        .clone()
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options })
}

fn bind(source: &std::path::Path, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

#[test]
fn the_default_mounts_are_there_with_their_options() {
    let test = Test::new();
    let facts = test.facts(&test.bundle());
    let expected = [
        ("/proc", "proc", vec![]),
        ("/dev", "tmpfs", vec!["nosuid"]),
        ("/dev/pts", "devpts", vec!["nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", vec!["nosuid", "noexec", "nodev"]),
        ("/dev/mqueue", "mqueue", vec!["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", vec!["nosuid", "noexec", "nodev", "ro"]),
    ];
    for (target, fstype, options) in expected {
        let mount = facts.mount(target).expect(target);
        assert_eq!(mount.fstype, fstype, "{target}");
        assert!(options.iter().all(|option| mount.has(option)), "{target}: {:?}", mount.options);
    }
    let dev = &facts.mount("/dev").expect("/dev").super_options;
    assert!(dev.contains("size=65536k") && dev.contains("mode=755"), "{dev:?}");
    let pts = &facts.mount("/dev/pts").expect("/dev/pts").super_options;
    assert!(["gid=5", "mode=620", "ptmxmode=666"].iter().all(|o| pts.contains(*o)), "{pts:?}");
}

#[test]
fn nothing_of_the_host_is_mounted_beside() {
    let test = Test::new();
    let bundle = test.bundle();
    let facts = test.facts(&bundle);
    let host = host::mounts();
    let listed = bundle.config["mounts"].as_array().expect("mounts").len();
    let (own, covers): (Vec<&Mount>, Vec<&Mount>) = facts.mounts.iter().partition(|mount| {
        !["/proc/", "/sys/"].iter().any(|prefix| mount.target.starts_with(prefix))
    });
    assert_eq!(own.len(), 1 + listed, "{own:#?}");
    assert!(covers.iter().all(|mount| mount.has("ro") || mount.root == "/null"), "{covers:#?}");
    assert!(!facts.mounts.iter().any(|mount| host.contains(mount) && mount.fstype == "ext4"));
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
    only_on!(test, [Rtn], "nosymfollow came with runc 1.2");
    let mount = mounted(&test, &test.bundle().mount(tmpfs("/mnt", &["nosymfollow"])), "/mnt");
    assert!(mount.has("nosymfollow"), "{:?}", mount.options);
}

#[test]
fn other_options_go_to_the_filesystem() {
    let test = Test::new();
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
fn rbind_takes_submounts_and_bind_does_not() {
    let test = Test::new();
    let source = test.dir().join("source");
    fs::create_dir_all(source.join("sub")).expect("a directory");
    mount(Some("tmpfs"), &source.join("sub"), Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .expect("a tmpfs");
    let bundle = test.bundle().mount(bind(&source, "/all", &["rbind"])).mount(bind(
        &source,
        "/one",
        &["bind"],
    ));
    let facts = test.facts(&bundle);
    umount(&source.join("sub")).expect("umount");
    assert!(
        facts.mount("/all/sub").is_some() && facts.mount("/one/sub").is_none(),
        "{:#?}",
        facts.mounts
    );
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
fn bind_in_the_options_is_enough() {
    let test = Test::new();
    for (kind, name) in [(json!(null), "a"), (json!("none"), "b"), (json!(""), "c")] {
        let source = test.dir().join(name);
        fs::create_dir(&source).expect("a directory");
        let entry =
            json!({ "destination": "/mnt", "type": kind, "source": source, "options": ["bind"] });
        let bundle = test.bundle_named(&format!("bundle-{name}")).edit(|config| {
            let mut entry = entry.clone();
            if kind.is_null() {
                entry.as_object_mut().expect("an object").remove("type");
            }
            config["mounts"].as_array_mut().expect("mounts").push(entry);
        });
        assert!(mounted(&test, &bundle, "/mnt").root.ends_with(name));
    }
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
fn propagation_of_a_mount_is_set() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 leaves a slave shared as well");
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    // A mount of its own, so that the propagation of the target does not depend on /tmp.
    mount(Some("tmpfs"), &source, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    let expected: [(&str, &[&str]); 6] = [
        ("rshared", &["shared:"]),
        ("rslave", &["master:"]),
        ("rprivate", &[]),
        ("private", &[]),
        ("slave", &["master:"]),
        ("unbindable", &["unbindable"]),
    ];
    let mut bundle =
        test.bundle().edit(|config| config["linux"]["rootfsPropagation"] = json!("rshared"));
    for (word, _) in expected {
        bundle = bundle.mount(bind(&source, &format!("/{word}"), &["rbind", word]));
    }
    let output = test.run(&bundle);
    umount(&source).expect("umount");
    let facts = integration::test::parse(output.ok());
    for (word, tags) in expected {
        let mount = facts.mount(&format!("/{word}")).expect(word);
        let have = &mount.propagation;
        let matches =
            have.len() == tags.len() && have.iter().zip(tags).all(|(h, tag)| h.starts_with(tag));
        assert!(matches, "{word}: {:?}", mount.propagation);
    }
}

#[test]
fn a_mount_in_a_shared_volume_reaches_the_host() {
    let test = Test::new();
    // "Bidirectional" in Kubernetes: what storage drivers in containers are made of.
    for word in ["shared", "rshared"] {
        let source = test.dir().join(word);
        fs::create_dir(&source).expect("a directory");
        // A mount of its own: the one that the root filesystem is on becomes private.
        mount(Some("tmpfs"), &source, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .expect("tmpfs");
        fs::create_dir(source.join("late")).expect("a directory");
        let bundle = test
            .bundle_named(&format!("bundle-{word}"))
            .edit(|config| config["linux"]["rootfsPropagation"] = json!(word))
            .capabilities(&["CAP_SYS_ADMIN"])
            .mount(bind(&source, "/volume", &["rbind", "rshared"]))
            .args(&["/bin/probe", "try", "mount-tmpfs", "/volume/late"]);
        let output = test.run(&bundle);
        let arrived = umount(&source.join("late")).is_ok();
        umount(&source).expect("umount");
        assert_eq!(output.ok().trim(), "ok");
        assert!(arrived, "{word}: the mount stayed in the container");
        test.assert_clean();
    }
}

#[test]
fn a_mount_on_the_host_reaches_a_slave_but_not_a_private_mount() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 ignores rslave on a source that is not a mount");
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    fs::create_dir(source.join("late")).expect("a directory");
    let bundle = test
        .bundle()
        .edit(|config| config["linux"]["rootfsPropagation"] = json!("rslave"))
        .mount(bind(&source, "/slave", &["rbind", "rslave"]))
        .mount(bind(&source, "/private", &["rbind", "rprivate"]));
    let container = test.serve(bundle);
    mount(Some("tmpfs"), &source.join("late"), Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .expect("a tmpfs");
    let facts = container.exec_facts(&[]);
    umount(&source.join("late")).expect("umount");
    container.remove();
    assert!(facts.mount("/slave/late").is_some(), "{:#?}", facts.mounts);
    assert!(facts.mount("/private/late").is_none(), "{:#?}", facts.mounts);
}

#[test]
fn an_overlay_is_mounted() {
    let test = Test::new();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| test.dir().join(name));
    for dir in [&lower, &upper, &work] {
        fs::create_dir(dir).expect("a directory");
    }
    fs::write(lower.join("file"), "below").expect("a file");
    let options = [
        format!("lowerdir={}", lower.display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    let bundle = test.bundle().mount(
        json!({ "destination": "/o", "type": "overlay", "source": "overlay", "options": options }),
    );
    test.run(&bundle.args(&["/bin/probe", "write", "/o/file", "above"])).ok();
    assert_eq!(fs::read_to_string(lower.join("file")).expect("the lower file"), "below");
    assert_eq!(fs::read_to_string(upper.join("file")).expect("the upper file"), "above");
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
fn the_v1_cgroup_tree_is_mounted() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    for (namespace, name) in [(true, "own"), (false, "host")] {
        let mut bundle = test.bundle_named(name).mount(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        }));
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let bundle = bundle.edit(|c| c["linux"]["resources"]["memory"]["limit"] = json!(64 << 20));
        let facts = test.facts_with(&["--read", limit], bundle);
        let top = facts.mount("/sys/fs/cgroup").expect("the tree");
        assert_eq!(top.fstype, "tmpfs");
        if !test
            .excuses(&[Kind::Runc, Kind::Crun], "the directory of the hierarchies stays writable")
        {
            assert!(top.has("ro"), "{name}: {top:?}");
        }
        for controller in ["memory", "pids", "cpu", "devices", "freezer"] {
            let target = format!("/sys/fs/cgroup/{controller}");
            let mount = facts.mount(&target).unwrap_or_else(|| panic!("no {target}"));
            assert!(mount.fstype == "cgroup" && mount.has("ro") && mount.has("nodev"), "{mount:?}");
        }
        assert_eq!(
            facts.files[limit].as_deref().map(str::trim),
            Ok("67108864"),
            "{name} shows its own cgroup"
        );
    }
}

#[test]
fn a_cgroup_tree_is_made_for_a_container_without_network_or_ipc_of_its_own() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let bundle = test.bundle().without_namespace("network").without_namespace("ipc").mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"],
    }));
    assert!(mounted(&test, &bundle, "/sys/fs/cgroup/memory").has("ro"));
}

#[test]
fn twenty_bind_mounts_of_the_same_file_are_twenty_mounts() {
    let test = Test::new();
    let source = test.dir().join("file");
    fs::write(&source, "content").expect("a file");
    let mut bundle = test.bundle();
    for number in 0..20 {
        bundle = bundle.mount(bind(&source, &format!("/files/{number}"), &["bind", "ro"]));
    }
    let facts = test.facts(&bundle);
    let count = facts.mounts.iter().filter(|mount| mount.target.starts_with("/files/")).count();
    assert_eq!(count, 20);
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
