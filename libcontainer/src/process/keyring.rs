//! A session keyring of the container's own, so that it cannot reach its creator's keys.

use std::ffi::CString;

use rustix::io::Errno;

use crate::sys::keyring;

/// Anybody with the container's uid may search it, or programs that changed their uid lose it.
const KEY_USR_SEARCH: u32 = 0x0008_0000;

/// Joins a new session keyring named after the container. A kernel without keyrings has nothing
/// to protect.
pub(crate) fn join(id: &str) -> Result<(), Errno> {
    let name = CString::new(format!("_ses.{id}")).map_err(|_| Errno::INVAL)?;
    let key = match keyring::join_session_keyring(&name) {
        Err(Errno::NOSYS) => return Ok(()),
        other => other?,
    };
    let mut description = [0; 512];
    let length = keyring::describe_key(key, &mut description)?.min(description.len());
    // type;uid;gid;permissions in hexadecimal;name
    let permissions = description[..length].split(|byte| *byte == b';').nth(3);
    let permissions = permissions.and_then(|text| str::from_utf8(text).ok());
    let permissions = permissions.and_then(|text| u32::from_str_radix(text, 16).ok());
    let permissions = permissions.ok_or(Errno::PROTO)?;
    keyring::set_key_permissions(key, permissions | KEY_USR_SEARCH)
}
