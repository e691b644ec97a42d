//! Mounts, each onto a handle.

use std::{
    ffi::CStr,
    fmt::Write as _,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;
use rustix::{
    fs::{FileType, PROC_SUPER_MAGIC, XattrFlags, fstat, fstatfs, readlinkat, setxattr, symlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsmount, fsopen, move_mount, open_tree,
    },
};

use super::{Root, Source, copy};
use crate::{
    plan::{Mount, mount_attributes, mounts::Action, propagation::Propagation},
    sys::mount::{MountAttr, mount_setattr},
};

/// Carries out one entry of the plan. `source` is that of a bind mount, where the parent had to
/// open it because the child may not.
pub(crate) fn mount(root: &Root, mount: &Mount, source: Option<&Source>) -> Result<(), Errno> {
    match &mount.action {
        Action::Filesystem { fstype, data, copy_up } => {
            filesystem(root, mount, fstype, data.to_bytes(), *copy_up)
        }
        Action::Bind { .. } => match bind(root, mount, source) {
            // A hierarchy that an ordinary user may not use was left out.
            Err(Errno::NOENT) if mount.of_cgroup => Ok(()),
            other => other,
        },
        Action::Remount { bind: true, .. } => {
            let target = target(root, mount, None)?;
            set_attributes(target.as_fd(), false, mount.set, mount.clear)?;
            spread(target.as_fd(), mount)
        }
        Action::Remount { bind: false, data } => {
            let target = target(root, mount, None)?;
            let flags = MsFlags::from_bits_retain(mount.set) | MsFlags::MS_REMOUNT;
            classic_mount(None, &target, None, flags, Some(data.to_bytes()))?;
            spread(target.as_fd(), mount)
        }
        Action::Symlink => link(root, mount, &mount.source),
    }
}

fn filesystem(
    root: &Root,
    mount: &Mount,
    fstype: &CStr,
    data: &[u8],
    copy_up: bool,
) -> Result<(), Errno> {
    let there = root.find(&mount.destination).is_ok();
    let target = filesystem_target(root, mount, fstype.to_bytes())?;
    let data = match (fstype.to_bytes(), there) {
        (b"tmpfs", true) => with_mode(&target, data)?,
        _ => data.to_vec(),
    };
    let flags = MsFlags::from_bits_retain(mount.set);
    let data = Some(data.as_slice()).filter(|data| !data.is_empty());
    match classic_mount(Some(mount.source.as_ref()), &target, Some(fstype), flags, data) {
        Err(Errno::BUSY) if fstype == c"cgroup2" => again(fstype, &target, mount)?,
        other => other?,
    }
    if copy_up {
        copy::directory(&target, &root.find(&mount.destination)?)?;
    }
    if let Some(label) = &mount.label {
        let mounted = root.find(&mount.destination)?;
        let flags = XattrFlags::empty();
        setxattr(descriptor_path(&mounted), c"security.selinux", label.to_bytes(), flags)?;
    }
    let untouched = mount.propagation.is_empty() && mount.set_all | mount.clear_all == 0;
    if untouched { Ok(()) } else { spread(root.find(&mount.destination)?.as_fd(), mount) }
}

/// A procfs or sysfs behind a link is a trap for whoever trusts its path (CVE-2019-19921,
/// CVE-2023-27561).
fn filesystem_target(root: &Root, mount: &Mount, fstype: &[u8]) -> Result<OwnedFd, Errno> {
    match fstype {
        b"proc" | b"sysfs" => match root.find_without_links(&mount.destination) {
            Err(Errno::NOENT) => root.directory(&mount.destination),
            other => other,
        },
        _ => target(root, mount, Some(FileType::Directory)),
    }
}

/// The place that is to be covered; made as a directory or else as a file where it is missing, if
/// `kind` says so. A link may not lead it into the container's procfs, where the plan could not
/// see it coming (CVE-2019-16884).
fn target(root: &Root, mount: &Mount, kind: Option<FileType>) -> Result<OwnedFd, Errno> {
    let path = &mount.destination;
    let target = match (kind, mount.destination_nofollow) {
        (None, false) => root.find(path),
        (None, true) => root.find_last(path),
        (Some(FileType::Directory), false) => root.directory(path),
        (Some(FileType::Directory), true) => match root.find_last(path) {
            Err(Errno::NOENT) => root.directory(path),
            other => other,
        },
        (Some(_), false) => root.file(path),
        (Some(_), true) => match root.find_last(path) {
            Err(Errno::NOENT) => root.own_file(path),
            other => other,
        },
    }?;
    if root.is(&target)? && kind.is_some() {
        return Err(Errno::BUSY);
    }
    let on_procfs = fstatfs(&target)?.f_type == PROC_SUPER_MAGIC;
    if on_procfs && !path.starts_with("/proc") && root.holds_as_proc(&target)? {
        return Err(Errno::LOOP);
    }
    Ok(target)
}

/// mount(2) refuses a filesystem where its own root is mounted already, as cgroup2 is where the
/// host's /sys was bound; a detached mount may go there.
fn again(fstype: &CStr, target: &OwnedFd, mount: &Mount) -> Result<(), Errno> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let tree = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    set_attributes(tree.as_fd(), false, mount.set, mount.clear)?;
    attach(&tree, target)
}

