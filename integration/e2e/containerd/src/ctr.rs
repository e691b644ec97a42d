//! The `ctr` command against the shared daemon.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    process::{Command, Stdio},
};

use rustix::fs::{MemfdFlags, memfd_create};

pub use e2e_docker::cli::Output;

use crate::{daemon, wait};

/// Runs `ctr ARGUMENTS` to its end, with nothing to read.
#[track_caller]
pub fn ctr(arguments: &[&str]) -> Output {
    feed(arguments, b"")
}

/// Runs `ctr ARGUMENTS` to its end with `input` to read.
#[track_caller]
pub fn feed(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = command();
    command.args(arguments);
    run(command, format!("ctr {}", arguments.join(" ")), input)
}

/// The same on a terminal of its own, which script(1) makes.
#[track_caller]
pub fn on_terminal(arguments: &[&str]) -> Output {
    let ctr = command();
    let words = std::iter::once(ctr.get_program()).chain(ctr.get_args());
    let mut line: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    line.extend(arguments.iter().map(|argument| format!("'{argument}'")));
    let mut command = Command::new("script");
    command.args(["-qec", &line.join(" "), "/dev/null"]);
    run(command, line.join(" "), b"")
}

/// The client for the daemon, without arguments yet.
pub fn command() -> Command {
    let daemon = daemon::shared();
    let mut command = Command::new("ctr");
    command.arg("--address").arg(daemon.socket()).args(["--namespace", daemon.namespace()]);
    command
}

fn run(mut command: Command, line: String, input: &[u8]) -> Output {
    let (mut stdout, mut stderr) = (memory("stdout"), memory("stderr"));
    let mut stdin = memory("stdin");
    stdin.write_all(input).and_then(|()| stdin.rewind()).expect("memory for input");
    let copy = |file: &File| Stdio::from(file.try_clone().expect("another descriptor"));
    let mut child = command
        .stdin(stdin)
        .stdout(copy(&stdout))
        .stderr(copy(&stderr))
        .spawn()
        .expect("it can be executed");
    let status = wait::exit(&mut child, wait::PATIENCE).expect("a child can be waited for");
    let output = Output {
        command: line,
        status: status.and_then(|status| status.code()),
        stdout: contents(&mut stdout),
        stderr: contents(&mut stderr),
    };
    assert!(status.is_some(), "not within {:?}: {output:?}", wait::PATIENCE);
    output
}

/// A file in memory takes any amount of output from a process that nobody reads from meanwhile.
fn memory(name: &str) -> File {
    memfd_create(name, MemfdFlags::CLOEXEC).expect("memory for output").into()
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("memory can be read");
    bytes
}
