//! The cgroup directories of a private daemon: one name in every hierarchy of the host.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::event::PollFlags;

use crate::wait;

const MOUNT: &str = "/sys/fs/cgroup";

/// The subdirectory that holds the daemon itself, beside the containers' ones.
const DAEMON: &str = "daemon";

/// The tree `/<name>` in every hierarchy.
#[derive(Clone, Debug)]
pub struct Tree {
    name: String,
}

impl Tree {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// As `dockerd --cgroup-parent` wants it.
    pub fn parent(&self) -> String {
        format!("/{}", self.name)
    }

    /// The tree's directory in the v1 hierarchy of `controller`, or in v2 for "unified".
    pub fn directory(&self, controller: &str) -> PathBuf {
        match controller {
            "unified" => unified().join(&self.name),
            controller => Path::new(MOUNT).join(controller).join(&self.name),
        }
    }

    /// Moves the calling process into the tree's v2 cgroup for the daemon, so that all that the
    /// daemon starts can be found, and gives the way back.
    pub fn enter(&self) -> io::Result<Outside> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let before = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let inside = self.directory("unified").join(DAEMON);
        fs::create_dir_all(&inside)?;
        fs::write(inside.join("cgroup.procs"), "0")?;
        Ok(Outside(unified().join(before).join("cgroup.procs")))
    }

    /// All processes of the daemon and its containers.
    pub fn processes(&self) -> Vec<u32> {
        let directories = descendants(&self.directory("unified"));
        directories.iter().flat_map(|directory| processes(directory)).collect()
    }

    /// Directories of containers: in any hierarchy, all but the daemon's own.
    pub fn containers(&self) -> Vec<PathBuf> {
        let trees = hierarchies().into_iter().map(|mount| mount.join(&self.name));
        let found =
            trees.flat_map(|tree| descendants(&tree).into_iter().filter(move |d| *d != tree));
        found.filter(|directory| !directory.ends_with(DAEMON)).collect()
    }

    /// Kills every process of the tree, frozen ones too, and waits until the last one is gone.
    ///
    /// # Errors
    /// When the kernel refuses, or some process outlives `patience`.
    pub fn kill(&self, patience: Duration) -> io::Result<()> {
        for freezer in descendants(&self.directory("freezer")) {
            // Absent in the root of the hierarchy and on hosts without v1.
            let _ = fs::write(freezer.join("freezer.state"), "THAWED");
        }
        let tree = self.directory("unified");
        if !tree.exists() {
            return Ok(());
        }
        fs::write(tree.join("cgroup.kill"), "1")?;
        empty(&tree, Instant::now() + patience)
    }

    /// Removes the tree's directories; they must hold no process any more.
    pub fn remove(&self) -> io::Result<()> {
        let trees = hierarchies().into_iter().map(|mount| mount.join(&self.name));
        trees.flat_map(|tree| descendants(&tree)).rev().try_for_each(fs::remove_dir)
    }
}

/// Where a process came from that went into a [`Tree`].
#[derive(Debug)]
pub struct Outside(PathBuf);

impl Outside {
    pub fn leave(self) -> io::Result<()> {
        fs::write(self.0, "0")
    }
}

/// The process ids in one cgroup directory, without its children.
pub fn processes(directory: &Path) -> Vec<u32> {
    let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Is this a host whose controllers are in v1 hierarchies?
pub fn is_v1() -> bool {
    Path::new(MOUNT).join("memory").exists()
}

fn unified() -> PathBuf {
    if is_v1() { Path::new(MOUNT).join("unified") } else { MOUNT.into() }
}

/// Mount points of all hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    if is_v1() { subdirectories(Path::new(MOUNT)) } else { vec![MOUNT.into()] }
}

/// `directory` and all below it, parents first; nothing when it does not exist.
fn descendants(directory: &Path) -> Vec<PathBuf> {
    if !directory.exists() {
        return Vec::new();
    }
    let below = subdirectories(directory).into_iter().flat_map(|child| descendants(&child));
    std::iter::once(directory.to_owned()).chain(below).collect()
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Waits on `cgroup.events`, which the kernel signals when the last process leaves (cgroup v2,
/// Documentation/admin-guide/cgroup-v2.rst "populated").
fn empty(tree: &Path, deadline: Instant) -> io::Result<()> {
    let path = tree.join("cgroup.events");
    loop {
        let events = fs::File::open(&path)?;
        if io::read_to_string(&events)?.contains("populated 0") {
            return Ok(());
        }
        if !wait::ready(events.as_fd(), PollFlags::PRI, deadline) {
            return Err(io::Error::other(format!("{} still has processes", tree.display())));
        }
    }
}
