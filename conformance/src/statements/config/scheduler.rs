//! config.md "Linux Process": `scheduler`.

use std::{fs, path::Path, process::Command};

use integration::{Bundle, Test, host, test::parse};
use serde_json::{Value, json};

use super::{linux_process::LINUX, process, refuses, run_by};
use crate::{Statement, optional, required, skip};

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config.scheduler",
        LINUX,
        "scheduler (object, OPTIONAL) is an object describing the scheduler properties for the \
         process.",
    )
    .test(|test| {
        let scheduler = json!({ "policy": "SCHED_BATCH", "nice": 7 });
        assert_eq!(scheduled(test, scheduler), Scheduled { policy: 3, nice: 7, priority: 0 });
    }),
    required(
        "config.scheduler.policy.required",
        LINUX,
        "policy (string, REQUIRED) represents the scheduling policy.",
    )
    .test(|test| refuses(test, &scheduler(test.bundle(), json!({ "nice": 1 })))),
    required("config.scheduler.policy.other", LINUX, POLICY).test(|test| {
        let bundle = scheduler(test.bundle(), json!({ "policy": "SCHED_OTHER" }));
        let bundle = bundle.args(&["/bin/cat", "/proc/self/stat"]);
        let Some(output) = run_by(test, &["chrt", "--batch", "0"], &bundle) else {
            skip!("no chrt(1) here")
        };
        assert_eq!(of_stat(output.ok()), Scheduled { policy: 0, nice: 0, priority: 0 });
    }),
    required("config.scheduler.policy.fifo", LINUX, POLICY).test(|test| {
        let scheduler = json!({ "policy": "SCHED_FIFO", "priority": 5 });
        assert_eq!(scheduled(test, scheduler), Scheduled { policy: 1, nice: 0, priority: 5 });
    }),
    required("config.scheduler.policy.rr", LINUX, POLICY).test(|test| {
        let scheduler = json!({ "policy": "SCHED_RR", "priority": 6 });
        assert_eq!(scheduled(test, scheduler), Scheduled { policy: 2, nice: 0, priority: 6 });
    }),
    required("config.scheduler.policy.batch", LINUX, POLICY).test(|test| {
        let scheduler = json!({ "policy": "SCHED_BATCH" });
        assert_eq!(scheduled(test, scheduler), Scheduled { policy: 3, nice: 0, priority: 0 });
    }),
    required("config.scheduler.policy.iso", LINUX, POLICY)
        .untestable("the kernel has the number of SCHED_ISO reserved and the policy never had"),
    required("config.scheduler.policy.idle", LINUX, POLICY).test(|test| {
        let scheduler = json!({ "policy": "SCHED_IDLE" });
        assert_eq!(scheduled(test, scheduler), Scheduled { policy: 5, nice: 0, priority: 0 });
    }),
    required("config.scheduler.policy.deadline", LINUX, POLICY)
        .test(|test| assert_eq!(scheduled(test, deadline()).policy, 6)),
    required("config.scheduler.policy.unknown", LINUX, POLICY).test(|test| {
        for name in ["SCHED_NO_SUCH", "sched_batch", "BATCH", ""] {
            let bundle = test.bundle_named(&format!("policy-{name}"));
            refuses(test, &scheduler(bundle, json!({ "policy": name })));
        }
    }),
    optional(
        "config.scheduler.nice",
        LINUX,
        "nice (int32, OPTIONAL) is the nice value for the process, affecting its priority. A lower \
         nice value corresponds to a higher priority.",
    )
    .test(|test| {
        let scheduler = json!({ "policy": "SCHED_OTHER", "nice": -5 });
        assert_eq!(scheduled(test, scheduler).nice, -5);
    }),
    optional(
        "config.scheduler.nice.default",
        LINUX,
        "nice (int32, OPTIONAL) […] If not set, the runtime must use the value 0.",
    )
    .test(|test| {
        let bundle = scheduler(test.bundle(), json!({ "policy": "SCHED_BATCH" }));
        let Some(output) = run_by(test, &["nice", "-n", "11"], &bundle) else {
            skip!("no nice(1) here")
        };
        assert_eq!(parse(output.ok()).nice, 0, "not the caller's");
    }),
    optional(
        "config.scheduler.nice.range",
        LINUX,
        "nice (int32, OPTIONAL) is the nice value for the process, affecting its priority.",
    )
    .test(|test| {
        for nice in [20, -21] {
            let bundle = test.bundle_named(&format!("nice{nice}"));
            refuses(test, &scheduler(bundle, json!({ "policy": "SCHED_OTHER", "nice": nice })));
        }
    }),
    optional(
        "config.scheduler.priority",
        LINUX,
        "priority (int32, OPTIONAL) represents the static priority of the process, used by \
         real-time policies like SCHED_FIFO and SCHED_RR.",
    )
    .test(|test| {
        let scheduler = json!({ "policy": "SCHED_FIFO", "priority": 42 });
        assert_eq!(scheduled(test, scheduler).priority, 42);
    }),
    optional(
        "config.scheduler.priority.range",
        LINUX,
        "priority (int32, OPTIONAL) represents the static priority of the process […]. If not set, \
         the runtime must use the value 0.",
    )
    .test(|test| {
        // sched(7): these policies have no priority 0, so the kernel refuses what is not set.
        for (name, priority) in [("unset", json!(null)), ("high", json!(100))] {
            let mut properties = json!({ "policy": "SCHED_FIFO" });
            if !priority.is_null() {
                properties["priority"] = priority;
            }
            refuses(test, &scheduler(test.bundle_named(name), properties));
        }
    }),
    optional(
        "config.scheduler.flags",
        LINUX,
        "flags (array of strings, OPTIONAL) is an array of strings representing scheduling flags.",
    )
    .test(|test| {
        let flags = json!({ "policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
        let Some(text) = chrt(test, flags) else { skip!("no chrt(1) here") };
        assert!(text.contains("SCHED_RESET_ON_FORK"), "{text}");
    }),
    optional(
        "config.scheduler.flags.deadline",
        LINUX,
        "flags (array of strings, OPTIONAL) […] A valid list of values is: \
         SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_RECLAIM, SCHED_FLAG_DL_OVERRUN, […]",
    )
    .test(|test| {
        let mut properties = deadline();
        properties["flags"] = json!(["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]);
        assert_eq!(scheduled(test, properties).policy, 6);
    }),
    optional(
        "config.scheduler.flags.unknown",
        LINUX,
        "flags (array of strings, OPTIONAL) is an array of strings representing scheduling flags.",
    )
    .test(|test| {
        let flags = json!({ "policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_NO_SUCH"] });
        refuses(test, &scheduler(test.bundle(), flags));
    }),
    optional(
        "config.scheduler.runtime",
        LINUX,
        "runtime (uint64, OPTIONAL) represents the amount of time in nanoseconds during which the \
         process is allowed to run in a given period, used by the deadline scheduler.",
    )
    .test(|test| shows(test, 0, "1000000")),
    optional(
        "config.scheduler.deadline",
        LINUX,
        "deadline (uint64, OPTIONAL) represents the absolute deadline for the process to complete \
         its execution, used by the deadline scheduler.",
    )
    .test(|test| shows(test, 1, "2000000")),
    optional(
        "config.scheduler.period",
        LINUX,
        "period (uint64, OPTIONAL) represents the length of the period in nanoseconds used for \
         determining the process runtime, used by the deadline scheduler.",
    )
    .test(|test| shows(test, 2, "3000000")),
    optional(
        "config.scheduler.deadline.default",
        LINUX,
        "runtime (uint64, OPTIONAL) […] If not set, the runtime must use the value 0.",
    )
    // sched(7): a deadline of 0 is none, and the kernel refuses a runtime of 0.
    .test(|test| refuses(test, &scheduler(test.bundle(), json!({ "policy": "SCHED_DEADLINE" })))),
];

const POLICY: &str = "policy (string, REQUIRED) represents the scheduling policy. A valid list of \
    values is: SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, \
    SCHED_DEADLINE";

/// What proc_pid_stat(5) says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Scheduled {
    /// As in linux/sched.h: SCHED_BATCH is 3.
    policy: i32,
    nice: i32,
    priority: i32,
}

fn scheduler(bundle: Bundle, properties: Value) -> Bundle {
    let bundle = process(bundle, "scheduler", properties);
    let Some(cpu) = host::hierarchy("cpu") else { return bundle };
    if !Path::new(&cpu.target).join("cpu.rt_runtime_us").exists() {
        return bundle;
    }
    // Where the kernel divides realtime among cgroups (CONFIG_RT_GROUP_SCHED), a new one has none.
    bundle.edit(|config| {
        config["linux"]["resources"]["cpu"] =
            json!({ "realtimePeriod": 1_000_000, "realtimeRuntime": 10_000 });
    })
}

/// How a container with this `process.scheduler` is scheduled, as the host sees it.
#[track_caller]
fn scheduled(test: &Test, properties: Value) -> Scheduled {
    let container = test.serve(scheduler(test.bundle(), properties));
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid)).expect("its stat");
    container.remove();
    of_stat(&stat)
}

