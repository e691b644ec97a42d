//! The calls without a safe wrapper in a crate: clone3, seccomp, keyctl and mount_setattr. The
//! runtime's own wrappers are private to it, and the floor must not share its code.
#![allow(unsafe_code)]

use std::{
    fmt::Display,
    io::Error,
    os::fd::{AsRawFd, OwnedFd},
    process::exit,
};

use libc::c_long;
use rustix::process::Pid;

const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// `None` in the child. The program has one thread, so the child may do whatever the parent may.
pub(crate) fn clone3(flags: u64, into: Option<&OwnedFd>) -> Option<Pid> {
    let mut arguments = [0_u64; 11]; // struct clone_args, CLONE_ARGS_SIZE_VER2
    arguments[0] = flags | if into.is_some() { CLONE_INTO_CGROUP } else { 0 };
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = into.map_or(0, |fd| fd.as_raw_fd() as u64);
    let pid =
        raw(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments), 0, 0, 0]);
    Pid::from_raw(pid as i32)
}

pub(crate) fn raw(number: c_long, a: [usize; 5]) -> c_long {
    // SAFETY: the callers pass numbers and pointers to live, fully initialised structs of the sizes
    // that these calls read; none of the calls writes memory, and clone3 is made without CLONE_VM.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4]) };
    if result < 0 {
        die(&format!("syscall {number}"), Error::last_os_error())
    }
    result
}

pub(crate) fn ok<T, E: Display>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| die(what, error))
}

pub(crate) fn die(what: &str, error: impl Display) -> ! {
    eprintln!("floor: {what}: {error}");
    exit(125)
}
