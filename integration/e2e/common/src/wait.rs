//! Waiting with a deadline: for processes on a pidfd, for the rest by looking again.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Enough for any single step of a test on a machine that builds at the same time, or is emulated.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `fd` is readable, hung up or in error; false when `deadline` passed first.
pub fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    ready(fd, PollFlags::IN, deadline)
}

/// Waits until one of `events`, a hang-up or an error is reported for `fd`.
pub fn ready(fd: BorrowedFd<'_>, events: PollFlags, deadline: Instant) -> bool {
    loop {
        let timeout = timespec(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            found => return found.is_ok_and(|count| count > 0),
        }
    }
}

/// Waits for the end of `child`; one that outlives the deadline is killed, and `None` comes back.
pub fn exit(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    // Of one that was waited for already there is no descriptor to be had.
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    if readable(pidfd.as_fd(), Instant::now() + patience) {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait().map(|_| None)
}

/// Looks until `found` has an answer, and fails the test with `what` when it never has.
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, &mut found).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Looks until `found` has an answer, or `patience` has passed.
pub fn within<T>(patience: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = found();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        pause(PAUSE);
    }
}

/// For states that the kernel announces by no event, and for moments that are as good as any other.
pub fn pause(duration: Duration) {
    // poll(2) on nothing never fails but for EINTR, which only shortens the pause.
    let _ = poll(&mut [], Some(&timespec(duration)));
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
