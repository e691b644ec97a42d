//! features-linux.md "Seccomp".

use std::os::unix::net::UnixListener;

use integration::{Bundle, Test};
use serde_json::{Value, json};

use super::{claimed, listed, recognizes};
use crate::{Statement, must, optional};

const SECCOMP: &str = r#"features-linux.md "Seccomp""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "features-linux.seccomp.enabled",
        SECCOMP,
        "enabled (bool, OPTIONAL) represents whether the runtime supports seccomp.",
    )
    .test(a_filter_is_installed),
    must(
        "features-linux.seccomp.actions",
        SECCOMP,
        "The runtime MUST recognize the elements in this array in the syscalls[].action property of the \
         linux.seccomp object in config.json.",
    )
    .test(every_action_that_is_listed_is_recognized),
    must(
        "features-linux.seccomp.operators",
        SECCOMP,
        "The runtime MUST recognize the elements in this array in the syscalls[].args[].op property of \
         the linux.seccomp object in config.json.",
    )
    .test(every_operator_that_is_listed_is_recognized),
    must(
        "features-linux.seccomp.archs",
        SECCOMP,
        "The runtime MUST recognize the elements in this array in the architectures property of the \
         linux.seccomp object in config.json.",
    )
    .test(every_architecture_that_is_listed_is_recognized),
    must(
        "features-linux.seccomp.known-flags",
        SECCOMP,
        "knownFlags […] The runtime MUST recognize the elements in this array in the flags property of \
         the linux.seccomp object in config.json.",
    )
    .test(every_flag_that_is_listed_is_recognized),
    must(
        "features-linux.seccomp.supported-flags",
        SECCOMP,
        "supportedFlags […] The runtime MUST recognize and support the elements in this array in the \
         flags property of the linux.seccomp object in config.json.",
    )
    .test(every_flag_that_is_called_supported_works),
];

/// A profile that allows everything but a call that nobody here makes.
fn profile(action: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["swapoff"], "action": action }],
    })
}

fn with_profile(bundle: Bundle, profile: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["seccomp"] = profile)
}

/// Somebody to hand notifications to.
fn listener(test: &Test) -> (UnixListener, Value) {
    let path = test.dir().join("seccomp.sock");
    (UnixListener::bind(&path).expect("a socket"), json!(path))
}

fn a_filter_is_installed(test: &Test) {
    claimed!(test, "/linux/seccomp/enabled");
    let facts = test.facts(&with_profile(test.bundle(), profile("SCMP_ACT_ERRNO")));
    assert_eq!(facts.seccomp, 2, "the process has no filter");
}

fn every_action_that_is_listed_is_recognized(test: &Test) {
    let actions = listed!(test, "/linux/seccomp/actions");
    let (_listener, path) = listener(test);
    recognizes(test, &actions, |config, action| {
        config["linux"]["seccomp"] = profile(action);
        if action == "SCMP_ACT_NOTIFY" {
            config["linux"]["seccomp"]["listenerPath"] = path.clone();
        }
    });
}

fn every_operator_that_is_listed_is_recognized(test: &Test) {
    let operators = listed!(test, "/linux/seccomp/operators");
    recognizes(test, &operators, |config, operator| {
        let argument = json!({ "index": 0, "value": 1, "valueTwo": 1, "op": operator });
        config["linux"]["seccomp"] = profile("SCMP_ACT_ERRNO");
        config["linux"]["seccomp"]["syscalls"][0]["args"] = json!([argument]);
    });
}

fn every_architecture_that_is_listed_is_recognized(test: &Test) {
    let archs = listed!(test, "/linux/seccomp/archs");
    recognizes(test, &archs, |config, arch| {
        config["linux"]["seccomp"] = profile("SCMP_ACT_ERRNO");
        config["linux"]["seccomp"]["architectures"] = json!([arch]);
    });
}

fn every_flag_that_is_listed_is_recognized(test: &Test) {
    let flags = listed!(test, "/linux/seccomp/knownFlags");
    let (_listener, path) = listener(test);
    recognizes(test, &flags, |config, flag| config["linux"]["seccomp"] = flagged(flag, &path));
}

/// A profile with a flag; one of them is about notifications.
fn flagged(flag: &str, listener: &Value) -> Value {
    let notifies = flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
    let mut profile = profile(if notifies { "SCMP_ACT_NOTIFY" } else { "SCMP_ACT_ERRNO" });
    profile["flags"] = json!([flag]);
    if notifies {
        profile["listenerPath"] = listener.clone();
    }
    profile
}

fn every_flag_that_is_called_supported_works(test: &Test) {
    let flags = listed!(test, "/linux/seccomp/supportedFlags");
    let (_listener, path) = listener(test);
    for flag in flags {
        let bundle = test.bundle_named(&format!("bundle-{flag}"));
        let facts = test.facts(&with_profile(bundle, flagged(&flag, &path)));
        assert_eq!(facts.seccomp, 2, "the process has no filter with {flag}");
    }
}
