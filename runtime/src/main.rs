//! `rtn`: the command line of runc on top of libcontainer.

#![allow(
    rustdoc::invalid_html_tags,
    rustdoc::broken_intra_doc_links,
    reason = "the comment on a flag is its help text"
)]

use std::process::ExitCode;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, set_parent_process_death_signal},
};

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
    if dies_with_parent().is_err() {
        return ExitCode::FAILURE;
    }
    cli::Program(cmd::VERBS).run(std::env::args_os().skip(1)).into()
}

/// `RTN_DIES_WITH` is set by a parent that lets nobody else finish what it began (containerd's shim);
/// it cannot ask for that in its child's name before this program runs. It may have died before: then
/// somebody is removing what this was to make. A script between the two has another pid, and ends by
/// itself.
fn dies_with_parent() -> Result<(), Errno> {
    let parent = std::env::var("RTN_DIES_WITH").ok().and_then(|pid| pid.parse().ok());
    let Some(parent) = parent.and_then(Pid::from_raw) else { return Ok(()) };
    if getppid() == Some(parent) {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    match getppid() != Some(parent) && has_ended(parent)? {
        true => Err(Errno::SRCH),
        false => Ok(()),
    }
}

/// Be it that nobody has waited for it yet.
fn has_ended(process: Pid) -> Result<bool, Errno> {
    let pidfd = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(true),
        pidfd => pidfd?,
    };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now))? > 0)
}
