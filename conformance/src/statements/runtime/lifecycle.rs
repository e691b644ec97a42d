//! runtime.md "Lifecycle" without its hooks, "Errors" and "Warnings".

use std::{fs, path::PathBuf};

use integration::{Bundle, Test, host};
use serde_json::json;

use super::{LIFECYCLE, hook_log, hooks_that_ran};
use crate::{Statement, hook, may, must, must_not};

const ERRORS_SECTION: &str = r#"runtime.md "Errors""#;
const WARNINGS: &str = r#"runtime.md "Warnings""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "runtime.lifecycle.environment",
        LIFECYCLE,
        "The container's runtime environment MUST be created according to the configuration in \
         config.json.",
    )
    .test(the_environment_is_there_before_start),
    must(
        "runtime.lifecycle.environment-error",
        LIFECYCLE,
        "If the runtime is unable to create the environment specified in the config.json, it MUST \
         generate an error.",
    )
    .test(|test| {
        test.create_fails(&impossible(test));
    }),
    must_not(
        "runtime.lifecycle.program-at-create",
        LIFECYCLE,
        "the user-specified program (from process) MUST NOT be run at this time.",
    )
    .test(create_does_not_run_the_program),
    must_not(
        "runtime.lifecycle.config-updates",
        LIFECYCLE,
        "Any updates to config.json after this step MUST NOT affect the container.",
    )
    .test(config_json_may_change_after_create),
    must(
        "runtime.lifecycle.program",
        LIFECYCLE,
        "The runtime MUST run the user-specified program, as specified by process.",
    )
    .test(start_runs_the_program_as_it_is_specified),
    may(
        "runtime.lifecycle.exit",
        LIFECYCLE,
        "This MAY happen due to erroring out, exiting, crashing or the runtime's kill operation being \
         invoked.",
    )
    .test(every_way_to_end_is_seen),
    must(
        "runtime.lifecycle.destroy",
        LIFECYCLE,
        "The container MUST be destroyed by undoing the steps performed during create phase (step 2).",
    )
    .test(delete_undoes_create),
];

pub(super) const ERRORS: &[Statement] = &[
    must(
        "runtime.errors.create",
        ERRORS_SECTION,
        "Unless otherwise stated, generating an error MUST leave the state of the environment as if the \
         operation were never attempted.",
    )
    .test(|test| {
        // The hooks fail when everything else is there already.
        test.create_fails(&hook::failing(test.bundle(), "createRuntime", "x", &hook_log(test)));
        test.create_fails(&impossible(test));
    }),
    must(
        "runtime.errors.start",
        ERRORS_SECTION,
        "Unless otherwise stated, generating an error MUST leave the state of the environment as if the \
         operation were never attempted.",
    )
    .test(a_second_start_leaves_the_state_as_it_was),
    must(
        "runtime.warnings.continue",
        WARNINGS,
        "logging a warning does not change the flow of the operation; it MUST continue as if the \
         warning had not been logged.",
    )
    .test(a_warning_does_not_stop_a_delete),
];

/// A bundle whose environment cannot be made.
fn impossible(test: &Test) -> Bundle {
    let source = test.dir().join("no-such-directory");
    test.bundle_named("impossible").mount(json!({
        "destination": "/data", "type": "bind", "source": source, "options": ["bind"],
    }))
}

/// A bundle whose program leaves a mark, and where the host sees it.
fn marking(test: &Test) -> (Bundle, PathBuf) {
    let bundle = test.bundle().args(&["/bin/probe", "write", "/mark", "original"]);
    let mark = bundle.rootfs().join("mark");
    (bundle, mark)
}

fn the_environment_is_there_before_start(test: &Test) {
    let bundle = test.bundle().mount(json!({ "destination": "/new", "type": "tmpfs" }));
    let container = test.create(&bundle);
    let inside = host::namespaces(container.pid);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid));
    container.remove();
    let outside = host::namespaces(std::process::id() as i32);
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(inside[name], outside[name], "no {name} namespace of its own");
    }
    let mounts = mounts.expect("mountinfo of the container's process");
    assert!(mounts.lines().any(|line| line.contains(" /new ")), "no /new in {mounts}");
}

fn create_does_not_run_the_program(test: &Test) {
    let (bundle, mark) = marking(test);
    let container = test.create(&bundle);
    let early = mark.exists();
    container.start();
    container.wait();
    container.delete();
    assert!(!early, "create ran the program");
    assert!(mark.exists(), "start did not run it");
}

fn config_json_may_change_after_create(test: &Test) {
    let (bundle, mark) = marking(test);
    let container = test.create(&bundle);
    drop(bundle.clone_with(&["/bin/probe", "write", "/mark", "changed"]).edit(|config| {
        config["annotations"] = json!({ "org.example.late": "1" });
    }));
    let state = container.state();
    container.start();
    container.wait();
    container.delete();
    assert!(state["annotations"]["org.example.late"].is_null(), "the state took up the change");
    assert_eq!(fs::read_to_string(mark).expect("the program ran"), "original");
}

fn start_runs_the_program_as_it_is_specified(test: &Test) {
    let args = ["/bin/probe", "facts", "--read", "/one argument"];
    let bundle = test.bundle().args(&args).edit(|config| {
        config["process"]["cwd"] = json!("/tmp");
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["env"] = json!(["PATH=/bin", "WORD=said"]);
    });
    let mut container = test.start(&bundle);
    container.wait();
    let facts = integration::test::parse(&container.output());
    container.delete();
    assert_eq!(facts.argv, args);
    assert_eq!(facts.cwd, "/tmp");
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1000; 4]));
    assert_eq!(facts.env("WORD"), Some("said"));
}

fn every_way_to_end_is_seen(test: &Test) {
    let ends: [&[&str]; 3] = [
        &["/bin/probe", "exit", "0"],
        &["/bin/probe", "exit", "3"],
        &["/bin/probe", "kill-self", "SIGSEGV"],
    ];
    for (number, args) in ends.iter().enumerate() {
        let bundle = test.bundle_named(&format!("bundle-{number}"));
        let container = test.create_as(&format!("-{number}"), &[], &bundle.args(args));
        container.start();
        container.wait();
        let status = container.status();
        container.remove();
        assert_eq!(status, "stopped", "after {args:?}");
    }
    let container = test.serve(test.bundle());
    container.kill("KILL");
    container.wait();
    let status = container.status();
    container.remove();
    assert_eq!(status, "stopped", "after a kill");
}

fn delete_undoes_create(test: &Test) {
    let bundle = test.bundle().mount(json!({ "destination": "/new", "type": "tmpfs" }));
    let container = test.start(&bundle.args(&["/bin/true"]));
    container.wait();
    container.delete();
    test.assert_clean();
    test.assert_unknown();
}

fn a_second_start_leaves_the_state_as_it_was(test: &Test) {
    let container = test.serve(test.bundle());
    let before = container.state();
    let second = container.call(&["start"]);
    let after = container.state();
    container.remove();
    second.fails();
    assert_eq!(before, after);
}

fn a_warning_does_not_stop_a_delete(test: &Test) {
    let log = hook_log(test);
    let bundle = hook::failing(test.bundle(), "poststop", "failing", &log);
    let container = test.start(&bundle.args(&["/bin/true"]));
    container.wait();
    container.delete();
    assert_eq!(hooks_that_ran(test), ["failing"]);
    test.assert_unknown();
}
