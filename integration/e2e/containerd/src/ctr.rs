//! The `ctr` command against the shared daemon.

use std::process::Command;

pub use e2e_common::{Output, Running};

use crate::daemon;

/// Runs `ctr ARGUMENTS` to its end, with nothing to read.
#[track_caller]
pub fn ctr(arguments: &[&str]) -> Output {
    feed(arguments, b"")
}

/// Runs `ctr ARGUMENTS` to its end with `input` to read.
#[track_caller]
pub fn feed(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = daemon::shared().client();
    command.args(arguments);
    Running::start(command, input).end()
}

/// The same on a terminal of its own, which script(1) makes.
#[track_caller]
pub fn on_terminal(arguments: &[&str]) -> Output {
    let ctr = daemon::shared().client();
    let words = std::iter::once(ctr.get_program()).chain(ctr.get_args());
    let mut line: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    line.extend(arguments.iter().map(|argument| format!("'{argument}'")));
    let mut command = Command::new("script");
    command.args(["-qec", &line.join(" "), "/dev/null"]);
    Running::start(command, b"").end()
}
