//! The systemd cgroup driver: which unit a container is, what systemd knows of its limits, and that
//! nothing is left of it. What systemd knows is asked of `systemctl show`.

use std::fs;

use integration::{Bundle, Container, Feature, Kind, Mode, Test, needs, only_on, wait};
use serde_json::json;

/// Cut to what a unit's name may hold in any case.
fn unit(test: &Test) -> String {
    format!("rtntest-{}.scope", test.id())
}

fn scope(test: &Test, bundle: Bundle) -> Bundle {
    let path = format!("rtntest.slice:rtntest:{}", test.id());
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path))
}

fn create<'t>(test: &'t Test, bundle: &Bundle) -> Container<'t> {
    let pid_file = test.dir().join("systemd.pid");
    let mut command = test.command(&["--systemd-cgroup", "create", "--bundle"]);
    command.arg(&bundle.dir).arg("--pid-file").arg(&pid_file).arg(test.id());
    Container::from_command(test, test.id().to_owned(), &mut command, pid_file)
}

fn systemctl(arguments: &[&str]) -> String {
    let output = Mode::current().systemctl().args(arguments).output().expect("systemctl");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// One property as systemd has it.
fn shown(test: &Test, property: &str) -> String {
    systemctl(&["show", "--value", "--property", property, &unit(test)])
}

fn known(test: &Test) -> bool {
    shown(test, "LoadState") == "loaded"
}

#[test]
fn a_container_is_a_scope_in_its_slice() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let container = create(&test, &scope(&test, test.bundle().args(&["/bin/sleep", "1000"])));
    let place = container.cgroup("");
    assert!(place.ends_with(format!("rtntest.slice/{}", unit(&test))), "{place:?}");
    assert_eq!(shown(&test, "Slice"), "rtntest.slice");
    assert_eq!(shown(&test, "Delegate"), "yes");
    assert_eq!(shown(&test, "ActiveState"), "active");
    let recorded = container.state();
    assert_eq!(recorded["status"], "created");
    container.start();
    container.remove();
    assert!(!known(&test) && !place.exists());
}

#[test]
fn an_absent_path_is_in_the_system_slice() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let container = create(&test, &test.bundle().args(&["/bin/sleep", "1000"]));
    let place = container.cgroup("");
    let slice = if Mode::current().is_rootless() { "user.slice" } else { "system.slice" };
    let expected = format!("{slice}/runc-{}.scope", test.id());
    let expected =
        if test.runtime.is(Kind::Crun) { expected.replace("runc-", "crun-") } else { expected };
    assert!(place.ends_with(expected), "{place:?}");
    container.remove();
}

#[test]
fn systemd_knows_the_limits_and_the_files_have_them() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("memory"), Feature::CgroupV2("cpuset"));
    let bundle = scope(&test, test.bundle().args(&["/bin/sleep", "1000"])).edit(|config| {
        config["linux"]["resources"] = json!({
            "memory": { "limit": 64 << 20, "reservation": 32 << 20, "swap": 64 << 20 },
            "cpu": { "shares": 1024, "quota": 20_000, "period": 100_000, "cpus": "0", "mems": "0" },
            "pids": { "limit": 77 },
        });
    });
    let container = create(&test, &bundle);
    for (property, value) in [
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "0"),
        ("CPUWeight", "100"),
        ("CPUQuotaPerSecUSec", "200ms"),
        ("CPUQuotaPeriodUSec", "100ms"),
        ("AllowedCPUs", "0"),
        ("AllowedMemoryNodes", "0"),
        ("TasksMax", "77"),
    ] {
        let known = match property {
            "CPUWeight" => "the linear conversion of shares, before runc 1.3.2 and crun 1.23",
            "MemorySwapMax" => "no swap at all is not told, before runc 1.3",
            _ => "",
        };
        if !known.is_empty() && test.excuses(&[Kind::Runc, Kind::Crun], known) {
            continue;
        }
        assert_eq!(shown(&test, property), value, "{property}");
    }
    for (file, value) in [
        ("memory.max", "67108864"),
        ("cpu.max", "20000 100000"),
        ("pids.max", "77"),
        ("cpuset.cpus", "0"),
    ] {
        assert_eq!(container.cgroup_file(file), value, "{file}");
    }
    container.remove();
}

