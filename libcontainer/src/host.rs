//! What this machine offers, looked at once. Plain data, so that a test can invent a host.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    cgroup::Hierarchies,
    error::{Context, Result},
    sys,
};

/// The facts that a [`crate::plan::Plan`] depends on beside config.json.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// The caller's effective user and group ids.
    pub euid: u32,
    pub egid: u32,
    /// Whether this process is root of the initial user namespace (or of one that maps all ids).
    pub initial_user_namespace: bool,
    /// Whether the mount namespace belongs to this process's user namespace (or to one inside it),
    /// so that its root may mount: not in one that was made without mounts of its own.
    pub owns_mounts: bool,
    /// Capabilities that this process may hand on, as bits (capabilities(7)).
    pub capabilities: u64,
    pub apparmor: bool,
    pub selinux: bool,
    pub cgroup: Hierarchies,
    /// Where the resctrl file system is mounted.
    pub resctrl: Option<PathBuf>,
}

impl Host {
    /// Looks.
    ///
    /// # Errors
    /// When /proc or /sys/fs/cgroup cannot be read.
    pub fn probe() -> Result<Self> {
        let own = rustix::thread::capabilities(None).doing(|| "cannot read own capabilities")?;
        let initial_user_namespace = maps_all_ids();
        Ok(Self {
            euid: rustix::process::geteuid().as_raw(),
            egid: rustix::process::getegid().as_raw(),
            initial_user_namespace,
            owns_mounts: initial_user_namespace || owns_mounts(),
            capabilities: own.permitted.bits(),
            apparmor: enabled("/sys/module/apparmor/parameters/enabled"),
            selinux: fs::exists("/sys/fs/selinux/enforce").unwrap_or(false),
            cgroup: Hierarchies::probe()?,
            resctrl: resctrl(Path::new("/sys/fs/resctrl")),
        })
    }

    /// The same machine as its root would see it: to look at a plan that is not to be carried out.
    #[must_use]
    pub fn as_root(self) -> Self {
        Self {
            euid: 0,
            egid: 0,
            initial_user_namespace: true,
            owns_mounts: true,
            capabilities: u64::MAX,
            ..self
        }
    }

    /// Whether this process lacks the rights of the machine's root.
    pub fn rootless(&self) -> bool {
        self.euid != 0 || !self.initial_user_namespace
    }
}

/// The number of this process's user outside its user namespace, as far as that tells.
pub(crate) fn outer_uid() -> u32 {
    let own = rustix::process::getuid().as_raw();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let outside = map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse::<u32>().ok());
        let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let offset = own.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    });
    outside.unwrap_or(own)
}

/// The initial user namespace maps every id to itself in one line (user_namespaces(7)).
fn maps_all_ids() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// NS_GET_USERNS of ioctl_ns(2) refuses to show the owner of what belongs to an outer namespace.
fn owns_mounts() -> bool {
    let mounts = fs::File::open("/proc/self/ns/mnt");
    mounts.is_ok_and(|mounts| sys::process::namespace_owner(mounts.as_fd()).is_ok())
}

/// The kernel makes the directory where it knows resctrl; somebody has to mount it.
fn resctrl(path: &Path) -> Option<PathBuf> {
    /// RDTGROUP_SUPER_MAGIC of linux/magic.h.
    const MAGIC: i64 = 0x0765_5821;
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    (kind == MAGIC).then(|| path.to_owned())
}

fn enabled(parameter: &str) -> bool {
    fs::read(parameter).is_ok_and(|text| text.starts_with(b"Y"))
}
