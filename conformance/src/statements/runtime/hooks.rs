//! runtime.md "Lifecycle", steps 3 to 5, 7, 9 and 13: which hooks run, and what a failing one does.

use integration::{Bundle, Test, leftovers, test::hook_calls};

use super::{LIFECYCLE, hook_log, hooks_that_ran};
use crate::{Statement, hook, must};

/// Three statements for a kind of hooks whose failure ends the container.
macro_rules! statements {
    ($(($kind:literal, $runs:literal, $fails:literal, $goes_on:literal);)+) => {
        &[
            $(must(
                $runs,
                LIFECYCLE,
                concat!("The ", $kind, " hooks MUST be invoked by the runtime."),
            )
            .test(|test| is_invoked(test, $kind)),
            must(
                $fails,
                LIFECYCLE,
                concat!("If any ", $kind, " hook fails, the runtime MUST generate an error, stop the \
                    container, […]"),
            )
            .test(|test| a_failure_is_an_error_and_stops(test, $kind)),
            must(
                $goes_on,
                LIFECYCLE,
                concat!("If any ", $kind, " hook fails, the runtime MUST […] continue the lifecycle at \
                    step 12."),
            )
            .test(|test| a_failure_destroys_and_runs_poststop(test, $kind)),)+
            must(
                "runtime.lifecycle.poststop",
                LIFECYCLE,
                "The poststop hooks MUST be invoked by the runtime.",
            )
            .test(|test| is_invoked(test, "poststop")),
            must(
                "runtime.lifecycle.poststop-fails",
                LIFECYCLE,
                "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and \
                 lifecycle continue as if the hook had succeeded.",
            )
            .test(the_poststop_hooks_after_a_failing_one_run),
        ]
    };
}

pub(super) const STATEMENTS: &[Statement] = statements! {
    ("prestart", "runtime.lifecycle.prestart", "runtime.lifecycle.prestart-fails",
     "runtime.lifecycle.prestart-fails-step-12");
    ("createRuntime", "runtime.lifecycle.create-runtime", "runtime.lifecycle.create-runtime-fails",
     "runtime.lifecycle.create-runtime-fails-step-12");
    ("createContainer", "runtime.lifecycle.create-container",
     "runtime.lifecycle.create-container-fails", "runtime.lifecycle.create-container-fails-step-12");
    ("startContainer", "runtime.lifecycle.start-container", "runtime.lifecycle.start-container-fails",
     "runtime.lifecycle.start-container-fails-step-12");
    ("poststart", "runtime.lifecycle.poststart", "runtime.lifecycle.poststart-fails",
     "runtime.lifecycle.poststart-fails-step-12");
};

fn is_invoked(test: &Test, kind: &str) {
    let log = hook_log(test);
    let bundle = ["one", "two"]
        .iter()
        .fold(test.bundle(), |bundle, label| hook::telling(bundle, kind, label, &log));
    let inside = hook::inside_log(&bundle);
    let container = test.start(&bundle.args(&["/bin/true"]));
    container.wait();
    container.delete();
    let log = if kind == "startContainer" { inside } else { log };
    let labels: Vec<String> = hook_calls(&log).into_iter().map(|call| call.label).collect();
    assert_eq!(labels, ["one", "two"], "the {kind} hooks that ran");
}

/// Runs the lifecycle up to `start` with a failing hook; true when one of the two said so.
fn fails_with(test: &Test, bundle: &Bundle) -> bool {
    let dir = bundle.dir.to_string_lossy();
    let create = test.call(&["create", "--bundle", &dir, test.id()]);
    create.status != 0 || test.call(&["start", test.id()]).status != 0
}

fn a_failure_is_an_error_and_stops(test: &Test, kind: &str) {
    let bundle = hook::failing(test.bundle().serve(), kind, "failing", &hook_log(test));
    let failed = fails_with(test, &bundle);
    let processes = leftovers::processes(test.id(), test.dir());
    let alive: Vec<i32> = processes.filter(|pid| !leftovers::ends(*pid)).collect();
    // There is nothing to remove if the runtime is right.
    let _ = test.call(&["delete", "--force", test.id()]);
    assert!(failed, "no error after a failing {kind} hook");
    assert!(alive.is_empty(), "the container goes on after a failing {kind} hook");
}

fn a_failure_destroys_and_runs_poststop(test: &Test, kind: &str) {
    let log = hook_log(test);
    let bundle = hook::failing(test.bundle().serve(), kind, "failing", &log);
    let bundle = hook::telling(bundle, "poststop", "poststop", &log);
    fails_with(test, &bundle);
    let left = test.differences();
    let ran = hooks_that_ran(test);
    let _ = test.call(&["delete", "--force", test.id()]);
    assert!(left.is_empty(), "not destroyed: {}", left.join("; "));
    assert_eq!(ran.last().map(String::as_str), Some("poststop"), "the hooks that ran: {ran:?}");
}

fn the_poststop_hooks_after_a_failing_one_run(test: &Test) {
    let log = hook_log(test);
    let bundle = hook::failing(test.bundle(), "poststop", "first", &log);
    let bundle = hook::telling(bundle, "poststop", "second", &log);
    let container = test.start(&bundle.args(&["/bin/true"]));
    container.wait();
    container.delete();
    assert_eq!(hooks_that_ran(test), ["first", "second"]);
    test.assert_unknown();
}