#[test]
fn update_changes_both() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("memory"));
    let container = create(&test, &scope(&test, test.bundle().args(&["/bin/sleep", "1000"])));
    container.call(&["update", "--memory", "67108864", "--pids-limit", "9"]).ok();
    assert_eq!(shown(&test, "MemoryMax"), "67108864");
    assert_eq!(shown(&test, "TasksMax"), "9");
    // systemd puts its own idea back.
    systemctl(&["daemon-reload"]);
    assert_eq!(container.cgroup_file("memory.max"), "67108864");
    assert_eq!(container.cgroup_file("pids.max"), "9");
    container.remove();
}

/// systemd writes all that it knows of a unit when a part of it changes (opencontainers/runc#4622).
#[test]
fn an_update_changes_nothing_else() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("memory"), Feature::CgroupV2("cpu"));
    needs!(Feature::CgroupV2("io"), Feature::CgroupV2("pids"));
    only_on!(test, [Rtn], "runc before 1.3 and crun lose the quota, the weight and the group");
    let bundle = scope(&test, test.bundle().args(&["/bin/sleep", "1000"])).edit(|config| {
        config["linux"]["resources"] = json!({
            "cpu": { "quota": 12_345, "period": 100_000 },
            "blockIO": { "weight": 500 },
            "unified": { "memory.oom.group": "1", "memory.high": "67108864" },
        });
    });
    let container = create(&test, &bundle);
    let directory = container.cgroup("");
    let limits = || {
        ["cpu.max", "io.bfq.weight", "io.weight", "memory.high", "memory.oom.group"]
            .map(|file| fs::read_to_string(directory.join(file)).unwrap_or_default())
    };
    let before = limits();
    assert_eq!(before[0], "13000 100000\n", "in whole percent, as systemd has it");
    assert_eq!(before[4], "1\n");
    container.call(&["update", "--pids-limit", "9"]).ok();
    assert_eq!(container.cgroup_file("pids.max"), "9");
    assert_eq!(limits(), before);
    assert_eq!(shown(&test, "OOMPolicy"), "kill");
    systemctl(&["daemon-reload"]);
    assert_eq!(container.cgroup_file("cpu.max"), "13000 100000");
    assert_eq!(container.cgroup_file("memory.oom.group"), "1");
    container.remove();
}

#[test]
fn who_is_no_longer_idle_stays_so() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("cpu"), Feature::CgroupV2("pids"));
    only_on!(test, [Rtn], "runc before 1.2 and crun have no such option");
    let bundle = scope(&test, test.bundle().args(&["/bin/sleep", "1000"]));
    let container = create(&test, &bundle);
    let values = || ["cpu.idle", "cpu.weight"].map(|file| container.cgroup_file(file));
    container.call(&["update", "--cpu-idle", "1"]).ok();
    container.call(&["update", "--pids-limit", "8"]).ok();
    assert_eq!(values()[0], "1");
    container.call(&["update", "--cpu-idle", "0"]).ok();
    container.call(&["update", "--pids-limit", "9"]).ok();
    assert_eq!(values(), ["0", "100"]);
    container.call(&["update", "--cpu-share", "512"]).ok();
    assert_eq!(values(), ["0", "59"]);
    container.remove();
}

#[test]
fn annotations_are_properties() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let bundle = scope(&test, test.bundle().args(&["/bin/sleep", "1000"])).edit(|config| {
        config["annotations"] = json!({
            "org.systemd.property.TimeoutStopSec": "uint64 7",
            "org.systemd.property.Description": "'a test of containers'",
        });
    });
    let container = create(&test, &bundle);
    assert_eq!(shown(&test, "TimeoutStopUSec"), "7s");
    assert_eq!(shown(&test, "Description"), "a test of containers");
    container.remove();
}

