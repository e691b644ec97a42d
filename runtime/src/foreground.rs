//! `run` and `exec` without `--detach`: this process stands for the container's. What is sent to
//! it goes to the container, and it ends when the container's process does.

use std::os::fd::AsFd;

use libcontainer::{Result, container::Process, error::Context};
use nix::{
    libc,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{Id, WaitPidFlag, waitid},
    },
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
};

use crate::{log, tty::Relay};

/// This process in the place of the container's.
#[derive(Debug)]
pub(crate) struct Foreground {
    signals: SignalFd,
}

impl Foreground {
    /// Takes every signal from now on; call it before the process exists, so that one that is sent
    /// as soon as the process says something is not lost. The library's children start with no
    /// signal blocked. With `subreaper`, what the process leaves behind becomes ours to bury
    /// (PR_SET_CHILD_SUBREAPER), if it has no pid namespace of its own.
    pub(crate) fn take(subreaper: bool) -> Result<Self> {
        if subreaper {
            let myself = Some(rustix::process::getpid());
            let set = rustix::process::set_child_subreaper(myself);
            set.doing(|| "cannot become a subreaper")?;
        }
        let mut signals = SigSet::all();
        // Rust's start-up code ignores SIGPIPE; blocked, it would wait here for each of our own
        // writes to a reader that has gone.
        signals.remove(Signal::SIGPIPE);
        let take = || {
            signals.thread_block()?;
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        };
        Ok(Self { signals: take().doing(|| "cannot take signals")? })
    }

    /// Stands for `process`, with its `terminal` if that is ours to show, until it ends; returns
    /// its exit status, 128 + signal if one killed it.
    ///
    /// # Errors
    /// When waiting is not possible; the process may still run then.
    pub(crate) fn attend(self, process: &Process, mut terminal: Option<Relay>) -> Result<u8> {
        while !wait_for_something(process, &self.signals, terminal.as_ref())? {
            while let Some(signal) = next_signal(&self.signals)? {
                deliver(process, signal, terminal.as_ref());
            }
            if let Some(terminal) = &mut terminal {
                terminal.shuttle();
            }
        }
        if let Some(terminal) = &mut terminal {
            terminal.drain();
        }
        // An exit status has eight bits.
        process.wait().map(|status| status as u8)
    }
}

/// Waits; true when the process has ended.
fn wait_for_something(
    process: &Process,
    signals: &SignalFd,
    terminal: Option<&Relay>,
) -> Result<bool> {
    let mut fds = vec![
        PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
    ];
    fds.extend(terminal.map(Relay::interests).into_iter().flatten());
    retry_on_intr(|| poll(&mut fds, None)).doing(|| "cannot wait for the process")?;
    Ok(!fds[0].revents().is_empty())
}

fn next_signal(signals: &SignalFd) -> Result<Option<i32>> {
    let read = signals.read_signal().doing(|| "cannot read a signal")?;
    Ok(read.map(|info| info.ssi_signo as i32))
}

fn deliver(process: &Process, signal: i32, terminal: Option<&Relay>) {
    match (signal, terminal) {
        (libc::SIGCHLD, _) => reap_orphans(process.pid),
        (libc::SIGWINCH, Some(terminal)) => terminal.resize(),
        (libc::SIGWINCH, None) => (),
        _ => {
            log::debug(|| format!("sending signal to process {signal}"));
            // A process that has just ended cannot be told, and will be seen to have ended.
            if let Err(error) = process.signal(signal) {
                log::debug(|| error.to_string());
            }
        }
    }
}

/// Buries the children that we inherited. Ours stays: [`Process::wait`] wants its status.
fn reap_orphans(ours: i32) {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    let next = || waitid(Id::All, any | WaitPidFlag::WNOWAIT).ok()?.pid();
    while let Some(orphan) = next().filter(|pid| pid.as_raw() != ours) {
        let _ = waitid(Id::Pid(orphan), any);
    }
}
