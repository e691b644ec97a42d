//! linux.namespaces, the id maps of a new user namespace and the clocks of a new time namespace.

use std::{fmt::Write as _, path::PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use serde::Serialize;

use crate::{error::Error, host::Host};

/// Which namespaces the process is in. A type that is in neither list is the caller's own.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// Made for the container.
    #[serde(serialize_with = "words")]
    pub new: Vec<LinuxNamespaceType>,
    /// Entered by path.
    pub joined: Vec<Joined>,
    /// Set if `new` has a user namespace.
    pub user: Option<UserNamespace>,
    /// The text for /proc/self/timens_offsets (time_namespaces(7)).
    pub time_offsets: Option<String>,
    /// Whether the process keeps its caller's supplementary groups, which may open files that no
    /// mapped group does (crun's annotation `run.oci.keep_original_groups`).
    pub keep_groups: bool,
}

/// A namespace of somebody else's.
#[derive(Debug, Serialize)]
pub struct Joined {
    #[serde(rename = "type", serialize_with = "word")]
    pub kind: LinuxNamespaceType,
    pub path: PathBuf,
    /// Index into linux.namespaces.
    #[serde(skip)]
    pub index: usize,
}

/// The maps of a new user namespace (user_namespaces(7)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserNamespace {
    #[serde(rename = "uidMappings")]
    pub uids: Vec<IdMap>,
    #[serde(rename = "gidMappings")]
    pub gids: Vec<IdMap>,
    pub written_by: MapWriter,
}

/// One line of a map: `size` ids from `container` on are the host's from `host` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

/// Who may write the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MapWriter {
    /// This process has CAP_SETUID and CAP_SETGID over the parent namespace.
    Privileged,
    /// An ordinary user maps only itself; setgroups(2) must be given up first.
    OwnId,
    /// newuidmap(1) and newgidmap(1) check /etc/subuid and /etc/subgid.
    Helpers,
}

impl Namespaces {
    pub fn makes(&self, kind: LinuxNamespaceType) -> bool {
        self.new.contains(&kind)
    }

    pub fn joined(&self, kind: LinuxNamespaceType) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.kind == kind)
    }

    /// Whether the container is not in the caller's namespace of this kind.
    pub fn private(&self, kind: LinuxNamespaceType) -> bool {
        self.makes(kind) || self.joined(kind).is_some()
    }

    /// CLONE_NEW* of what a clone must make: only a child can be in a new pid namespace, and the
    /// user namespace must own all the others.
    pub(crate) fn clone_flags(&self) -> u64 {
        self.flags(|kind| matches!(kind, LinuxNamespaceType::User | LinuxNamespaceType::Pid))
    }

    /// CLONE_NEW* of what the child makes itself; the cgroup namespace comes later, once the child
    /// is in the cgroup that is to be its root, and time by its own dance.
    pub(crate) fn unshare_flags(&self) -> u64 {
        use LinuxNamespaceType::{Cgroup, Pid, Time, User};
        self.flags(|kind| !matches!(kind, User | Pid | Cgroup | Time))
    }

    /// Whether a process in between must join first and clone from inside: a pid namespace is
    /// entered by a child only, nobody leaves a joined user namespace, and a new one would have no
    /// right over the joined others.
    pub(crate) fn needs_joiner(&self) -> bool {
        self.joined(LinuxNamespaceType::User).is_some()
            || self.joined(LinuxNamespaceType::Pid).is_some()
            || self.user.is_some() && !self.joined.is_empty()
    }

    /// Whether an ordinary user made the user namespace, and all others with it: nobody else is in
    /// them, and the user has no more rights over their processes than owning it gives.
    pub(crate) fn are_a_users(&self) -> bool {
        let made = |user: &UserNamespace| user.written_by != MapWriter::Privileged;
        self.joined.is_empty() && self.user.as_ref().is_some_and(made)
    }

    /// Host ids of the container's root.
    pub fn root_ids(&self) -> Option<(u32, u32)> {
        let user = self.user.as_ref()?;
        Some((host_id(&user.uids, 0)?, host_id(&user.gids, 0)?))
    }

    /// Whether setgroups(2) is called: a user who mapped itself alone had to give it up.
    pub fn can_set_groups(&self) -> bool {
        !self.keep_groups
            && self.user.as_ref().is_none_or(|user| user.written_by != MapWriter::OwnId)
    }

    fn flags(&self, wanted: impl Fn(LinuxNamespaceType) -> bool) -> u64 {
        self.new.iter().filter(|kind| wanted(**kind)).fold(0, |flags, kind| flags | *kind as u64)
    }
}

/// The host's id for a container's, if it is mapped.
pub(crate) fn host_id(maps: &[IdMap], container: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = container.checked_sub(map.container)?;
        (offset < map.size).then(|| map.host.checked_add(offset))?
    })
}

