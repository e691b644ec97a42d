//! The far end of an output.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    event::PollFlags,
    fs::{CWD, Mode, OFlags, inotify, openat},
    io::Errno,
};

use super::target::Target;
use crate::{
    error::{Doing, Result},
    ready::{self, Watched},
};

/// Takes what a process writes.
#[derive(Debug)]
pub(super) enum Sink {
    Fifo {
        to: Watched,
        /// The fifo's other end: with it open, a reader that goes away (a containerd that restarts)
        /// breaks nothing, and what nobody has read yet stays.
        back: OwnedFd,
        path: PathBuf,
        /// Whether there was a reader at the beginning.
        had_reader: bool,
    },
    /// To a program that was started for it.
    Pipe(Watched),
    /// Never full.
    File(File),
}

impl Sink {
    /// Nothing for [`Target::Null`]. A logger is none: it reads from the process itself.
    pub(super) fn open(target: Target) -> Result<Option<Self>> {
        match target {
            Target::Null | Target::Logger(_) => Ok(None),
            Target::Fifo(path) => Self::fifo(path).map(Some),
            Target::File(path) => Self::file(&path).map(Some),
        }
    }

    fn fifo(path: PathBuf) -> Result<Self> {
        let doing = || format!("cannot open {path:?}");
        let open =
            |flags| openat(CWD, &path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        // Without a reader it cannot be opened for writing alone.
        let to = match open(OFlags::WRONLY) {
            Err(Errno::NXIO) => None,
            to => Some(to.doing(doing)?),
        };
        let had_reader = to.is_some();
        let back = open(OFlags::RDONLY).doing(doing)?;
        let to = to.map_or_else(|| open(OFlags::WRONLY), Ok).doing(doing)?;
        match ready::for_writing(to) {
            // epoll(7) refuses what never has to be waited for: it is a file, or /dev/null.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Self::file(&path),
            to => Ok(Self::Fifo { to: to.doing(doing)?, back, path, had_reader }),
        }
    }

    fn file(path: &Path) -> Result<Self> {
        let doing = || format!("cannot open {path:?}");
        path.parent().map_or(Ok(()), std::fs::create_dir_all).doing(doing)?;
        OpenOptions::new().append(true).create(true).open(path).doing(doing).map(Self::File)
    }

    pub(super) fn pipe(to: OwnedFd) -> Result<Self> {
        let to = ready::for_writing(to);
        to.doing(|| "cannot watch a pipe").map(Self::Pipe)
    }

    pub(super) fn null() -> Result<Self> {
        let null = OpenOptions::new().write(true).open("/dev/null");
        null.doing(|| "cannot open \"/dev/null\"").map(Self::File)
    }

    /// Whether pages can be moved to it. splice(2) knows no O_APPEND.
    pub(super) fn takes_pages(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Whether a write of up to PIPE_BUF bytes would succeed at once and as a whole (pipe(7)).
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Fifo { to, .. } | Self::Pipe(to) => has_room(to),
            Self::File(_) => true,
        }
    }

    pub(super) async fn room(&self) -> Result<(), Errno> {
        match self {
            Self::Fifo { to, .. } | Self::Pipe(to) => {
                let mut ready = to.writable().await.map_err(|_| Errno::IO)?;
                ready.clear_ready();
                Ok(())
            }
            Self::File(_) => Ok(()),
        }
    }

    /// Ends the stream. A reader that has not come yet must find what is in the fifo, which would be
    /// gone with the last descriptor, or at least its end: open(2) waits for a writer, and does not
    /// know of those that are gone. So it is waited for.
    pub(super) async fn close(self) {
        let Self::Fifo { to, back, path, had_reader } = self else { return };
        if had_reader && empty(&back) {
            return;
        }
        drop(back);
        if has_reader(&to) {
            return;
        }
        // Not before: closing an inotify instance takes the kernel tens of milliseconds.
        let arrivals =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let Ok(arrivals) = arrivals else { return };
        if inotify::add_watch(&arrivals, &path, inotify::WatchFlags::OPEN).is_ok()
            && !has_reader(&to)
            && let Ok(arrivals) = ready::for_reading(arrivals)
        {
            let _ = arrivals.readable().await;
        }
    }
}

/// Or an error, which the next write tells.
pub(super) fn has_room(to: &Watched) -> bool {
    !ready::now(to, PollFlags::OUT).is_empty()
}

/// Without a reader a pipe's writing end is in error (poll(2)).
fn has_reader(to: &Watched) -> bool {
    !ready::now(to, PollFlags::OUT).contains(PollFlags::ERR)
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Fifo { to, .. } | Self::Pipe(to) => to.get_ref().as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

fn empty(fifo: &OwnedFd) -> bool {
    rustix::io::ioctl_fionread(fifo).is_ok_and(|bytes| bytes == 0)
}
