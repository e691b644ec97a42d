//! clone3(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// The side of a [`clone3`] that is running.
#[derive(Debug)]
pub(crate) enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// The kernel's `struct clone_args`, version 2 (Linux 5.7, with `cgroup`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Wider than the C library's `int`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Namespace flags and CLONE_PARENT only: a flag that shares memory or stack would make two
/// processes run on one set of Rust values.
const ALLOWED: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_PARENT) as u64;

/// Forks this process with a pidfd, in new namespaces and, on cgroup v2, directly inside `cgroup`
/// (CLONE_INTO_CGROUP, Linux 5.7: no later move, so no global lock).
///
/// # Errors
/// EDEADLK when this process has more than one thread: the child would own locks (the allocator's
/// among them) whose holders do not exist in it.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    // Two links for `.` and `..`, one more for each thread.
    if rustix::fs::stat("/proc/self/task")?.st_nlink > 3 {
        return Err(Errno::DEADLK);
    }
    clone3_alone(flags, cgroup)
}

/// [`clone3`] for a process that has just been cloned: it has one thread, and may be where no
/// /proc could tell.
pub(crate) fn clone3_alone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    if flags & !ALLOWED != 0 {
        return Err(Errno::INVAL);
    }
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        // With CLONE_PARENT the kernel takes the signal of the caller's own creation.
        exit_signal: if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM and no stack, so the child gets a copy of this single thread and its
    // memory, as after fork(2); `args` and `pidfd` live across the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Cloned::Child),
        -1 => Err(super::last_errno()),
        pid => {
            // SAFETY: the kernel stored a new descriptor there (CLONE_PIDFD), which nobody else
            // owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}
