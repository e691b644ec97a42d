//! The host: what the kernel says about a process, and what this machine can do.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// Why a test cannot say anything on this machine.
#[derive(Debug)]
pub struct Skip(pub String);

/// Lets a test go on only where `present` holds.
pub fn needs(present: bool, what: impl fmt::Display) -> Result<(), Skip> {
    if present { Ok(()) } else { Err(Skip(format!("this machine has no {what}"))) }
}

/// `/proc/<pid>/<file>`; empty for a process that is gone.
pub fn proc(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// A line of `/proc/<pid>/status`.
pub fn status(pid: u32, key: &str) -> String {
    field(&proc(pid, "status"), key)
}

/// The value after `key:`, with blanks made single.
fn field(lines: &str, key: &str) -> String {
    let value = lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Soft and hard limit of `/proc/<pid>/limits`.
pub fn rlimit(pid: u32, name: &str) -> Option<(String, String)> {
    let limits = proc(pid, "limits");
    let mut values = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    Some((values.next()?.to_owned(), values.next()?.to_owned()))
}

pub fn command_line(pid: u32) -> Vec<String> {
    let line = proc(pid, "cmdline");
    line.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
}

/// The process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let state = status(pid, "State");
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// What `/proc/<pid>/ns/<kind>` links to: equal for processes in one namespace.
#[track_caller]
pub fn namespace(pid: u32, kind: &str) -> PathBuf {
    let link = format!("/proc/{pid}/ns/{kind}");
    fs::read_link(&link).unwrap_or_else(|error| panic!("{link}: {error}"))
}

/// The root of a process as a path of the host.
pub fn root(pid: u32) -> PathBuf {
    format!("/proc/{pid}/root").into()
}

/// Cgroup of a process in each hierarchy: controllers as in `/proc/<pid>/cgroup` to the path.
pub fn cgroups(pid: u32) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    proc(pid, "cgroup").lines().filter_map(line).collect()
}

/// One line of `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// Directory of the filesystem that is seen here.
    pub root: String,
    pub target: String,
    /// Options of the mount itself, then those of its filesystem.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, …
    pub propagation: Vec<String>,
    pub kind: String,
}

impl Mount {
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let (front, back): (Vec<_>, Vec<_>) =
            (front.split(' ').collect(), back.split(' ').collect());
        let options = front.get(5)?.split(',').chain(back.get(2)?.split(','));
        Some(Self {
            root: front[3].to_owned(),
            target: front[4].to_owned(),
            options: options.map(str::to_owned).collect(),
            propagation: front[6..].iter().map(|s| s.to_string()).collect(),
            kind: back[0].to_owned(),
        })
    }
}

/// The mount table of a process, in the order of mounting.
pub fn mounts(pid: u32) -> Vec<Mount> {
    proc(pid, "mountinfo").lines().filter_map(Mount::parse).collect()
}

/// The topmost mount on `target` in the mount table of a process.
#[track_caller]
pub fn mount_on(pid: u32, target: &str) -> Mount {
    let found = mounts(pid).into_iter().rfind(|mount| mount.target == target);
    found.unwrap_or_else(|| panic!("nothing is mounted on {target}:\n{}", proc(pid, "mountinfo")))
}

/// Capabilities of this machine's root, as a mask (some machines withhold CAP_SYS_RESOURCE).
pub fn capabilities() -> u64 {
    u64::from_str_radix(&status(std::process::id(), "CapBnd"), 16).unwrap_or_default()
}

/// All capabilities that this kernel knows, as a mask.
pub fn all_capabilities() -> u64 {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    last.trim_end().parse().map_or(u64::MAX, |last: u32| u64::MAX >> (63 - last))
}

/// A block device of this machine: its node, and `major:minor`.
pub fn block_device() -> Option<(PathBuf, String)> {
    let mut devices = fs::read_dir("/sys/block").ok()?.flatten();
    devices.find_map(|entry| {
        let node = Path::new("/dev").join(entry.file_name());
        let number = fs::read_to_string(entry.path().join("dev")).ok()?;
        // A loop or memory device without a request queue of its own has no `device` link.
        (node.exists() && entry.path().join("device").exists())
            .then(|| (node, number.trim_end().to_owned()))
    })
}

/// Kills a process.
///
/// # Errors
/// Those of kill(2): it may have ended by itself.
pub fn kill(pid: u32) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(pid.cast_signed()).ok_or(Errno::SRCH)?, Signal::KILL)
}

/// All processes of this machine.
pub fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
