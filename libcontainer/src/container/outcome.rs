//! A process that was started here, and how it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::{
    error::{Context, Result},
    sys::process::pidfd_send_signal,
};

/// The init process, or one started by exec; a child of the process that holds this.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

impl AsFd for Process {
    /// The pidfd: readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Process {
    /// Waits for its end and reaps it: its exit status, or 128 + the signal that ended it.
    ///
    /// # Errors
    /// When it is not this process's child.
    pub fn wait(&self) -> Result<i32> {
        let wait = || waitid(WaitId::PidFd(self.as_fd()), WaitIdOptions::EXITED);
        let status = rustix::io::retry_on_intr(wait);
        let status = status.doing(|| format!("cannot wait for process {}", self.pid))?;
        Ok(status.as_ref().map_or(255, exit_code))
    }

    /// Sends any signal, by number.
    ///
    /// # Errors
    /// ESRCH when it has ended.
    pub fn signal(&self, signal: i32) -> Result<()> {
        pidfd_send_signal(self.as_fd(), signal)
            .doing(|| format!("cannot send signal {signal} to process {}", self.pid))
    }
}

fn exit_code(status: &WaitIdStatus) -> i32 {
    match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(255),
    }
}
