//! What the benchmark must not report. Invented runtimes stand in for broken ones: here the
//! benchmark is under test, not a runtime. Needs root, as the benchmark does.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    process::{self, Command, Output},
};

/// Runs the benchmark on a shell script that answers `spec` and `--version` and else does `body`,
/// with the runtime's arguments as `$@` and its state root as `$root`.
fn bench(name: &str, body: &str) -> Output {
    let script = env::temp_dir().join(format!("runtime-{name}-{}", process::id()));
    let text = format!(
        "#!/bin/sh\ncase $1 in\n--version) echo {name} 1; exit;;\nspec) echo '{{\"process\":{{}},\"root\":{{}},\"linux\":{{}}}}' >config.json; exit;;\nesac\nroot=$2\n{body}\n"
    );
    fs::write(&script, text).expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--rounds", "1", "--only", "run", "--view", "host", "--runtimes", name])
        .args(["--runtime", &format!("{name}={}", script.display())])
        .output()
        .expect("the benchmark");
    fs::remove_file(script).expect("unlink");
    output
}

fn refused(output: &Output, because: &str) {
    let (table, reason) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{table}");
    assert!(!table.contains("median"), "{table}");
    assert!(reason.contains(because), "{reason}");
}

#[test]
fn a_runtime_that_works_is_reported() {
    let output = bench("fine", "exit 0");
    let (table, reason) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && table.contains("median") && table.contains("fine 1"),
        "{table}{reason}"
    );
}

#[test]
fn a_run_that_failed_is_not_reported() {
    refused(&bench("failing", "echo no such thing >&2; exit 3"), "exit status: 3: no such thing");
}

#[test]
fn state_left_behind_is_not_reported() {
    refused(
        &bench("untidy", r#"for id; do :; done; mkdir -p "$root/$id""#),
        "left something behind",
    );
}

#[test]
fn a_process_left_behind_is_not_reported() {
    // Some seconds longer than the benchmark takes; nobody waits for it.
    refused(&bench("lingering", "sleep 5 >/dev/null 2>&1 &"), "still runs");
}

/// Where PID 1 is systemd this would take its time, and hold.
#[test]
fn time_of_a_systemd_that_is_not_there_is_not_measured() {
    let pid_one = fs::read_to_string("/proc/1/comm").expect("PID 1");
    if pid_one.trim_end() == "systemd" {
        return eprintln!("skipped: this machine has a systemd");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--at-once", "1", "--rounds", "1", "--runtimes", "true", "--runtime", "true=true"])
        .output()
        .expect("the benchmark");
    refused(&output, &format!("cannot measure systemd's time: PID 1 is {:?}", pid_one.trim_end()));
}