/// The text for uid_map or gid_map.
pub(crate) fn map_text(maps: &[IdMap]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{} {} {}", map.container, map.host, map.size);
        text
    })
}

/// The field's word for a type, as in config.json.
pub fn kind_word(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn word<S: serde::Serializer>(kind: &LinuxNamespaceType, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind_word(*kind))
}

fn words<S: serde::Serializer>(kinds: &[LinuxNamespaceType], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(kinds.iter().map(|kind| kind_word(*kind)))
}

pub(crate) fn plan(linux: &Linux, host: &Host, faults: &mut Vec<Error>) -> Namespaces {
    let mut plan = Namespaces::default();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let (kind, at) = (namespace.typ(), format!("linux.namespaces[{index}]"));
        if plan.private(kind) {
            let what = format!("invalid namespace: a second one of type {:?}", kind_word(kind));
            faults.push(Error::config(at, what));
            continue;
        }
        match namespace.path().clone().filter(|path| !path.as_os_str().is_empty()) {
            None => plan.new.push(kind),
            Some(path) => {
                if !path.is_absolute() {
                    let what = format!("invalid namespace path {path:?}: it must be absolute");
                    faults.push(Error::config(format!("{at}.path"), what));
                }
                plan.joined.push(Joined { kind, path, index });
            }
        }
    }
    plan.user = user_namespace(linux, &plan, host, faults);
    plan.time_offsets = time_offsets(linux, &plan, faults);
    plan
}

fn user_namespace(
    linux: &Linux,
    plan: &Namespaces,
    host: &Host,
    faults: &mut Vec<Error>,
) -> Option<UserNamespace> {
    let uids = id_maps("linux.uidMappings", linux.uid_mappings(), faults);
    let gids = id_maps("linux.gidMappings", linux.gid_mappings(), faults);
    if !plan.makes(LinuxNamespaceType::User) {
        if plan.joined(LinuxNamespaceType::User).is_none() {
            check_host_ids(&uids, &gids, host, faults);
        }
        return None;
    }
    for (at, maps) in [("linux.uidMappings", &uids), ("linux.gidMappings", &gids)] {
        if maps.is_empty() {
            faults.push(Error::config(at, "user namespaces enabled, but no mapping found"));
        } else if host_id(maps, 0).is_none() {
            faults.push(
                Error::config(at, "invalid mapping: id 0 of the container is not mapped")
                    .hint("the runtime becomes root of the user namespace to build the container"),
            );
        }
    }
    let own = |maps: &[IdMap], id| maps.len() == 1 && maps[0].size == 1 && maps[0].host == id;
    let written_by = if host.euid == 0 {
        MapWriter::Privileged
    } else if own(&uids, host.euid) && own(&gids, host.egid) {
        MapWriter::OwnId
    } else {
        MapWriter::Helpers
    };
    Some(UserNamespace { uids, gids, written_by })
}

/// Of a container without a user namespace.
fn check_host_ids(uids: &[IdMap], gids: &[IdMap], host: &Host, faults: &mut Vec<Error>) {
    if !(uids.is_empty() && gids.is_empty()) {
        faults.push(
            Error::config(
                "linux.uidMappings",
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            )
            .hint("add {\"type\": \"user\"} to linux.namespaces"),
        );
    }
    if host.euid != 0 {
        faults.push(
            Error::config("linux.namespaces", "rootless container requires user namespaces")
                .hint("`rtn spec --rootless` writes a configuration that an ordinary user can run"),
        );
    }
}

/// Linux 4.15 takes 340 lines in a map.
pub(super) const MAP_LINES: usize = 340;

pub(super) fn id_maps(
    at: &str,
    maps: &Option<Vec<LinuxIdMapping>>,
    faults: &mut Vec<Error>,
) -> Vec<IdMap> {
    let maps = maps.as_deref().unwrap_or_default();
    if maps.len() > MAP_LINES {
        let what = format!("invalid mapping: the kernel takes at most {MAP_LINES} ranges");
        faults.push(Error::config(at, what));
    }
    let mut result: Vec<IdMap> = Vec::new();
    for (index, map) in maps.iter().take(MAP_LINES).enumerate() {
        let map = IdMap { container: map.container_id(), host: map.host_id(), size: map.size() };
        let fault = map_fault(&result, &map);
        faults.extend(fault.map(|what| Error::config(format!("{at}[{index}]"), what)));
        result.push(map);
    }
    result
}

