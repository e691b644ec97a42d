//! The root filesystem: where it is, what is made in it, what is hidden (runtime spec, config.md
//! "Root", config-linux.md "Default Devices", "Devices", "Masked Paths", "Readonly Paths").

use std::{fs, os::unix::fs::symlink};

use integration::{Feature, Kind, Mode, Test, bundle::push, needs, only_on};
use serde_json::json;

#[test]
fn the_root_path_is_relative_to_the_bundle() {
    let test = Test::new();
    let bundle = test.bundle();
    fs::rename(bundle.rootfs(), bundle.dir.join("other")).expect("rename");
    test.facts(&bundle.edit(|config| config["root"]["path"] = json!("other")));
}

#[test]
fn the_root_path_is_absolute() {
    let test = Test::new();
    let bundle = test.bundle();
    let elsewhere = test.dir().join("elsewhere");
    fs::rename(bundle.rootfs(), &elsewhere).expect("rename");
    test.facts(&bundle.edit(|config| config["root"]["path"] = json!(elsewhere)));
}

#[test]
fn the_root_path_may_be_a_link() {
    let test = Test::new();
    let bundle = test.bundle();
    fs::rename(bundle.rootfs(), test.dir().join("elsewhere")).expect("rename");
    symlink(test.dir().join("elsewhere"), bundle.dir.join("rootfs")).expect("a link");
    let output = test.run(&bundle);
    // runc follows it; a runtime that does not has to say so and leave nothing.
    if output.status != 0 {
        assert!(output.fails().contains("rootfs"), "{output:?}");
    }
}

#[test]
fn the_bundle_is_the_working_directory_by_default() {
    let test = Test::new();
    let bundle = test.bundle();
    let mut command = test.command(&["run", test.id()]);
    integration::wait::output(command.current_dir(&bundle.dir)).ok();
}

#[test]
fn a_writable_root_is_written() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/probe", "write", "/file", "text"]);
    test.run(&bundle).ok();
    assert_eq!(fs::read_to_string(bundle.rootfs().join("file")).expect("the file"), "text");
}

#[test]
fn a_read_only_root_is_not_written() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| config["root"]["readonly"] = json!(true));
    let facts = test.facts(&bundle);
    assert!(facts.mount("/").expect("the root").has("ro"));
    let output = test.run(&bundle.args(&["/bin/probe", "write", "/file", "text"]));
    assert_eq!(output.stdout.trim(), "EROFS");
}

#[test]
fn a_read_only_root_still_gets_its_mount_points() {
    let test = Test::new();
    let bundle = test
        .bundle()
        .edit(|config| config["root"]["readonly"] = json!(true))
        .mount(json!({ "destination": "/not/there", "type": "tmpfs", "source": "tmpfs" }));
    let facts = test.facts(&bundle);
    assert!(facts.mount("/").expect("the root").has("ro"));
    assert!(facts.mount("/not/there").expect("the mount").has("rw"));
}

#[test]
fn the_old_root_is_gone() {
    let test = Test::new();
    let facts = test.facts(&test.bundle());
    assert_eq!(facts.mounts[0].target, "/");
    assert!(facts.mounts[0].root.ends_with("/bundle/rootfs"), "{:?}", facts.mounts[0]);
    assert_eq!(facts.mounts.iter().filter(|mount| mount.target == "/").count(), 1);
}

#[test]
fn no_pivot_moves_the_root_instead() {
    let test = Test::new();
    let output = test.run_with(&["--no-pivot"], &test.bundle().args(&["/bin/ls", "/"]));
    assert!(output.ok().lines().any(|name| name == "bin"), "{output:?}");
    assert!(!output.stdout.lines().any(|name| name == "home"), "the host's root shows: {output:?}");
}

