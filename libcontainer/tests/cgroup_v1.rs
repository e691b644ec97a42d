//! cgroup v1 and hybrid on the real kernel. Every assertion is about the host's files.

mod cgroup_support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cgroup_support::{Fixture, made, needs_root, plan, resources, unique};
use libcontainer::{
    Kind,
    cgroup::{self, Cgroup, Hierarchies, Manager, Oom, Request},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[test]
fn container_process() {
    cgroup_support::container_process();
}

/// The host, if these tests can run on it.
fn host() -> Option<Hierarchies> {
    let host = Hierarchies::probe().expect("probe");
    if host.v1.is_empty() {
        println!("skipped: this host has no cgroup v1 hierarchy");
        return None;
    }
    needs_root().then_some(host)
}

/// The same host as if the v2 hierarchy were not mounted.
fn pure_v1() -> Option<Hierarchies> {
    host().map(|host| Hierarchies { unified: None, ..host })
}

/// The number of a disk of this machine, for throttles.
fn disk() -> Option<String> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let number = |disk: fs::DirEntry| fs::read_to_string(disk.path().join("dev")).ok();
    disks.filter_map(number).map(|number| number.trim().to_owned()).next()
}

#[test]
fn every_limit_is_in_the_files_of_the_host() {
    let Some(host) = host() else { return };
    let path = unique("limits");
    let device = disk().expect("a disk");
    let (major, minor) = device.split_once(':').expect("major:minor");
    let throttle = format!(r#"[{{"major":{major},"minor":{minor},"rate":1048576}}]"#);
    let json = format!(
        r#"{{"cpu":{{"shares":512,"quota":50000,"period":100000,"burst":1000,"cpus":"0","mems":"0"}},
        "memory":{{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10}},
        "pids":{{"limit":77}},
        "blockIO":{{"weight":300,"throttleReadBpsDevice":{throttle},"throttleWriteBpsDevice":{throttle},
            "throttleReadIOPSDevice":{throttle},"throttleWriteIOPSDevice":{throttle}}}}}"#
    );
    let made = made(&path, &json, &host);
    for (controller, directory) in made.place.paths() {
        assert!(directory.is_dir(), "{controller}: {directory:?}");
        assert!(directory.ends_with(path.strip_prefix("/").expect("/")), "{directory:?}");
    }
    for (controller, file, value) in [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_burst_us", "1000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("pids", "pids.max", "77"),
        ("blkio", "blkio.bfq.weight", "300"),
        ("blkio", "blkio.throttle.read_bps_device", &format!("{device} 1048576")),
        ("blkio", "blkio.throttle.write_bps_device", &format!("{device} 1048576")),
        ("blkio", "blkio.throttle.read_iops_device", &format!("{device} 1048576")),
        ("blkio", "blkio.throttle.write_iops_device", &format!("{device} 1048576")),
    ] {
        assert_eq!(made.file(controller, file), value, "{file}");
    }
    let devices = made.file("devices", "devices.list");
    assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:*"), "{devices}");
    made.cgroup().remove(true).expect("remove");
    assert!(!made.exists_anywhere());
}

#[test]
fn a_process_enters_every_hierarchy() {
    let Some(host) = host() else { return };
    let path = unique("enter");
    let made = made(&path, "{}", &host);
    let inside = made.run("exec sleep 100");
    let text = fs::read_to_string(format!("/proc/{}/cgroup", inside.pid())).expect("cgroup");
    let joined = text.lines().filter(|line| line.ends_with(path.to_str().expect("utf-8"))).count();
    let expected = host.v1.len() + usize::from(host.is_hybrid());
    assert_eq!(joined, expected, "{text}");
    assert_eq!(made.cgroup().pids().expect("pids"), [inside.pid()]);
}

