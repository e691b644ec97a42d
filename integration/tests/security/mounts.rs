//! Files of the host, through the targets of mounts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command},
};

use integration::{Kind, Test, bundle::PROBE, wait};
use serde_json::json;

use crate::{Precious, ran_or_refused, tmpfs};

/// Exchanges two names for as long as it lives.
struct Swapper(Child);

impl Swapper {
    fn start(a: &Path, b: &Path) -> Self {
        let mut command = Command::new(PROBE);
        let (child, mut output) =
            wait::spawn_with_pipe(command.arg("swap").args([a, b])).expect("the probe");
        wait::line(&mut output, "ready");
        Self(child)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn cve_2019_16884_a_volume_over_proc() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bind = |destination: &str| json!({ "destination": destination, "type": "bind", "source": precious.dir, "options": ["rbind"] });
    let fakes = [
        bind("/proc"),
        tmpfs("/proc"),
        bind("/proc/self/attr"),
        bind("/proc/sys"),
        tmpfs("/proc/1"),
        bind("/proc/../proc/sys"),
    ];
    for (number, fake) in fakes.into_iter().enumerate() {
        let bundle =
            test.bundle_named(&format!("{number}")).mount(fake.clone()).args(&["/bin/true"]);
        let output = test.run(&bundle);
        if output.status == 0 {
            assert!(test.excuses(&[Kind::Crun], &format!("accepts {fake}")), "accepted: {fake}");
        }
    }
    precious.assert_untouched();
}

#[test]
fn files_of_lxcfs_over_proc_are_no_attack() {
    let test = Test::new();
    let file = test.dir().join("fake");
    fs::write(&file, "fake").expect("a file");
    let bundle = ["cpuinfo", "meminfo", "stat", "uptime", "diskstats", "loadavg"].iter().fold(test.bundle(), |bundle, name| {
        bundle.mount(json!({ "destination": format!("/proc/{name}"), "type": "bind", "source": file, "options": ["bind"] }))
    });
    assert_eq!(
        test.facts_with(&["--read", "/proc/uptime"], bundle).files["/proc/uptime"].as_deref(),
        Ok("fake")
    );
}

#[test]
fn cve_2019_18837_the_target_of_a_mount_is_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = test.bundle();
    symlink(&precious.dir, bundle.rootfs().join("link")).expect("a link");
    symlink("../../../../../../../..", bundle.rootfs().join("up")).expect("a link");
    let below = format!("/up{}", precious.dir.display());
    for target in ["/link", &format!("{below}/made"), &below] {
        let output = test.run(&bundle.clone_with(&["/bin/true"]).mount(tmpfs(target)));
        ran_or_refused(&output);
        precious.assert_untouched();
        test.assert_clean();
    }
}

#[test]
fn cve_2019_18837_the_target_of_a_bound_file_is_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let source = test.dir().join("source");
    fs::write(&source, "mounted").expect("a file");
    let bundle = test.bundle();
    symlink(precious.dir.join("passwd"), bundle.rootfs().join("link")).expect("a link");
    symlink(precious.dir.join("new"), bundle.rootfs().join("dangling")).expect("a link");
    for target in ["/link", "/dangling"] {
        let mount =
            json!({ "destination": target, "type": "bind", "source": source, "options": ["bind"] });
        ran_or_refused(&test.run(&bundle.clone_with(&["/bin/true"]).mount(mount)));
        precious.assert_untouched();
    }
}

#[test]
fn cve_2021_30465_a_link_in_a_shared_volume_is_exchanged_while_mounting() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let volume = test.dir().join("volume");
    fs::create_dir_all(volume.join("dir")).expect("a directory");
    // Seen from inside as well as from the host, this leads to the host's directory.
    let climb = format!("../../../../../../../../..{}", precious.dir.display());
    symlink(climb, volume.join("link")).expect("a link");
    let mut bundle = test.bundle().args(&["/bin/true"]).mount(
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] }),
    );
    for _ in 0..10 {
        bundle = bundle.mount(tmpfs("/volume/dir"));
    }
    let swapper = Swapper::start(&volume.join("dir"), &volume.join("link"));
    for _ in 0..30 {
        ran_or_refused(&test.run(&bundle));
        precious.assert_untouched();
    }
    drop(swapper);
}

#[test]
fn cve_2024_45310_a_link_is_exchanged_while_directories_are_made() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let volume = test.dir().join("volume");
    fs::create_dir_all(volume.join("dir")).expect("a directory");
    let climb = format!("../../../../../../../../..{}", precious.dir.display());
    symlink(climb, volume.join("link")).expect("a link");
    let bundle = test.bundle().args(&["/bin/true"]).mount(
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] }),
    );
    let swapper = Swapper::start(&volume.join("dir"), &volume.join("link"));
    for round in 0..30 {
        let attack = (0..5).fold(bundle.clone_with(&["/bin/true"]), |bundle, number| {
            bundle.mount(tmpfs(&format!("/volume/dir/made-{round}-{number}/deep")))
        });
        ran_or_refused(&test.run(&attack));
        if precious.touched()
            && test.excuses(&[Kind::Runc, Kind::Crun], "makes directories on the host")
        {
            break;
        }
        precious.assert_untouched();
    }
    drop(swapper);
}

#[test]
fn cve_2023_27561_proc_or_sys_is_a_link() {
    let test = Test::new();
    for name in ["proc", "sys"] {
        let bundle = test.bundle_named(name).args(&["/bin/true"]);
        let real = bundle.rootfs().join(name);
        fs::remove_dir(&real).expect("the directory");
        fs::create_dir(bundle.rootfs().join("elsewhere")).expect("a directory");
        symlink("/elsewhere", &real).expect("a link");
        let output = test.run(&bundle);
        if output.status == 0 {
            assert!(
                test.excuses(&[Kind::Crun], "follows the link inside the root"),
                "/{name} may not be a link"
            );
        }
        test.assert_clean();
    }
}

#[test]
fn cve_2025_52881_a_sysctl_is_written_to_proc_and_nowhere_else() {
    let test = Test::new();
    let victim = test.dir().join("victim");
    fs::write(&victim, "untouched").expect("a file");
    // A mount before the sysctl is written tries to turn the write to another file.
    let bundle = test
        .bundle()
        .mount(json!({ "destination": "/proc/sys/net/ipv4/ip_default_ttl", "type": "bind", "source": victim, "options": ["bind"] }))
        .edit(|config| config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77" }));
    ran_or_refused(&test.run(&bundle.args(&["/bin/true"])));
    assert_eq!(fs::read_to_string(&victim).expect("the file"), "untouched");
}