#[test]
fn the_propagation_of_the_root_is_set() {
    let test = Test::new();
    let expected: [(&str, &[&str]); 8] = [
        ("private", &[]),
        ("rprivate", &[]),
        ("slave", &["master:"]),
        ("rslave", &["master:"]),
        ("shared", &["shared:"]),
        ("rshared", &["shared:"]),
        ("unbindable", &["unbindable"]),
        ("runbindable", &["unbindable"]),
    ];
    for (word, tags) in expected {
        if word.ends_with("unbindable")
            && test.excuses(&[Kind::Runc], "unbindable fails before runc 1.3.1")
        {
            continue;
        }
        let bundle = test
            .bundle_named(word)
            .edit(|config| config["linux"]["rootfsPropagation"] = json!(word));
        let facts = test.facts(&bundle);
        let have = &facts.mounts[0].propagation;
        // A shared root may be fed from outside as well; nothing else may.
        let matches = tags.iter().all(|tag| have.iter().any(|h| h.starts_with(tag)))
            && (word.ends_with("shared") || have.len() == tags.len());
        if !matches && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{word} is {have:?}")) {
            continue;
        }
        assert!(matches, "{word}: {have:?}");
    }
}

#[test]
fn mounts_of_a_container_stay_in_it() {
    let test = Test::new();
    for word in ["rslave", "rprivate"] {
        let bundle = test
            .bundle_named(word)
            .edit(|config| config["linux"]["rootfsPropagation"] = json!(word))
            .capabilities(&["CAP_SYS_ADMIN"]);
        let output = test.run(&bundle.args(&["/bin/probe", "try", "mount-tmpfs", "/var"]));
        assert_eq!(output.ok().trim(), "ok");
        test.assert_clean();
    }
}

#[test]
fn the_default_devices_are_made() {
    let test = Test::new();
    let devices = [
        ("/dev/null", (1, 3)),
        ("/dev/zero", (1, 5)),
        ("/dev/full", (1, 7)),
        ("/dev/random", (1, 8)),
        ("/dev/urandom", (1, 9)),
        ("/dev/tty", (5, 0)),
    ];
    let options: Vec<&str> = devices.iter().flat_map(|(path, _)| ["--stat", path]).collect();
    let facts = test.facts_with(&options, test.bundle());
    for (path, numbers) in devices {
        let stat = facts.stats[path].as_ref().unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!((stat.kind.as_str(), stat.device), ("char", Some(numbers)), "{path}");
        assert_eq!(stat.mode, 0o666, "{path}");
        // An ordinary user gets the host's own, whose owner has no number in its namespace.
        let owner = if Mode::current().is_rootless() { 65_534 } else { 0 };
        assert_eq!((stat.uid, stat.gid), (owner, owner), "{path}");
    }
}

#[test]
fn the_default_links_are_made() {
    let test = Test::new();
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ];
    let mut options: Vec<&str> = links.iter().flat_map(|(path, _)| ["--stat", path]).collect();
    options.extend(["--stat", "/dev/ptmx", "--stat", "/dev/console"]);
    let facts = test.facts_with(&options, test.bundle());
    for (path, target) in links {
        let stat = facts.stats[path].as_ref().unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(stat.target.as_deref(), Some(target), "{path}");
    }
    let ptmx = facts.stats["/dev/ptmx"].as_ref().expect("/dev/ptmx").target.clone();
    assert!(matches!(ptmx.as_deref(), Some("pts/ptmx" | "/dev/pts/ptmx")), "{ptmx:?}");
    assert_eq!(facts.stats["/dev/console"], Err("ENOENT".into()), "there is no terminal");
}

#[test]
fn the_default_devices_work() {
    let test = Test::new();
    let script = "echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 2 /dev/urandom | wc -c \
                  && ! echo x 2>/dev/null >/dev/full && echo done";
    let output = test.run(&test.bundle().shell(script));
    assert_eq!(output.ok().split_whitespace().collect::<Vec<_>>(), ["4", "2", "done"]);
}

