//! The container's cgroup: where it is, what it limits, how a process gets in, and what can be
//! asked of it afterwards.
//!
//! Two axes. What the files are called: `v1` and `v2` turn resources into [`Write`]s, purely,
//! and every part goes where its controller is mounted, so a hybrid host needs no case of its own.
//! Who owns the directory: a [`Driver`]; [`driver`] is the one match.
//!
//! A process enters v1 hierarchies by writing `0` to `tasks` of each ([`enter`]): a single thread
//! that moves itself needs no threadgroup lock, for which every other way waits an RCU grace
//! period (11–18 ms). It enters the v2 hierarchy by being born there (CLONE_INTO_CGROUP).

mod apply;
mod devices;
mod dir;
mod freezer;
mod fs;
mod hierarchies;
mod oom;
mod plan;
mod remove;
mod running;
mod stats;
mod systemd;
mod v1;
mod v2;
mod wait;
mod write;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use self::{
    devices::Devices,
    hierarchies::{Hierarchies, Hierarchy, Unified},
    oom::{Oom, OomWatch},
    plan::{Plan, Request, plan},
    running::Cgroup,
    stats::{BlkioEntry, Hugetlb, Stats},
    systemd::{Property, Unit},
    write::{Need, Write},
};
use crate::error::Result;

/// Who makes the cgroup's directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Manager {
    /// This library, in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd, as a transient unit.
    Systemd,
    /// Nobody: the container stays in the cgroup of its creator.
    Disabled,
}

impl Manager {
    /// Who is likely to have made the cgroup of a container that does not say: systemd's paths are
    /// `slice:prefix:name`.
    pub fn by(cgroups_path: Option<&Path>) -> Self {
        let path = cgroups_path.map(Path::to_string_lossy).unwrap_or_default();
        match path.starts_with('/') || path.matches(':').count() != 2 {
            true => Self::Cgroupfs,
            false => Self::Systemd,
        }
    }
}

/// Where a container's cgroup is: what state.json has to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    manager: Manager,
    paths: BTreeMap<String, PathBuf>,
    /// systemd's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    /// Rootless without cgroupsPath: a hierarchy that refuses is left out (runc's rule).
    #[serde(default)]
    lenient: bool,
}

impl Place {
    /// That of somebody else's cgroup: `path` below every hierarchy, or the name of a slice, whose
    /// path is in its name (systemd.slice(5)).
    pub fn at(path: &Path, host: &Hierarchies) -> Self {
        let slice = path.to_str().filter(|name| !name.contains('/') && name.ends_with(".slice"));
        let path: PathBuf = match slice {
            Some(slice) => systemd::expand(slice).iter().collect(),
            None => path.components().filter(|part| matches!(part, Component::Normal(_))).collect(),
        };
        let v1 = host.v1.iter().flat_map(|hierarchy| {
            let directory = hierarchy.mount.join(&path);
            hierarchy.controllers.iter().map(move |name| (name.clone(), directory.clone()))
        });
        let unified = host.unified.iter().map(|unified| (String::new(), unified.mount.join(&path)));
        Self { paths: v1.chain(unified).collect(), ..Self::default() }
    }

    /// Controller to directory for v1; the empty key is the v2 directory, alone or beside v1 ones.
    pub fn paths(&self) -> &BTreeMap<String, PathBuf> {
        &self.paths
    }

    /// The v2 directory.
    fn unified(&self) -> Option<&Path> {
        self.paths.get("").map(PathBuf::as_path)
    }

    /// The v1 directories, each once, with their controllers.
    fn v1(&self) -> BTreeMap<&Path, Vec<&str>> {
        let mut v1: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
        for (controller, path) in self.paths.iter().filter(|(name, _)| !name.is_empty()) {
            v1.entry(path).or_default().push(controller);
        }
        v1
    }

    /// The directory where `controller` has its files.
    fn home(&self, controller: &str) -> Option<&Path> {
        self.paths.get(controller).or_else(|| self.paths.get("")).map(PathBuf::as_path)
    }
}

/// What the cgroup is told before its first process enters.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Limits {
    pub writes: Vec<Write>,
    /// What systemd is told, where it is the manager.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// v2 only; on v1 device rules are writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Devices>,
    /// v2 controllers that the cgroups above hand down to this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    /// Host user that may manage the v2 cgroup from inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
}

/// The doors of a cgroup.
#[derive(Debug, Default)]
pub struct Entry {
    /// Every v1 `tasks` file, for [`enter`].
    pub tasks: Vec<OwnedFd>,
    /// The v2 directory, for clone3(CLONE_INTO_CGROUP).
    pub into: Option<OwnedFd>,
}

