//! config-linux.md "Memory policy". The kernel tells a process its policy in /proc/self/numa_maps.

use integration::{Bundle, Feature, Test, needs};
use serde_json::{Value, json};

use crate::{Statement, optional, required};

const SECTION: &str = r#"config-linux.md "Memory policy""#;

const MODES: &str = "mode (string, REQUIRED) - A valid list of constants is shown below.";
const FLAGS: &str =
    "flags (array of strings, OPTIONAL) - list of flags to use with set_mempolicy(2).";

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.memory-policy",
        SECTION,
        "memoryPolicy (object, OPTIONAL) sets the NUMA memory policy for the container.",
    )
    .test(|test| policy(test, json!({ "mode": "MPOL_BIND", "nodes": "0" }), "bind:0")),
    required("config-linux.memory-policy.mode", SECTION, MODES).test(the_mode_is_not_optional),
    required("config-linux.memory-policy.mode.unknown", SECTION, MODES)
        .test(|test| refused(test, json!({ "mode": "MPOL_FIRST", "nodes": "0" }))),
    required("config-linux.memory-policy.mode.default", SECTION, MODES)
        .test(|test| policy(test, json!({ "mode": "MPOL_DEFAULT", "nodes": "" }), "default")),
    required("config-linux.memory-policy.mode.bind", SECTION, MODES)
        .test(|test| policy(test, json!({ "mode": "MPOL_BIND", "nodes": "0" }), "bind:0")),
    required("config-linux.memory-policy.mode.interleave", SECTION, MODES)
        .test(|test| policy(test, json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" }), "interleave:0")),
    required("config-linux.memory-policy.mode.weighted-interleave", SECTION, MODES).test(|test| {
        let mode = json!({ "mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0" });
        policy(test, mode, "weighted interleave:0");
    }),
    required("config-linux.memory-policy.mode.preferred", SECTION, MODES)
        .test(|test| policy(test, json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }), "prefer:0")),
    required("config-linux.memory-policy.mode.preferred-many", SECTION, MODES).test(|test| {
        policy(test, json!({ "mode": "MPOL_PREFERRED_MANY", "nodes": "0" }), "prefer (many):0");
    }),
    required("config-linux.memory-policy.mode.local", SECTION, MODES)
        .test(|test| policy(test, json!({ "mode": "MPOL_LOCAL", "nodes": "" }), "local")),
    required(
        "config-linux.memory-policy.nodes",
        SECTION,
        "nodes (string, REQUIRED) - list of memory nodes from which nodemask is constructed to set_mempolicy(2). \
         This is a comma-separated list, with dashes to represent ranges.",
    )
    .test(|test| policy(test, json!({ "mode": "MPOL_BIND", "nodes": "0-0,0" }), "bind:0")),
    required(
        "config-linux.memory-policy.nodes.syntax",
        SECTION,
        "nodes (string, REQUIRED) - list of memory nodes from which nodemask is constructed to set_mempolicy(2). \
         This is a comma-separated list, with dashes to represent ranges.",
    )
    .test(what_is_no_list_of_nodes_is_an_error),
    required(
        "config-linux.memory-policy.nodes.absent",
        SECTION,
        "nodes (string, REQUIRED) - list of memory nodes from which nodemask is constructed to set_mempolicy(2).",
    )
    .test(|test| refused(test, json!({ "mode": "MPOL_BIND", "nodes": "999" }))),
    optional("config-linux.memory-policy.flags.static-nodes", SECTION, FLAGS)
        .test(|test| flagged(test, "MPOL_F_STATIC_NODES", "bind=static:0")),
    optional("config-linux.memory-policy.flags.relative-nodes", SECTION, FLAGS)
        .test(|test| flagged(test, "MPOL_F_RELATIVE_NODES", "bind=relative:0")),
    optional("config-linux.memory-policy.flags.numa-balancing", SECTION, FLAGS)
        .test(|test| flagged(test, "MPOL_F_NUMA_BALANCING", "bind=balancing:0")),
    optional("config-linux.memory-policy.flags.unknown", SECTION, FLAGS).test(|test| {
        refused(test, json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_ANY_NODES"] }));
    }),
];

fn with(bundle: Bundle, policy: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["memoryPolicy"] = policy)
}

/// The first mapping of the process, without its address: the policy as Linux words it, and more.
fn seen(test: &Test, value: Value) -> String {
    let facts = test.facts_with(&["--read", "/proc/self/numa_maps"], with(test.bundle(), value));
    let maps = facts.files["/proc/self/numa_maps"].as_ref().expect("numa_maps");
    let (_, rest) = maps.split_once(' ').expect("a mapping");
    rest.lines().next().unwrap_or_default().to_owned()
}

fn is(found: &str, policy: &str) -> bool {
    found.strip_prefix(policy).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[track_caller]
fn policy(test: &Test, value: Value, expected: &str) {
    needs!(Feature::MemoryPolicy);
    let found = seen(test, value);
    assert!(is(&found, expected), "{found:?}, not {expected}");
}

fn flagged(test: &Test, flag: &str, expected: &str) {
    needs!(Feature::MemoryPolicy);
    let found = seen(test, json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] }));
    // Linux before 6.15 does not show the flag for NUMA balancing.
    let hidden = flag == "MPOL_F_NUMA_BALANCING" && is(&found, "bind:0");
    assert!(is(&found, expected) || hidden, "{found:?}, not {expected}");
}

#[track_caller]
fn refused(test: &Test, value: Value) {
    needs!(Feature::MemoryPolicy);
    let told = value.to_string();
    let output = test.run(&with(test.bundle(), value).args(&["/bin/true"]));
    assert_ne!(output.status, 0, "{told} was accepted");
    output.fails();
}

fn the_mode_is_not_optional(test: &Test) {
    needs!(Feature::MemoryPolicy);
    let output = test.run(&with(test.bundle(), json!({ "nodes": "0" })).args(&["/bin/true"]));
    assert_ne!(output.status, 0, "a policy without a mode was accepted");
    output.fails();
}

fn what_is_no_list_of_nodes_is_an_error(test: &Test) {
    needs!(Feature::MemoryPolicy);
    for nodes in ["x", "0-", "1-0"] {
        let value = json!({ "mode": "MPOL_BIND", "nodes": nodes });
        let bundle = with(test.bundle_named(&format!("nodes{nodes}")), value);
        let output = test.run(&bundle.args(&["/bin/true"]));
        assert_ne!(output.status, 0, "{nodes:?} was accepted");
        output.fails();
    }
}
