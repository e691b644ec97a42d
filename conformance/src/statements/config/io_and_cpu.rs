//! config.md "Linux Process": `ioPriority` and `execCPUAffinity`.

use std::fs;

use integration::{Feature, Test, needs};
use serde_json::{Value, json};

use super::{linux_process::LINUX, process, refuses};
use crate::{Statement, optional, required, should_not};

/// The numbers of two CPUs; the check returns on a machine that has one.
macro_rules! cpus {
    () => {{
        needs!(Feature::TwoCpus);
        two_cpus()
    }};
}

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config.io-priority",
        LINUX,
        "ioPriority (object, OPTIONAL) configures the I/O priority settings for the container's \
         processes within the process group. The I/O priority settings will be automatically \
         applied to the entire process group, affecting all processes within the container.",
    )
    .test(|test| {
        let priority = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
        // The shell is one process, and ionice its child.
        let bundle = process(test.bundle(), "ioPriority", priority).shell("ionice -p 1; ionice");
        let output = test.run(&bundle);
        let lines: Vec<&str> = output.ok().lines().collect();
        assert_eq!(lines, ["best-effort: prio 6"; 2]);
    }),
    required("config.io-priority.class.rt", LINUX, CLASS)
        .test(|test| assert_eq!(io_priority(test, "IOPRIO_CLASS_RT", 3), "realtime: prio 3")),
    required("config.io-priority.class.be", LINUX, CLASS)
        .test(|test| assert_eq!(io_priority(test, "IOPRIO_CLASS_BE", 0), "best-effort: prio 0")),
    required("config.io-priority.class.idle", LINUX, CLASS).test(|test| {
        let text = io_priority(test, "IOPRIO_CLASS_IDLE", 0);
        assert!(text.starts_with("idle"), "{text}");
    }),
    required("config.io-priority.class.unknown", LINUX, CLASS).test(|test| {
        for class in ["IOPRIO_CLASS_NO_SUCH", "idle", ""] {
            let priority = json!({ "class": class, "priority": 4 });
            let bundle = test.bundle_named(&format!("class-{class}"));
            refuses(test, &process(bundle, "ioPriority", priority));
        }
    }),
    required(
        "config.io-priority.priority",
        LINUX,
        "priority (int, REQUIRED) specifies the priority level within the class. The value should \
         be an integer ranging from 0 (highest) to 7 (lowest).",
    )
    .test(|test| assert_eq!(io_priority(test, "IOPRIO_CLASS_BE", 7), "best-effort: prio 7")),
    required(
        "config.io-priority.priority.range",
        LINUX,
        "priority (int, REQUIRED) specifies the priority level within the class. The value should \
         be an integer ranging from 0 (highest) to 7 (lowest).",
    )
    .test(|test| {
        for level in [8, -1] {
            let priority = json!({ "class": "IOPRIO_CLASS_BE", "priority": level });
            let bundle = test.bundle_named(&format!("level{level}"));
            refuses(test, &process(bundle, "ioPriority", priority));
        }
    }),
    optional(
        "config.exec-cpu-affinity",
        LINUX,
        "execCPUAffinity (object, OPTIONAL) specifies CPU affinity used to execute the process.",
    )
    .test(|test| {
        let (first, second) = cpus!();
        let affinity = json!({ "initial": first.to_string(), "final": second.to_string() });
        assert_eq!(of_an_exec(test, affinity), second.to_string());
    }),
    optional(
        "config.exec-cpu-affinity.not-init",
        LINUX,
        "execCPUAffinity (object, OPTIONAL) […] This setting is not applicable to the container's \
         init process.",
    )
    .test(|test| {
        let (first, _) = cpus!();
        let one = first.to_string();
        let affinity = json!({ "initial": one, "final": one });
        let bundle = process(test.bundle(), "execCPUAffinity", affinity);
        let facts = test.facts_with(&["--read", STATUS], bundle);
        let own = allowed(&fs::read_to_string(STATUS).expect("the own status"));
        assert_eq!(allowed(facts.files[STATUS].as_deref().expect("its status")), own);
    }),
    optional(
        "config.exec-cpu-affinity.of-the-container",
        LINUX,
        "execCPUAffinity (object, OPTIONAL) specifies CPU affinity used to execute the process.",
    )
    .test(|test| {
        let (first, second) = cpus!();
        let affinity = json!({ "initial": first.to_string(), "final": second.to_string() });
        let container = test.serve(process(test.bundle(), "execCPUAffinity", affinity));
        let output = container.exec(&["/bin/cat", STATUS]);
        container.remove();
        assert_eq!(allowed(output.ok()), second.to_string(), "exec takes it from config.json");
    }),
    optional(
        "config.exec-cpu-affinity.initial",
        LINUX,
        "initial (string, OPTIONAL) is a list of CPUs a runtime parent process to be run on \
         initially, before the transition to container's cgroup.",
    )
    .test(|test| {
        let (first, _) = cpus!();
        let found = of_an_exec(test, json!({ "initial": first.to_string() }));
        assert_eq!(found, first.to_string(), "nothing changes it afterwards");
    }),
    optional(
        "config.exec-cpu-affinity.list",
        LINUX,
        "initial (string, OPTIONAL) […] This is a a comma-separated list, with dashes to represent \
         ranges. For example, 0-3,7 represents CPUs 0,1,2,3, and 7.",
    )
    .test(|test| {
        let (first, second) = cpus!();
        let found = of_an_exec(test, json!({ "final": format!("{second}-{second}") }));
        assert_eq!(found, second.to_string());
        let both = format!("{first},{second}");
        let found =
            of_an_exec_in(test, "two", json!({ "initial": second.to_string(), "final": both }));
        assert!(found == both || found == format!("{first}-{second}"), "{found}");
    }),
    optional(
        "config.exec-cpu-affinity.final",
        LINUX,
        "final (string, OPTIONAL) is a list of CPUs the process will be run on after the \
         transition to container's cgroup.",
    )
    .test(|test| {
        let (_, second) = cpus!();
        assert_eq!(of_an_exec(test, json!({ "final": second.to_string() })), second.to_string());
    }),
    should_not(
        "config.exec-cpu-affinity.final.omitted",
        LINUX,
        "If omitted or empty, runtime SHOULD NOT change process' CPU affinity after the process is \
         moved to container's cgroup, and the final affinity is determined by the Linux kernel.",
    )
    .test(|test| {
        let (_, second) = cpus!();
        let empty = json!({ "initial": second.to_string(), "final": "" });
        assert_eq!(of_an_exec(test, empty), second.to_string());
    }),
    optional(
        "config.exec-cpu-affinity.invalid",
        LINUX,
        "initial (string, OPTIONAL) […] This is a a comma-separated list, with dashes to represent \
         ranges.",
    )
    .test(|test| {
        let container = test.serve(test.bundle());
        for list in ["x", "1-", "-1", "3-1"] {
            let affinity = json!({ "execCPUAffinity": { "final": list } });
            container.exec_process(&affinity).fails();
        }
        container.remove();
    }),
];

