//! Descriptors that are waited for.

use std::{io, os::fd::OwnedFd};

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
