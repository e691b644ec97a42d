//! /dev: nodes and links.

use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::{
    Root,
    mount::{attach, copy_tree},
    open_source,
};
use crate::plan::{
    Device,
    devices::{Kind, Method},
};

/// Makes one node, by mknod(2) or as a bind mount of the host's.
pub(crate) fn node(root: &Root, device: &Device) -> Result<(), Errno> {
    match device.method {
        Method::Bind => bind(root, device),
        Method::Mknod => make(root, device),
    }
}

fn make(root: &Root, device: &Device) -> Result<(), Errno> {
    let (parent, name) = root.parent(&device.path)?;
    let kind = match device.kind {
        Kind::Character => FileType::CharacterDevice,
        Kind::Block => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
    };
    let number = match device.kind {
        Kind::Fifo => 0,
        _ => makedev(device.major, device.minor),
    };
    match mknodat(&parent, name, kind, Mode::from_raw_mode(device.mode), number) {
        Ok(()) => {}
        // A root filesystem that was used before has it already; anything else there is not ours
        // to replace.
        Err(Errno::EXIST) => {
            let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same = FileType::from_raw_mode(stat.st_mode) == kind
                && (kind == FileType::Fifo || stat.st_rdev == number);
            return if same { Ok(()) } else { Err(Errno::EXIST) };
        }
        Err(errno) => return Err(errno),
    }
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

fn bind(root: &Root, device: &Device) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(device.path.as_os_str().as_bytes());
    let source = open_source(&path.map_err(|_| Errno::INVAL)?, false, true)?;
    attach(&source, &root.own_file(&device.path)?)
}

/// The links that every /dev has (runtime-spec, config-linux.md "Default Devices"; proc(5)).
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
];

/// Makes the links in the container's /dev, which may itself be a link of the image: then they
/// land where it points to inside the root (CVE-2026-41579).
pub(crate) fn links(root: &Root) -> Result<(), Errno> {
    let dev = root.directory(Path::new("/dev"))?;
    LINKS.iter().try_for_each(|(target, name)| link(&dev, target, name))?;
    if rustix::fs::stat("/proc/kcore").is_ok() {
        link(&dev, c"/proc/kcore", c"core")?;
    }
    // A node of the host's devpts would give ptys of the host.
    match unlinkat(&dev, c"ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => link(&dev, c"pts/ptmx", c"ptmx"),
        Err(errno) => Err(errno),
    }
}

fn link(dev: &OwnedFd, target: &CStr, name: &CStr) -> Result<(), Errno> {
    match symlinkat(target, dev, name) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Puts the slave of the process's pty at /dev/console (runtime-spec, config-linux.md).
pub(crate) fn console(root: &Root, slave: &OwnedFd) -> Result<(), Errno> {
    let console = root.own_file(Path::new("/dev/console"))?;
    attach(&copy_tree(slave.as_fd(), false)?, &console)
}
