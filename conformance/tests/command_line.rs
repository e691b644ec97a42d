//! The program `conformance` as a user runs it: on runtimes that are wrong in simple ways, and with
//! programs that stand in for those of runtime-tools.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use integration::{Output, wait};
use serde_json::Value;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(format!("/tmp/conformance-{}-{name}", std::process::id()));
        fs::create_dir(&dir).expect("a directory in /tmp");
        Self(dir)
    }

    /// A shell script that can be executed.
    fn script(&self, path: &str, text: &str) -> PathBuf {
        let file = self.0.join(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("a file");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("chmod");
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn conformance(runtime: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    wait::output(command.env("RUNTIME", runtime).args(arguments))
}

#[test]
fn a_runtime_that_always_fails_is_not_compliant() {
    let output = conformance(Path::new("/bin/false"), &["runtime.state.id"]);
    assert_eq!(output.status, 1);
    assert!(output.stdout.contains("FAIL  runtime.state.id\n"), "{output:?}");
    assert!(output.stdout.contains("0 passed"), "{output:?}");
}

#[test]
fn a_deviation_is_no_failure_until_it_holds() {
    let judged = |id| conformance(Path::new("/bin/false"), &[id, "--deviates", id]);
    assert_eq!(judged("runtime.state.id").status, 0);
    // Whoever always fails is right about a container that must not be made.
    let held = judged("runtime.lifecycle.prestart-fails");
    assert_eq!(held.status, 1);
    assert!(
        held.stderr.contains("runtime.lifecycle.prestart-fails is no deviation any more"),
        "{held:?}"
    );
}

#[test]
fn a_runtime_that_hangs_is_stopped() {
    let scratch = Scratch::new("hang");
    // It keeps its arguments, by which the suite finds it.
    let hang = scratch.script("hang", "[ \"$1\" = --version ] && exit; kill -STOP $$");
    let output = conformance(&hang, &["runtime.query.unknown", "--timeout", "1"]);
    assert_eq!(output.status, 1);
    assert!(output.stdout.contains("did not end within 1 s"), "{output:?}");
    let left = fs::read_dir("/proc").expect("/proc").flatten().filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*hang.to_string_lossy())
    });
    assert_eq!(left.count(), 0, "a process is left");
}

#[test]
fn tap_has_a_plan_and_a_line_for_each() {
    let output = conformance(Path::new("/bin/false"), &["runtime.state.id", "--format", "tap"]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..3], ["TAP version 13", "1..1", "not ok 1 - runtime.state.id"]);
}

#[test]
fn json_tells_what_is_judged_and_what_is_not() {
    let output = conformance(Path::new("/bin/false"), &["runtime.state.id", "--format", "json"]);
    let document: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(document["summary"]["failed"], 1);
    let statements = document["statements"].as_array().expect("statements");
    let find = |id: &str| statements.iter().find(|s| s["id"] == id).expect("the statement");
    assert_eq!(find("runtime.state.id")["verdict"], "fail");
    assert!(find("runtime.state.id-unique")["untestable"].is_string());
}

#[test]
fn a_filter_that_fits_nothing_is_an_error() {
    let output = conformance(Path::new("/bin/false"), &["no-such-statement"]);
    output.fails_with("no statement has no-such-statement in its id");
}

#[test]
fn validation_programs_are_counted() {
    let scratch = Scratch::new("tools");
    scratch.script("validation/a/a.t", "echo ok 1 - $RUNTIME; echo 1..1");
    scratch.script("validation/b/b.t", "echo ok 1; echo not ok 2 - wrong; echo 1..2; exit 1");
    scratch.script("validation/c/c.t", "echo ok 1; sleep 1000");
    scratch.script("validation/d/d.t", "[ -d validation ] && echo ok 1; exit 3");
    scratch.script("validation/d/d.sh", "exit 1");
    let dir = scratch.0.to_string_lossy().into_owned();
    let output = conformance(Path::new("/bin/true"), &["runtime-tools", &dir, "--timeout", "1"]);
    assert_eq!(output.status, 1);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "pass     a/a.t: 1 ok, 0 skipped",
            "FAIL     b/b.t: 1 ok, 1 not: 2 - wrong",
            "timeout  c/c.t",
            "FAIL     d/d.t: 1 ok, 0 not: exit status: 3",
            "1 passed, 2 failed, 1 did not end",
        ]
    );
}

#[test]
fn a_directory_without_validation_programs_is_an_error() {
    let scratch = Scratch::new("empty");
    let dir = scratch.0.to_string_lossy().into_owned();
    conformance(Path::new("/bin/true"), &["runtime-tools", &dir]).fails_with("cannot list");
}
