//! The container's init, found again without mistaking another process for it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::not_running;
use crate::{
    error::{Error, Result},
    sys::process::pidfd_send_signal,
};

/// A live process and a descriptor that means it and no other.
#[derive(Debug)]
pub(super) struct InitProcess {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

impl InitProcess {
    /// `None` when it has ended; a zombie has. The descriptor is opened before the start time is
    /// read, so that what was checked is what is held.
    pub(super) fn find(pid: i32, start: u64) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let now = stat(pid)?;
        (now.start == start && !now.dead).then_some(Self { pid, pidfd })
    }

    pub(super) fn signal(&self, signal: i32) -> Result<()> {
        pidfd_send_signal(self.pidfd.as_fd(), signal).map_err(|errno| match errno {
            Errno::SRCH => not_running(),
            errno => Error::os(format!("cannot send signal {signal} to the container"), errno),
        })
    }

    /// Whether it ends within `milliseconds`.
    pub(super) fn ends_within(&self, milliseconds: i64) -> bool {
        let limit =
            Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).is_ok_and(|ready| ready > 0)
    }
}

pub(super) struct Stat {
    pub(super) start: u64,
    dead: bool,
}

/// proc_pid_stat(5). The second field, the name in parentheses, may hold anything.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let fields = String::from_utf8_lossy(&text[end + 1..]);
    let mut fields = fields.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X" | "x");
    // starttime is the 22nd field; the state just read is the third.
    let start = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat { start, dead })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_not_by_its_pid_alone() {
        let pid = std::process::id() as i32;
        let start = stat(pid).unwrap().start;
        assert!(InitProcess::find(pid, start).is_some());
        assert!(InitProcess::find(pid, start + 1).is_none());
        assert!(InitProcess::find(0, 0).is_none());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id() as i32;
        let start = stat(pid).unwrap().start;
        if let Some(init) = InitProcess::find(pid, start) {
            assert!(init.ends_within(10_000));
        }
        assert!(InitProcess::find(pid, start).is_none());
        child.wait().unwrap();
    }
}
