//! cgroup v2 with the cgroupfs driver, on a host that has nothing else: what the specification's v1
//! words become (by runc's conversions), and what holds. What a file
//! holds is asked of the kernel (Documentation/admin-guide/cgroup-v2.rst).

use std::fs;

use integration::{Bundle, Container, Feature, Kind, Mode, Test, host, needs, only_on};
use serde_json::{Value, json};

const WEIGHT: &str = "the linear conversion of before runc 1.3.2 and crun 1.23";

fn resources(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["resources"][key] = value)
}

/// Creates the container, checks each file for its value, deletes it.
#[track_caller]
fn expect_files(test: &Test, bundle: &Bundle, expected: &[(&str, &str)]) {
    let container = test.create(bundle);
    let found: Vec<String> = expected.iter().map(|(file, _)| container.cgroup_file(file)).collect();
    container.remove();
    for ((file, value), found) in expected.iter().zip(found) {
        assert_eq!(&found, value, "{file}");
    }
}

/// Changes the running container, then checks each file.
#[track_caller]
fn update(container: &Container<'_>, options: &[&str], expected: &[(&str, &str)]) {
    container.call(&[&["update"], options].concat()).ok();
    for (file, value) in expected {
        assert_eq!(&container.cgroup_file(file), value, "{file} after {options:?}");
    }
}

#[test]
fn shares_are_a_weight() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cpu"));
    let linear = test.excuses(&[Kind::Runc, Kind::Crun], WEIGHT);
    for (shares, quadratic, line) in
        [(2, "1", "1"), (512, "59", "20"), (1024, "100", "39"), (262_144, "10000", "10000")]
    {
        let bundle = test.bundle_named(&format!("b{shares}"));
        let bundle = resources(bundle, "cpu", json!({ "shares": shares }));
        expect_files(&test, &bundle, &[("cpu.weight", if linear { line } else { quadratic })]);
    }
}

#[test]
fn quota_and_period_are_one_limit() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cpu"));
    for (cpu, limit) in [
        (json!({ "quota": 30_000, "period": 50_000 }), "30000 50000"),
        (json!({ "quota": 30_000 }), "30000 100000"),
        (json!({ "quota": -1, "period": 50_000 }), "max 50000"),
        (json!({ "period": 70_000 }), "max 70000"),
    ] {
        let bundle = test.bundle_named(&limit.replace(' ', "-"));
        expect_files(&test, &resources(bundle, "cpu", cpu), &[("cpu.max", limit)]);
    }
}

#[test]
fn burst_and_idle_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cpu"));
    only_on!(test, [Rtn, Crun], "burst and idle came with runc 1.2");
    let cpu = json!({ "quota": 30_000, "period": 50_000, "burst": 10_000 });
    let burst = [("cpu.max", "30000 50000"), ("cpu.max.burst", "10000")];
    expect_files(&test, &resources(test.bundle(), "cpu", cpu), &burst);
    let idle = resources(test.bundle_named("idle"), "cpu", json!({ "idle": 1 }));
    expect_files(&test, &idle, &[("cpu.idle", "1")]);
}

#[test]
fn processors_and_memory_nodes_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cpuset"));
    let bundle = resources(test.bundle(), "cpu", json!({ "cpus": "0", "mems": "0" }));
    expect_files(
        &test,
        &bundle,
        &[
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
            ("cpuset.cpus.effective", "0"),
            ("cpuset.cpus.partition", "member"),
        ],
    );
    let all = fs::read_to_string(Mode::current().parent().join("cpuset.cpus.effective"))
        .expect("processors");
    let none = test.bundle_named("none");
    expect_files(&test, &none, &[("cpuset.cpus", ""), ("cpuset.cpus.effective", all.trim())]);
}

