//! config-linux.md "CPU".

use integration::{Feature, Test, host, needs};
use serde_json::{Value, json};

use super::limits::{bundle, file, number, refused, written};
use crate::{Statement, must, optional};

const SECTION: &str = r#"config-linux.md "CPU""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.cpu.shares",
        SECTION,
        "shares (uint64, OPTIONAL) - specifies a relative share of CPU time available to the tasks in a cgroup",
    )
    .test(more_shares_are_more_weight),
    optional(
        "config-linux.cpu.quota",
        SECTION,
        "quota (int64, OPTIONAL) - specifies the total amount of time in microseconds for which all tasks in a \
         cgroup can run during one period",
    )
    .test(|test| {
        let cpu = json!({ "quota": 30_000 });
        cpu_files(test, cpu, &[("cpu.cfs_quota_us", "30000")], &[("cpu.max", "30000 100000")]);
    }),
    optional(
        "config-linux.cpu.quota.none",
        SECTION,
        "quota (int64, OPTIONAL) - specifies the total amount of time in microseconds for which all tasks in a \
         cgroup can run during one period",
    )
    .test(|test| {
        let cpu = json!({ "quota": -1, "period": 50_000 });
        cpu_files(test, cpu, &[("cpu.cfs_quota_us", "-1")], &[("cpu.max", "max 50000")]);
    }),
    must(
        "config-linux.cpu.quota.burst",
        SECTION,
        "If specified with any (valid) positive value, it MUST be no smaller than burst (runtimes MAY generate an error).",
    )
    .test(a_burst_beyond_the_quota_is_not_taken),
    optional(
        "config-linux.cpu.burst",
        SECTION,
        "burst (uint64, OPTIONAL) - specifies the maximum amount of accumulated time in microseconds for which all \
         tasks in a cgroup can run additionally for burst during one period",
    )
    .test(|test| {
        let cpu = json!({ "quota": 30_000, "period": 50_000, "burst": 10_000 });
        cpu_files(test, cpu, &[("cpu.cfs_burst_us", "10000")], &[("cpu.max.burst", "10000")]);
    }),
    must(
        "config-linux.cpu.burst.quota",
        SECTION,
        "If specified, this value MUST be no larger than any positive quota (runtimes MAY generate an error).",
    )
    .untestable("it is config-linux.cpu.quota.burst, said of the other property"),
    optional(
        "config-linux.cpu.period",
        SECTION,
        "period (uint64, OPTIONAL) - specifies a period of time in microseconds for how regularly a cgroup's access \
         to CPU resources should be reallocated (CFS scheduler only)",
    )
    .test(|test| {
        let cpu = json!({ "quota": 30_000, "period": 50_000 });
        cpu_files(test, cpu, &[("cpu.cfs_period_us", "50000")], &[("cpu.max", "30000 50000")]);
    }),
    optional(
        "config-linux.cpu.period.alone",
        SECTION,
        "period (uint64, OPTIONAL) - specifies a period of time in microseconds for how regularly a cgroup's access \
         to CPU resources should be reallocated (CFS scheduler only)",
    )
    .test(|test| {
        let cpu = json!({ "period": 50_000 });
        cpu_files(test, cpu, &[("cpu.cfs_period_us", "50000")], &[("cpu.max", "max 50000")]);
    }),
    optional(
        "config-linux.cpu.realtime-runtime",
        SECTION,
        "realtimeRuntime (int64, OPTIONAL) - specifies a period of time in microseconds for the longest continuous \
         period in which the tasks in a cgroup have access to CPU resources",
    )
    .test(|test| realtime(test, json!({ "realtimeRuntime": 1000 }), ("cpu.rt_runtime_us", "1000"))),
    optional(
        "config-linux.cpu.realtime-period",
        SECTION,
        "realtimePeriod (uint64, OPTIONAL) - same as period but applies to realtime scheduler only",
    )
    .test(|test| realtime(test, json!({ "realtimePeriod": 900_000 }), ("cpu.rt_period_us", "900000"))),
    optional(
        "config-linux.cpu.cpus",
        SECTION,
        "cpus (string, OPTIONAL) - list of CPUs the container will run on.",
    )
    .test(it_runs_on_these_cpus),
    optional(
        "config-linux.cpu.mems",
        SECTION,
        "mems (string, OPTIONAL) - list of memory nodes the container will run on.",
    )
    .test(|test| {
        needs!(Feature::Controller("cpuset"));
        let files = [("cpuset.mems", "0")];
        written(test, "cpu", json!({ "cpus": "0", "mems": "0" }), &files, &files);
    }),
    optional(
        "config-linux.cpu.idle",
        SECTION,
        "idle (int64, OPTIONAL) - cgroups are configured with minimum weight, 0: default behavior, 1: SCHED_IDLE.",
    )
    .test(|test| {
        for (idle, text) in [(0, "0"), (1, "1")] {
            cpu_files(test, json!({ "idle": idle }), &[("cpu.idle", text)], &[("cpu.idle", text)]);
        }
    }),
];

#[track_caller]
fn cpu_files(test: &Test, value: Value, v1: &[(&str, &str)], v2: &[(&str, &str)]) {
    needs!(Feature::Controller("cpu"));
    written(test, "cpu", value, v1, v2);
}

/// In v1 the number itself; v2 has weights, and no rule of the specification for how to get there.
fn more_shares_are_more_weight(test: &Test) {
    needs!(Feature::Controller("cpu"));
    let weights = [256_u64, 1024, 4096].map(|shares| {
        let container = test.create(&bundle(test, "cpu", json!({ "shares": shares })));
        let weight = number(&container, "cpu.shares", "cpu.weight");
        container.remove();
        weight
    });
    if host::unified() {
        assert!(weights.is_sorted_by(|less, more| less < more), "{weights:?}");
    } else {
        assert_eq!(weights, [256, 1024, 4096]);
    }
}

/// The kernel refuses it; not to write it and to say nothing is the one thing that is wrong.
fn a_burst_beyond_the_quota_is_not_taken(test: &Test) {
    needs!(Feature::Controller("cpu"));
    refused(test, "cpu", json!({ "quota": 30_000, "period": 50_000, "burst": 40_000 }));
}

/// The parent's share decides how much the kernel gives; nothing but its refusal may end a create.
fn realtime(test: &Test, cpu: Value, (name, expected): (&str, &str)) {
    needs!(Feature::CgroupV1("cpu"), Feature::RealtimeGroups);
    let bundle = bundle(test, "cpu", cpu);
    let output = super::limits::call(test, &bundle);
    if output.status != 0 {
        let message = output.fails();
        assert!(message.contains("cpu.rt_"), "{message}");
        return;
    }
    let state = test.call(&["state", test.id()]).json();
    let pid = state["pid"].as_i64().expect("a pid") as i32;
    let found = std::fs::read_to_string(host::cgroup_of(pid, "cpu").join(name)).expect(name);
    test.call(&["delete", "--force", test.id()]).ok();
    assert_eq!(found.trim(), expected);
}

fn it_runs_on_these_cpus(test: &Test) {
    needs!(Feature::Controller("cpuset"));
    let container = test.create(&bundle(test, "cpu", json!({ "cpus": "0" })));
    let cpus = file(&container, "cpuset.cpus");
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("status");
    container.remove();
    assert_eq!(cpus, "0");
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    assert_eq!(allowed.map(str::trim), Some("0"), "the CPUs of the process");
}
