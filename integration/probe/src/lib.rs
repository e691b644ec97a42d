//! What a process sees of the box it was put in. The program `probe` (see `main.rs`) collects
//! [`Facts`] inside a container and prints them as JSON; the tests read them back as the same type.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub mod collect;

/// Everything about the calling process that a runtime has a hand in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub pid: i32,
    pub ppid: i32,
    /// Session id; the pid itself when the process leads a session.
    pub sid: i32,
    /// Namespace name as in /proc/self/ns → inode (`mnt` → 4026531841).
    pub namespaces: BTreeMap<String, u64>,
    /// Real, effective, saved, filesystem.
    pub uids: [u32; 4],
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: BTreeSet<u32>,
    pub caps: Capabilities,
    pub no_new_privs: bool,
    /// 0 disabled, 1 strict, 2 filter.
    pub seccomp: u32,
    /// `nofile` → (soft, hard), names as in /proc/self/limits; `u64::MAX` is "unlimited".
    pub rlimits: BTreeMap<String, (u64, u64)>,
    pub umask: u32,
    /// getcwd(2), so that `(unreachable)/…` shows.
    pub cwd: String,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    /// Open descriptors and what they refer to.
    pub fds: BTreeMap<i32, String>,
    /// Link target of /proc/self/exe.
    pub exe: String,
    pub hostname: String,
    pub domainname: String,
    pub mounts: Vec<Mount>,
    /// personality(2); 0 is the plain Linux one.
    pub personality: u64,
    pub oom_score_adj: i32,
    /// Descriptions of the keyrings that this process owns, as in /proc/keys.
    pub keyrings: Vec<String>,
    pub tty: Option<Tty>,
    /// Lines of /proc/self/cgroup.
    pub cgroups: Vec<String>,
    /// `monotonic` → offset in seconds, from /proc/self/timens_offsets.
    pub timens: BTreeMap<String, i64>,
    /// Lines of /proc/self/uid_map and gid_map: (inside, outside, size).
    pub uid_map: Vec<(u32, u32, u32)>,
    pub gid_map: Vec<(u32, u32, u32)>,
    pub nice: i32,
    /// The files that the command line asked for: content, or the errno's name.
    pub files: BTreeMap<String, Result<String, String>>,
    /// The files that the command line asked for, not following a last symlink.
    pub stats: BTreeMap<String, Result<Stat, String>>,
}

impl Facts {
    /// The topmost mount whose mount point is exactly `target`.
    pub fn mount(&self, target: &str) -> Option<&Mount> {
        self.mounts.iter().rev().find(|mount| mount.target == target)
    }

    /// Value of `name` in the environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The five sets, by name (`CAP_KILL`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub effective: BTreeSet<String>,
    pub permitted: BTreeSet<String>,
    pub inheritable: BTreeSet<String>,
    pub bounding: BTreeSet<String>,
    pub ambient: BTreeSet<String>,
}

/// One line of /proc/self/mountinfo; see proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Which part of the filesystem is mounted (`/` unless it is a bind mount of something below).
    pub root: String,
    pub target: String,
    /// Of the mount: `ro`, `nosuid`, …
    pub options: BTreeSet<String>,
    /// `shared:1`, `master:2`, `propagate_from:3`, `unbindable`.
    pub propagation: Vec<String>,
    pub fstype: String,
    pub source: String,
    /// Of the superblock: `ro`, `size=64k`, …
    pub super_options: BTreeSet<String>,
}

impl Mount {
    pub fn has(&self, option: &str) -> bool {
        self.options.contains(option)
    }
}

/// lstat(2), reduced to what a runtime decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// `file`, `dir`, `link`, `char`, `block`, `fifo` or `socket`.
    pub kind: String,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// (major, minor) of a device node.
    pub device: Option<(u32, u32)>,
    /// Where a symlink points.
    pub target: Option<String>,
}

/// The terminal on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tty {
    pub rows: u16,
    pub columns: u16,
    /// The process may open /dev/tty, so it is its controlling terminal.
    pub controlling: bool,
    /// Link target of /proc/self/fd/0.
    pub name: String,
}

/// What a hook saw; `probe hook` appends one line of JSON per call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HookCall {
    /// First argument of `probe hook`.
    pub label: String,
    /// Standard input: the state of the container (runtime spec, runtime.md "State").
    pub state: serde_json::Value,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub namespaces: BTreeMap<String, u64>,
    /// Of the hook itself.
    pub place: Place,
    /// Of the process that the state's `pid` names where the hook runs; a hook in the container's
    /// pid namespace takes another process for it.
    pub container: Place,
}

/// Where in the tree of files a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// (device, inode) of the root directory.
    pub root: Option<(u64, u64)>,
    /// (device, inode) of the program.
    pub exe: Option<(u64, u64)>,
    /// Mount points, in the order of mountinfo.
    pub mounts: Vec<String>,
}

/// Capability numbers to names, in the order of linux/capability.h.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
