//! config.md "Linux Process": `capabilities`.

use std::collections::BTreeSet;

use integration::{Capabilities, Output, Test, collect, test::parse};
use serde_json::{Value, json};

use super::{linux_process::LINUX, process, run_by};
use crate::{Statement, must, optional, should_not, skip};

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config.capabilities.unknown.warning",
        LINUX,
        "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted \
         otherwise MUST be logged as a warning by the runtime.",
    )
    .test(|test| {
        let output = test.run(&test.bundle().capabilities(&["CAP_KILL", "CAP_NO_SUCH"]));
        says(&output, "CAP_NO_SUCH");
    }),
    must(
        "config.capabilities.ungranted.warning",
        LINUX,
        "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted \
         otherwise MUST be logged as a warning by the runtime.",
    )
    .test(|test| {
        let Some(output) = run_without_sys_time(test) else { skip!("no setpriv(1) here") };
        says(&output, "CAP_SYS_TIME");
    }),
    should_not(
        "config.capabilities.unknown.no-failure",
        LINUX,
        "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot \
         be granted, for example, if the runtime operates in a restricted environment with a \
         limited set of capabilities.",
    )
    .test(|test| {
        let facts = test.facts(&test.bundle().capabilities(&["CAP_KILL", "CAP_NO_SUCH"]));
        assert_eq!(facts.caps.effective, set(&["CAP_KILL"]));
    }),
    should_not(
        "config.capabilities.ungranted.no-failure",
        LINUX,
        "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot \
         be granted, for example, if the runtime operates in a restricted environment with a \
         limited set of capabilities.",
    )
    .test(|test| {
        let Some(output) = run_without_sys_time(test) else { skip!("no setpriv(1) here") };
        let caps = parse(output.ok()).caps;
        assert_eq!((caps.effective, caps.bounding), (set(&["CAP_KILL"]), set(&["CAP_KILL"])));
    }),
    // For root an execve(2) makes the permitted and effective sets from the bounding set.
    optional(
        "config.capabilities.effective",
        LINUX,
        "effective (array of strings, OPTIONAL) the effective field is an array of effective \
         capabilities that are kept for the process.",
    )
    .test(|test| {
        let caps = test.facts(&test.bundle().capabilities(&["CAP_KILL", "CAP_CHOWN"])).caps;
        assert_eq!(caps.effective, set(&["CAP_KILL", "CAP_CHOWN"]));
    }),
    optional(
        "config.capabilities.bounding",
        LINUX,
        "bounding (array of strings, OPTIONAL) the bounding field is an array of bounding \
         capabilities that are kept for the process.",
    )
    .test(|test| {
        let held = of_a_user(test, json!({ "bounding": ["CAP_KILL", "CAP_NET_RAW"] }));
        assert_eq!(held.bounding, set(&["CAP_KILL", "CAP_NET_RAW"]));
    }),
    optional(
        "config.capabilities.inheritable",
        LINUX,
        "inheritable (array of strings, OPTIONAL) the inheritable field is an array of inheritable \
         capabilities that are kept for the process.",
    )
    .test(|test| {
        let sets = json!({ "bounding": SOME, "permitted": SOME, "inheritable": ["CAP_KILL"] });
        let held = of_a_user(test, sets);
        assert_eq!(held.inheritable, set(&["CAP_KILL"]));
        assert_eq!((held.permitted, held.effective), (set(&[]), set(&[])));
    }),
    optional(
        "config.capabilities.permitted",
        LINUX,
        "permitted (array of strings, OPTIONAL) the permitted field is an array of permitted \
         capabilities that are kept for the process.",
    )
    .test(|test| {
        let sets = json!({
            "bounding": SOME, "effective": SOME, "permitted": SOME, "inheritable": SOME,
            "ambient": SOME,
        });
        assert_eq!(of_a_user(test, sets).permitted, set(&SOME));
    }),
    optional(
        "config.capabilities.ambient",
        LINUX,
        "ambient (array of strings, OPTIONAL) the ambient field is an array of ambient \
         capabilities that are kept for the process.",
    )
    .test(|test| {
        let sets = json!({
            "bounding": SOME, "permitted": SOME, "inheritable": SOME, "ambient": ["CAP_CHOWN"],
        });
        let held = of_a_user(test, sets);
        for found in [held.ambient, held.permitted, held.effective] {
            assert_eq!(found, set(&["CAP_CHOWN"]));
        }
    }),
    optional(
        "config.capabilities.none",
        LINUX,
        "capabilities (object, OPTIONAL) is an object containing arrays that specifies the sets of \
         capabilities for the process.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "capabilities", json!({}));
        let held = test.facts(&bundle).caps;
        let sets = [held.effective, held.permitted, held.inheritable, held.bounding, held.ambient];
        assert!(sets.iter().all(BTreeSet::is_empty), "{sets:?}");
    }),
    optional(
        "config.capabilities.every",
        LINUX,
        "capabilities (object, OPTIONAL) […] Valid values are defined in the capabilities(7) man \
         page, such as CAP_CHOWN.",
    )
    .test(|test| {
        let own = collect::facts(&[], &[]).caps.permitted;
        let names: Vec<&str> = own.iter().map(String::as_str).collect();
        assert_eq!(test.facts(&test.bundle().capabilities(&names)).caps.effective, own);
    }),
];

const SOME: [&str; 2] = ["CAP_CHOWN", "CAP_KILL"];

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What an ordinary user has whose `process.capabilities` are `sets`.
#[track_caller]
fn of_a_user(test: &Test, sets: Value) -> Capabilities {
    let bundle = process(test.bundle(), "capabilities", sets);
    test.facts(&process(bundle, "user", json!({ "uid": 1000, "gid": 1000 }))).caps
}

/// The runtime itself lacks CAP_SYS_TIME, and the container asks for it. `None` without setpriv(1).
#[track_caller]
fn run_without_sys_time(test: &Test) -> Option<Output> {
    let bundle = test.bundle().capabilities(&["CAP_KILL", "CAP_SYS_TIME"]);
    run_by(test, &["setpriv", "--bounding-set", "-sys_time"], &bundle)
}

/// A warning does not change the way of the operation, and names what it is about.
#[track_caller]
fn says(output: &Output, name: &str) {
    output.ok();
    let text = output.stderr.to_uppercase();
    assert!(text.contains(name), "no warning about {name}: {:?}", output.stderr);
}
