//! linux.maskedPaths and linux.readonlyPaths.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, fstat, major, minor},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    },
};

use super::{
    Root,
    mount::{attach, copy_tree, set_attributes},
};

/// What covers masked paths. One empty filesystem serves all directories: each would cost the
/// kernel a superblock to reap otherwise.
#[derive(Default)]
pub(crate) struct Masks {
    empty: Option<OwnedFd>,
}

impl Masks {
    /// Covers `path`, a directory by an empty one and anything else by /dev/null; what is not
    /// there needs no cover.
    pub(crate) fn cover(&mut self, root: &Root, path: &Path) -> Result<(), Errno> {
        let target = match root.find(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        if FileType::from_raw_mode(fstat(&target)?.st_mode) != FileType::Directory {
            return attach(&null(root)?, &target);
        }
        match &self.empty {
            Some(empty) => attach(&copy_tree(empty.as_fd(), false)?, &target),
            None => {
                let empty = empty_filesystem()?;
                attach(&empty, &target)?;
                self.empty = Some(empty);
                Ok(())
            }
        }
    }
}

/// The container's null device, and really it: an image may have made it a link or another node
/// (CVE-2025-31133). Not the host's, whose mode the container's root could change for everybody.
fn null(root: &Root) -> Result<OwnedFd, Errno> {
    let null = root.find(Path::new("/dev/null"))?;
    let stat = fstat(&null)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if is_null { copy_tree(null.as_fd(), false) } else { Err(Errno::NODEV) }
}

fn empty_filesystem() -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"nr_blocks", c"1")?;
    fsconfig_set_string(context.as_fd(), c"nr_inodes", c"1")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Makes `path` read-only, if it is there.
pub(crate) fn read_only(root: &Root, path: &Path) -> Result<(), Errno> {
    let target = match root.find(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let tree = copy_tree(target.as_fd(), true)?;
    attach(&tree, &target)?;
    set_attributes(tree.as_fd(), false, libc::MS_RDONLY, 0)
}