#[test]
fn a_property_that_cannot_be_read_is_refused_before_anything_exists() {
    let test = Test::new();
    needs!(Feature::Systemd);
    only_on!(test, [Rtn], "runc and crun have words of their own");
    let bundle = scope(&test, test.bundle()).edit(|config| {
        config["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "soon" });
    });
    let dir = bundle.dir.to_string_lossy();
    let output = test.call(&["--systemd-cgroup", "create", "--bundle", &dir, test.id()]);
    output.fails_with("annotations[\\\"org.systemd.property.TimeoutStopSec\\\"]");
    assert!(!known(&test));
}

#[test]
fn another_form_of_the_path_is_refused() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let bundle = test.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!("/a/b"));
    let dir = bundle.dir.to_string_lossy();
    let output = test.call(&["--systemd-cgroup", "run", "--bundle", &dir, test.id()]);
    output.fails();
    if !test.excuses(&[Kind::Crun], "other words") {
        assert!(output.stderr.contains("slice:prefix:name"), "{output:?}");
    }
}

#[test]
fn a_name_that_is_taken_is_one_clear_line() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let name = unit(&test);
    let unit = name.clone();
    let mut taker = Mode::current()
        .systemd_run()
        .args(["--scope", "--unit", &unit, "sleep", "1000"])
        .spawn()
        .expect("systemd-run");
    while !known(&test) {
        std::thread::yield_now();
    }
    let dir = scope(&test, test.bundle()).dir;
    let output =
        test.call(&["--systemd-cgroup", "run", "--bundle", &dir.to_string_lossy(), test.id()]);
    output.fails();
    assert!(output.stderr.contains(&name), "{output:?}");
    if !test.excuses(&[Kind::Runc, Kind::Crun], "stops somebody else's unit") {
        assert_eq!(shown(&test, "ActiveState"), "active");
    }
    taker.kill().expect("the taker");
    taker.wait().expect("its end");
    systemctl(&["stop", &name]);
}

/// systemd keeps one that failed until somebody has looked at it.
#[test]
fn a_name_whose_unit_has_failed_is_free() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let name = unit(&test);
    let mut failing = Mode::current()
        .systemd_run()
        .args(["--scope", "--property", "RuntimeMaxSec=1ms", "--unit", &name, "sleep", "1000"])
        .spawn()
        .expect("systemd-run");
    failing.wait().expect("its end");
    while shown(&test, "ActiveState") != "failed" {
        std::thread::yield_now();
    }
    let container = create(&test, &scope(&test, test.bundle().args(&["/bin/sleep", "1000"])));
    assert_eq!(shown(&test, "ActiveState"), "active");
    container.remove();
    assert!(!known(&test));
}

/// A unit in the way of whatever is below it, for the time of a test.
fn frozen_slice(test: &Test) -> (String, std::path::PathBuf) {
    let name = format!("rtntest{}.slice", std::process::id());
    systemctl(&["start", &name]);
    let parent = Mode::current().slices();
    let directory = parent.join(&name);
    assert!(directory.is_dir(), "{directory:?} of {}", test.id());
    fs::write(directory.join("cgroup.freeze"), "1").expect("a frozen cgroup");
    (name, directory)
}

#[test]
fn a_frozen_slice_is_refused() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("freezer"));
    only_on!(test, [Rtn], "runc and crun wait for ever");
    let (slice, directory) = frozen_slice(&test);
    let path = format!("{slice}:rtntest:{}", test.id());
    let bundle = test.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    let dir = bundle.dir.to_string_lossy();
    let output = test.call(&["--systemd-cgroup", "create", "--bundle", &dir, test.id()]);
    let left = fs::read_dir(&directory).expect("the slice").flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().is_dir()).collect();
    fs::write(directory.join("cgroup.freeze"), "0").expect("a thawed cgroup");
    systemctl(&["stop", &slice]);
    output.fails_with("frozen");
    assert!(left.is_empty() && !known(&test), "{left:?}");
}

