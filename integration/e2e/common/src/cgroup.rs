//! What any cgroup directory says.

use std::{fs, path::Path};

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