/// A tmpfs without a mode of its own takes over that of the directory it covers, as under runc.
fn with_mode(target: &OwnedFd, data: &[u8]) -> Result<Vec<u8>, Errno> {
    let has_mode = data.split(|byte| *byte == b',').any(|option| option.starts_with(b"mode="));
    let mut data = data.to_vec();
    if !has_mode {
        let mode = fstat(target)?.st_mode & 0o7777;
        let separator = if data.is_empty() { "" } else { "," };
        data.extend_from_slice(format!("{separator}mode={mode:o}").as_bytes());
    }
    Ok(data)
}

fn bind(root: &Root, mount: &Mount, source: Option<&Source>) -> Result<(), Errno> {
    let opened;
    let from = match source {
        Some(source) => source,
        None => {
            opened = Source::open(mount, true)?;
            &opened
        }
    };
    let (tree, peer) = match from {
        Source::Link(target) => return link(root, mount, target),
        Source::Tree { tree, peer } => (tree, *peer),
    };
    let kind = FileType::from_raw_mode(fstat(tree)?.st_mode);
    let target = target(root, mount, Some(kind))?;
    let covers_directory = FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory;
    if covers_directory != (kind == FileType::Directory) {
        return Err(Errno::NOTDIR);
    }
    attach(tree, &target)?;
    if !peer {
        propagate(tree.as_fd(), Propagation(libc::MS_SLAVE | libc::MS_REC))?;
    }
    set_attributes(tree.as_fd(), false, mount.set, mount.clear)?;
    spread(tree.as_fd(), mount)
}

/// What is to hold for all mounts below as well.
fn spread(mounted: BorrowedFd<'_>, mount: &Mount) -> Result<(), Errno> {
    set_attributes(mounted, true, mount.set_all, mount.clear_all)?;
    mount.propagation.iter().try_for_each(|propagation| propagate(mounted, *propagation))
}

/// Makes a link to `to`, or finds the same one there.
fn link(root: &Root, mount: &Mount, to: &CStr) -> Result<(), Errno> {
    let (parent, name) = root.parent(&mount.destination)?;
    match symlinkat(to, &parent, name) {
        Err(Errno::EXIST) => match readlinkat(&parent, name, Vec::new()) {
            Ok(there) if there.as_c_str() == to => Ok(()),
            _ => Err(Errno::EXIST),
        },
        other => other,
    }
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

/// Makes a filesystem read-only that had to be furnished first.
pub(crate) fn late_read_only(root: &Root, mount: &Mount) -> Result<(), Errno> {
    if !mount.late_readonly {
        return Ok(());
    }
    set_attributes(root.find(&mount.destination)?.as_fd(), false, libc::MS_RDONLY, 0)
}

/// mount(2) onto a handle, by the host's /proc.
fn classic_mount(
    source: Option<&CStr>,
    target: &impl AsRawFd,
    fstype: Option<&CStr>,
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
