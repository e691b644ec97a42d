//! `rtn`: the command line of runc on top of libcontainer.

#![allow(
    rustdoc::invalid_html_tags,
    rustdoc::broken_intra_doc_links,
    reason = "the comment on a flag is its help text"
)]

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
