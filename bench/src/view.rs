//! The cgroup hierarchy that the runtimes see. All of it happens in a mount namespace of our own;
//! the host's mounts stay as they are.

use std::{fs, os::fd::OwnedFd, path::Path};

use clap::ValueEnum;
use libcontainer::{Error, Kind, Result, error::Context};
use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::CWD,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
        mount_change, move_mount, open_tree, unmount,
    },
};

const CGROUP: &str = "/sys/fs/cgroup";
const UNIFIED: &str = "unified";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// Pure v1: a hybrid host without its /sys/fs/cgroup/unified, which crun refuses
    V1,
    /// Pure v2: cgroup2 on /sys/fs/cgroup; on a v1 host it has no controllers
    V2,
    /// The host's own
    Host,
}

impl View {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::V1 => "pure cgroup v1",
            Self::V2 => "pure cgroup v2",
            Self::Host => "the host's cgroups",
        }
    }
}

pub(crate) fn enter(view: View) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)
        .doing(|| "cannot enter a mount namespace")
        .map_err(|error| error.hint("run the benchmark as root"))?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .doing(|| "cannot make mounts private")?;
    match view {
        View::V1 if is_v2() => {
            Err(Error::new(Kind::Unsupported, "cannot show cgroup v1: this host has only v2")
                .hint("use --view v2"))
        }
        View::V1 => show_v1(),
        View::V2 if !is_v2() => show_v2(),
        _ => Ok(()),
    }
}

/// Whether /sys/fs/cgroup is one cgroup2 hierarchy in this namespace.
pub(crate) fn is_v2() -> bool {
    Path::new(CGROUP).join("cgroup.controllers").exists()
}

/// The hierarchies on a tmpfs of our own. To unmount `unified` would not do: runc makes
/// directories in what is then an empty directory on the host's tmpfs.
fn show_v1() -> Result<()> {
    let mut hierarchies = Vec::new();
    let mut links = Vec::new();
    for entry in fs::read_dir(CGROUP).doing(|| format!("cannot read {CGROUP}"))?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        match fs::read_link(&path) {
            Ok(target) => links.push((name, target)),
            Err(_) if name != UNIFIED && path.is_dir() => hierarchies.push((clone(&path)?, name)),
            Err(_) => {}
        }
    }
    mount("tmpfs", CGROUP, "tmpfs", MountFlags::empty(), Some(c"mode=755"))
        .doing(|| format!("cannot mount tmpfs on {CGROUP}"))?;
    for (name, target) in links {
        let path = Path::new(CGROUP).join(name);
        std::os::unix::fs::symlink(target, &path)
            .doing(|| format!("cannot make {}", path.display()))?;
    }
    hierarchies.iter().try_for_each(|(tree, name)| attach(tree, &Path::new(CGROUP).join(name)))
}

fn clone(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).doing(|| format!("cannot clone the mount {}", path.display()))
}

fn attach(tree: &OwnedFd, path: &Path) -> Result<()> {
    let doing = || format!("cannot mount a cgroup hierarchy on {}", path.display());
    fs::create_dir(path).doing(doing)?;
    move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).doing(doing)
}

fn show_v2() -> Result<()> {
    unmount(CGROUP, UnmountFlags::DETACH).doing(|| format!("cannot unmount {CGROUP}"))?;
    mount("cgroup2", CGROUP, "cgroup2", MountFlags::NOSUID, None)
        .doing(|| format!("cannot mount cgroup2 on {CGROUP}"))
}