#[test]
fn memory_limits_are_those_of_v2() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    for (name, memory, [max, swap, low]) in [
        (
            "all",
            json!({ "limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20 }),
            ["67108864", "33554432", "33554432"],
        ),
        ("no-swap", json!({ "limit": 64 << 20, "swap": 64 << 20 }), ["67108864", "0", "0"]),
        ("any-swap", json!({ "limit": 64 << 20, "swap": -1 }), ["67108864", "max", "0"]),
        ("unlimited", json!({ "limit": -1 }), ["max", "max", "0"]),
        ("unset", json!({ "limit": 0, "swap": 0, "reservation": 0 }), ["max", "max", "0"]),
    ] {
        let bundle = resources(test.bundle_named(name), "memory", memory);
        let files = [("memory.max", max), ("memory.swap.max", swap), ("memory.low", low)];
        expect_files(&test, &bundle, &files);
    }
}

#[test]
fn swap_below_memory_or_without_it_is_refused() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    for (name, memory) in [
        ("below", json!({ "limit": 64 << 20, "swap": 32 << 20 })),
        ("alone", json!({ "swap": 32 << 20 })),
    ] {
        let bundle = resources(test.bundle_named(name), "memory", memory);
        test.create_fails(&bundle).fails_with("swap");
    }
}

#[test]
fn a_container_that_needs_more_memory_than_its_limit_is_killed() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 16 << 20, "swap": 16 << 20 }));
    let output = test.run(&bundle.args(&["/bin/probe", "alloc", &(64 << 20).to_string()]));
    assert_eq!(output.status, 137, "{output:?}");
}

#[test]
fn a_small_limit_is_enough_for_a_small_program() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    only_on!(test, [Rtn, Crun], "runc needs more than 6 MiB itself");
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 2 << 20, "swap": 2 << 20 }));
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn the_pids_limit_is_written_and_holds() {
    let test = Test::new();
    needs!(Feature::CgroupV2("pids"));
    let bundle = resources(test.bundle(), "pids", json!({ "limit": 8 }));
    expect_files(&test, &bundle, &[("pids.max", "8")]);
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done";
    let output = test.run(&bundle.shell(script));
    assert!(output.stderr.contains("fork"), "{output:?}");
    if !test.excuses(&[Kind::Crun], "crun writes -1, which the kernel refuses") {
        let unlimited = resources(test.bundle_named("max"), "pids", json!({ "limit": -1 }));
        expect_files(&test, &unlimited, &[("pids.max", "max")]);
    }
}

#[test]
fn throttles_are_one_line_for_each_device() {
    let test = Test::new();
    needs!(Feature::CgroupV2("io"), Feature::BlockDevice);
    let (major, minor) = host::block_device().expect("a block device");
    let one = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let throttles = json!({
        "throttleReadBpsDevice": one(1 << 20),
        "throttleWriteBpsDevice": one(2 << 20),
        "throttleReadIOPSDevice": one(300),
        "throttleWriteIOPSDevice": one(400),
    });
    let line = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400");
    expect_files(&test, &resources(test.bundle(), "blockIO", throttles), &[("io.max", &line)]);
}

#[test]
fn a_block_io_weight_is_written_in_the_terms_of_the_scheduler() {
    let test = Test::new();
    needs!(Feature::CgroupV2("io"));
    let container = test.create(&resources(test.bundle(), "blockIO", json!({ "weight": 500 })));
    let directory = container.cgroup("io");
    let read = |file: &str| fs::read_to_string(directory.join(file)).ok();
    let (bfq, plain) = (read("io.bfq.weight"), read("io.weight"));
    container.remove();
    // BFQ's range is the specification's, that of the cost model [1, 10000].
    let (file, value) = match (bfq, plain) {
        (Some(bfq), _) => (bfq, "500"),
        (None, Some(plain)) => (plain, "4950"),
        (None, None) => panic!("the kernel has no weights"),
    };
    assert_eq!(file.lines().next(), Some(format!("default {value}").as_str()));
}

#[test]
fn huge_page_limits_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV2("hugetlb"));
    let limits = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
    let bundle = resources(test.bundle(), "hugepageLimits", limits);
    expect_files(
        &test,
        &bundle,
        &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
    );
}

