//! The cgroup that the shim itself is put into.

use std::path::{Path, PathBuf};

use libcontainer::cgroup::Hierarchies;

use crate::error::{Doing, Fault, Result};

/// Moves the process `pid` into the existing cgroup `path`, in every hierarchy that has it.
///
/// # Errors
/// NOT_FOUND when none has it.
pub(crate) fn enter(path: &str, pid: u32) -> Result<()> {
    let below = Path::new(path.trim_start_matches('/'));
    let doors: Vec<PathBuf> = roots()?
        .into_iter()
        .map(|root| root.join(below).join("cgroup.procs"))
        .filter(|door| door.exists())
        .collect();
    if doors.is_empty() {
        return Err(Fault::not_found(format!("cannot load cgroup {path:?}: it does not exist")));
    }
    doors.iter().try_for_each(|door| {
        std::fs::write(door, pid.to_string()).doing(|| format!("cannot join cgroup {path:?}"))
    })
}

/// The v1 hierarchies, or the v2 one where that is all there is.
fn roots() -> Result<Vec<PathBuf>> {
    let hierarchies = Hierarchies::probe()?;
    let v1: Vec<_> = hierarchies.v1.into_iter().map(|hierarchy| hierarchy.mount).collect();
    match v1.is_empty() {
        true => Ok(hierarchies.unified.into_iter().map(|unified| unified.mount).collect()),
        false => Ok(v1),
    }
}
