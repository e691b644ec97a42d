//! seccomp(2). nix has none; rustix only the strict mode.

use super::last_errno;
use rustix::io::Errno;
use seccompiler::sock_filter as Instruction;
use std::{
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

/// `seccomp(SECCOMP_SET_MODE_FILTER, flags, program)`; the listener, if `flags` ask for one.
pub(crate) fn set_filter(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which the slice holds (both types
    // are the kernel's `struct sock_filter`), and writes nothing.
    let fd =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) };
    if fd < 0 {
        return Err(last_errno());
    }
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the kernel has just made this descriptor for us, and nobody else
    // knows its number.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// Whether the kernel knows all of `flags`: it looks at them first, and fails with EFAULT for want
/// of a program only if they are good.
pub(crate) fn knows(flags: u32) -> bool {
    let none = ptr::null::<libc::sock_fprog>();
    // SAFETY: a null program is never read from; the call fails without any effect.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, none) };
    result < 0 && last_errno() == Errno::FAULT
}