/// Moves the calling process, which must have a single thread, through the v1 doors. In the child:
/// no allocation. Before unshare(CLONE_NEWCGROUP), whose root is where the process is then.
///
/// # Errors
/// The kernel's refusal: ENOSPC from a cpuset without CPUs, EINVAL from a realtime process in a
/// group without realtime runtime.
pub fn enter(tasks: &[OwnedFd]) -> Result<(), Errno> {
    tasks.iter().try_for_each(|door| rustix::io::write(door, b"0").map(|_| ()))
}

/// Makes, limits and removes the directories of a [`Place`].
pub trait Driver {
    /// Before the clone: makes the v2 directory and returns it for CLONE_INTO_CGROUP. `None` where
    /// there is none to enter.
    ///
    /// # Errors
    /// A cgroup that has processes already or is frozen, and whatever the kernel refuses. Nothing
    /// that this call made is left then.
    fn prepare(&self) -> Result<Option<OwnedFd>>;

    /// Beside the child: the v1 directories, every limit, the device rules. `init` is for a
    /// manager that moves the process itself.
    ///
    /// # Errors
    /// As [`Driver::prepare`]. Everything that the two made is gone then; a child that is inside
    /// already is killed for it.
    fn create(&self, limits: &Limits, init: Option<i32>) -> Result<Entry>;

    /// The doors of an existing cgroup.
    ///
    /// # Errors
    /// When a directory is missing or closed to the caller.
    fn open(&self) -> Result<Entry>;

    /// Moves the process `pid` of the caller's into the cgroup, or into `below` it, where the caller
    /// may not do it.
    ///
    /// # Errors
    /// When nobody may do it for the caller.
    fn adopt(&self, pid: i32, below: &Path) -> Result<()>;

    /// Changes limits.
    ///
    /// # Errors
    /// The first write that the kernel refuses, in whatever order.
    fn apply(&self, limits: &Limits) -> Result<()>;

    /// Removes every directory with its sub-cgroups, after waiting until they are empty. Kills
    /// nothing. Does as much as it can, as often as it is called. By the driver whose creation
    /// failed or was never finished: only what it made. `complete` says that the container was made
    /// whole: if not, its manager may still be about to make the cgroup, though there is none.
    ///
    /// # Errors
    /// All directories that remain, and why.
    fn remove(&self, complete: bool) -> Result<()>;
}

/// The driver that owns the directories of `place`. A disabled manager has none: there is nothing
/// that it could do differently.
pub fn driver(place: &Place) -> Box<dyn Driver + '_> {
    match &place.unit {
        Some(unit) => Box::new(systemd::Systemd::new(unit, place)),
        None => Box::new(fs::Cgroupfs::new(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// `file=value @path` for each write: what the conversion tests compare.
    pub(super) fn lines(writes: &[Write]) -> Vec<String> {
        let line = |write: &Write| {
            let at = write.at.as_deref().unwrap_or_default();
            let at = at.strip_prefix("linux.resources.").unwrap_or(at);
            let or = write.or.as_ref().map(|(file, value)| format!(" or {file}={value}"));
            let need = match write.need {
                Need::Required => "",
                Need::IfPresent => " ifPresent",
                Need::IfPermitted => " ifPermitted",
            };
            format!("{}={} @{at}{}{need}", write.file, write.value, or.unwrap_or_default())
        };
        writes.iter().map(line).collect()
    }

    pub(super) fn faults_of(faults: &[Error]) -> Vec<String> {
        let line = |fault: &Error| {
            let text = fault.to_string();
            let what = text.split(" (config.json").next().unwrap_or_default();
            let at = fault.spec_path().unwrap_or_default();
            format!("{what} @{}", at.strip_prefix("linux.resources.").unwrap_or(at))
        };
        faults.iter().map(line).collect()
    }

    #[test]
    fn a_place_has_the_same_path_in_every_hierarchy() {
        let memory = Hierarchy {
            controllers: vec!["memory".to_owned()],
            mount: "/v1/memory".into(),
            own: PathBuf::new(),
        };
        let unified = Unified { controllers: Vec::new(), mount: "/v2".into(), own: PathBuf::new() };
        let host = Hierarchies { v1: vec![memory], unified: Some(unified) };
        let paths = |path: &str| Place::at(Path::new(path), &host).paths;
        let pod = paths("/kubepods/../pod1");
        assert_eq!(pod["memory"], Path::new("/v1/memory/kubepods/pod1"));
        assert_eq!(pod[""], Path::new("/v2/kubepods/pod1"));
        assert_eq!(paths("a-b.slice")[""], Path::new("/v2/a.slice/a-b.slice"));
    }
}
