//! The state root: one directory a container, which is its lock, too.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FlockOperation, Mode, OFlags, flock, openat},
    io::Errno,
};

use super::{State, absolute, init_process::InitProcess};
use crate::{
    error::{Context, Error, Kind, Result},
    plan::check_id,
    step::Failure,
};

/// The state file, whose name and keys are runc's.
const STATE: &str = "state.json";
/// The state file that is to be.
const DRAFT: &str = "state.json.new";
/// The configuration as it was at creation: the bundle's may change.
pub(super) const CONFIG: &str = "config.json";
/// It exists from create to start.
pub(super) const FIFO: &str = "exec.fifo";

/// How long `start` waits for a program that nothing but the kernel should keep from running. A
/// seccomp agent may: it is asked about execve(2), and may come only after `start`.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The directory of one container.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    dir: PathBuf,
    id: String,
}

/// Held while a container is made or changed. The directory itself is locked: no lock file is left
/// when it goes.
#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

impl Drop for Lock {
    /// Closing is not enough: a child that waits for its start still has a copy of the descriptor.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Entry {
    /// Makes the directory; the id is taken from here on.
    pub(super) fn make(root: &Path, id: &str) -> Result<(Self, Lock)> {
        let root = absolute(root)?;
        let make = |path: &Path, recursive, mode| {
            fs::DirBuilder::new().recursive(recursive).mode(mode).create(path)
        };
        make(&root, true, 0o700).doing(|| format!("cannot make the state root {root:?}"))?;
        let entry = Self { dir: root.join(id), id: id.to_owned() };
        make(&entry.dir, false, 0o711).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Error::new(Kind::Exists, format!("container with given ID already exists: {id:?}"))
                    .hint(format!("`rtn delete {id}` removes it if it is stopped"))
            }
            _ => Error::os(format!("cannot make {:?}", entry.dir), error),
        })?;
        let lock = entry.lock()?;
        Ok((entry, lock))
    }

    /// # Errors
    /// [`Kind::NotFound`].
    pub(super) fn find(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let entry = Self { dir: absolute(root)?.join(id), id: id.to_owned() };
        match fs::metadata(&entry.dir) {
            Ok(found) if found.is_dir() => Ok(entry),
            // Another user's: whether it exists is not for this one to know, nor to say no.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(Error::os(format!("cannot open {:?}", entry.dir), error))
            }
            _ => Err(does_not_exist(id)),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Waits until nobody else is changing the container.
    pub(super) fn lock(&self) -> Result<Lock> {
        let fd = self.open().map_err(|errno| match errno {
            Errno::NOENT => does_not_exist(&self.id),
            errno => Error::os(format!("cannot open {:?}", self.dir), errno),
        })?;
        rustix::io::retry_on_intr(|| flock(&fd, FlockOperation::LockExclusive))
            .doing(|| format!("cannot lock {:?}", self.dir))?;
        Ok(Lock(fd))
    }

    /// Whether somebody is making or changing the container right now.
    pub(super) fn is_locked(&self) -> bool {
        let lock = |fd: OwnedFd| flock(&fd, FlockOperation::NonBlockingLockShared);
        self.open().and_then(lock) == Err(Errno::WOULDBLOCK)
    }

    fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, &self.dir, flags, Mode::empty())
    }

    pub(super) fn read(&self) -> Result<State> {
        let path = self.path(STATE);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            // The directory goes first and last in a container's life.
            ErrorKind::NotFound => does_not_exist(&self.id),
            _ => Error::os(format!("cannot read {path:?}"), error),
        })?;
        serde_json::from_slice(&text).map_err(|cause| {
            Error::new(Kind::Damaged, format!("cannot read the state of container {:?}", self.id))
                .because(cause)
                .hint(format!("{path:?} is damaged; `rtn delete --force {}` removes it", self.id))
        })
    }

    /// Replaces state.json at once and whole.
    pub(super) fn write(&self, state: &State) -> Result<()> {
        self.draft(state)?;
        self.publish()
    }

    /// Writes what [`Entry::publish`] will put in the place of state.json.
    pub(super) fn draft(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state)
            .map_err(|cause| Error::new(Kind::Bug, "cannot write the state").because(cause))?;
        let new = self.path(DRAFT);
        write_new(&new, &text).doing(|| format!("cannot write {new:?}"))
    }

    /// The process of a container that is being made, if there is one already: state.json does not name
    /// it before it is ready.
    pub(super) fn unborn(&self) -> Option<InitProcess> {
        let draft = fs::read(self.path(DRAFT)).ok()?;
        let draft: State = serde_json::from_slice(&draft).ok()?;
        InitProcess::find(draft.init_process_pid, draft.init_process_start)
    }

    pub(super) fn publish(&self) -> Result<()> {
        let path = self.path(STATE);
        fs::rename(self.path(DRAFT), &path).doing(|| format!("cannot write {path:?}"))
    }

    pub(super) fn write_config(&self, raw: &[u8]) -> Result<()> {
        let path = self.path(CONFIG);
        write_new(&path, raw).doing(|| format!("cannot write {path:?}"))
    }

    /// Makes the fifo that `start` writes to; the child gets this end of it.
    pub(super) fn make_fifo(&self) -> Result<OwnedFd> {
        let path = self.path(FIFO);
        let doing = || format!("cannot make {path:?}");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_retain(0o622)).doing(doing)?;
        openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).doing(doing)
    }

    /// Writes to the fifo, and waits until the child's end of it closes, because it executes the
    /// program or ends, but for hooks not longer than [`PATIENCE`]. The child reads one byte; what
    /// it may have written then is why it failed.
    pub(super) fn release(&self, init: &InitProcess, hooks: bool) -> Result<Option<Failure>> {
        let path = self.path(FIFO);
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NXIO => {
                Error::new(Kind::WrongState, "cannot start a container that has stopped")
            }
            errno => Error::os(format!("cannot open {path:?}"), errno),
        })?;
        rustix::io::write(&fifo, b"0").doing(|| format!("cannot write to {path:?}"))?;
        fs::remove_file(&path).doing(|| format!("cannot remove {path:?}"))?;
        let closed = || {
            let mut ends =
                [PollFd::new(&fifo, PollFlags::empty()), PollFd::new(&init.pidfd, PollFlags::IN)];
            poll(&mut ends, if hooks { None } else { Some(&PATIENCE) })
        };
        let closed = rustix::io::retry_on_intr(closed);
        match closed.doing(|| "cannot wait for the container process")? {
            0 => Ok(None),
            _ => Ok(last_words(&fifo)),
        }
    }

    /// Removes everything; the id is free again.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.doing(|| format!("cannot remove {:?}", self.dir)),
        }
    }
}

/// What the child left in the fifo, which lives on behind this end of it.
fn last_words(fifo: &OwnedFd) -> Option<Failure> {
    let path = format!("/proc/self/fd/{}", fifo.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let end = openat(CWD, path, flags, Mode::empty()).ok()?;
    let mut frame = [0; Failure::SIZE];
    let length = rustix::io::read(&end, &mut frame).ok()?;
    if length == frame.len() { Failure::from_bytes(&frame) } else { None }
}

fn write_new(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)
}

fn does_not_exist(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("container does not exist: {id:?}"))
        .hint("`rtn list` shows the containers under this --root")
}

/// The names of all container directories, sorted.
pub(super) fn ids(root: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(|| format!("cannot read {root:?}"))?,
    };
    let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut ids: Vec<_> = dirs.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.sort();
    Ok(ids)
}