/// config-linux.md, "Unified": what cannot be converted is an error.
#[test]
fn what_v2_has_no_words_for_is_refused() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"), Feature::CgroupV2("cpu"), Feature::CgroupV2("io"));
    for (part, value, at) in [
        ("cpu", json!({ "realtimePeriod": 900_000, "realtimeRuntime": 1_000 }), "cpu.realtime"),
        ("memory", json!({ "swappiness": 17 }), "memory.swappiness"),
        ("memory", json!({ "disableOOMKiller": true }), "memory.disableOOMKiller"),
        ("blockIO", json!({ "leafWeight": 300 }), "blockIO.leafWeight"),
        ("network", json!({ "classID": 1_048_577 }), "network"),
    ] {
        let bundle = resources(test.bundle_named(at), part, value).args(&["/bin/true"]);
        let output = test.run(&bundle);
        if output.status == 0 && test.excuses(&[Kind::Runc, Kind::Crun], "ignores it") {
            continue;
        }
        output.fails();
        if !test.excuses(&[Kind::Crun], "names no path") {
            output.fails_with(&format!("linux.resources.{at}"));
        }
    }
}

#[test]
fn unified_is_verbatim_and_comes_last() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"), Feature::CgroupV2("pids"), Feature::CgroupV2("cpu"));
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 64 << 20 }));
    let unified = json!({
        "memory.max": "50331648", "memory.high": "41943040", "memory.min": "1048576",
        "memory.oom.group": "1", "cpu.weight": "77", "pids.max": "19", "cgroup.max.depth": "3",
    });
    expect_files(
        &test,
        &resources(bundle, "unified", unified),
        &[
            ("memory.max", "50331648"),
            ("memory.high", "41943040"),
            ("memory.min", "1048576"),
            ("memory.oom.group", "1"),
            ("cpu.weight", "77"),
            ("pids.max", "19"),
            ("cgroup.max.depth", "3"),
        ],
    );
}

#[test]
fn unified_has_one_line_for_each_device() {
    let test = Test::new();
    needs!(Feature::CgroupV2("io"), Feature::BlockDevice);
    only_on!(test, [Rtn], "older runtimes write both lines at once, which the kernel refuses");
    let (major, minor) = host::block_device().expect("a block device");
    let unified =
        json!({ "io.max": format!("{major}:{minor} rbps=5000\n{major}:{minor} riops=70\n") });
    let line = format!("{major}:{minor} rbps=5000 wbps=max riops=70 wiops=max");
    let output = test.create(&resources(test.bundle(), "unified", unified));
    let found = output.cgroup_file("io.max");
    output.remove();
    assert_eq!(found, line);
}

#[test]
fn unified_names_are_files_of_this_cgroup() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    for key in
        ["../memory.max", "x/../memory.max", "/memory.max", "memory", "nothing.max", "memory.bad"]
    {
        let name = key.replace('/', "-");
        let bundle = resources(test.bundle_named(&name), "unified", json!({ key: "1000000000" }));
        let text = test.create_fails(&bundle).stderr;
        if !test.excuses(&[Kind::Runc, Kind::Crun], "does not always name the key") {
            assert!(text.contains(key), "{text}");
        }
    }
}

/// Of /dev/fuse: no default device, and anybody may open it where the rules let him.
const FUSE: (u32, u32) = (10, 229);

#[test]
fn devices_are_denied_by_default_and_allowed_by_rule() {
    let test = Test::new();
    needs!(Feature::CgroupV2("devices"));
    let bundle = test.bundle().capabilities(&["CAP_MKNOD"]).edit(|config| {
        config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": FUSE.0, "minor": FUSE.1, "access": "rm" },
        ]);
    });
    let script = "probe try mknod /fuse 10 229; probe try open /fuse; probe try open-write /fuse; \
                  probe try mknod /mem 1 1; probe try open /mem; probe try open /dev/null; \
                  probe try mknod /tun 10 200; probe try open /tun";
    let output = test.run(&bundle.shell(script));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..3], ["ok", "ok", "EPERM"], "it is allowed for making and reading only");
    assert_eq!(lines[4], "EPERM", "everything else is denied: {lines:?}");
    assert_eq!(lines[5], "ok", "the default devices are always allowed");
    if !test.excuses(&[Kind::Crun], "allows tunnels through systemd alone") {
        // A kernel without the driver has other words.
        assert!(lines[6] == "ok" && lines[7] != "EPERM", "{lines:?}");
    }
}

