//! The only `unsafe` of the library: system calls that neither rustix nor nix offers. One function,
//! one block, one call; arguments are typed so that no caller can break the SAFETY sentence.

pub(crate) mod bpf;
pub(crate) mod clone;
pub(crate) mod keyring;
pub(crate) mod loop_device;
pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod seccomp;
pub(crate) mod signal;

use rustix::io::Errno;

/// The errno of the system call that just failed.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
