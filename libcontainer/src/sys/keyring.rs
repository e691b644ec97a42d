//! keyctl(2): the session keyring.

use std::ffi::CStr;

use rustix::io::Errno;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
const KEYCTL_SETPERM: libc::c_long = 5;
const KEYCTL_DESCRIBE: libc::c_long = 6;

/// Joins a new session keyring called `name`; returns its serial number.
pub(crate) fn join_session_keyring(name: &CStr) -> Result<i32, Errno> {
    // SAFETY: `name` is a live C string, the only pointer that this operation reads.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if id < 0 { Err(super::last_errno()) } else { Ok(id as i32) }
}

/// Fills `buffer` with the key's description (`type;uid;gid;perm;name`, NUL-terminated); returns
/// the full length.
pub(crate) fn describe_key(key: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`.
    let length = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, key, buffer.as_mut_ptr(), buffer.len())
    };
    if length < 0 { Err(super::last_errno()) } else { Ok(length as usize) }
}

/// Sets the key's permission mask (keyctl_setperm(3)).
pub(crate) fn set_key_permissions(key: i32, mask: u32) -> Result<(), Errno> {
    // SAFETY: this operation takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, mask) };
    if result < 0 { Err(super::last_errno()) } else { Ok(()) }
}