const CLASS: &str = "class (string, REQUIRED) specifies the I/O scheduling class. Possible values \
    are IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, and IOPRIO_CLASS_IDLE.";
const STATUS: &str = "/proc/self/status";

/// What ionice says in a container with this priority.
#[track_caller]
fn io_priority(test: &Test, class: &str, level: i32) -> String {
    let priority = json!({ "class": class, "priority": level });
    let bundle = process(test.bundle(), "ioPriority", priority).args(&["/bin/ionice"]);
    test.run(&bundle).ok().trim().to_owned()
}

/// The first two CPUs that this process may run on.
#[track_caller]
fn two_cpus() -> (u32, u32) {
    let list = allowed(&fs::read_to_string(STATUS).expect("the own status"));
    let range = |part: &str| -> Option<Vec<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?..=last.parse().ok()?).collect())
    };
    let all: Vec<u32> = list.split(',').filter_map(range).flatten().collect();
    (all[0], all[1])
}

/// `Cpus_allowed_list` of a /proc/<pid>/status.
#[track_caller]
fn allowed(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("the line").trim().to_owned()
}

/// The CPUs of a process that is executed with this affinity.
#[track_caller]
fn of_an_exec(test: &Test, affinity: Value) -> String {
    of_an_exec_in(test, "bundle", affinity)
}

#[track_caller]
fn of_an_exec_in(test: &Test, bundle: &str, affinity: Value) -> String {
    let container = test.serve(test.bundle_named(bundle));
    let process = json!({ "execCPUAffinity": affinity, "args": ["/bin/cat", STATUS] });
    let output = container.exec_process(&process);
    container.remove();
    allowed(output.ok())
}
