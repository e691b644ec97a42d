//! Waiting for the kernel with a deadline.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::dir::{Dir, value_of};

/// A point in time after which there is no more waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    pub(super) fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Waits for `flags` on `fd`; false when the deadline passes first.
    pub(super) fn poll(self, fd: impl AsFd, flags: PollFlags) -> Result<bool, Errno> {
        loop {
            let mut fds = [PollFd::new(&fd, flags)];
            match poll(&mut fds, Some(&timespec(self.left()))) {
                Err(Errno::INTR) => {}
                result => return result.map(|ready| ready > 0),
            }
        }
    }

    /// Lets `time` pass, for the states of cgroup v1 that the kernel announces in no way.
    pub(super) fn pause(self, time: Duration) {
        // Interrupted or not: the caller looks again.
        let _ = poll(&mut [], Some(&timespec(time.min(self.left()))));
    }

    /// Waits until `key` of cgroup.events has `value`; false when the deadline passes first.
    pub(super) fn event(self, dir: &Dir, key: &str, value: u64) -> Result<bool, Errno> {
        let events = dir.open_file("cgroup.events", rustix::fs::OFlags::RDONLY)?;
        loop {
            if value_of(&super::dir::read_all(&events)?, key) == Some(value) {
                return Ok(true);
            }
            if !self.poll(&events, PollFlags::PRI)? {
                return Ok(false);
            }
            rustix::fs::seek(&events, rustix::fs::SeekFrom::Start(0))?;
        }
    }

    /// Waits for one of `pids` to exit. False when none of them is there any more to wait for.
    pub(super) fn exit(self, pids: &[i32]) -> Result<bool, Errno> {
        let open = |pid: &i32| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok();
        let pidfds: Vec<OwnedFd> = pids.iter().filter_map(open).collect();
        if pidfds.is_empty() {
            return Ok(false);
        }
        let mut fds: Vec<_> = pidfds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&timespec(self.left()))) {
            Err(Errno::INTR) => Ok(true),
            result => result.map(|_| true),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}