#[test]
fn devices_of_the_configuration_are_made() {
    let test = Test::new();
    needs!(Feature::Root);
    let devices = json!([
        { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6 },
        { "path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 11, "fileMode": 0o600 },
        { "path": "/dev/pipe", "type": "p", "fileMode": 0o622 },
        { "path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3, "fileMode": 0o666 },
        { "path": "/elsewhere/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 },
    ]);
    let bundle = test.bundle().edit(|config| config["linux"]["devices"] = devices);
    let paths =
        ["/dev/fuse", "/dev/deep/er/block", "/dev/pipe", "/dev/unbuffered", "/elsewhere/null"];
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let facts = test.facts_with(&options, bundle);
    let stat = |path: &str| facts.stats[path].clone().unwrap_or_else(|e| panic!("{path}: {e}"));
    let fuse = stat("/dev/fuse");
    assert_eq!((fuse.kind.as_str(), fuse.device, fuse.mode), ("char", Some((10, 229)), 0o640));
    assert_eq!((fuse.uid, fuse.gid), (5, 6));
    let block = stat("/dev/deep/er/block");
    assert_eq!((block.kind.as_str(), block.device, block.mode), ("block", Some((7, 11)), 0o600));
    let pipe = stat("/dev/pipe");
    assert_eq!((pipe.kind.as_str(), pipe.mode), ("fifo", 0o622));
    assert_eq!(stat("/dev/unbuffered").device, Some((1, 3)));
    assert_eq!(stat("/elsewhere/null").device, Some((1, 3)));
}

#[test]
fn a_device_of_the_configuration_replaces_a_default_one() {
    let test = Test::new();
    needs!(Feature::Root);
    let device = json!([{ "path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 7 }]);
    let bundle = test.bundle().edit(|config| config["linux"]["devices"] = device);
    let facts = test.facts_with(&["--stat", "/dev/full"], bundle);
    let full = facts.stats["/dev/full"].as_ref().expect("a device");
    assert_eq!((full.mode, full.device), (0o600, Some((1, 7))));
    if !test.excuses(&[Kind::Crun], "the owner is not set") {
        assert_eq!(full.uid, 7);
    }
}

#[test]
fn the_umask_of_the_caller_does_not_touch_modes() {
    let test = Test::new();
    needs!(Feature::Root);
    let bundle = test.bundle().edit(|config| {
        config["linux"]["devices"] =
            json!([{ "path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
        push(
            &mut config["mounts"],
            json!({ "destination": "/made", "type": "tmpfs", "source": "tmpfs" }),
        );
    });
    let bundle = bundle.args(&["/bin/probe", "facts", "--stat", "/dev/x", "--stat", "/dev/null"]);
    let mut command = test.command_after(
        &["/bin/sh", "-c", "umask 0077; exec \"$@\"", "sh"],
        &["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()],
    );
    let facts = integration::test::parse(integration::wait::output(&mut command).ok());
    for path in ["/dev/x", "/dev/null"] {
        assert_eq!(facts.stats[path].as_ref().expect("a device").mode, 0o666, "{path}");
    }
}

#[test]
fn a_bound_dev_is_left_as_it_is() {
    let test = Test::new();
    let dev = test.dir().join("dev");
    fs::create_dir(&dev).expect("a directory");
    let null = nix::sys::stat::makedev(1, 3);
    let (kind, mode) =
        (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::from_bits_truncate(0o666));
    nix::sys::stat::mknod(&dev.join("null"), kind, mode, null).expect("a device");
    let bundle = test.bundle();
    let bundle = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]
        .iter()
        .fold(bundle, |bundle, destination| bundle.without_mount(destination))
        .mount(
            json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"] }),
        );
    test.run(&bundle.args(&["/bin/true"])).ok();
    if !test.excuses(&[Kind::Crun], "devices are made in a bound /dev too") {
        assert_eq!(names(&dev), ["null"], "made on the host");
    }
}

#[test]
fn masked_paths_cannot_be_read() {
    let test = Test::new();
    let bundle =
        test.bundle().file("/secret/file", "secret").file("/plain", "secret").edit(|config| {
            config["linux"]["maskedPaths"] =
                json!(["/secret", "/plain", "/proc/timer_list", "/none"])
        });
    let facts = test.facts_with(
        &[
            "--read",
            "/secret/file",
            "--read",
            "/plain",
            "--read",
            "/proc/timer_list",
            "--stat",
            "/none",
            "--stat",
            "/plain",
        ],
        bundle,
    );
    assert_eq!(facts.files["/secret/file"], Err("ENOENT".into()));
    assert_eq!(facts.files["/plain"], Ok(String::new()));
    assert_eq!(facts.files["/proc/timer_list"], Ok(String::new()));
    assert_eq!(facts.stats["/none"], Err("ENOENT".into()), "a path that is not there is not made");
    assert_eq!(facts.stats["/plain"].as_ref().expect("a file").device, Some((1, 3)));
}

#[test]
fn a_masked_directory_is_empty_and_not_writable() {
    let test = Test::new();
    let bundle = test
        .bundle()
        .file("/secret/file", "secret")
        .edit(|config| config["linux"]["maskedPaths"] = json!(["/secret"]));
    let output = test.run(&bundle.shell("ls -A /secret | wc -l; touch /secret/x"));
    assert_eq!(output.stdout.trim(), "0");
    assert!(output.status != 0 && output.stderr.contains("Read-only"), "{output:?}");
}

#[test]
fn read_only_paths_cannot_be_written() {
    let test = Test::new();
    let bundle = test
        .bundle()
        .file("/data/file", "text")
        .edit(|config| config["linux"]["readonlyPaths"] = json!(["/data", "/proc/sys", "/none"]))
        .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    for path in ["/data/file", "/data/new", "/proc/sys/kernel/hostname"] {
        let bundle = bundle.clone_with(&["/bin/probe", "write", path, "x"]);
        assert_eq!(test.run(&bundle).stdout.trim(), "EROFS", "{path}");
    }
    assert_eq!(fs::read_to_string(bundle.rootfs().join("data/file")).expect("the file"), "text");
}

#[test]
fn a_read_only_path_keeps_the_flags_of_its_mount() {
    let test = Test::new();
    let bundle = test
        .bundle()
        .mount(json!({
            "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"],
        }))
        .edit(|config| config["linux"]["readonlyPaths"] = json!(["/data"]));
    let facts = test.facts(&bundle);
    let mount = facts.mount("/data").expect("the mount");
    assert!(mount.has("ro"), "{mount:?}");
    if !test.excuses(&[Kind::Crun], "crun 1.8 drops nosuid, nodev and noexec") {
        assert!(["nosuid", "nodev", "noexec"].iter().all(|flag| mount.has(flag)), "{mount:?}");
    }
}

#[test]
fn proc_sys_of_the_default_configuration_is_read_only() {
    let test = Test::new();
    let facts = test.facts(&test.bundle());
    for path in ["/proc/sys", "/proc/irq", "/proc/bus"] {
        assert!(
            facts.mount(path).unwrap_or_else(|| panic!("no mount on {path}")).has("ro"),
            "{path}"
        );
    }
}

#[test]
fn nothing_but_mount_points_is_made_in_the_root() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        config["process"]["cwd"] = json!("/");
    });
    let before = names(&bundle.rootfs());
    test.facts(&bundle);
    assert_eq!(names(&bundle.rootfs()), before);
    assert_eq!(names(&bundle.dir), ["config.json", "rootfs"]);
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn config_json_is_not_changed() {
    let test = Test::new();
    let bundle = test.bundle();
    let before = fs::read(bundle.dir.join("config.json")).expect("config.json");
    test.facts(&bundle);
    assert_eq!(fs::read(bundle.dir.join("config.json")).expect("config.json"), before);
}

#[test]
fn the_root_may_be_on_a_read_only_filesystem() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc, Crun], "every runtime needs its mount points to be there already");
    let bundle = test.bundle().edit(|config| config["root"]["readonly"] = json!(true));
    use nix::mount::{MsFlags, mount, umount};
    let none = None::<&str>;
    let rootfs = bundle.rootfs();
    mount(Some(&rootfs), &rootfs, none, MsFlags::MS_BIND, none).expect("bind");
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, &rootfs, none, flags, none).expect("read-only");
    let output = test.run(&bundle);
    umount(&rootfs).expect("umount");
    output.ok();
}

#[test]
fn a_container_without_any_mount_runs() {
    let test = Test::new();
    only_on!(test, [Rtn], "others need /proc to start");
    let bundle = test.bundle().edit(|config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let output = test.run(&bundle.shell("ls /proc | wc -l; echo x >/dev/null && echo done"));
    assert_eq!(output.ok().split_whitespace().collect::<Vec<_>>(), ["0", "done"]);
}
