//! Signals by number: the safe wrappers know only the named ones, not SIGRTMIN+3.

use rustix::io::Errno;

/// kill(2) of one process.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        return Err(Errno::SRCH);
    }
    // SAFETY: kill(2) takes two numbers; a positive pid is one process, not a group or everyone.
    let result = unsafe { libc::kill(pid, signal) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}