#[test]
fn the_last_device_rule_that_fits_decides() {
    let test = Test::new();
    needs!(Feature::CgroupV2("devices"));
    let everything = json!({ "allow": true, "access": "rwm" });
    let fuse = |allow: bool, access: &str| json!({ "allow": allow, "type": "c", "major": FUSE.0, "minor": FUSE.1, "access": access });
    for (name, rules, expected) in [
        ("denied", json!([everything, fuse(false, "r")]), ["EPERM", "ok"]),
        ("again", json!([fuse(false, "rwm"), everything]), ["ok", "ok"]),
        ("part", json!([everything, fuse(false, "rw"), fuse(true, "w")]), ["EPERM", "ok"]),
    ] {
        let bundle = test.bundle_named(name).capabilities(&["CAP_MKNOD"]).edit(|config| {
            config["linux"]["resources"]["devices"] = rules;
        });
        let script = "mknod /fuse c 10 229; probe try open /fuse; probe try open-write /fuse";
        let output = test.run(&bundle.shell(script));
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines, expected, "{name}: {output:?}");
    }
}

#[test]
fn device_rules_stay_through_an_update() {
    let test = Test::new();
    needs!(Feature::CgroupV2("devices"), Feature::CgroupV2("pids"));
    let bundle = test.bundle().capabilities(&["CAP_MKNOD"]).edit(|config| {
        config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 1, "access": "m" },
        ]);
    });
    let container = test.serve(bundle);
    let open = || {
        let script =
            "[ -e /mem ] || mknod /mem c 1 1; probe try open /mem; probe try open /dev/zero";
        container.exec(&["/bin/sh", "-c", script]).stdout
    };
    assert_eq!(open(), "EPERM\nok\n");
    for limit in ["33", "34"] {
        update(&container, &["--pids-limit", limit], &[("pids.max", limit)]);
        assert_eq!(open(), "EPERM\nok\n", "after an update");
    }
    container.remove();
}

#[test]
fn every_option_of_update_changes_its_file() {
    let test = Test::new();
    needs!(
        Feature::CgroupV2("memory"),
        Feature::CgroupV2("cpu"),
        Feature::CgroupV2("cpuset"),
        Feature::CgroupV2("pids")
    );
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 64 << 20, "swap": 64 << 20 }));
    let cpu = json!({ "shares": 100, "quota": 20_000, "period": 100_000, "cpus": "0" });
    let container = test.serve(resources(bundle, "cpu", cpu));
    let linear = test.excuses(&[Kind::Runc, Kind::Crun], WEIGHT);
    let weight = if linear { "12" } else { "39" };
    update(&container, &["--memory-reservation", "16777216"], &[("memory.low", "16777216")]);
    update(&container, &["--cpu-share", "300"], &[("cpu.weight", weight)]);
    update(&container, &["--cpu-quota", "40000"], &[("cpu.max", "40000 100000")]);
    update(&container, &["--pids-limit", "44"], &[("pids.max", "44")]);
    update(&container, &["--cpuset-mems", "0"], &[("cpuset.mems", "0"), ("cpuset.cpus", "0")]);
    for size in ["134217728", "33554432"] {
        let limits = [("memory.max", size), ("memory.swap.max", "0")];
        update(&container, &["--memory", size, "--memory-swap", size], &limits);
    }
    let raised = ["--memory", "67108864", "--memory-swap", "100663296"];
    update(&container, &raised, &[("memory.max", "67108864"), ("memory.swap.max", "33554432")]);
    update(
        &container,
        &["--memory", "-1", "--memory-swap", "-1", "--pids-limit", "-1", "--cpu-quota", "-1"],
        &[("memory.max", "max"), ("memory.swap.max", "max"), ("pids.max", "max")],
    );
    assert!(container.cgroup_file("cpu.max").starts_with("max "));
    container.remove();
}

#[test]
fn a_period_alone_keeps_the_quota() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cpu"));
    only_on!(test, [Rtn], "runc before 1.2 and crun write max for the quota that is not given");
    let cpu = json!({ "quota": 20_000, "period": 100_000 });
    let container = test.serve(resources(test.bundle(), "cpu", cpu));
    update(&container, &["--cpu-period", "80000"], &[("cpu.max", "20000 80000")]);
    container.remove();
}

