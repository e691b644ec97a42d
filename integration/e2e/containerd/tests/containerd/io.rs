//! Standard streams: fifos, files and loggers.

use std::{fs, os::unix::fs::PermissionsExt};

use e2e_containerd::{Container, container::run, daemon, judged, wait};

e2e_common::tests! {
    much_output_arrives_whole
    both_streams_at_once
    an_end_of_input
    output_to_a_file
    output_to_a_program
    a_program_that_is_missing
    nobody_reads
}

/// See [`judged::CUT_OFF`].
#[track_caller]
fn not_cut_off(said: &[u8], length: usize) {
    assert!(said.len() >= length, "{}: {} of {length} bytes", judged::CUT_OFF, said.len());
}

/// More than pipes hold, so that both sides have to wait for each other.
const MUCH: usize = 20 << 20;

fn much_output_arrives_whole() {
    let script = format!("head -c {MUCH} /dev/zero | tr '\\0' x");
    let output = run(&[], &["sh", "-c", &script]);
    not_cut_off(&output.code(0).stdout, MUCH);
    assert_eq!(output.stdout.len(), MUCH);
    assert!(output.stdout.iter().all(|byte| *byte == b'x'));
}

fn both_streams_at_once() {
    let script = "for i in $(seq 2000); do echo out$i; echo err$i >&2; done";
    let output = run(&[], &["sh", "-c", script]);
    let expected = |what: &str| {
        (1..=2000).map(|number| format!("{what}{number}\n")).collect::<String>().into_bytes()
    };
    let (out, err) = (expected("out"), expected("err"));
    not_cut_off(&output.code(0).stdout, out.len());
    not_cut_off(&output.stderr, err.len());
    assert!(output.stdout == out && output.stderr == err, "{output:?}");
}

fn an_end_of_input() {
    let container = Container::idle();
    let input = vec![b'y'; 3 << 20];
    let output = container.exec_with(&[], &["wc", "-c"], &input);
    assert_eq!(output.ok(), input.len().to_string());
}

fn output_to_a_file() {
    let path = daemon::shared().directory().join("logs/of/file.log");
    let uri = format!("file://{}", path.display());
    let container =
        Container::start(&["--log-uri", &uri], &["sh", "-c", "echo to stdout; echo to stderr >&2"]);
    container.becomes("STOPPED");
    let read = || fs::read_to_string(&path).unwrap_or_default();
    let whole = |text: &String| text.contains("to stdout\n") && text.contains("to stderr\n");
    wait::until("both lines", || Some(read()).filter(whole));
}

fn output_to_a_program() {
    let directory = daemon::shared().directory();
    let (program, log) = (directory.join("logger"), directory.join("program.log"));
    // 3 and 4 are the streams, closing 5 says that it is ready.
    let script = "#!/bin/sh\nexec 5>&-\n{ echo \"$CONTAINER_ID $1=$2\"; cat <&3; } >\"$2\"\n";
    fs::write(&program, script).expect("a file of the test");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file of the test");
    let uri = format!("binary://{}?--to={}", program.display(), log.display());
    let container = Container::start(&["--log-uri", &uri], &["echo", "hello logger"]);
    container.becomes("STOPPED");
    let expected = format!("{} --to={}\nhello logger\n", container.name(), log.display());
    wait::until("the line", || {
        Some(fs::read_to_string(&log).unwrap_or_default()).filter(|text| *text == expected)
    });
}

fn a_program_that_is_missing() {
    let output = run(&["--log-uri", "binary:///missing/logger"], &["true"]);
    output.fails("no such file or directory");
}

/// A client that is gone must not keep a container from ending, nor from being removed.
fn nobody_reads() {
    let container = Container::idle();
    let fifos = daemon::shared().directory().join("fifos");
    fs::create_dir_all(&fifos).expect("a file of the test");
    container.exec(&["-d", "--fifo-dir", &fifos.to_string_lossy()], &["yes"]).code(0);
    container.task("kill", &["-s", "KILL"]).code(0);
    container.becomes("STOPPED");
}
