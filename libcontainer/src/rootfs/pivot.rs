//! The root itself: made a mount of its own, and entered.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::mount::{MntFlags, MsFlags};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx},
    io::Errno,
};

use super::{
    Root,
    mount::{attach, copy_tree, propagate, set_attributes},
};
use crate::plan::{Entrance, Rootfs, propagation::Propagation};

/// Cuts the mount namespace off from the host's, and makes the root filesystem a mount of its own,
/// as pivot_root(2) needs. `source` is the detached root, where only the parent could open it.
pub(crate) fn prepare(rootfs: &Rootfs, source: Option<&OwnedFd>) -> Result<Root, Errno> {
    if rootfs.entrance == Entrance::Chroot {
        return Root::open_host(&rootfs.path);
    }
    let place = Root::open_host(&rootfs.path)?;
    match rootfs.propagation.kind() {
        // Mounts of the host stay peers, for volumes that are to show mounts on both sides; only
        // the root's own surroundings are cut off, or its mounts would appear there.
        libc::MS_SHARED => propagate(mount_root(&place)?.as_fd(), Propagation(libc::MS_PRIVATE))?,
        libc::MS_PRIVATE => propagate_all(MsFlags::MS_PRIVATE)?,
        _ => propagate_all(MsFlags::MS_SLAVE)?,
    }
    let tree = match source {
        Some(tree) => tree.try_clone().map_err(|_| Errno::MFILE)?,
        None => copy_tree(place.as_fd(), true)?,
    };
    attach(&tree, &place.find(Path::new("/"))?)?;
    if source.is_some() {
        // It was copied outside, where it may be a peer of the host's mount.
        propagate(tree.as_fd(), Propagation(libc::MS_SLAVE | libc::MS_REC))?;
    }
    Ok(Root::from_fd(tree))
}

fn propagate_all(kind: MsFlags) -> Result<(), Errno> {
    let none: Option<&str> = None;
    nix::mount::mount(none, "/", none, kind | MsFlags::MS_REC, none).map_err(to_errno)
}

/// The root of the mount that holds `place`, found by climbing: /proc/self/mountinfo may have
/// thousands of lines (STATX_ATTR_MOUNT_ROOT, Linux 5.8).
fn mount_root(place: &Root) -> Result<OwnedFd, Errno> {
    let mut here = place.find(Path::new("/"))?;
    loop {
        let stat = statx(&here, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(here);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        here = openat(&here, c"..", flags, Mode::empty())?;
    }
}

/// root.readonly.
pub(crate) fn set_read_only(root: &Root, rootfs: &Rootfs) -> Result<(), Errno> {
    match rootfs.readonly && rootfs.entrance != Entrance::Chroot {
        true => set_attributes(root.as_fd(), false, libc::MS_RDONLY, 0),
        false => Ok(()),
    }
}

/// Makes the root this process's own, with nothing of the host left in reach.
pub(crate) fn enter(root: &Root, rootfs: &Rootfs) -> Result<(), Errno> {
    rustix::process::fchdir(root.as_fd())?;
    match rootfs.entrance {
        Entrance::PivotRoot => {
            // Both on one directory: the old root then lies on top of the new one, and needs no
            // place inside it (pivot_root(2), NOTES). What is shared with the host must not hear
            // that it goes.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let old = openat(CWD, c"/", flags, Mode::empty())?;
            rustix::process::pivot_root(c".", c".")?;
            rustix::process::fchdir(&old)?;
            let none: Option<&str> = None;
            nix::mount::mount(none, ".", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
                .map_err(to_errno)?;
            nix::mount::umount2(".", MntFlags::MNT_DETACH).map_err(to_errno)?;
        }
        Entrance::MoveMount => {
            let none: Option<&str> = None;
            nix::mount::mount(Some("."), "/", none, MsFlags::MS_MOVE, none).map_err(to_errno)?;
            rustix::process::chroot(c".")?;
        }
        Entrance::Chroot => rustix::process::chroot(c".")?,
    }
    rustix::process::chdir(c"/")?;
    let Propagation(flags) = rootfs.propagation;
    match flags & (libc::MS_SHARED | libc::MS_UNBINDABLE) {
        0 => Ok(()),
        _ if rootfs.entrance == Entrance::Chroot => Ok(()),
        // The mounts inside have said for themselves what they are.
        _ => propagate(root.as_fd(), Propagation(rootfs.propagation.kind())),
    }
}

fn to_errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
