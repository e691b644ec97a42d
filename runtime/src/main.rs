//! `rtn`: the command line of runc on top of libcontainer.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test panics"))]

use std::process::ExitCode;

mod birth;
mod cli;
mod cmd;
mod console;
mod foreground;
mod globals;
mod log;
mod output;
mod page;
mod process;
mod report;
mod resources;
mod tty;

fn main() -> ExitCode {
    cli::run(std::env::args_os().skip(1)).into()
}
