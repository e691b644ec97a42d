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
    if dies_with_parent().is_err() {
        return ExitCode::FAILURE;
    }
    cli::run(std::env::args_os().skip(1)).into()
}

/// `RTN_DIES_WITH` is set by a parent that lets nobody else finish what it began (containerd's shim);
/// it cannot ask for that in its child's name before this program runs. A script between the two has
/// another pid, and ends by itself.
fn dies_with_parent() -> rustix::io::Result<()> {
    let parent = std::env::var("RTN_DIES_WITH").ok().and_then(|pid| pid.parse().ok());
    if parent.is_some()
        && parent == rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get())
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    Ok(())
}
