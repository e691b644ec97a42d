//! Descriptors that are waited for.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor in the executor's epoll set.
pub(crate) type Watched = AsyncFd<OwnedFd>;

/// For data, or whatever else POLLIN means for it.
pub(crate) fn for_reading(fd: OwnedFd) -> io::Result<Watched> {
    watch(fd, Interest::READABLE)
}

/// For room.
pub(crate) fn for_writing(fd: OwnedFd) -> io::Result<Watched> {
    watch(fd, Interest::WRITABLE)
}

/// The constructor is deprecated for types whose descriptor may change under it, which that of an
/// OwnedFd cannot.
#[allow(deprecated)]
fn watch(fd: OwnedFd, interest: Interest) -> io::Result<Watched> {
    AsyncFd::with_interest(fd, interest)
}

/// What is so of `events` at this moment, and what is so beside it unasked (poll(2)).
pub(crate) fn now(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, events)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(1..) => fds[0].revents(),
        _ => PollFlags::empty(),
    }
}