/// What is wrong with `map` after `earlier` ones.
pub(super) fn map_fault(earlier: &[IdMap], map: &IdMap) -> Option<&'static str> {
    if map.size == 0 {
        Some("invalid mapping: size is 0")
    } else if map.container.checked_add(map.size).is_none()
        || map.host.checked_add(map.size).is_none()
    {
        Some("invalid mapping: the range passes the last id, 4294967294")
    } else if earlier.iter().any(|other| overlap(other, map)) {
        Some("invalid mapping: it overlaps an earlier one")
    } else {
        None
    }
}

fn overlap(a: &IdMap, b: &IdMap) -> bool {
    let crosses = |a: u32, b: u32, a_size: u32, b_size: u32| {
        u64::from(a) < u64::from(b) + u64::from(b_size)
            && u64::from(b) < u64::from(a) + u64::from(a_size)
    };
    crosses(a.container, b.container, a.size, b.size) || crosses(a.host, b.host, a.size, b.size)
}

fn time_offsets(linux: &Linux, plan: &Namespaces, faults: &mut Vec<Error>) -> Option<String> {
    let offsets = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty())?;
    if !plan.makes(LinuxNamespaceType::Time) {
        let what = "time namespace offsets specified, but a new time namespace isn't enabled in the config";
        faults.push(Error::config("linux.timeOffsets", what));
        return None;
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| *clock);
    let mut text = String::new();
    for (clock, offset) in clocks {
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            let what =
                format!("unknown clock {clock:?}: a time namespace has monotonic and boottime");
            faults.push(Error::config(format!("linux.timeOffsets.{clock}"), what));
        } else if nanoseconds > 999_999_999 {
            let at = format!("linux.timeOffsets.{clock}.nanosecs");
            faults.push(Error::config(at, "invalid offset: nanosecs must be below 1000000000"));
        }
        let _ = writeln!(text, "{clock} {} {nanoseconds}", offset.secs().unwrap_or(0));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::host;

    fn read(json: &str) -> (Namespaces, Vec<String>) {
        let mut faults = Vec::new();
        let plan = plan(&serde_json::from_str(json).unwrap(), &host(), &mut faults);
        (plan, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn new_joined_and_absent() {
        let (plan, faults) = read(
            r#"{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network","path":"/n"}]}"#,
        );
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(plan.clone_flags(), libc::CLONE_NEWPID as u64);
        assert_eq!(plan.unshare_flags(), libc::CLONE_NEWNS as u64);
        assert!(
            plan.private(LinuxNamespaceType::Network) && !plan.makes(LinuxNamespaceType::Network)
        );
        assert!(!plan.private(LinuxNamespaceType::Ipc) && !plan.needs_joiner());
    }

    #[test]
    fn a_type_twice_and_a_relative_path_are_both_told() {
        let (_, faults) =
            read(r#"{"namespaces":[{"type":"pid"},{"type":"pid"},{"type":"ipc","path":"x"}]}"#);
        assert!(faults[0].contains("linux.namespaces[1]"), "{faults:?}");
        assert!(faults[1].contains("linux.namespaces[2].path"), "{faults:?}");
    }

    #[test]
    fn maps_without_a_user_namespace_and_the_reverse() {
        let (_, faults) = read(r#"{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#);
        assert!(faults[0].contains("user namespace isn't enabled"), "{faults:?}");
        let (_, faults) = read(r#"{"namespaces":[{"type":"user"}]}"#);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn overlapping_and_overflowing_ranges_are_refused() {
        let (_, faults) = read(
            r#"{"namespaces":[{"type":"user"}],
                "uidMappings":[{"containerID":0,"hostID":1000,"size":10},{"containerID":5,"hostID":9000,"size":1}],
                "gidMappings":[{"containerID":0,"hostID":4294967295,"size":2}]}"#,
        );
        assert!(faults[0].contains("linux.uidMappings[1]"), "{faults:?}");
        assert!(faults[1].contains("linux.gidMappings[0]"), "{faults:?}");
    }

    #[test]
    fn ids_translate_to_the_host() {
        let maps = [
            IdMap { container: 0, host: 1000, size: 1 },
            IdMap { container: 1, host: 100_000, size: 65_535 },
        ];
        assert_eq!(host_id(&maps, 0), Some(1000));
        assert_eq!(host_id(&maps, 65_535), Some(165_534));
        assert_eq!(host_id(&maps, 65_536), None);
        assert_eq!(map_text(&maps), "0 1000 1\n1 100000 65535\n");
    }

    #[test]
    fn clocks() {
        let (plan, faults) = read(
            r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"monotonic":{"secs":-5,"nanosecs":7},"boottime":{"secs":9}}}"#,
        );
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(plan.time_offsets.unwrap(), "boottime 9 0\nmonotonic -5 7\n");
        let (_, faults) = read(r#"{"timeOffsets":{"monotonic":{"secs":1}}}"#);
        assert!(faults[0].contains("linux.timeOffsets"), "{faults:?}");
    }
}