#[test]
fn relative_paths_are_below_the_own_cgroup() {
    let Some(host) = host() else { return };
    let name = unique("relative");
    let name = name.strip_prefix("/").expect("/");
    for (cgroups_path, last) in [(Some(name), name), (None, Path::new("c1"))] {
        let request = Request {
            annotations: None,
            uid: 0,
            id: "c1",
            cgroups_path,
            resources: None,
            devices: &[],
            manager: Manager::Cgroupfs,
            rootless: false,
            owner: None,
        };
        let plan = cgroup::plan(&request, &host, &mut Vec::new());
        for hierarchy in &host.v1 {
            let own = hierarchy.own.strip_prefix("/").expect("/");
            let expected = hierarchy.mount.join(own).join(last);
            assert_eq!(plan.place.paths()[&hierarchy.controllers[0]], expected);
        }
    }
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    let Some(host) = host() else { return };
    let made = made(&unique("devices"), "{}", &host);
    let mut inside = made.run("head -c1 /dev/zero | wc -c; head -c1 /dev/kmsg 2>&1; echo done");
    assert_eq!(inside.line(), "1");
    assert!(inside.rest().contains("Operation not permitted"));
}

#[test]
fn cpusets_above_are_filled() {
    let Some(host) = host() else { return };
    let path = unique("nested");
    let made = made(&path.join("a/b"), r#"{"cpu":{"cpus":"0"}}"#, &host);
    let above = made.path("cpuset").parent().expect("parent");
    let read = |dir: &Path, file: &str| fs::read_to_string(dir.join(file)).expect("read");
    for dir in [above, above.parent().expect("parent")] {
        assert!(!read(dir, "cpuset.cpus").trim().is_empty(), "{dir:?}");
        assert!(!read(dir, "cpuset.mems").trim().is_empty(), "{dir:?}");
    }
    assert_eq!(made.file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(read(above, "cpuset.mems").trim(), made.file("cpuset", "cpuset.mems"));
}

/// Refusals of the kernel name file and JSON path, and leave nothing behind.
#[test]
fn a_limit_that_the_kernel_refuses_is_explained() {
    let Some(host) = host() else { return };
    for (json, at, hint) in [
        (r#"{"cpu":{"cpus":"0-4000"}}"#, "linux.resources.cpu.cpus", "the parent cgroup has"),
        (r#"{"cpu":{"mems":"77"}}"#, "linux.resources.cpu.mems", "the parent cgroup has"),
        (r#"{"cpu":{"quota":1}}"#, "linux.resources.cpu.quota", ""),
        (
            r#"{"cpu":{"realtimeRuntime":950000,"realtimePeriod":1000000}}"#,
            "linux.resources.cpu.realtimeRuntime",
            "realtime to give",
        ),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4095,"minor":7,"rate":1}]}}"#,
            "linux.resources.blockIO.throttleReadBpsDevice[0]",
            "no such block device",
        ),
    ] {
        let refused = plan(&unique("refused").join("x"), json, &host).expect("plan");
        let error = refused.create().expect_err(json);
        assert_eq!(error.spec_path(), Some(at), "{error}");
        let text = error.to_string();
        assert!(text.contains("cannot write") && text.contains("/sys/fs/cgroup/"), "{text}");
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{error:?}");
        assert!(!refused.exists_anywhere(), "{json}");
    }
}

