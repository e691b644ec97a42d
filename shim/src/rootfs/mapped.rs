//! Mounts whose files belong to whom a user namespace says (containerd sends the options `uidmap=` and
//! `gidmap=` for a snapshot that several containers use, each with users of its own).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use libcontainer::image::Owners;
use nix::mount::MsFlags;
use rustix::{
    fs::{CWD, Mode, mkdirat},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{Call, Place, in_dir, name_of};

/// Where the layers are seen together, beside them.
const MERGED: &str = "merged";

/// The mount that is there already, with owners mapped.
pub(super) fn again(place: Place<'_>, call: &Call, owners: &Owners) -> io::Result<()> {
    let here = place.open()?;
    let recursive = call.flags.contains(MsFlags::MS_REC);
    let tree = copy(&name_of(&here), recursive)?;
    drop(here);
    place.detach()?;
    owners.map(tree.as_fd(), false)?;
    put(&tree, place)
}

/// The kernel maps no overlay, but layers that are mapped (Linux 5.19). Those have to be mounted
/// somewhere until the overlay has its own hold of them: below its own place, where `delete` would
/// find them, and read-only, lest who removes a directory takes them for its files.
pub(super) fn overlay(place: Place<'_>, call: &Call, owners: &Owners) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let stage = Call::new(flags, "mode=0700");
    place.mount(Some(Path::new("layers")), Some("tmpfs"), &stage)?;
    let merged = merge(place, call, owners);
    place.detach()?;
    put(&merged?, place)
}

fn merge(place: Place<'_>, call: &Call, owners: &Owners) -> io::Result<OwnedFd> {
    let stage = place.open()?;
    let (layers, data) = call.layers();
    for (number, layer) in layers.into_iter().enumerate() {
        let tree = copy(layer, false)?;
        owners.map(tree.as_fd(), true)?;
        let name = number.to_string();
        mkdirat(&stage, &*name, Mode::RWXU)?;
        move_mount(&tree, "", &stage, &*name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    mkdirat(&stage, MERGED, Mode::RWXU)?;
    in_dir(Some(&name_of(&stage)), || {
        nix::mount::mount(Some("overlay"), MERGED, Some("overlay"), call.flags, Some(&*data))
    })?;
    copy(&name_of(&stage).join(MERGED), false)
}

/// A copy of the mount at `path` that nobody sees.
fn copy(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(open_tree(CWD, path, flags)?)
}

fn put(tree: &OwnedFd, place: Place<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place.open()?, "", flags)?)
}
