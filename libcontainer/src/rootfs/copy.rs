//! tmpcopyup: what a directory held before a tmpfs covered it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, mkdirat, openat,
        readlinkat, statat, symlinkat,
    },
    io::Errno,
};

/// Copies directories, files and links, with owner and mode, from `from` to `to`; nodes and
/// sockets are left out, as in runc.
pub(super) fn directory(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(from, c".", readable, Mode::empty())?;
    let to = openat(to, c".", readable, Mode::empty())?;
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(&to, name, Mode::RWXU)?;
                let inner = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let (below, copy) = (
                    openat(&from, name, inner, Mode::empty())?,
                    openat(&to, name, inner, Mode::empty())?,
                );
                directory(&below, &copy)?;
            }
            FileType::RegularFile => file(&from, &to, name)?,
            FileType::Symlink => symlinkat(&readlinkat(&from, name, Vec::new())?, &to, name)?,
            _ => continue,
        }
        take_over(&to, name, &stat)?;
    }
    Ok(())
}

fn file(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let source = openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
    let copy =
        openat(to, name, flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::RWXU)?;
    let (mut source, mut copy) = (std::fs::File::from(source), std::fs::File::from(copy));
    io::copy(&mut source, &mut copy)
        .map(drop)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn take_over(to: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    chownat(to.as_fd(), name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Ok(()),
        _ => chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty()),
    }
}
