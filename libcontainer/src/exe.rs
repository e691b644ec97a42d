//! Keeps the container away from this program's file.
//!
//! A process that is about to become the container's program still is this program: whoever gets
//! at its /proc/PID/exe, or makes it execute /proc/self/exe, holds the host's file open and can
//! overwrite it later (CVE-2019-5736), or, by a bug of the kernel, poison its page cache. So what
//! runs inside is a private copy in memory, sealed and gone with its process.

use std::{
    ffi::{CString, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

use rustix::{
    fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, openat},
    io::Errno,
};

use crate::error::{Context, Error, Result};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Executes a copy of this program in place of it, with the same arguments and environment; does
/// nothing in the copy. Call it first: everything done before is done again.
///
/// # Errors
/// When no copy can be made or executed; to go on without one would be unsafe.
pub fn run_from_copy() -> Result<()> {
    let exe = openat(CWD, c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "cannot open own executable")?;
    // Only a file in memory has seals; anything else answers EINVAL.
    if fcntl_get_seals(&exe) == Ok(SEALS) {
        return rustix::thread::set_name(c"rtn").doing(|| "cannot set own name");
    }
    let copy = copy(&exe).doing(|| "cannot copy own executable into memory")?;
    execute(copy)
}

fn copy(exe: &OwnedFd) -> Result<OwnedFd, Errno> {
    let size = usize::try_from(rustix::fs::fstat(exe)?.st_size).map_err(|_| Errno::FBIG)?;
    let memory = memory_file()?;
    let mut left = size;
    while left > 0 {
        match rustix::fs::sendfile(&memory, exe, None, left)? {
            0 => return Err(Errno::IO),
            copied => left -= copied,
        }
    }
    fcntl_add_seals(&memory, SEALS)?;
    Ok(memory)
}

/// Linux 6.3 wants to be told that the file will be executed; before that it refuses the word.
fn memory_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(c"rtn", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"rtn", flags),
        other => other,
    }
}

fn execute(copy: OwnedFd) -> Result<()> {
    let text = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let args: Vec<_> = std::env::args_os().map(text).collect();
    let env: Vec<_> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    let Err(errno) = nix::unistd::fexecve(copy.as_fd(), &args, &env);
    Err(Error::os("cannot execute own copy in memory", errno)
        .hint("is vm.memfd_noexec set to 2? the runtime runs from a private copy in memory"))
}
