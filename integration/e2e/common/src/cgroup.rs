//! What any cgroup directory says.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub const MOUNT: &str = "/sys/fs/cgroup";

/// The process ids in one cgroup directory, without its children.
pub fn processes(directory: &Path) -> Vec<u32> {
    let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Is this a host whose controllers are in v1 hierarchies?
pub fn is_v1() -> bool {
    Path::new(MOUNT).join("memory").exists()
}

/// Whether cgroups of this host can have this controller.
pub fn has(controller: &str) -> bool {
    let v2 = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers"));
    let v2 = v2.unwrap_or_default();
    is_v1() || v2.split_whitespace().any(|found| found == controller)
}

/// The root of each hierarchy: of those of v1, if there are any, and of v2.
pub fn roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let target = words.next().filter(|target| target.starts_with(MOUNT))?;
        words.next().is_some_and(|kind| kind.starts_with("cgroup")).then(|| target.into())
    });
    hierarchies.collect()
}
