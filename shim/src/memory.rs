//! Files in memory, for what programs are told and what they say: neither side waits for the other, nor
//! for whoever else has inherited a descriptor.

use std::{ffi::CStr, io::Read, os::fd::OwnedFd};

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

use crate::error::{Doing, Result};

/// A new one; `name` is for who looks into /proc.
pub(crate) fn file(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    let doing = || "cannot make a file in memory";
    let fd = memfd_create(name, MemfdFlags::CLOEXEC).doing(doing)?;
    rustix::io::pwrite(&fd, content, 0).doing(doing)?;
    Ok(fd)
}

/// What was written to it.
pub(crate) fn text(file: OwnedFd) -> String {
    let mut text = Vec::new();
    let _ = seek(&file, SeekFrom::Start(0));
    let _ = std::fs::File::from(file).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
