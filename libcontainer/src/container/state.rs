//! state.json: what is known of a container between two calls. The keys are runc's, because tools
//! read its file directly; what rtn needs beside them follows.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use oci_spec::runtime::LinuxNamespaceType;
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::Place,
    plan::{Origin, Plan},
};

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    pub id: String,
    /// 0 until the process is certain to live.
    pub init_process_pid: i32,
    /// Field 22 of /proc/PID/stat (clock ticks after boot): a pid alone may have been reused.
    pub init_process_start: u64,
    /// RFC 3339, UTC, with nanoseconds.
    pub created: String,
    pub rootless: bool,
    /// Controller to directory (v1); "" is the v2 directory.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// `NEWPID` and so on to /proc/PID/ns/…, for each namespace that is not the host's.
    pub namespace_paths: BTreeMap<String, PathBuf>,
    /// What the standard streams were at creation (as for CRIU).
    pub external_descriptors: Vec<String>,
    /// The resctrl group that the container is in; empty without linux.intelRdt.
    pub intel_rdt_path: PathBuf,
    /// The container's own monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt_mon_path: Option<PathBuf>,

    pub oci_version: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// uid of the creator.
    pub owner: u32,
    pub annotations: BTreeMap<String, String>,
    pub cgroup: Place,
    pub new_keyring: bool,
    /// Whether the resctrl group ends with the container: it did not exist before, and is nobody
    /// else's.
    #[serde(default)]
    pub intel_rdt_own: bool,
}

/// What a container is doing (runtime-spec, runtime.md "State"; `paused` is runc's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Kinds of namespaces: runc's key in state.json and the name in /proc/PID/ns.
const NAMESPACES: [(LinuxNamespaceType, &str, &str); 8] = [
    (LinuxNamespaceType::Mount, "NEWNS", "mnt"),
    (LinuxNamespaceType::Uts, "NEWUTS", "uts"),
    (LinuxNamespaceType::Ipc, "NEWIPC", "ipc"),
    (LinuxNamespaceType::User, "NEWUSER", "user"),
    (LinuxNamespaceType::Pid, "NEWPID", "pid"),
    (LinuxNamespaceType::Network, "NEWNET", "net"),
    (LinuxNamespaceType::Cgroup, "NEWCGROUP", "cgroup"),
    (LinuxNamespaceType::Time, "NEWTIME", "time"),
];

impl State {
    /// The state of a container that is about to be made.
    pub(super) fn new(plan: &Plan, rootless: bool) -> Self {
        let rdt = plan.intel_rdt.as_ref();
        Self {
            id: plan.id.clone(),
            init_process_pid: 0,
            init_process_start: 0,
            created: now(),
            rootless,
            cgroup_paths: plan.cgroup.place.paths().clone(),
            namespace_paths: namespace_paths(plan, 0),
            external_descriptors: standard_streams(),
            intel_rdt_path: rdt.map(|rdt| rdt.path.clone()).unwrap_or_default(),
            intel_rdt_mon_path: rdt.and_then(|rdt| rdt.monitoring.clone()),
            oci_version: plan.oci_version.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path.clone(),
            owner: rustix::process::geteuid().as_raw(),
            annotations: plan.annotations.clone().into_iter().collect(),
            cgroup: plan.cgroup.place.clone(),
            new_keyring: plan.new_keyring,
            intel_rdt_own: rdt.is_some_and(|rdt| rdt.origin == Origin::Own && !rdt.path.exists()),
        }
    }

    pub(super) fn set_init(&mut self, plan: &Plan, pid: i32, start: u64) {
        self.init_process_pid = pid;
        self.init_process_start = start;
        self.namespace_paths = namespace_paths(plan, pid);
    }

    /// Whether the container has such a namespace of its own, or joined one.
    pub fn is_private(&self, kind: LinuxNamespaceType) -> bool {
        NAMESPACES
            .iter()
            .any(|(other, key, _)| *other == kind && self.namespace_paths.contains_key(*key))
    }

    /// CLONE_NEW* of all its private namespaces.
    pub(super) fn private_flags(&self) -> u64 {
        let private =
            NAMESPACES.iter().filter(|(_, key, _)| self.namespace_paths.contains_key(*key));
        private.fold(0, |flags, (kind, ..)| flags | *kind as u64)
    }
}

fn namespace_paths(plan: &Plan, pid: i32) -> BTreeMap<String, PathBuf> {
    let private = NAMESPACES.iter().filter(|(kind, ..)| plan.namespaces.private(*kind));
    private
        .map(|(_, key, file)| ((*key).to_owned(), format!("/proc/{pid}/ns/{file}").into()))
        .collect()
}

fn standard_streams() -> Vec<String> {
    let target = |fd: u32| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    (0..3).map(|fd| target(fd).map_or(String::new(), |path| path.display().to_string())).collect()
}

/// The time of day as RFC 3339 in UTC.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(now.as_secs() as i64, now.subsec_nanos())
}

/// Civil date from days since 1970 in the proleptic Gregorian calendar, by eras of 400 years.
fn rfc3339(seconds: i64, nanoseconds: u32) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Counted from 1 March of year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(rfc3339(1_735_689_599, 0), "2024-12-31T23:59:59.000000000Z");
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }
}
