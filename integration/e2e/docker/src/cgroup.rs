//! The cgroup directories of a private daemon: one name in every hierarchy of the host, and with
//! the systemd driver a slice for the containers.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::event::PollFlags;

pub use e2e_common::cgroup::{MOUNT, is_v1, processes};

use crate::wait;

/// The subdirectory that holds the daemon itself, beside the containers' ones.
const DAEMON: &str = "daemon";

/// Who makes the containers' cgroups: dockerd's `native.cgroupdriver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Cgroupfs,
    Systemd,
}

impl Driver {
    /// That of the variable `CGROUP_DRIVER`, or the one that dockerd itself would choose.
    ///
    /// # Panics
    /// When the variable names none.
    pub fn chosen() -> Self {
        match std::env::var("CGROUP_DRIVER").as_deref() {
            Ok("cgroupfs") => Self::Cgroupfs,
            Ok("systemd") => Self::Systemd,
            Ok(other) => panic!("CGROUP_DRIVER={other}: cgroupfs and systemd are known"),
            Err(_) if !is_v1() && Path::new("/run/systemd/system").exists() => Self::Systemd,
            Err(_) => Self::Cgroupfs,
        }
    }

    /// The daemon's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// The tree `/<name>` in every hierarchy, and the slice of that name.
#[derive(Clone, Debug)]
pub struct Tree {
    name: String,
    /// Without hyphens, which would be slices above it.
    slice: String,
}

impl Tree {
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { slice: name.replace('-', "_"), name }
    }

    /// As `dockerd --cgroup-parent` wants it.
    pub fn parent(&self) -> String {
        match Driver::chosen() {
            Driver::Cgroupfs => format!("/{}", self.name),
            Driver::Systemd => format!("{}.slice", self.slice),
        }
    }

    /// A parent of containers below the first one, and what there is to its directory.
    pub fn other_parent(&self) -> (String, String) {
        match Driver::chosen() {
            Driver::Cgroupfs => {
                let path = format!("/{}/nested/deeply", self.name);
                (path.clone(), path)
            }
            Driver::Systemd => {
                let name = format!("{}-nested.slice", self.slice);
                (name.clone(), format!("/{}.slice/{name}", self.slice))
            }
        }
    }

    /// The cgroup of a container, as /proc/PID/cgroup has it.
    pub fn of_container(&self, id: &str) -> String {
        self.below(&format!("/{}", self.parent().trim_start_matches('/')), id)
    }

    /// The cgroup of a container whose parent is at `path`.
    pub fn below(&self, path: &str, id: &str) -> String {
        match Driver::chosen() {
            Driver::Cgroupfs => format!("{path}/{id}"),
            Driver::Systemd => format!("{path}/docker-{id}.scope"),
        }
    }

    /// Moves the calling process into the tree's v2 cgroup for the daemon, so that all that the
    /// daemon starts can be found, and gives the way back.
    pub fn enter(&self) -> io::Result<Outside> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let before = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let inside = unified().join(&self.name).join(DAEMON);
        fs::create_dir_all(&inside)?;
        count_memory(&unified().join(&self.name))?;
        fs::write(inside.join("cgroup.procs"), "0")?;
        Ok(Outside(unified().join(before).join("cgroup.procs")))
    }

    /// All processes of the daemon and its containers.
    pub fn processes(&self) -> Vec<u32> {
        let directories = self.roots().into_iter().flat_map(|root| descendants(&root));
        directories.flat_map(|directory| processes(&directory)).collect()
    }

    /// Directories of containers: in any hierarchy, all but the daemon's own.
    pub fn containers(&self) -> Vec<PathBuf> {
        let found = self
            .everywhere()
            .into_iter()
            .flat_map(|tree| descendants(&tree).into_iter().filter(move |found| *found != tree));
        found.filter(|directory| !directory.ends_with(DAEMON)).collect()
    }

    /// Kills every process of the tree, frozen ones too, and waits until the last one is gone.
    ///
    /// # Errors
    /// When the kernel refuses, or some process outlives `patience`.
    pub fn kill(&self, patience: Duration) -> io::Result<()> {
        if is_v1() {
            for freezer in descendants(&directory("freezer", &format!("/{}", self.name))) {
                // Absent in the root of the hierarchy.
                let _ = fs::write(freezer.join("freezer.state"), "THAWED");
            }
        }
        let deadline = Instant::now() + patience;
        self.roots().into_iter().filter(|root| root.exists()).try_for_each(|root| {
            fs::write(root.join("cgroup.kill"), "1")?;
            empty(&root, deadline)
        })
    }

    /// Removes the tree's directories; they must hold no process any more.
    pub fn remove(&self) -> io::Result<()> {
        let slice = format!("{}.slice", self.slice);
        if unified().join(&slice).exists() {
            // systemd's to remove, and its name is not free while systemd knows it.
            Command::new("systemctl").args(["stop", &slice]).status()?;
        }
        self.everywhere().iter().flat_map(|tree| descendants(tree)).rev().try_for_each(
            |directory| match fs::remove_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        )
    }

    /// The directories in the v2 hierarchy, in which every process is.
    fn roots(&self) -> Vec<PathBuf> {
        vec![unified().join(&self.name), unified().join(format!("{}.slice", self.slice))]
    }

    fn everywhere(&self) -> Vec<PathBuf> {
        let named = hierarchies().into_iter().map(|mount| mount.join(&self.name));
        named.chain([unified().join(format!("{}.slice", self.slice))]).collect()
    }
}

/// The directory of a cgroup in the v1 hierarchy of `controller`, or in v2 for "unified" and on a
/// host that has nothing else.
pub fn directory(controller: &str, cgroup: &str) -> PathBuf {
    let hierarchy = match controller {
        "unified" => unified(),
        _ if !is_v1() => unified(),
        controller => Path::new(MOUNT).join(controller),
    };
    hierarchy.join(cgroup.trim_start_matches('/'))
}

/// Can this machine limit what `controller` is about? Its v2 hierarchy may be without it, as long
/// as a v1 hierarchy has it.
pub fn has_controller(controller: &str) -> bool {
    let offered = fs::read_to_string(unified().join("cgroup.controllers")).unwrap_or_default();
    is_v1() || offered.split_whitespace().any(|name| name == controller)
}

/// Where a process came from that went into a [`Tree`].
#[derive(Debug)]
pub struct Outside(PathBuf);

impl Outside {
    pub fn leave(self) -> io::Result<()> {
        fs::write(self.0, "0")
    }
}

/// In `parent`'s children, as systemd does in a service: dockerd discards limits of swap when there
/// is no such file in its own cgroup.
fn count_memory(parent: &Path) -> io::Result<()> {
    if is_v1() || !has_controller("memory") {
        return Ok(());
    }
    fs::write(parent.join("cgroup.subtree_control"), "+memory")
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
