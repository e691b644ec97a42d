//! What a run must not leave: cgroups, state, mounts, processes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use libcontainer::{Error, Kind, Result, error::Context};
use rustix::{
    io::Errno,
    process::{WaitOptions, wait},
};

use crate::bundle::{Bundles, prefix};

const CGROUP: &str = "/sys/fs/cgroup";

/// The mounts as they are before a workload; they belong to our namespace alone.
#[derive(Debug)]
pub(crate) struct Before {
    mounts: String,
}

impl Before {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { mounts: mounts()? })
    }

    /// An error that names everything left behind since.
    pub(crate) fn check(&self, bundles: &Bundles) -> Result<()> {
        let mut left = Vec::new();
        named_after_us(Path::new(CGROUP), 4, &mut left);
        named_after_us(&bundles.directory.join("state"), 2, &mut left);
        let mut left: Vec<_> = left.iter().map(|path| path.display().to_string()).collect();
        let mounts = mounts()?;
        left.extend(mounts.lines().filter(|line| !self.mounts.contains(line)).map(String::from));
        if has_children()? {
            left.push("a process that still runs".into());
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Os,
            format!("cannot report runs that left something behind: {}", left.join(", ")),
        ))
    }
}

/// After a failure: the cgroups that the failed run did not remove, if nothing is in them.
pub(crate) fn sweep() {
    let mut left = Vec::new();
    named_after_us(Path::new(CGROUP), 4, &mut left);
    for path in left {
        match remove_tree(&path) {
            Ok(()) => eprintln!("bench: removed {}", path.display()),
            Err(error) => eprintln!("bench: cannot remove {}: {error}", path.display()),
        }
    }
}

/// A cgroup's files go with it; only directories are removed.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

fn mounts() -> Result<String> {
    fs::read_to_string("/proc/self/mountinfo").doing(|| "cannot read /proc/self/mountinfo")
}

/// Directories that vanish meanwhile belong to somebody else.
fn named_after_us(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if entry.file_name().to_string_lossy().contains(&prefix()) {
            found.push(entry.path());
        } else if depth > 1 {
            named_after_us(&entry.path(), depth - 1, found);
        }
    }
}

/// Reaps orphans that have ended, which are nobody's fault.
fn has_children() -> Result<bool> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(Errno::CHILD) => return Ok(false),
            Err(error) => return Err(Error::os("cannot wait", error)),
        }
    }
}
