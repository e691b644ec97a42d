//! What it takes to mount the layers of an image, for who does that before a container is made:
//! owners that are shown as a user namespace maps them, and files as block devices.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{
    error::{Context, Result},
    plan::namespaces::IdMap,
    sources::user_namespace,
    sys::{
        loop_device,
        mount::{MountAttr, mount_setattr},
    },
};

/// LO_FLAGS_* (loop(4)).
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// How often the device that was free may be somebody else's a moment later.
const RACES: u32 = 100;

/// A user namespace as whose maps mounts show the owners of files (mount_setattr(2), "ID-mapped
/// mounts", Linux 5.12).
#[derive(Debug)]
pub struct Owners(OwnedFd);

impl Owners {
    /// `container` is an id of the filesystem, `host` what the mount shows. Takes root, and a process
    /// of one thread, which is cloned for a moment.
    ///
    /// # Errors
    /// Maps that the kernel refuses.
    pub fn new(uids: &[IdMap], gids: &[IdMap]) -> Result<Self> {
        user_namespace(uids, gids).map(Self)
    }

    /// Maps those of a mount that nobody sees yet (open_tree(2), OPEN_TREE_CLONE), and of those below
    /// it if it has any.
    ///
    /// # Errors
    /// EINVAL from a filesystem that cannot be mapped, or is mapped already.
    pub fn map(&self, tree: BorrowedFd<'_>, read_only: bool) -> Result<(), Errno> {
        let read_only = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
        let attr = MountAttr {
            attr_set: libc::MOUNT_ATTR_IDMAP | read_only,
            userns_fd: self.0.as_raw_fd() as u64,
            ..MountAttr::default()
        };
        mount_setattr(tree, true, &attr)
    }
}

/// A file as a block device, until the last user of the device is gone: this, and what is mounted
/// from it (LO_FLAGS_AUTOCLEAR).
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _device: OwnedFd,
}

impl LoopDevice {
    /// # Errors
    /// Of opening the file or a device.
    pub fn of(file: &Path, read_only: bool, direct: bool) -> Result<Self> {
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR } | OFlags::CLOEXEC;
        let open = |path: &Path, flags| {
            openat(CWD, path, flags, Mode::empty()).doing(|| format!("cannot open {path:?}"))
        };
        let file = open(file, access)?;
        let control = open(Path::new("/dev/loop-control"), OFlags::RDWR | OFlags::CLOEXEC)?;
        let flag = |on, flag| if on { flag } else { 0 };
        let flags = AUTOCLEAR | flag(read_only, READ_ONLY) | flag(direct, DIRECT_IO);
        let mut races = 0;
        loop {
            let number = loop_device::get_free(control.as_fd());
            let number = number.doing(|| "cannot find a free loop device")?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path, access)?;
            races += 1;
            match loop_device::configure(device.as_fd(), file.as_fd(), flags) {
                // Somebody else was told the same number.
                Err(Errno::BUSY) if races < RACES => {}
                other => {
                    other.doing(|| format!("cannot configure {path:?}"))?;
                    return Ok(Self { path, _device: device });
                }
            }
        }
    }

    /// What to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
