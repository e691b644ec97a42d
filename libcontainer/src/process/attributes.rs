//! Attributes of the process itself: personality, no_new_privs, security labels.

use std::{
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::personality::Persona;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

/// The host's procfs, opened while nobody but the host could have put something else there. Every
/// write of the child to /proc goes through it: a path would lead to whatever the image or a
/// racing container put at /proc (CVE-2019-16884, CVE-2025-52881).
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    /// # Errors
    /// ENODEV when /proc is no procfs.
    pub(crate) fn open() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?;
        match rustix::fs::fstatfs(&fd)?.f_type {
            libc::PROC_SUPER_MAGIC => Ok(Self(fd)),
            _ => Err(Errno::NODEV),
        }
    }

    /// Writes `value` to the file `path`, refusing anything that is mounted over it.
    pub(crate) fn write(&self, path: &std::path::Path, value: &[u8]) -> Result<(), Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat2(&self.0, path, flags, Mode::empty(), resolve)?;
        std::fs::File::from(file)
            .write_all(value)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
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
