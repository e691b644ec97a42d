//! `mounts` of config.json: kinds of filesystems and propagation (runtime spec, config.md "Mounts").
//! What goes with them is in `mount_options.rs`, `mount_places.rs` and `idmapped.rs`.

use std::fs;

use integration::{
    Bundle, Feature, Kind, Mode, Mount, Test, bundle::bind, host, mode::subordinate_ids, needs,
    only_on,
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
    // As the host counts, where an ordinary user's root is the user.
    let rootless = Mode::current().is_rootless();
    let gid = format!("gid={}", if rootless { subordinate_ids().0 + 4 } else { 5 });
    assert!([&*gid, "mode=620", "ptmxmode=666"].iter().all(|o| pts.contains(*o)), "{pts:?}");
}

#[test]
fn nothing_of_the_host_is_mounted_beside() {
    let test = Test::new();
    needs!(Feature::Root);
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
fn rbind_takes_submounts_and_bind_does_not() {
    let test = Test::new();
    needs!(Feature::Root);
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
fn propagation_of_a_mount_is_set() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn, Runc], "crun 1.8 leaves a slave shared as well");
    let source = test.dir().join("source");
    fs::create_dir(&source).expect("a directory");
    // A mount of its own, so that the propagation of the target does not depend on /tmp.
    mount(Some("tmpfs"), &source, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    let expected: [(&str, &[&str]); 8] = [
        ("shared", &["shared:"]),
        ("rshared", &["shared:"]),
        ("rslave", &["master:"]),
        ("rprivate", &[]),
        ("private", &[]),
        ("slave", &["master:"]),
        ("unbindable", &["unbindable"]),
        ("runbindable", &["unbindable"]),
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
        if !matches && test.excuses(&[Kind::Runc], "since 1.2 a slave is shared as well") {
            continue;
        }
        assert!(matches, "{word}: {:?}", mount.propagation);
    }
}

#[test]
fn a_mount_in_a_shared_volume_reaches_the_host() {
    let test = Test::new();
    needs!(Feature::Root);
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
    let arrived = facts.mount("/slave/late").is_some();
    if arrived || !test.excuses(&[Kind::Runc], "since 1.2 a slave of what is no mount is none") {
        assert!(arrived, "{:#?}", facts.mounts);
    }
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
