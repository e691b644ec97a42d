//! config.md "POSIX-platform Hooks": the properties of an entry, and what all kinds have in common.

use std::fs;

use integration::{Test, bundle::PROBE, test::hook_calls, wait};
use serde_json::json;

use super::{Life, entry, harmless, labels, log};
use crate::{
    Statement,
    hook::{self, KINDS},
    must, optional, required,
    statements::config::{refuses, remove},
};

const HOOKS: &str = r#"config.md "POSIX-platform Hooks""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config.hooks.optional",
        HOOKS,
        "hooks (object, OPTIONAL) MAY contain any of the following properties",
    )
    .test(|test| {
        let none = test.bundle_named("none").edit(|config| config["hooks"] = json!({}));
        test.facts(&none);
        let empty = test.bundle_named("empty").edit(|config| {
            KINDS.iter().for_each(|kind| config["hooks"][kind] = json!([]));
        });
        test.facts(&empty);
    }),
    required(
        "config.hooks.path.required",
        HOOKS,
        "path (string, REQUIRED) with similar semantics to IEEE Std 1003.1-2008 execv's path.",
    )
    .test(|test| {
        for kind in ["createRuntime", "startContainer"] {
            let mut hook = harmless("/bin/true");
            remove(&mut hook, "path");
            refuses(test, &entry(test.bundle_named(kind), kind, hook));
        }
    }),
    must(
        "config.hooks.path.absolute",
        HOOKS,
        "This specification extends the IEEE standard in that path MUST be absolute.",
    )
    .test(a_relative_path_is_refused),
    optional(
        "config.hooks.args",
        HOOKS,
        "args (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008 execv's \
         argv.",
    )
    .test(|test| {
        let log = log(test);
        let args = json!(["any name", "hook", "", log, "0", "two words", "$PATH"]);
        let hook = json!({ "path": PROBE, "args": args });
        let life = Life::of(test, entry(test.bundle(), "createRuntime", hook));
        assert_eq!(json!(life.calls[0].argv), args);
    }),
    optional(
        "config.hooks.args.in-the-container",
        HOOKS,
        "args (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008 execv's \
         argv.",
    )
    .test(|test| {
        let args = json!(["any name", "hook", "", "/hooks.log", "0", "two words", "$PATH"]);
        let hook = json!({ "path": "/bin/probe", "args": args });
        let life = Life::of(test, entry(test.bundle(), "startContainer", hook));
        assert_eq!(json!(life.calls[0].argv), args);
    }),
    optional(
        "config.hooks.env",
        HOOKS,
        "env (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008's \
         environ.",
    )
    .test(|test| {
        let hook = json!({
            "path": PROBE, "args": ["hook", "hook", "x", log(test)], "env": ["B=2", "A=b=c", "E="],
        });
        let bundle = entry(test.bundle(), "createRuntime", hook);
        environment_is(test, bundle, &["A=b=c", "B=2", "E="]);
    }),
    optional(
        "config.hooks.env.in-the-container",
        HOOKS,
        "env (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008's \
         environ.",
    )
    .test(|test| {
        let hook = json!({
            "path": "/bin/probe", "args": ["hook", "hook", "x", "/hooks.log"],
            "env": ["B=2", "A=b=c"],
        });
        let bundle = entry(test.bundle(), "startContainer", hook);
        environment_is(test, bundle, &["A=b=c", "B=2"]);
    }),
    optional(
        "config.hooks.timeout",
        HOOKS,
        "timeout (int, OPTIONAL) is the number of seconds before aborting the hook.",
    )
    .test(|test| {
        let hook = json!({ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 });
        test.create_fails(&entry(test.bundle(), "createRuntime", hook));
    }),
    optional(
        "config.hooks.timeout.in-the-container",
        HOOKS,
        "timeout (int, OPTIONAL) is the number of seconds before aborting the hook.",
    )
    .test(|test| {
        let hook = json!({ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 });
        refuses(test, &entry(test.bundle(), "startContainer", hook));
    }),
    optional(
        "config.hooks.timeout.enough",
        HOOKS,
        "timeout (int, OPTIONAL) is the number of seconds before aborting the hook.",
    )
    .test(|test| {
        let mut hook = harmless("/bin/true");
        hook["timeout"] = json!(1000);
        test.facts(&entry(test.bundle(), "createRuntime", hook));
    }),
    must("config.hooks.timeout.positive", HOOKS, "If set, timeout MUST be greater than zero.")
        .test(|test| {
            for timeout in [0, -1] {
                let mut hook = harmless("/bin/true");
                hook["timeout"] = json!(timeout);
                let bundle = test.bundle_named(&format!("timeout{timeout}"));
                refuses(test, &entry(bundle, "createRuntime", hook));
            }
        }),
    must("config.hooks.order", HOOKS, "Hooks MUST be called in the listed order.").test(|test| {
        let log = log(test);
        let mut bundle = test.bundle();
        for kind in KINDS {
            for number in ["1", "2", "3"] {
                bundle = hook::telling(bundle, kind, &format!("{kind}{number}"), &log);
            }
        }
        let life = Life::of(test, bundle);
        let labels = labels(&life.calls);
        for kind in KINDS {
            let own: Vec<&str> =
                labels.iter().filter_map(|label| label.strip_prefix(kind)).collect();
            assert_eq!(own, ["1", "2", "3"], "{kind}: {labels:?}");
        }
    }),
    must(
        "config.hooks.state",
        HOOKS,
        "The state of the container MUST be passed to hooks over stdin so that they may do work \
         appropriate to the current state of the container.",
    )
    .test(|test| {
        let log = log(test);
        let telling = |bundle, kind: &&str| hook::telling(bundle, kind, kind, &log);
        let bundle = KINDS.iter().fold(test.bundle(), telling);
        let directory = json!(bundle.dir);
        let life = Life::of(test, bundle);
        assert_eq!(life.calls.len(), KINDS.len(), "{:?}", labels(&life.calls));
        for call in life.calls {
            let (kind, state) = (call.label, call.state);
            assert_eq!((&state["id"], &state["bundle"]), (&json!(test.id()), &directory), "{kind}");
            assert!(state["ociVersion"].is_string() && state["status"].is_string(), "{kind}");
        }
    }),
];

/// The name is there for whoever takes it from the caller's, the bundle's or the container's
/// directory.
fn a_relative_path_is_refused(test: &Test) {
    for kind in KINDS {
        let bundle = test.bundle_named(kind);
        fs::create_dir(bundle.dir.join("bin")).expect("a directory");
        fs::copy("/bin/busybox", bundle.dir.join("bin/true")).expect("a copy");
        let bundle = entry(bundle, kind, harmless("bin/true"));
        let mut command = test.command(&["run", "--bundle"]);
        let output = wait::output(command.arg(&bundle.dir).arg(test.id()).current_dir("/"));
        assert!(output.status != 0, "{kind}: a relative path is taken");
        output.fails();
    }
}

/// Runs a bundle with one hook, by a runtime with another environment.
#[track_caller]
fn environment_is(test: &Test, bundle: integration::Bundle, wanted: &[&str]) {
    let bundle = bundle.args(&["/bin/true"]);
    let mut command = test.command(&["run", "--bundle"]);
    command.arg(&bundle.dir).arg(test.id()).env("OF_THE_CALLER", "1");
    wait::output(&mut command).ok();
    let mut calls = hook_calls(&log(test));
    calls.extend(hook_calls(&hook::inside_log(&bundle)));
    let mut env = calls[0].env.clone();
    env.sort();
    assert_eq!(env, wanted);
}