#[test]
fn unified_limits_are_updated() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    let container = test.serve(test.bundle());
    let file = test.dir().join("resources.json");
    let unified = json!({ "unified": { "memory.high": "41943040", "memory.min": "4096" } });
    fs::write(&file, unified.to_string()).expect("a file");
    update(
        &container,
        &["--resources", &file.to_string_lossy()],
        &[("memory.high", "41943040"), ("memory.min", "4096")],
    );
    container.remove();
}

#[test]
fn a_limit_below_what_is_used_is_refused_when_asked_to_check() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"));
    only_on!(test, [Rtn], "checkBeforeUpdate came with runc 1.2 and crun 1.22");
    let container = test.serve(resources(test.bundle(), "memory", json!({ "limit": 64 << 20 })));
    let file = test.dir().join("resources.json");
    let memory = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } });
    fs::write(&file, memory.to_string()).expect("a file");
    let output = container.call(&["update", "--resources", &file.to_string_lossy()]);
    output.fails_with("rejecting memory limit 4096 <= usage");
    assert_eq!(container.cgroup_file("memory.max"), "67108864");
    container.remove();
}

#[test]
fn an_impossible_limit_is_told_and_changes_nothing() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cpu"), Feature::CgroupV2("cpuset"), Feature::CgroupV2("pids"));
    let cpu = json!({ "quota": 20_000, "period": 100_000, "cpus": "0" });
    let container = test.serve(resources(test.bundle(), "cpu", cpu));
    let before = container.cgroup_file("pids.max");
    for options in [["--cpu-quota", "10"], ["--cpuset-cpus", "9999"], ["--pids-limit", "many"]] {
        container.call(&[&["update"], options.as_slice()].concat()).fails();
    }
    assert_eq!(container.cgroup_file("cpu.max"), "20000 100000");
    assert_eq!(container.cgroup_file("cpuset.cpus"), "0");
    assert_eq!(container.cgroup_file("pids.max"), before);
    container.remove();
}

#[test]
fn statistics_come_from_the_files_of_v2() {
    let test = Test::new();
    needs!(Feature::CgroupV2("memory"), Feature::CgroupV2("pids"), Feature::CgroupV2("cpu"));
    only_on!(test, [Rtn, Runc], "crun has no events");
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 64 << 20, "swap": 96 << 20 }));
    let bundle = resources(bundle, "pids", json!({ "limit": 20 }));
    // The kernel sums memory.stat up for who reads it after some hundred pages, else every two seconds.
    let mut container = test.start(&bundle.shell("probe alloc 8388608; exec probe serve"));
    container.expect("ready");
    let stats = container.call(&["events", "--stats"]).json();
    let peak = container.cgroup("").join("memory.peak").exists();
    let pressure = container.cgroup("").join("cpu.pressure").exists();
    container.remove();
    let number = |pointer: &str| {
        let value = stats["data"].pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number at {pointer}: {stats:#}"))
    };
    assert_eq!((number("/pids/current"), number("/pids/limit")), (1, 20));
    assert_eq!(number("/memory/usage/limit"), 64 << 20);
    assert!(number("/memory/usage/usage") > 0);
    if peak && !test.excuses(&[Kind::Runc], "does not read memory.peak") {
        assert!(number("/memory/usage/max") >= number("/memory/usage/usage"));
    }
    assert!(number("/memory/raw/anon") > 0);
    number("/memory/raw/file");
    assert!(number("/cpu/usage/total") > 0);
    number("/cpu/usage/kernel");
    if pressure && !test.excuses(&[Kind::Runc], "PSI came with runc 1.2") {
        number("/cpu/psi/some/total");
        number("/memory/psi/full/total");
    }
}

/// By its controller, or one by one.
#[test]
fn the_number_of_processes_is_known_in_any_case() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cgroup"));
    only_on!(test, [Rtn, Runc], "crun 1.8 counts with the controller alone");
    let container = test.serve(test.bundle());
    let stats = container.call(&["events", "--stats"]).json();
    container.remove();
    assert_eq!(stats["data"]["pids"]["current"], 1, "{stats}");
}
