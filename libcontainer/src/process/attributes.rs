//! Attributes of the process itself: personality, no_new_privs, security labels.

use std::{
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::sys::personality::Persona;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

/// The host's procfs. Every write of the child to /proc goes through it, while the process still
/// has the host's root: later, a path would lead to whatever the image or a racing container put
/// at /proc (CVE-2019-16884, CVE-2025-52881).
///
/// In a mount namespace that was copied from the host's, nobody else can have changed /proc, and it
/// is opened for each write: a process that is visible to others should not hold a directory of the
/// host. In one that is joined the handle has to come from outside.
#[derive(Debug)]
pub(crate) struct Procfs(Option<OwnedFd>);

impl Procfs {
    /// For a process that makes its own mount namespace, or stays in the host's.
    pub(crate) fn by_path() -> Self {
        Self(None)
    }

    /// For a process that joins a mount namespace.
    ///
    /// # Errors
    /// As [`Procfs::open`].
    pub(crate) fn by_handle() -> Result<Self, Errno> {
        open_root().map(|fd| Self(Some(fd)))
    }

    /// Opens the file `path`, refusing anything that is mounted over it.
    ///
    /// # Errors
    /// ENODEV when /proc is no procfs.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        match &self.0 {
            Some(root) => openat2(root, path, flags, Mode::empty(), resolve),
            None => openat2(open_root()?, path, flags, Mode::empty(), resolve),
        }
    }

    /// Writes `value` to the file `path`.
    ///
    /// # Errors
    /// As [`Procfs::open`].
    pub(crate) fn write(&self, path: &Path, value: &[u8]) -> Result<(), Errno> {
        std::fs::File::from(self.open(path, OFlags::WRONLY)?)
            .write_all(value)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    pub(crate) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }
}

fn open_root() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?;
    match rustix::fs::fstatfs(&fd)?.f_type {
        libc::PROC_SUPER_MAGIC => Ok(fd),
        _ => Err(Errno::NODEV),
    }
}

/// proc_pid_oom_score_adj(5), of the calling process.
pub(crate) fn weigh_for_oom(score: Option<i32>) -> Result<(), Errno> {
    let Some(score) = score else { return Ok(()) };
    Procfs::by_path().write("thread-self/oom_score_adj".as_ref(), score.to_string().as_bytes())
}

/// personality(2); before the seccomp filter, which may forbid it.
pub(crate) fn personality(wanted: Option<u32>) -> Result<(), Errno> {
    let Some(wanted) = wanted else { return Ok(()) };
    nix::sys::personality::set(Persona::from_bits_retain(wanted as i32))
        .map(drop)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

pub(crate) fn no_new_privileges(wanted: bool) -> Result<(), Errno> {
    if wanted { rustix::thread::set_no_new_privs(true) } else { Ok(()) }
}

/// Which security module a label is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Apparmor,
    Selinux,
    /// Of the keys that this process makes until then.
    SelinuxKeys,
}

/// Sets the label that the next execve takes on (apparmor(7), selinux(8)).
pub(crate) fn label_for_exec(
    procfs: &Procfs,
    module: Label,
    label: Option<&str>,
) -> Result<(), Errno> {
    let Some(label) = label else { return Ok(()) };
    match module {
        Label::Selinux => procfs.write("thread-self/attr/exec".as_ref(), label.as_bytes()),
        Label::SelinuxKeys => procfs.write("thread-self/attr/keycreate".as_ref(), label.as_bytes()),
        Label::Apparmor => {
            let command = format!("exec {label}");
            // Linux 5.8 gave each module a directory of its own; without it the file is shared.
            match procfs.write("thread-self/attr/apparmor/exec".as_ref(), command.as_bytes()) {
                Err(Errno::NOENT) => {
                    procfs.write("thread-self/attr/exec".as_ref(), command.as_bytes())
                }
                other => other,
            }
        }
    }
}
