//! What a process does to itself just before it becomes another program.

use std::ffi::CStr;

use rustix::io::Errno;

/// Closes every descriptor from `first` on but `kept` (close_range(2), Linux 5.9). For a process
/// that is about to execute another program and owns descriptors only to be rid of them: nothing
/// that refers to one may be used, or dropped, afterwards.
pub(crate) fn close_from_except(
    first: u32,
    kept: &[std::os::fd::BorrowedFd<'_>],
) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut from = first;
    for fd in kept.into_iter().filter(|fd| *fd >= first) {
        if from < fd {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the caller's only use for the descriptors in the range was this process's birth,
    // which ends in execve or _exit without running their destructors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// Sets every signal that can have one back to its default action; execve(2) keeps ignored
/// signals ignored, and Rust's start-up code ignores SIGPIPE.
pub(crate) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL runs no code of ours; KILL, STOP and the C library's own are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Sets a signal to be ignored, which execve(2) keeps.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Ends this process at once, without running destructors or flushing what the parent buffers.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(status) }
}

/// Brings the interface `name` up, in the network namespace of this thread (netdevice(7)).
pub(crate) fn interface_up(name: &CStr) -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    use std::os::fd::AsRawFd;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all bytes zero is a valid ifreq: integers, and a union of integers and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// The kind of a namespace descriptor, as its CLONE_NEW* flag (ioctl_ns(2), Linux 4.11).
pub(crate) fn namespace_type(fd: std::os::fd::BorrowedFd<'_>) -> Result<i32, Errno> {
    use std::os::fd::AsRawFd;
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: NS_GET_NSTYPE takes no argument and returns an integer.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    if kind < 0 { Err(super::last_errno()) } else { Ok(kind) }
}

/// The user namespace that owns a namespace (ioctl_ns(2), Linux 4.9).
///
/// # Errors
/// EPERM when it is outside that of the caller.
pub(crate) fn namespace_owner(
    fd: std::os::fd::BorrowedFd<'_>,
) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: NS_GET_USERNS takes no argument and returns a descriptor.
    let owner = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_USERNS as _) };
    if owner < 0 {
        return Err(super::last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner) })
}

/// pidfd_send_signal(2) (Linux 5.1) with any number, real-time signals included.
pub(crate) fn pidfd_send_signal(
    pidfd: std::os::fd::BorrowedFd<'_>,
    signal: i32,
) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is allowed and stands for that of kill(2).
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// Takes over a descriptor that this process was executed with. Nobody else may own `number`: it is
/// above 2, open, and seen at program start, before anything was opened below it.
pub(crate) fn inherited(number: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: the caller has just found it open at program start, when only 0, 1 and 2 have owners.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Has `command` unblock every signal just before it becomes the program.
pub(crate) fn with_no_signal_blocked(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let none = nix::sys::signal::SigSet::empty();
    let unblock = move || none.thread_set_mask().map_err(std::io::Error::from);
    // SAFETY: all that the closure does in the child is pthread_sigmask(3), which is async-signal-safe;
    // it owns the set and allocates nothing, for an error either.
    unsafe { command.pre_exec(unblock) };
}
