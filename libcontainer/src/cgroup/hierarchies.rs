//! Which cgroup hierarchies this host has mounted, and where this process is in each.
//!
//! Never from mountinfo, which grows with every container (a reader of it holds the mount lock):
//! the places are fixed by convention (systemd's, which every distribution follows), so one
//! statfs(2) for each line of /proc/self/cgroup is enough.

use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FsWord, Mode, OFlags, openat, statfs};
use serde::Serialize;

use super::dir::read_path;
use crate::error::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";
/// linux/magic.h
const CGROUP_SUPER_MAGIC: FsWord = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// The v1 hierarchies that a container joins; runc's list. Other named hierarchies belong to
/// somebody else.
const JOINED: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
    "misc",
];

/// The host's cgroup hierarchies. Plain data, so that a test can invent a host.
///
/// v1 hosts have only `v1`, v2 hosts only `unified`, hybrid hosts both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hierarchies {
    pub v1: Vec<Hierarchy>,
    pub unified: Option<Unified>,
}

/// A cgroup v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hierarchy {
    /// `cpu`, `cpuacct`, …, or `name=systemd`; several when they are mounted together.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// The cgroup of this process, absolute as seen from `mount`.
    pub own: PathBuf,
}

/// The cgroup v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unified {
    /// Controllers that the root of this hierarchy offers.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// The cgroup of this process, absolute as seen from `mount`.
    pub own: PathBuf,
}

impl Hierarchies {
    /// Looks at /sys/fs/cgroup and /proc/self/cgroup (cgroups(7)).
    ///
    /// # Errors
    /// When /proc/self/cgroup cannot be read.
    pub fn probe() -> Result<Self> {
        let own = read_path("/proc/self/cgroup").doing(|| "cannot read \"/proc/self/cgroup\"")?;
        Ok(Self::mounted_below(Path::new(ROOT), &own))
    }

    /// Whether everything is in the v2 hierarchy.
    pub fn is_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// Whether v1 hierarchies are mounted beside the v2 one.
    pub fn is_hybrid(&self) -> bool {
        !self.v1.is_empty() && self.unified.is_some()
    }

    fn mounted_below(root: &Path, own: &str) -> Self {
        if filesystem(root) == Some(CGROUP2_SUPER_MAGIC) {
            return Self { v1: Vec::new(), unified: Some(unified(root.to_owned(), own)) };
        }
        let hybrid = root.join("unified");
        Self {
            v1: own.lines().filter_map(|line| hierarchy(root, line)).collect(),
            unified: (filesystem(&hybrid) == Some(CGROUP2_SUPER_MAGIC))
                .then(|| unified(hybrid, own)),
        }
    }
}

/// `hierarchy-ID:controller-list:cgroup-path` (cgroups(7)).
fn hierarchy(root: &Path, line: &str) -> Option<Hierarchy> {
    let (_, rest) = line.split_once(':')?;
    let (list, own) = rest.split_once(':')?;
    let controllers: Vec<String> =
        list.split(',').filter(|name| JOINED.contains(name)).map(str::to_owned).collect();
    let directory = |name: &str| root.join(name.trim_start_matches("name="));
    let mount = std::iter::once(list)
        .chain(list.split(','))
        .map(directory)
        .find(|mount| filesystem(mount) == Some(CGROUP_SUPER_MAGIC))?;
    let own = visible(&mount, own);
    (!controllers.is_empty()).then_some(Hierarchy { controllers, mount, own })
}

fn unified(mount: PathBuf, own: &str) -> Unified {
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let controllers = read_path(mount.join("cgroup.controllers")).unwrap_or_default();
    Unified {
        controllers: controllers.split_ascii_whitespace().map(str::to_owned).collect(),
        own: visible(&mount, own),
        mount,
    }
}

/// The own cgroup as a path below `mount`. Inside a container without a cgroup namespace the mount
/// shows only the container's part of the tree while /proc speaks of the host's whole one; with one
/// that somebody else made, the path may lead upwards. In both cases the mount's root is the
/// nearest cgroup that can be reached.
fn visible(mount: &Path, own: &str) -> PathBuf {
    let path = Path::new(own);
    let mut parts = path.components().skip(1);
    let leaves = parts.any(|part| part == Component::ParentDir);
    let reached = || {
        let below = mount.join(own.trim_start_matches('/'));
        openat(CWD, &below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_ok()
    };
    if own == "/" || leaves || !reached() { PathBuf::from("/") } else { path.to_owned() }
}

fn filesystem(path: &Path) -> Option<FsWord> {
    statfs(path).ok().map(|found| found.f_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_hierarchy_is_not_one() {
        let lines = "3:cpu,cpuacct:/a\n2:name=systemd:/a\n0::/a\n";
        assert_eq!(Hierarchies::mounted_below(Path::new("/tmp"), lines), Hierarchies::default());
    }

    #[test]
    fn a_path_out_of_sight_is_the_root() {
        assert_eq!(visible(Path::new("/tmp"), "/../../x"), Path::new("/"));
        assert_eq!(visible(Path::new("/tmp"), "/no-such-cgroup"), Path::new("/"));
        assert_eq!(visible(Path::new("/"), "/proc"), Path::new("/proc"));
    }

    #[test]
    fn this_host_agrees_with_proc() {
        let host = Hierarchies::probe().expect("probe");
        for hierarchy in &host.v1 {
            let directory = hierarchy.mount.join(hierarchy.own.strip_prefix("/").expect("/"));
            assert!(directory.join("cgroup.procs").exists(), "{directory:?}");
        }
        assert!(host.unified.is_some() || !host.v1.is_empty());
    }
}
