//! Devices, and files of the host that an image or a volume passes for them.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Stdio};

use integration::{
    Feature, Kind, Test, console::ConsoleSocket, host, needs, only_on, test::parse, wait,
};
use serde_json::json;

use crate::{Precious, ran_or_refused, without_dev};

/// A directory for /dev with the nodes that a container needs, `name` left out.
fn dev_without(test: &Test, name: &str) -> PathBuf {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let dev = test.dir().join("dev");
    fs::create_dir(&dev).expect("a directory");
    for (node, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        if node != name {
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&dev.join(node), SFlag::S_IFCHR, mode, makedev(1, minor)).expect("a node");
        }
    }
    dev
}

#[test]
fn ghsa_g54h_devices_are_denied_without_a_rule() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 denies only what is asked for");
    needs!(Feature::Controller("devices"), Feature::BlockDevice);
    let (major, minor) = host::block_device().expect("a disk");
    let bundle = test.bundle().capabilities(&["CAP_MKNOD"]).edit(|config| {
        config["linux"].as_object_mut().expect("linux").remove("resources");
    });
    let script = format!(
        "busybox mknod /disk b {major} {minor}; probe try open /disk; probe try mknod /mem 1 1; probe try open /mem"
    );
    let output = test.run(&bundle.shell(&script));
    let opened: Vec<&str> = output.stdout.lines().collect();
    // Making a node may be allowed (it is in Docker's rules); reading through it may not.
    assert_eq!((opened[0], opened[2]), ("EPERM", "EPERM"), "{output:?}");
}

#[test]
fn cve_2025_31133_dev_null_is_a_link_when_paths_are_masked() {
    let test = Test::new();
    let dev = dev_without(&test, "null");
    symlink("/target", dev.join("null")).expect("a link");
    let bundle = without_dev(test.bundle())
        .file("/target", "of the attacker")
        .mount(
            json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"] }),
        )
        .edit(|config| config["linux"]["maskedPaths"] = json!(["/proc/timer_list"]))
        .args(&["/bin/cat", "/proc/timer_list"]);
    let output = test.run(&bundle);
    // Refused, or masked with something that is really empty.
    if output.status == 0
        && !test.excuses(&[Kind::Runc, Kind::Crun], "takes the container's /dev/null as it is")
    {
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn cve_2025_31133_dev_null_is_a_plain_file_when_paths_are_masked() {
    let test = Test::new();
    let bundle = without_dev(test.bundle())
        .file("/dev/null", "of the attacker")
        .edit(|config| config["linux"]["maskedPaths"] = json!(["/proc/timer_list"]))
        .args(&["/bin/cat", "/proc/timer_list"]);
    let output = test.run(&bundle);
    if output.status == 0 {
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn cve_2025_52565_dev_console_is_a_link() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let dev = dev_without(&test, "");
    fs::create_dir(dev.join("pts")).expect("a directory");
    symlink("/etc/passwd", dev.join("console")).expect("a link");
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let bundle = without_dev(test.bundle())
        .mount(json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"] }))
        .mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] }))
        .edit(|config| config["process"]["terminal"] = json!(true))
        .args(&["/bin/probe", "facts"]);
    let directory = bundle.dir.to_string_lossy().into_owned();
    let console = socket.path().to_string_lossy().into_owned();
    let output =
        test.call(&["create", "--bundle", &directory, "--console-socket", &console, test.id()]);
    if output.status == 0 {
        let mut terminal = socket.terminal();
        test.call(&["start", test.id()]).ok();
        let facts = parse(&terminal.rest());
        test.call(&["delete", "--force", test.id()]).ok();
        if !test
            .excuses(&[Kind::Runc, Kind::Crun], "the console is mounted where the link leads to")
        {
            assert!(facts.mount("/etc/passwd").is_none(), "{:?}", facts.mount("/etc/passwd"));
        }
    }
    precious.assert_untouched();
}

#[test]
fn cve_2026_41579_dev_is_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = without_dev(test.bundle()).args(&["/bin/true"]);
    fs::remove_dir(bundle.rootfs().join("dev")).expect("the directory");
    symlink(&precious.dir, bundle.rootfs().join("dev")).expect("a link");
    ran_or_refused(&test.run(&bundle));
    if !test.excuses(&[Kind::Runc, Kind::Crun], "follows the link to the host") {
        precious.assert_untouched();
    }
}

#[test]
fn cve_2026_47766_a_device_is_made_through_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = test.bundle().edit(|config| {
        config["linux"]["devices"] = json!([
            { "path": "/link/fuse", "type": "c", "major": 10, "minor": 229 },
            { "path": "/link/passwd", "type": "c", "major": 1, "minor": 3 },
        ]);
    });
    symlink(&precious.dir, bundle.rootfs().join("link")).expect("a link");
    ran_or_refused(&test.run(&bundle.args(&["/bin/true"])));
    precious.assert_untouched();
}

#[test]
fn cve_2026_88264_dev_console_of_the_image_is_a_link() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun before 1.30 is open to it");
    let precious = Precious::new(&test);
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let bundle = without_dev(test.bundle())
        .mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] }))
        .edit(|config| config["process"]["terminal"] = json!(true))
        .args(&["/bin/true"]);
    symlink(precious.dir.join("made"), bundle.rootfs().join("dev/console")).expect("a link");
    let directory = bundle.dir.to_string_lossy().into_owned();
    let console = socket.path().to_string_lossy().into_owned();
    let output =
        test.call(&["create", "--bundle", &directory, "--console-socket", &console, test.id()]);
    if output.status == 0 {
        test.call(&["delete", "--force", test.id()]).ok();
    }
    precious.assert_untouched();
}

#[test]
fn cve_2026_88265_dev_null_of_the_image_leads_to_a_bound_file() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = without_dev(test.bundle())
        .mount(json!({ "destination": "/bound", "type": "bind", "source": precious.dir, "options": ["rbind"] }))
        .edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }))
        .args(&["/bin/echo", "written through a standard stream"]);
    symlink("/bound/passwd", bundle.rootfs().join("dev/null")).expect("a link");
    // Standard streams on /dev/null are those that a runtime opens again.
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the runtime");
    wait::exit_status(&mut child, &command);
    if !test.excuses(&[Kind::Runc, Kind::Crun], "may open the image's /dev/null") {
        precious.assert_untouched();
    }
}
