//! The root itself: made a mount of its own, and entered.

use std::os::fd::{AsFd, OwnedFd};

use nix::mount::{MntFlags, MsFlags};
use rustix::io::Errno;

use super::{
    Root,
    mount::{attach, copy_tree, propagate, set_attributes},
};
use crate::plan::{Entrance, Rootfs, mounts::Propagation};

/// Cuts the mount namespace off from the host's, and makes the root filesystem a mount of its own,
/// as pivot_root(2) needs. `source` is the detached root, where only the parent could open it.
pub(crate) fn prepare(rootfs: &Rootfs, source: Option<&OwnedFd>) -> Result<Root, Errno> {
    if rootfs.entrance == Entrance::Chroot {
        return Root::open_host(&rootfs.path);
    }
    // Nothing that happens here may reach the host, so shared is not honoured before the end.
    let around = match rootfs.propagation.kind() {
        libc::MS_PRIVATE => MsFlags::MS_PRIVATE,
        _ => MsFlags::MS_SLAVE,
    };
    let none: Option<&str> = None;
    nix::mount::mount(none, "/", none, around | MsFlags::MS_REC, none).map_err(to_errno)?;
    let place = Root::open_host(&rootfs.path)?;
    let tree = match source {
        Some(tree) => tree.try_clone().map_err(|_| Errno::MFILE)?,
        None => copy_tree(place.as_fd(), true)?,
    };
    attach(&tree, &place.find(std::path::Path::new("/"))?)?;
    Ok(Root::from_fd(tree))
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
            // place inside it (pivot_root(2), NOTES).
            rustix::process::pivot_root(c".", c".")?;
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
        _ => propagate(root.as_fd(), rootfs.propagation),
    }
}

fn to_errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
