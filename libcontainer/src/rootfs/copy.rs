//! tmpcopyup: what a directory held before a tmpfs covered it.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, chmodat, chownat,
        fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fsetxattr, mkdirat, mknodat,
        openat, readlinkat, statat, symlinkat,
    },
    io::Errno,
};

/// Copies everything in `from` to `to`, with owner, mode and extended attributes. Names of one
/// file become files of their own, as in runc and crun.
pub(super) fn directory(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    fill(&open_directory(from, c".")?, &open_directory(to, c".")?)
}

fn fill(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy(from, to, name)?;
        }
    }
    Ok(())
}

fn copy(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let (below, copy) = (open_directory(from, name)?, open_directory(to, name)?);
            fill(&below, &copy)?;
            take_over(to, name, &stat)?;
            extended_attributes(&below, &copy)
        }
        FileType::RegularFile => {
            let (source, copy) = file(from, to, name)?;
            take_over(to, name, &stat)?;
            extended_attributes(&source, &copy)
        }
        FileType::Symlink => {
            symlinkat(&readlinkat(from, name, Vec::new())?, to, name)?;
            take_over(to, name, &stat)
        }
        kind => match mknodat(to, name, kind, Mode::RUSR, stat.st_rdev) {
            // Nobody makes devices in a user namespace.
            Err(Errno::PERM) => Ok(()),
            other => other.and_then(|()| take_over(to, name, &stat)),
        },
    }
}

fn open_directory(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let source = openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
    let copy =
        openat(to, name, flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::RWXU)?;
    let (mut source, mut copy) = (std::fs::File::from(source), std::fs::File::from(copy));
    io::copy(&mut source, &mut copy)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok((source.into(), copy.into()))
}

/// Takes over owner and mode, in this order: a change of the owner takes setuid away.
fn take_over(to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    chownat(to.as_fd(), name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Ok(()),
        _ => chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty()),
    }
}

/// Capabilities of files, access lists and the like, as far as the tmpfs takes them: it has none
/// of the user's before Linux 6.6, and a user namespace sets no trusted ones. Its SELinux label is
/// its own.
fn extended_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut names = vec![0; flistxattr_query(from).or_else(none_there)?];
    if names.is_empty() {
        return Ok(());
    }
    let length = flistxattr(from, &mut names[..])?;
    let names = names[..length].split_inclusive(|byte| *byte == 0);
    for name in names.filter_map(|name| CStr::from_bytes_with_nul(name).ok()) {
        if name == c"security.selinux" {
            continue;
        }
        let mut value = vec![0; fgetxattr_query(from, name)?];
        let length = match value.is_empty() {
            true => 0,
            false => fgetxattr(from, name, &mut value[..])?,
        };
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn none_there(errno: Errno) -> Result<usize, Errno> {
    if errno == Errno::OPNOTSUPP { Ok(0) } else { Err(errno) }
}
