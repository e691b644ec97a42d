//! The host's side of a bind mount.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{CWD, readlinkat},
    io::Errno,
    mount::{OpenTreeFlags, open_tree},
};

use crate::{
    plan::{
        Mount,
        mounts::{Action, SourceLink},
    },
    sys::mount::{MountAttr, mount_setattr},
};

/// What is put at the destination.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached copy of the host's mount, and whether it may stay a peer of it
    /// (mount_namespaces(7)).
    Tree { tree: OwnedFd, peer: bool },
    /// The source is a link and wanted as such: where it points to.
    Link(CString),
}

impl Source {
    /// Opens the source of a bind mount. In the container's mount namespace, which is cut off from
    /// the host's as its rootfsPropagation says, every copy may stay a `peer`.
    pub(crate) fn open(mount: &Mount, peer: bool) -> Result<Self, Errno> {
        let (recursive, link) = match mount.action {
            Action::Bind { recursive, link } => (recursive, link),
            _ => (false, SourceLink::Followed),
        };
        if link == SourceLink::Copied {
            match readlinkat(CWD, &*mount.source, Vec::new()) {
                Ok(target) => return Ok(Self::Link(target)),
                // Not a link, and mounted like any other.
                Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        let tree = open_source(&mount.source, recursive, link != SourceLink::Mounted)?;
        Ok(Self::Tree { tree, peer })
    }

    pub(crate) fn handle(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tree { tree, .. } => Some(tree.as_fd()),
            Self::Link(_) => None,
        }
    }

    /// Shows the owners of the files as `namespace` maps them, which must be another user
    /// namespace than the initial one. Only a mount that nobody sees yet can be changed so
    /// (mount_setattr(2), "ID-mapped mounts").
    pub(crate) fn map_owners(
        &self,
        namespace: BorrowedFd<'_>,
        recursive: bool,
    ) -> Result<(), Errno> {
        use std::os::fd::AsRawFd;
        let Self::Tree { tree, .. } = self else { return Ok(()) };
        let attr = MountAttr {
            attr_set: libc::MOUNT_ATTR_IDMAP,
            userns_fd: namespace.as_raw_fd() as u64,
            ..MountAttr::default()
        };
        mount_setattr(tree.as_fd(), recursive, &attr)
    }
}

/// A detached copy of the mount at the host's `path`; of the link itself, if it is one and not to
/// be `followed`.
pub(crate) fn open_source(path: &CStr, recursive: bool, followed: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, !followed);
    open_tree(CWD, path, flags)
}
