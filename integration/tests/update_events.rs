//! `update` and `events`: changing and watching the limits of a running container.

use std::{fs, process::Stdio};

use integration::{Bundle, Container, Feature, Kind, Test, host, needs, only_on, wait};
use serde_json::{Value, json};

/// A running container with some memory limit to change.
fn limited(test: &Test) -> Bundle {
    test.bundle().edit(|config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
        config["linux"]["resources"]["cpu"] =
            json!({ "shares": 100, "quota": 20_000, "period": 100_000, "cpus": "0" });
        config["linux"]["resources"]["pids"] = json!({ "limit": 20 });
    })
}

fn update(test: &Test, options: &[&str]) -> integration::Output {
    test.call(&[&["update"], options, &[test.id()]].concat())
}

#[track_caller]
fn expect(container: &Container<'_>, files: &[(&str, &str)]) {
    for (file, value) in files {
        assert_eq!(&container.cgroup_file(file), value, "{file}");
    }
}

#[test]
fn every_option_changes_its_file_and_no_other() {
    let test = Test::new();
    needs!(
        Feature::CgroupV1("memory"),
        Feature::CgroupV1("cpu"),
        Feature::CgroupV1("cpuset"),
        Feature::CgroupV1("pids")
    );
    let container = test.serve(limited(&test));
    let files = |container: &Container<'_>| -> Vec<String> {
        [
            "memory.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "cpu.shares",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "cpuset.cpus",
            "cpuset.mems",
            "pids.max",
        ]
        .iter()
        .map(|file| container.cgroup_file(file))
        .collect()
    };
    let cases: [(&[&str], usize, &str); 6] = [
        (&["--memory-reservation", "16777216"], 1, "16777216"),
        (&["--cpu-share", "300"], 2, "300"),
        (&["--cpu-quota", "40000"], 3, "40000"),
        (&["--cpu-period", "90000"], 4, "90000"),
        (&["--cpuset-mems", "0"], 6, "0"),
        (&["--pids-limit", "44"], 7, "44"),
    ];
    for (options, index, value) in cases {
        let mut before = files(&container);
        update(&test, options).ok();
        before[index] = value.to_owned();
        assert_eq!(files(&container), before, "{options:?}");
    }
    container.remove();
}

#[test]
fn memory_and_swap_are_raised_and_lowered_in_the_right_order() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let container = test.serve(limited(&test));
    for size in ["134217728", "33554432"] {
        update(&test, &["--memory", size, "--memory-swap", size]).ok();
        expect(
            &container,
            &[("memory.limit_in_bytes", size), ("memory.memsw.limit_in_bytes", size)],
        );
    }
    container.remove();
}

#[test]
fn no_limit_is_minus_one() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun writes -1 to pids.max");
    needs!(Feature::CgroupV1("memory"), Feature::CgroupV1("pids"), Feature::CgroupV1("cpu"));
    let container = test.serve(limited(&test));
    update(&test, &["--memory-swap", "-1"]).ok();
    update(&test, &["--memory", "-1"]).ok();
    update(&test, &["--pids-limit", "-1"]).ok();
    update(&test, &["--cpu-quota", "-1"]).ok();
    expect(&container, &[("pids.max", "max"), ("cpu.cfs_quota_us", "-1")]);
    assert!(container.cgroup_file("memory.limit_in_bytes").len() > 15);
    container.remove();
}

#[test]
fn a_cpuset_is_changed() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpuset"));
    let all = fs::read_to_string(format!(
        "{}/cpuset.cpus",
        host::hierarchy("cpuset").expect("cpuset").target
    ));
    let all = all.expect("the processors").trim().to_owned();
    let container = test.serve(limited(&test));
    update(&test, &["--cpuset-cpus", &all]).ok();
    expect(&container, &[("cpuset.cpus", &all)]);
    container.remove();
}

#[test]
fn idle_and_burst_are_changed() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpu"));
    only_on!(test, [Rtn], "burst and idle came with runc 1.2");
    let container = test.serve(limited(&test));
    update(&test, &["--cpu-burst", "5000"]).ok();
    expect(&container, &[("cpu.cfs_burst_us", "5000")]);
    update(&test, &["--cpu-burst", "0"]).ok();
    update(&test, &["--cpu-idle", "1"]).ok();
    expect(&container, &[("cpu.idle", "1")]);
    container.remove();
}

#[test]
fn resources_come_from_a_file_or_from_standard_input() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"), Feature::CgroupV1("pids"), Feature::CgroupV1("cpu"));
    let container = test.serve(limited(&test));
    let file = test.dir().join("resources.json");
    let resources = json!({ "pids": { "limit": 55 }, "cpu": { "shares": 222 }, "memory": { "limit": 48 << 20 } });
    fs::write(&file, resources.to_string()).expect("a file");
    update(&test, &["--resources", &file.to_string_lossy()]).ok();
    expect(
        &container,
        &[("pids.max", "55"), ("cpu.shares", "222"), ("memory.limit_in_bytes", "50331648")],
    );
    fs::write(&file, json!({ "pids": { "limit": 66 } }).to_string()).expect("a file");
    let mut command = test.command(&["update", "--resources", "-", test.id()]);
    wait::output(command.stdin(fs::File::open(&file).expect("the file"))).ok();
    expect(&container, &[("pids.max", "66"), ("cpu.shares", "222")]);
    container.remove();
}