/// Nobody hears systemd's SIGTERM in a container that is being made.
#[test]
fn a_limit_that_is_refused_leaves_no_unit() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("cgroup"));
    let bundle = scope(&test, test.bundle()).edit(|config| {
        config["linux"]["resources"]["unified"] = json!({ "cgroup.max.depth": "nonsense" });
    });
    let dir = bundle.dir.to_string_lossy();
    let create = ["--systemd-cgroup", "create", "--bundle", &dir, test.id()];
    let output = wait::output(test.command(&create).env("SYSTEMD_BUS_TIMEOUT", "60"));
    output.fails_with("cgroup.max.depth");
    assert!(!output.stderr.contains("answer"), "{output:?}");
    assert!(!known(&test));
    test.assert_clean();
}

/// systemd ends a scope with its last process, and forgets it.
#[test]
fn a_container_whose_unit_is_gone_is_deleted() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let container = create(&test, &scope(&test, test.bundle().serve()));
    let place = container.cgroup("");
    container.kill("KILL");
    container.wait();
    wait::until(place.parent().expect("the slice"), || !place.exists() && !known(&test));
    let mut delete = test.command(&["delete", test.id()]);
    wait::output(delete.env("SYSTEMD_BUS_TIMEOUT", "60")).ok();
    test.assert_unknown();
}

/// The first process of a pid namespace does not hear that it should end: a stop that took too long
/// is a failure.
#[test]
fn a_unit_that_fails_is_forgotten() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let bundle = scope(&test, test.bundle()).edit(|config| {
        config["annotations"] = json!({ "org.systemd.property.TimeoutStopUSec": "uint64 1000" });
    });
    let container = create(&test, &bundle);
    systemctl(&["stop", &unit(&test)]);
    let status = container.wait();
    if !test.excuses(&[Kind::Runc], "Go's runtime hears it all the same") {
        assert_eq!(status, 128 + 9);
    }
    container.call(&["delete"]).ok();
    // It forgets what it has no work with: between two questions.
    assert!((0..50).any(|_| !known(&test)));
}

#[test]
fn a_container_whose_state_is_lost_can_be_deleted_by_force() {
    let test = Test::new();
    needs!(Feature::Systemd);
    only_on!(test, [Rtn], "runc and crun need their state");
    let container = create(&test, &scope(&test, test.bundle().args(&["/bin/sleep", "1000"])));
    container.start();
    fs::write(test.root().join(test.id()).join("state.json"), "{").expect("a damaged state");
    container.remove();
    assert!(!known(&test));
    assert_eq!(container.wait(), 128 + 9);
}

#[test]
fn exec_is_in_the_scope() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let container = create(&test, &scope(&test, test.bundle().args(&["/bin/sleep", "1000"])));
    container.start();
    let expected = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).expect("cgroup");
    let bundle_sees = container.exec(&["/bin/cat", "/proc/self/cgroup"]);
    // From inside its cgroup namespace, or from outside.
    let seen = bundle_sees.ok().trim().to_owned();
    assert!(seen == "0::/" || seen == expected.trim(), "{seen}");
    container.remove();
}

#[test]
fn pause_and_resume() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let container = create(&test, &scope(&test, test.bundle().args(&["/bin/sleep", "1000"])));
    container.start();
    container.call(&["pause"]).ok();
    assert_eq!(container.status(), "paused");
    container.call(&["resume"]).ok();
    assert_eq!(container.status(), "running");
    container.remove();
}

#[test]
fn many_at_once_leave_nothing() {
    let test = Test::new();
    needs!(Feature::Systemd);
    let bundle = test.bundle().args(&["/bin/true"]);
    let ids: Vec<String> = (0..8).map(|number| format!("{}{number}", test.id())).collect();
    let mut running: Vec<_> = ids
        .iter()
        .map(|id| {
            let mut command = test.command(&["--systemd-cgroup", "run", "--bundle"]);
            command.arg(&bundle.dir).arg(id).spawn().expect("the runtime can be run")
        })
        .collect();
    for one in &mut running {
        assert!(one.wait().expect("its end").success());
    }
    let units = systemctl(&["list-units", "--all", "--plain", "--no-legend", "--type", "scope"]);
    assert!(!units.contains(test.id()), "{units}");
}