#[test]
fn a_missing_controller_is_named_before_anything_is_made() {
    let Some(host) = pure_v1() else { return };
    let without = Hierarchies {
        v1: host.v1.into_iter().filter(|h| !h.controllers.contains(&"pids".to_owned())).collect(),
        unified: None,
    };
    let faults =
        plan(&unique("missing"), r#"{"pids":{"limit":5}}"#, &without).err().expect("faults");
    assert_eq!(faults.len(), 1);
    assert_eq!(
        (faults[0].kind(), faults[0].spec_path()),
        (Kind::Unsupported, Some("linux.resources.pids.limit"))
    );
    let unasked = plan(&unique("missing"), "{}", &without);
    assert!(unasked.is_ok_and(|fixture| !fixture.place.paths().contains_key("pids")));
}

#[test]
fn dots_in_the_path_are_refused() {
    let Some(host) = host() else { return };
    for path in ["../x", "/a/../../x", "/..", "a/.."] {
        let faults = plan(Path::new(path), "{}", &host).err().expect("faults");
        assert_eq!(faults[0].spec_path(), Some("linux.cgroupsPath"), "{path}");
    }
}

#[test]
fn a_cgroup_in_use_is_refused_and_kept() {
    let Some(host) = host() else { return };
    let path = unique("used");
    let first = made(&path, "{}", &host);
    let inside = first.run("exec sleep 100");
    let second = plan(&path, "{}", &host).expect("plan");
    let error = second.create().expect_err("in use");
    assert!(error.to_string().contains("container's cgroup is not empty"), "{error}");
    assert_eq!(first.cgroup().pids().expect("pids"), [inside.pid()]);
    std::mem::forget(second);
}

/// What a failed or unfinished creation removes is only its own.
#[test]
fn the_cgroup_of_another_survives_a_failed_creation() {
    let Some(host) = pure_v1() else { return };
    let path = unique("another");
    let first = made(&path, "{}", &host);
    let _inside = first.run("exec sleep 100");
    let inner: Vec<PathBuf> = first.place.paths().values().map(|path| path.join("inner")).collect();
    inner.iter().for_each(|path| fs::create_dir(path).expect("sub-cgroup"));
    let second = plan(&path, "{}", &host).expect("plan");
    let driver = cgroup::driver(&second.place);
    driver.prepare().expect("nothing to prepare on v1");
    driver.remove(true).expect("nothing made");
    driver.create(&second.limits, None).expect_err("in use");
    driver.remove(true).expect("nothing made");
    assert!(inner.iter().all(|path| path.is_dir()));
}

/// runc#3132: the first process would stop for ever.
#[test]
fn a_frozen_cgroup_is_refused() {
    let Some(host) = host() else { return };
    let path = unique("frozen");
    let above = made(&path, "{}", &host);
    above.cgroup().freeze().expect("freeze");
    let below = plan(&path.join("c"), "{}", &host).expect("plan");
    let error = below.create().expect_err("frozen");
    assert!(error.to_string().contains("container's cgroup unexpectedly frozen"), "{error}");
    assert!(!below.path("freezer").exists());
    std::mem::forget(below);
}

#[test]
fn memory_and_swap_can_be_changed_in_both_directions() {
    let Some(host) = host() else { return };
    let made = made(&unique("update"), r#"{"memory":{"limit":33554432,"swap":67108864}}"#, &host);
    let cgroup = made.cgroup();
    let both = || {
        let read = |file| made.file("memory", file);
        (read("memory.limit_in_bytes"), read("memory.memsw.limit_in_bytes"))
    };
    for (limit, swap) in [(134_217_728u64, 268_435_456u64), (33_554_432, 67_108_864)] {
        let json = format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#);
        cgroup.update(&resources(&json), &host).expect("update");
        assert_eq!(both(), (limit.to_string(), swap.to_string()));
    }
    cgroup.update(&resources(r#"{"memory":{"limit":-1}}"#), &host).expect("update");
    let (limit, swap) = both();
    assert!(limit == swap && limit.len() > 15, "{limit} {swap}");
}

#[test]
fn the_other_limits_can_be_changed() {
    let Some(host) = host() else { return };
    let json = r#"{"cpu":{"quota":50000,"period":100000,"shares":512},"pids":{"limit":10}}"#;
    let made = made(&unique("change"), json, &host);
    let inside = made.run("exec sleep 100");
    let change = r#"{"cpu":{"quota":4000,"period":8000,"shares":1024,"cpus":"0"},"pids":{"limit":-1},
        "blockIO":{"weight":200}}"#;
    made.cgroup().update(&resources(change), &host).expect("update");
    for (controller, file, value) in [
        ("cpu", "cpu.cfs_quota_us", "4000"),
        ("cpu", "cpu.cfs_period_us", "8000"),
        ("cpu", "cpu.shares", "1024"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "max"),
        ("blkio", "blkio.bfq.weight", "200"),
    ] {
        assert_eq!(made.file(controller, file), value, "{file}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", inside.pid())).expect("status");
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
}

#[test]
fn a_refused_update_changes_nothing() {
    let Some(host) = host() else { return };
    let made = made(&unique("refused-update"), r#"{"memory":{"limit":33554432}}"#, &host);
    let json = r#"{"memory":{"limit":67108864},"pids":{"limit":5},"cpu":{"cpus":"4000"}}"#;
    let error = made.cgroup().update(&resources(json), &host).expect_err("cpus");
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    assert!(!error.to_string().contains("config.json"), "{error}");
    assert_eq!(made.file("memory", "memory.limit_in_bytes"), "33554432");
    assert_eq!(made.file("pids", "pids.max"), "max");
}

#[test]
fn a_limit_below_the_usage_is_explained() {
    let Some(host) = host() else { return };
    let made = made(&unique("usage"), "{}", &host);
    let _inside = made.run("head -c 20000000 /dev/zero | tail -c 20000000 | sleep 100");
    let error = made
        .cgroup()
        .update(&resources(r#"{"memory":{"limit":4096,"swap":4096}}"#), &host)
        .expect_err("too low");
    assert!(error.hint_text().unwrap_or_default().contains("current usage"), "{error:?}");
}

#[test]
fn statistics_count_what_runs() {
    let Some(host) = host() else { return };
    let made = made(&unique("stats"), r#"{"memory":{"limit":67108864},"pids":{"limit":9}}"#, &host);
    let mut inside = made.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; sleep 100");
    inside.line();
    let stats = made.cgroup().stats().expect("stats");
    let later = made.cgroup().stats().expect("stats");
    assert!(stats.cpu.usage.total > 0);
    // It may still run: the total is read first.
    let of_each = stats.cpu.usage.percpu.iter().sum::<u64>();
    assert!((stats.cpu.usage.total..=later.cpu.usage.total).contains(&of_each), "{of_each}");
    assert_eq!(stats.cpu.usage.percpu.len(), stats.cpu.usage.percpu_user.len());
    assert_eq!((stats.memory.usage.limit, stats.pids.limit), (67_108_864, 9));
    assert!(stats.memory.usage.usage > 0 && stats.memory.raw.contains_key("rss"));
    assert!((1..9).contains(&stats.pids.current));
    assert!(!stats.cpuset.cpus.is_empty());
    assert_eq!(stats.cpuset.sched_load_balance, 1);
}

#[test]
fn freezing_stops_and_thawing_goes_on() {
    let Some(host) = host() else { return };
    let made = made(&unique("freezer"), "{}", &host);
    let cgroup = made.cgroup();
    let mut inside = made.run("while read line; do echo $line; done");
    assert!(!cgroup.frozen().expect("frozen"));
    cgroup.freeze().expect("freeze");
    assert_eq!(made.file("freezer", "freezer.state"), "FROZEN");
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

/// Forks all the time, and ignores what can be ignored.
const FORKS: &str = "trap '' TERM; while :; do (trap '' TERM; sleep 0.01; sleep 0.01) & done";

#[test]
fn nobody_escapes_a_kill_by_forking() {
    for host in [host(), pure_v1()].into_iter().flatten() {
        let made = made(&unique("kill"), r#"{"pids":{"limit":30}}"#, &host);
        let mut inside = made.run(FORKS);
        let cgroup = made.cgroup();
        cgroup.kill(libc::SIGKILL).expect("kill");
        inside.child.wait().expect("wait");
        cgroup.remove(true).expect("remove");
        assert!(!made.exists_anywhere());
    }
}

/// The hunt: as on a host that has neither the v1 freezer nor cgroup.kill.
#[test]
fn without_a_freezer_killing_goes_on_until_nobody_is_left() {
    let Some(host) = pure_v1() else { return };
    let freezer = "freezer".to_owned();
    let v1 = host.v1.into_iter().filter(|h| !h.controllers.contains(&freezer)).collect();
    let made =
        made(&unique("hunt"), r#"{"pids":{"limit":30}}"#, &Hierarchies { v1, unified: None });
    let mut inside = made.run(FORKS);
    made.cgroup().kill(libc::SIGKILL).expect("kill");
    inside.child.wait().expect("wait");
    made.cgroup().remove(true).expect("remove");
    assert!(made.cgroup().freeze().is_err() && !made.exists_anywhere());
}

#[test]
fn a_paused_container_can_be_killed() {
    for host in [host(), pure_v1()].into_iter().flatten() {
        let made = made(&unique("paused"), "{}", &host);
        let mut inside = made.run("exec sleep 100");
        let cgroup = made.cgroup();
        cgroup.freeze().expect("freeze");
        cgroup.kill(libc::SIGKILL).expect("kill");
        inside.child.wait().expect("wait");
        cgroup.remove(true).expect("remove");
    }
}

#[test]
fn other_signals_reach_everybody_once() {
    let Some(host) = host() else { return };
    let made = made(&unique("signal"), "{}", &host);
    let script = "trap 'echo got' USR1; sh -c 'trap \"echo got; exit\" USR1; echo up; while :; do sleep 0.01; done' & \
                  wait; wait; echo end";
    let mut inside = made.run(script);
    assert_eq!(inside.line(), "up");
    made.cgroup().kill(libc::SIGUSR1).expect("kill");
    assert_eq!([inside.line(), inside.line()], ["got", "got"]);
    assert!(!made.cgroup().frozen().expect("frozen"));
}

#[test]
fn the_oom_killer_is_seen() {
    let Some(host) = host() else { return };
    let json = r#"{"memory":{"limit":8388608,"swap":8388608}}"#;
    let made = made(&unique("oom"), json, &host);
    let cgroup = made.cgroup();
    let mut watch = cgroup.oom().expect("watch");
    assert_eq!(watch.look().expect("look"), Oom::Nothing);
    let mut inside = made.run("tail /dev/zero; echo; read line");
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    let wait = |watch: &cgroup::OomWatch| {
        poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&minute)).expect("poll")
    };
    assert_eq!(wait(&watch), 1);
    assert!(matches!(watch.look().expect("look"), Oom::Happened(1..)));
    inside.line();
    assert!(cgroup.oom_kills().expect("count") >= 1);
    drop(inside);
    cgroup.remove(true).expect("remove");
    assert_eq!(wait(&watch), 1);
    assert_eq!(watch.look().expect("look"), Oom::Gone);
}

#[test]
fn removal_is_thorough_and_can_be_repeated() {
    let Some(host) = host() else { return };
    let made = made(&unique("remove"), "{}", &host);
    for path in made.place.paths().values() {
        fs::create_dir_all(path.join("docker/inner")).expect("sub-cgroup");
    }
    let cgroup = made.cgroup();
    cgroup.remove(true).expect("remove");
    assert!(!made.exists_anywhere() && !cgroup.exists());
    cgroup.remove(true).expect("nothing left to remove");
    // As after a creator that died early.
    fs::create_dir(made.path("pids")).expect("mkdir");
    cgroup.remove(true).expect("remove one");
    assert!(!made.exists_anywhere());
}

#[test]
fn removal_waits_for_processes_that_are_leaving() {
    for host in [host(), pure_v1()].into_iter().flatten() {
        let made = made(&unique("leaving"), "{}", &host);
        let mut inside = made.run("exec sleep 0.2");
        // Reaped by somebody else, as a container's init is.
        let reaper = std::thread::Builder::new()
            .spawn(move || inside.child.wait().expect("wait"))
            .expect("thread");
        made.cgroup().remove(true).expect("remove");
        assert!(!made.exists_anywhere());
        reaper.join().expect("join");
    }
}

#[test]
fn a_cgroup_that_stays_full_is_reported_and_the_rest_removed() {
    let Some(host) = pure_v1() else { return };
    let made = made(&unique("full"), "{}", &host);
    let inside = made.run("exec sleep 100");
    // Only here; it leaves the others.
    let pid = inside.pid().to_string();
    for hierarchy in host.v1.iter().filter(|h| h.controllers != ["pids"]) {
        let own = hierarchy.own.strip_prefix("/").expect("/");
        fs::write(hierarchy.mount.join(own).join("cgroup.procs"), &pid).expect("move");
    }
    let error = made.cgroup().remove(true).expect_err("full");
    let text = error.to_string();
    assert!(text.contains("/pids/") && text.contains("busy"), "{text}");
    let left: Vec<&PathBuf> = made.place.paths().values().filter(|path| path.exists()).collect();
    assert_eq!(left, [made.path("pids")]);
}

#[test]
fn exec_can_enter_a_sub_cgroup() {
    let Some(host) = host() else { return };
    let made = made(&unique("sub"), "{}", &host);
    for path in made.place.paths().values() {
        fs::create_dir(path.join("inner")).expect("sub-cgroup");
    }
    let cgroup = made.cgroup();
    let entry = cgroup.entry(&["inner".to_owned()]).expect("entry");
    assert_eq!(entry.tasks.len(), host.v1.len());
    let one = cgroup.entry(&["pids:inner".to_owned()]).expect("entry");
    let paths: Vec<String> = one.tasks.iter().map(target).collect();
    assert_eq!(paths.iter().filter(|path| path.contains("/inner/")).count(), 1, "{paths:?}");
    assert!(cgroup.entry(&["../x".to_owned()]).is_err());
    assert!(cgroup.entry(&["missing".to_owned()]).is_err());
}

fn target(fd: &std::os::fd::OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::read_link(link).expect("link").display().to_string()
}

/// As a user without any right: nothing can be made, and nothing was asked for.
#[test]
fn rootless_goes_without() {
    let Some(host) = host() else { return };
    for (json, expected) in [("{}", "ok"), (r#"{"pids":{"limit":5}}"#, "could not join or create")]
    {
        let program = std::env::current_exe().expect("own path");
        let copy = std::env::temp_dir().join(format!("rtn-rootless-{}", std::process::id()));
        fs::copy(program, &copy).expect("copy");
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["--exact", "rootless_creator", "--nocapture"])
            .env("CGROUP_ROOTLESS", json)
            .output()
            .expect("setpriv");
        fs::remove_file(&copy).expect("remove");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected), "{json}: {text}");
    }
    assert!(host.v1.iter().all(|h| !h.mount.join("rtn-rootless").exists()));
}

#[test]
fn rootless_creator() {
    let Ok(json) = std::env::var("CGROUP_ROOTLESS") else { return };
    let resources = resources(&json);
    let host = Hierarchies::probe().expect("probe");
    let request = Request {
        annotations: None,
        uid: 0,
        id: "rtn-rootless",
        cgroups_path: None,
        resources: Some(&resources),
        devices: &[],
        manager: Manager::Cgroupfs,
        rootless: true,
        owner: None,
    };
    let mut faults = Vec::new();
    let plan = cgroup::plan(&request, &host, &mut faults);
    assert!(faults.is_empty(), "{faults:?}");
    let driver = cgroup::driver(&plan.place);
    let result = driver.prepare().and_then(|_| driver.create(&plan.limits, None));
    match result {
        Ok(entry) => println!("ok {} {}", entry.tasks.len(), entry.into.is_some()),
        Err(error) => println!("{error:?}"),
    }
    let cgroup = Cgroup::open(&plan.place);
    assert!(!cgroup.exists() && cgroup.paths().is_empty());
    driver.remove(true).expect("remove");
}

/// The whole life, many times at once, leaves nothing.
#[test]
fn many_at_once_leave_nothing() {
    let Some(host) = host() else { return };
    let host = &host;
    let top = unique("many");
    let life = |number: usize| {
        let fixture: Fixture = made(&top.join(number.to_string()), r#"{"cpu":{"shares":2}}"#, host);
        let mut inside = fixture.run("exec sleep 100");
        fixture.cgroup().kill(libc::SIGKILL).expect("kill");
        inside.child.wait().expect("wait");
        fixture.cgroup().remove(true).expect("remove");
        for path in fixture.place.paths().values() {
            assert!(!path.exists());
        }
        std::mem::forget(fixture);
    };
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let life = &life;
            scope.spawn(move || (0..5).for_each(|round| life(worker * 10 + round)));
        }
    });
    drop(plan(&top, "{}", host).expect("plan"));
}