/// Reads a /proc/<pid>/stat.
fn of_stat(stat: &str) -> Scheduled {
    let fields: Vec<i32> = stat
        .rsplit(") ")
        .next()
        .expect("fields after the command")
        .split_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    // The first of these is field 3.
    Scheduled { policy: fields[41 - 3], nice: fields[19 - 3], priority: fields[40 - 3] }
}

/// What chrt(1) says of such a container.
#[track_caller]
fn chrt(test: &Test, properties: Value) -> Option<String> {
    let container = test.serve(scheduler(test.bundle(), properties));
    let output = Command::new("chrt").args(["--pid", &container.pid.to_string()]).output();
    container.remove();
    Some(String::from_utf8_lossy(&output.ok()?.stdout).into_owned())
}

fn deadline() -> Value {
    json!({
        "policy": "SCHED_DEADLINE",
        "runtime": 1_000_000, "deadline": 2_000_000, "period": 3_000_000,
    })
}

/// The `index`th of the three numbers of a deadline: runtime, deadline, period.
#[track_caller]
fn shows(test: &Test, index: usize, wanted: &str) {
    let Some(text) = chrt(test, deadline()) else { skip!("no chrt(1) here") };
    let line = text.lines().find(|line| line.contains("runtime/deadline/period"));
    let numbers = line.and_then(|line| line.rsplit(": ").next());
    let number = numbers.and_then(|numbers| numbers.split('/').nth(index));
    assert_eq!(number, Some(wanted), "{text}");
}
