//! Mounts, each onto a handle.

use std::{
    fmt::Write as _,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;
use rustix::{
    fs::CWD,
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{Root, copy};
use crate::{
    plan::{Mount, mount_attributes, mounts::Action, propagation::Propagation},
    sys::mount::{MountAttr, mount_setattr},
};

/// Carries out one entry of the plan. `source` is the detached source of a bind mount, where the
/// parent had to open it because the child may not.
pub(crate) fn mount(root: &Root, mount: &Mount, source: Option<&OwnedFd>) -> Result<(), Errno> {
    match &mount.action {
        Action::Filesystem { fstype, data, copy_up } => {
            let target = filesystem_target(root, mount, fstype.to_bytes())?;
            let data = filesystem_data(&target, fstype.to_bytes(), data.to_bytes())?;
            let flags = MsFlags::from_bits_retain(mount.set);
            let data = Some(data.as_slice()).filter(|data| !data.is_empty());
            classic_mount(
                Some(mount.source.as_ref()),
                &target,
                Some(fstype.as_ref()),
                flags,
                data,
            )?;
            if *copy_up {
                copy::directory(&target, &root.find(&mount.destination)?)?;
            }
            set_propagation_of(root, mount)
        }
        Action::Bind { recursive } => match bind(root, mount, *recursive, source) {
            // A hierarchy that an ordinary user may not use was left out.
            Err(Errno::NOENT) if mount.of_cgroup => Ok(()),
            other => other,
        },
        Action::Remount { data } => {
            let target = root.find(&mount.destination)?;
            let flags = MsFlags::from_bits_retain(mount.set) | MsFlags::MS_REMOUNT;
            classic_mount(None, &target, None, flags, Some(data.to_bytes()))
        }
        Action::Symlink => {
            let (parent, name) = root.parent(&mount.destination)?;
            match rustix::fs::symlinkat(&*mount.source, &parent, name) {
                Err(Errno::EXIST) => Ok(()),
                other => other,
            }
        }
    }
}

/// A procfs or sysfs behind a link is a trap for whoever trusts its path (CVE-2019-19921,
/// CVE-2023-27561).
fn filesystem_target(root: &Root, mount: &Mount, fstype: &[u8]) -> Result<OwnedFd, Errno> {
    match fstype {
        b"proc" | b"sysfs" => match root.find_without_links(&mount.destination) {
            Err(Errno::NOENT) => root.directory(&mount.destination),
            other => other,
        },
        _ => root.directory(&mount.destination),
    }
}

/// A tmpfs without a mode of its own takes over that of the directory it covers, as under runc.
fn filesystem_data(target: &OwnedFd, fstype: &[u8], data: &[u8]) -> Result<Vec<u8>, Errno> {
    let has_mode = data.split(|byte| *byte == b',').any(|option| option.starts_with(b"mode="));
    let mut data = data.to_vec();
    if fstype == b"tmpfs" && !has_mode {
        let mode = rustix::fs::fstat(target)?.st_mode & 0o7777;
        let separator = if data.is_empty() { "" } else { "," };
        data.extend_from_slice(format!("{separator}mode={mode:o}").as_bytes());
    }
    Ok(data)
}

fn bind(
    root: &Root,
    mount: &Mount,
    recursive: bool,
    source: Option<&OwnedFd>,
) -> Result<(), Errno> {
    let opened;
    let tree = match source {
        Some(tree) => tree,
        None => {
            opened = open_source(&mount.source, recursive)?;
            &opened
        }
    };
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    let target = match kind {
        rustix::fs::FileType::Directory => root.directory(&mount.destination)?,
        _ => root.file(&mount.destination)?,
    };
    attach(tree, &target)?;
    if source.is_some() {
        // It was copied outside, where it may be a peer of the host's mount.
        propagate(tree.as_fd(), Propagation(libc::MS_SLAVE | libc::MS_REC))?;
    }
    set_attributes(tree.as_fd(), false, mount.set, mount.clear)?;
    set_attributes(tree.as_fd(), true, mount.set_all, mount.clear_all)?;
    mount.propagation.iter().try_for_each(|propagation| propagate(tree.as_fd(), *propagation))
}

/// A detached copy of the mount at the host's `path`.
pub(crate) fn open_source(path: &std::ffi::CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let depth = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | depth)
}

/// A detached copy of the mount that `handle` is in, from `handle` downwards.
pub(super) fn copy_tree(handle: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let depth = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(handle, c"", flags | OpenTreeFlags::AT_EMPTY_PATH | depth)
}

/// Puts the detached `tree` onto the place that `target` is.
pub(super) fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

/// Sets and clears `MS_*` flags on the mount `tree` is the root of. Linux before 5.12 has no
/// mount_setattr(2): there a remount replaces all flags of the one mount, so that what is to stay
/// has to be said again.
pub(crate) fn set_attributes(
    tree: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    clear: u64,
) -> Result<(), Errno> {
    if set | clear == 0 {
        return Ok(());
    }
    let (attr_set, attr_clr) = mount_attributes(set, clear);
    let attr = MountAttr { attr_set, attr_clr, ..MountAttr::default() };
    match mount_setattr(tree, recursive, &attr) {
        Err(Errno::NOSYS) if !recursive => remount(tree, set, clear),
        other => other,
    }
}

fn remount(tree: BorrowedFd<'_>, set: u64, clear: u64) -> Result<(), Errno> {
    // The flags of statvfs(3) have the values of mount(2)'s, but for relatime.
    const ST_RELATIME: u64 = 4096;
    let now = rustix::fs::fstatvfs(tree)?.f_flag.bits();
    let relatime = if now & ST_RELATIME == 0 { 0 } else { libc::MS_RELATIME };
    let same = libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC
        | libc::MS_NOATIME
        | libc::MS_NODIRATIME;
    let kept = (now & same) | relatime;
    let flags = MsFlags::from_bits_retain((kept & !clear) | set);
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    classic_mount(None, &tree, None, flags, None)
}

/// Changes how mounts at `tree` travel between mount namespaces (mount_namespaces(7)).
pub(super) fn propagate(tree: BorrowedFd<'_>, propagation: Propagation) -> Result<(), Errno> {
    let attr = MountAttr { propagation: propagation.kind(), ..MountAttr::default() };
    match mount_setattr(tree, propagation.recursive(), &attr) {
        Err(Errno::NOSYS) => {
            classic_mount(None, &tree, None, MsFlags::from_bits_retain(propagation.0), None)
        }
        other => other,
    }
}

fn set_propagation_of(root: &Root, mount: &Mount) -> Result<(), Errno> {
    if mount.propagation.is_empty() && mount.set_all | mount.clear_all == 0 {
        return Ok(());
    }
    let mounted = root.find(&mount.destination)?;
    set_attributes(mounted.as_fd(), true, mount.set_all, mount.clear_all)?;
    mount.propagation.iter().try_for_each(|propagation| propagate(mounted.as_fd(), *propagation))
}

/// Makes a filesystem read-only that had to be furnished first.
pub(crate) fn late_read_only(root: &Root, mount: &Mount) -> Result<(), Errno> {
    if !mount.late_readonly {
        return Ok(());
    }
    set_attributes(root.find(&mount.destination)?.as_fd(), false, libc::MS_RDONLY, 0)
}

/// mount(2) onto a handle, by the host's /proc.
fn classic_mount(
    source: Option<&std::ffi::CStr>,
    target: &impl AsRawFd,
    fstype: Option<&std::ffi::CStr>,
    flags: MsFlags,
    data: Option<&[u8]>,
) -> Result<(), Errno> {
    nix::mount::mount(source, &descriptor_path(target), fstype, flags, data)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

pub(super) fn descriptor_path(fd: &impl AsRawFd) -> PathBuf {
    let mut path = String::with_capacity(24);
    let _ = write!(path, "/proc/self/fd/{}", fd.as_raw_fd());
    Path::new(&path).to_path_buf()
}
