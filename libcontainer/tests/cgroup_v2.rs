//! cgroup v2 on the real kernel. Where the host mounts v1 beside it, each test runs again in a
//! mount namespace of its own in which /sys/fs/cgroup is v2 only; the controllers are then those
//! that no v1 hierarchy holds.

mod cgroup_support;

use std::{
    env, fs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use cgroup_support::{Fixture, made, needs_root, plan, resources, unique};
use libcontainer::{
    Kind,
    cgroup::{self, Hierarchies, Oom},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[test]
fn container_process() {
    cgroup_support::container_process();
}

const VIEW: &str =
    "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";

/// The v2 host, inside the view; `None` outside, after the test `name` has run inside.
fn host(name: &str) -> Option<Hierarchies> {
    let host = Hierarchies::probe().expect("probe");
    if host.is_v2() {
        return Some(host);
    }
    assert!(env::var("CGROUP_V2_VIEW").is_err(), "the view is not v2: {host:?}");
    if !needs_root() {
        return None;
    }
    let _restored = Controllers::borrow();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", VIEW, "sh"])
        .arg(env::current_exe().expect("own path"))
        .args(["--exact", name, "--nocapture"])
        .env("CGROUP_V2_VIEW", "1")
        .stdin(Stdio::null())
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{name} is not the name of the test");
    None
}

/// Handing a controller down changes the root cgroup of the host; the last test to end puts back
/// what was there.
struct Controllers;

static USERS: Mutex<(usize, String)> = Mutex::new((0, String::new()));

fn handed_down(host: &Hierarchies) -> PathBuf {
    host.unified.as_ref().expect("v2").mount.join("cgroup.subtree_control")
}

impl Controllers {
    fn borrow() -> Self {
        let mut users = USERS.lock().expect("lock");
        if users.0 == 0 {
            let host = Hierarchies::probe().expect("probe");
            users.1 = fs::read_to_string(handed_down(&host)).expect("read");
        }
        users.0 += 1;
        Self
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        let mut users = USERS.lock().expect("lock");
        users.0 -= 1;
        if users.0 == 0 {
            let host = Hierarchies::probe().expect("probe");
            let file = handed_down(&host);
            let now = fs::read_to_string(&file).expect("read");
            for name in now.split_whitespace().filter(|name| !users.1.contains(name)) {
                fs::write(&file, format!("-{name}")).expect("put back");
            }
        }
    }
}

fn offers(host: &Hierarchies, controller: &str) -> bool {
    let unified = host.unified.as_ref().expect("v2");
    let offered = unified.controllers.iter().any(|name| name == controller);
    if !offered {
        println!("skipped: no {controller} controller on v2, only {:?}", unified.controllers);
    }
    offered
}

#[test]
fn a_process_is_born_or_moved_inside() {
    let Some(host) = host("a_process_is_born_or_moved_inside") else { return };
    let path = unique("enter");
    let fixture = plan(&path, "{}", &host).expect("plan");
    assert_eq!(fixture.place.paths().len(), 1);
    let driver = cgroup::driver(&fixture.place);
    let door = driver.prepare().expect("prepare").expect("a door for CLONE_INTO_CGROUP");
    let target = fs::read_link(format!("/proc/self/fd/{}", door.as_raw_fd())).expect("link");
    assert_eq!(target, fixture.path(""));
    let entry = driver.create(&fixture.limits, None).expect("create");
    assert!(entry.tasks.is_empty() && entry.into.is_some());
    let inside = fixture.run("exec sleep 100");
    let text = fs::read_to_string(format!("/proc/{}/cgroup", inside.pid())).expect("cgroup");
    assert!(text.contains(&format!("0::{}\n", path.display())), "{text}");
    assert_eq!(fixture.cgroup().pids().expect("pids"), [inside.pid()]);
}

#[test]
fn limits_are_in_the_files_of_the_host() {
    let Some(host) = host("limits_are_in_the_files_of_the_host") else { return };
    if offers(&host, "hugetlb") {
        let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],
            "unified":{"cgroup.max.depth":"7"}}"#;
        let made = made(&unique("hugetlb").join("a"), json, &host);
        assert_eq!(made.file("", "hugetlb.2MB.max"), "4194304");
        assert_eq!(made.file("", "hugetlb.2MB.rsvd.max"), "4194304");
        assert_eq!(made.file("", "cgroup.max.depth"), "7");
        let stats = made.cgroup().stats().expect("stats");
        assert_eq!(stats.hugetlb["2MB"].failcnt, 0);
        let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#;
        made.cgroup().update(&resources(json), &host).expect("update");
        assert_eq!(made.file("", "hugetlb.2MB.max"), "2097152");
        let error =
            plan(&unique("size"), r#"{"hugepageLimits":[{"pageSize":"4MB","limit":0}]}"#, &host)
                .expect("plan")
                .create()
                .expect_err("no such size");
        assert!(error.hint_text().unwrap_or_default().contains("2MB"), "{error:?}");
    }
    if offers(&host, "memory") && offers(&host, "cpu") && offers(&host, "pids") {
        let json = r#"{"cpu":{"shares":1024,"quota":50000,"period":100000},"pids":{"limit":77},
            "memory":{"limit":67108864,"swap":134217728,"reservation":33554432}}"#;
        let made = made(&unique("limits").join("a"), json, &host);
        for (file, value) in [
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "77"),
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
        ] {
            assert_eq!(made.file("", file), value, "{file}");
        }
        made.cgroup().update(&resources(r#"{"cpu":{"quota":20000}}"#), &host).expect("update");
        assert_eq!(made.file("", "cpu.max"), "20000 100000");
    }
}

#[test]
fn a_controller_that_v2_lacks_is_named() {
    let Some(host) = host("a_controller_that_v2_lacks_is_named") else { return };
    let host = Hierarchies {
        unified: host
            .unified
            .map(|unified| cgroup::Unified { controllers: vec!["hugetlb".to_owned()], ..unified }),
        ..host
    };
    let json = r#"{"memory":{"limit":67108864},"unified":{"io.max":"8:0 rbps=1"}}"#;
    let faults = plan(&unique("lacks"), json, &host).err().expect("faults");
    let found: Vec<_> = faults.iter().map(|fault| (fault.kind(), fault.spec_path())).collect();
    assert_eq!(
        found,
        [
            (Kind::Unsupported, Some("linux.resources.unified.io.max")),
            (Kind::Unsupported, Some("linux.resources.memory.limit")),
        ]
    );
}

#[test]
fn a_wrong_unified_file_is_explained_and_leaves_nothing() {
    let Some(host) = host("a_wrong_unified_file_is_explained_and_leaves_nothing") else { return };
    let json = r#"{"unified":{"cgroup.no_such_file":"1"}}"#;
    let refused = plan(&unique("unified").join("a"), json, &host).expect("plan");
    let error = refused.create().expect_err("no such file");
    assert_eq!(error.spec_path(), Some("linux.resources.unified.cgroup.no_such_file"));
    assert!(!refused.exists_anywhere());
}

/// A create that fails when its child is already inside takes the child with it.
#[test]
fn a_failed_create_removes_its_child_too() {
    let Some(host) = host("a_failed_create_removes_its_child_too") else { return };
    let json = r#"{"unified":{"cgroup.no_such_file":"1"}}"#;
    let refused = plan(&unique("child").join("a"), json, &host).expect("plan");
    let driver = cgroup::driver(&refused.place);
    driver.prepare().expect("prepare");
    let mut inside = refused.run("exec sleep 100");
    driver.create(&refused.limits, None).expect_err("refused");
    let status = inside.child.wait().expect("wait");
    assert!(!status.success());
    assert!(!refused.exists_anywhere());
}

#[test]
fn devices_are_filtered_by_a_program() {
    let Some(host) = host("devices_are_filtered_by_a_program") else { return };
    let made = made(&unique("devices"), "{}", &host);
    let mut inside = made.run("head -c1 /dev/zero | wc -c; head -c1 /dev/kmsg 2>&1; echo done");
    assert_eq!(inside.line(), "1");
    assert!(inside.rest().contains("Operation not permitted"));
    let all = made_with_all_devices(&host);
    let mut inside = all.run("head -c1 /dev/kmsg 2>&1; echo done");
    assert!(!inside.rest().contains("not permitted"));
}

fn made_with_all_devices(host: &Hierarchies) -> Fixture {
    made(&unique("all-devices"), r#"{"devices":[{"allow":true,"access":"rwm"}]}"#, host)
}

#[test]
fn freezing_stops_and_thawing_goes_on() {
    let Some(host) = host("freezing_stops_and_thawing_goes_on") else { return };
    let made = made(&unique("freezer"), "{}", &host);
    let cgroup = made.cgroup();
    let mut inside = made.run("while read line; do echo $line; done");
    cgroup.freeze().expect("freeze");
    assert!(made.file("", "cgroup.events").contains("frozen 1"));
    assert!(cgroup.frozen().expect("frozen"));
    let stdin = inside.child.stdin.as_mut().expect("stdin");
    std::io::Write::write_all(stdin, b"hello\n").expect("write");
    let mut fds = [PollFd::new(inside.out.get_ref(), PollFlags::IN)];
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    assert_eq!(poll(&mut fds, Some(&moment)).expect("poll"), 0);
    cgroup.thaw().expect("thaw");
    assert_eq!(inside.line(), "hello");
    assert!(!cgroup.frozen().expect("frozen"));
}

#[test]
fn a_frozen_or_used_cgroup_is_refused() {
    let Some(host) = host("a_frozen_or_used_cgroup_is_refused") else { return };
    let path = unique("refused");
    let above = made(&path, "{}", &host);
    above.cgroup().freeze().expect("freeze");
    let below = plan(&path.join("c"), "{}", &host).expect("plan");
    let error = cgroup::driver(&below.place).prepare().expect_err("frozen");
    assert!(error.to_string().contains("container's cgroup unexpectedly frozen"), "{error}");
    above.cgroup().thaw().expect("thaw");
    let inside = above.run("exec sleep 100");
    let again = plan(&path, "{}", &host).expect("plan");
    let error = cgroup::driver(&again.place).prepare().expect_err("used");
    assert!(error.to_string().contains("container's cgroup is not empty"), "{error}");
    assert_eq!(above.cgroup().pids().expect("pids"), [inside.pid()]);
}

#[test]
fn nobody_escapes_a_kill_by_forking() {
    let Some(host) = host("nobody_escapes_a_kill_by_forking") else { return };
    let made = made(&unique("kill"), "{}", &host);
    // Without a pids controller the script has to limit itself.
    let mut inside = made.run("while :; do sleep 0.01 & sleep 0.005; done");
    let cgroup = made.cgroup();
    cgroup.kill(libc::SIGKILL).expect("kill");
    inside.child.wait().expect("wait");
    cgroup.remove(true).expect("remove");
    assert!(!made.exists_anywhere());
}

#[test]
fn a_paused_container_can_be_killed_and_signalled() {
    let Some(host) = host("a_paused_container_can_be_killed_and_signalled") else { return };
    let made = made(&unique("paused"), "{}", &host);
    let mut inside = made.run("exec sleep 100");
    let cgroup = made.cgroup();
    cgroup.freeze().expect("freeze");
    cgroup.kill(libc::SIGUSR1).expect("signal");
    assert!(cgroup.frozen().expect("frozen"));
    cgroup.kill(libc::SIGKILL).expect("kill");
    inside.child.wait().expect("wait");
    cgroup.remove(true).expect("remove");
}

#[test]
fn removal_waits_for_processes_that_are_leaving() {
    let Some(host) = host("removal_waits_for_processes_that_are_leaving") else { return };
    let made = made(&unique("leaving"), "{}", &host);
    fs::create_dir(made.path("").join("inner")).expect("sub-cgroup");
    let _inside = made.run("exec sleep 0.2");
    made.cgroup().remove(true).expect("remove");
    assert!(!made.exists_anywhere());
    made.cgroup().remove(true).expect("nothing left to remove");
}

/// The container has moved its init away and enabled a controller: exec follows the init.
#[test]
fn exec_follows_a_container_that_moved_its_init() {
    let Some(host) = host("exec_follows_a_container_that_moved_its_init") else { return };
    let made = made(&unique("moved"), "{}", &host);
    let mut inside = made.run("read line; exec sleep 100");
    let inner = made.path("").join("inner");
    fs::create_dir(&inner).expect("sub-cgroup");
    fs::write(inner.join("cgroup.procs"), inside.pid().to_string()).expect("move");
    let entry = made.cgroup().entry_beside(inside.pid()).expect("entry");
    let door = entry.into.expect("door");
    let target = fs::read_link(format!("/proc/self/fd/{}", door.as_raw_fd())).expect("link");
    assert_eq!(target, inner);
    fs::write(Path::new("/sys/fs/cgroup/cgroup.procs"), inside.pid().to_string()).expect("move");
    assert!(made.cgroup().entry_beside(inside.pid()).is_err());
    inside.child.kill().expect("kill");
}

#[test]
fn the_owner_gets_what_can_be_delegated() {
    use std::os::unix::fs::MetadataExt;
    let Some(host) = host("the_owner_gets_what_can_be_delegated") else { return };
    let mut fixture = plan(&unique("owner"), "{}", &host).expect("plan");
    fixture.limits.owner = Some(100_000);
    fixture.create().expect("create");
    let uid = |file: &str| fs::metadata(fixture.path("").join(file)).expect("stat").uid();
    for (file, owner) in [
        ("", 100_000),
        ("cgroup.procs", 100_000),
        ("cgroup.subtree_control", 100_000),
        ("cgroup.threads", 100_000),
        ("cgroup.freeze", 0),
        ("cgroup.max.depth", 0),
    ] {
        assert_eq!(uid(file), owner, "{file}");
    }
}

#[test]
fn the_oom_killer_is_seen() {
    let Some(host) = host("the_oom_killer_is_seen") else { return };
    if !offers(&host, "memory") {
        return;
    }
    let json = r#"{"memory":{"limit":8388608,"swap":8388608}}"#;
    let made = made(&unique("oom"), json, &host);
    let mut watch = made.cgroup().oom().expect("watch");
    let _inside = made.run("tail /dev/zero; read line");
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    loop {
        assert_eq!(
            poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&minute)).expect("poll"),
            1
        );
        match watch.look().expect("look") {
            Oom::Happened(_) => break,
            Oom::Nothing => {}
            Oom::Gone => panic!("gone"),
        }
    }
    assert!(made.cgroup().oom_kills().expect("count") >= 1);
}