#[test]
fn a_created_container_is_updated() {
    let test = Test::new();
    needs!(Feature::Controller("pids"));
    let container = test.create(&limited(&test).serve());
    update(&test, &["--pids-limit", "31"]).ok();
    expect(&container, &[("pids.max", "31")]);
    container.remove();
}

#[test]
fn a_paused_container_is_updated_and_stays_paused() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"), Feature::Controller("pids"));
    let container = test.serve(limited(&test));
    container.call(&["pause"]).ok();
    update(&test, &["--pids-limit", "32"]).ok();
    expect(&container, &[("pids.max", "32")]);
    assert!(container.frozen());
    container.call(&["resume"]).ok();
    container.remove();
}

#[test]
fn devices_are_left_alone() {
    let test = Test::new();
    needs!(Feature::CgroupV1("devices"), Feature::CgroupV1("pids"));
    let container = test.serve(limited(&test));
    let before = container.cgroup_file("devices.list");
    update(&test, &["--pids-limit", "33"]).ok();
    assert_eq!(container.cgroup_file("devices.list"), before);
    container.remove();
}

#[test]
fn an_impossible_limit_is_told_and_changes_nothing() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpu"), Feature::CgroupV1("cpuset"));
    let container = test.serve(limited(&test));
    update(&test, &["--cpu-quota", "10"]).fails();
    update(&test, &["--cpuset-cpus", "9999"]).fails();
    update(&test, &["--pids-limit", "many"]).fails();
    expect(&container, &[("cpu.cfs_quota_us", "20000"), ("cpuset.cpus", "0"), ("pids.max", "20")]);
    container.remove();
}

#[test]
fn a_stopped_container_is_not_updated() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun says nothing");
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    container.wait();
    update(&test, &["--pids-limit", "10"]).fails();
    container.delete();
}

#[test]
fn stats_have_the_shape_that_callers_know() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"), Feature::CgroupV1("pids"), Feature::CgroupV1("cpuacct"));
    only_on!(test, [Rtn, Runc], "crun has no events");
    let container = test.serve(limited(&test));
    let stats = test.call(&["events", "--stats", test.id()]).json();
    container.remove();
    assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!(test.id())));
    let number = |pointer: &str| {
        let value = stats["data"].pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number at {pointer}: {stats:#}"))
    };
    assert_eq!(number("/pids/current"), 1);
    assert_eq!(number("/pids/limit"), 20);
    assert_eq!(number("/memory/usage/limit"), 64 << 20);
    assert!(
        number("/memory/usage/usage") > 0
            && number("/memory/usage/max") >= number("/memory/usage/usage")
    );
    assert_eq!(number("/memory/usage/failcnt"), 0);
    number("/memory/raw/rss");
    assert!(number("/cpu/usage/total") > 0);
    number("/cpu/usage/kernel");
    number("/cpu/usage/user");
    assert!(stats["data"]["cpu"]["usage"]["percpu"].is_array(), "{stats:#}");
    assert!(
        stats["data"]["cpu"]["throttling"].is_object() && stats["data"]["blkio"].is_object(),
        "{stats:#}"
    );
}

#[test]
fn events_come_until_the_container_has_ended() {
    let test = Test::new();
    needs!(Feature::Controller("memory"));
    only_on!(test, [Rtn, Runc], "crun has no events");
    let container = test.serve(limited(&test));
    let mut command = test.command(&["events", "--interval=100ms", test.id()]);
    let (mut events, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    for _ in 0..3 {
        let line = wait::next_line(&mut output).expect("a line");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(test.id())));
    }
    container.remove();
    // Or it would wait for somebody to read what it said meanwhile.
    wait::rest(&mut output);
    assert_eq!(wait::exit_status(&mut events, &command), 0);
}

#[test]
fn running_out_of_memory_is_an_event() {
    let test = Test::new();
    needs!(Feature::Controller("memory"));
    only_on!(test, [Rtn, Runc], "crun has no events");
    let bundle = limited(&test).edit(|config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    });
    let container = test.serve(bundle);
    let mut command = test.command(&["events", "--interval=200ms", test.id()]);
    let (mut events, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    // The watch is in place when the first figures come.
    wait::next_line(&mut output).expect("a line");
    let mut shell =
        test.command(&["exec", test.id(), "/bin/sh", "-c", "probe alloc 100000000; exit 0"]);
    wait::output(shell.stdin(Stdio::null()));
    loop {
        let line = wait::next_line(&mut output).expect("an oom event before the end");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        if event["type"] == "oom" {
            assert_eq!(event["id"], test.id());
            break;
        }
    }
    container.remove();
    wait::exit_status(&mut events, &command);
}

#[test]
fn a_stopped_container_has_no_events() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun has no events");
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    container.wait();
    container.call(&["events", "--stats"]).fails();
    container.delete();
}

#[test]
fn an_interval_of_nothing_is_told() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun has no events");
    let container = test.serve(test.bundle());
    for interval in ["0", "-1s", "soon"] {
        let output = test.call(&["events", "--interval", interval, test.id()]);
        if output.status == 0 && test.excuses(&[Kind::Runc], "accepts it") {
            continue;
        }
        output.fails();
    }
    container.remove();
}
