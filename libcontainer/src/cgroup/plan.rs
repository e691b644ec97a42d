//! From `linux.cgroupsPath` and `linux.resources` to directories and writes. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Component, Path, PathBuf},
};

use serde::Serialize;

use super::{
    Hierarchies, Limits, Manager, Place, Write, devices, systemd, v1, v2,
    write::{Need, Sink},
};
use crate::{
    error::{Error, Kind},
    spec,
};

/// What the plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub id: &'a str,
    /// `linux.cgroupsPath`
    pub cgroups_path: Option<&'a Path>,
    /// `linux.resources`
    pub resources: Option<&'a spec::LinuxResources>,
    /// `linux.devices`: one with the path of a default device replaces its rule.
    pub devices: &'a [spec::LinuxDevice],
    pub manager: Manager,
    /// `org.systemd.property.*` are for the systemd manager.
    pub annotations: Option<&'a HashMap<String, String>>,
    /// The caller, whose systemd it is where the caller is not root.
    pub uid: u32,
    /// Whether refused permission is no error, as far as no limit depends on it.
    pub rootless: bool,
    /// Host user to whom a v2 cgroup is given: the container's root, if the container has a user
    /// and a cgroup namespace of its own and /sys/fs/cgroup is writable in it.
    pub owner: Option<u32>,
}

/// Where the cgroup will be and everything that will be written into it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    pub place: Place,
    pub limits: Limits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Decides. Every fault is added to `faults` with its JSON path; a plan with faults is only good
/// for looking at.
pub fn plan(request: &Request<'_>, host: &Hierarchies, faults: &mut Vec<Error>) -> Plan {
    let before = faults.len();
    let place = place(request, host, faults);
    let placed = faults.len() == before;
    let default = spec::LinuxResources::default();
    let resources = request.resources.unwrap_or(&default);
    let mut sink = Sink::new(true, faults);
    if request.manager == Manager::Disabled {
        if request.resources.is_some() {
            sink.warn("resource limits are ignored: cgroups are disabled");
        }
        return Plan { place, limits: Limits::default(), warnings: sink.warnings };
    }
    let listed = resources.devices().as_deref().unwrap_or_default();
    let rules = devices::rules(listed, request.devices, &mut sink);
    let compiled = device_rules(request, &rules, &place, &mut sink);
    convert(resources, host, &Values::Fresh, &mut sink);
    if place.unit.is_some() {
        systemd::round_quota(resources, &mut sink.writes);
    }
    if placed {
        check_controllers(&place, host, &mut sink);
    }
    let properties = properties(request, &rules, &place, &mut sink);
    Plan {
        limits: Limits {
            properties,
            controllers: handed_down(host, &sink.writes),
            writes: sink.writes,
            devices: compiled,
            owner: request.owner.filter(|_| host.is_v2()),
        },
        place,
        warnings: sink.warnings,
    }
}

/// v2 controllers that the container's cgroup should have: all of them, because its statistics come
/// from them; on a hybrid host only what a limit needs.
fn handed_down(host: &Hierarchies, writes: &[Write]) -> Vec<String> {
    const USED: [&str; 8] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    let Some(unified) = &host.unified else { return Vec::new() };
    let needed = |name: &&String| match host.is_v2() {
        true => USED.contains(&name.as_str()),
        false => writes.iter().any(|write| write.controller == **name),
    };
    unified.controllers.iter().filter(needed).cloned().collect()
}

/// Whether a conversion is for a new cgroup or for one with these values.
pub(super) enum Values {
    Fresh,
    Current(v2::Current),
}

/// Every part of `resources` goes where its controller is: v1 if it is mounted there.
pub(super) fn convert(
    resources: &spec::LinuxResources,
    host: &Hierarchies,
    values: &Values,
    sink: &mut Sink<'_>,
) {
    of_processes(resources, host, values, sink);
    of_devices(resources, host, sink);
    match resources.network() {
        Some(network) if host.is_v2() && v1::is_network_set(network) => {
            v2::no_counterpart("network", "network classes and priorities", sink);
        }
        Some(network) if !host.is_v2() => v1::network(network, sink),
        _ => {}
    }
    match resources.unified() {
        Some(files) if host.is_v2() => {
            v2::unified(files, matches!(values, Values::Fresh), sink);
        }
        Some(files) if !files.is_empty() => {
            sink.fault("unified", "invalid configuration: cannot use unified on cgroup v1");
        }
        _ => {}
    }
}

/// Memory, CPU time and CPUs, number of processes.
fn of_processes(
    resources: &spec::LinuxResources,
    host: &Hierarchies,
    values: &Values,
    sink: &mut Sink<'_>,
) {
    let none = v2::Current::default();
    let (fresh, current) = match values {
        Values::Fresh => (true, &none),
        Values::Current(current) => (false, current),
    };
    if let Some(memory) = resources.memory() {
        match on_v2(host, "memory", "memory") {
            true => v2::memory(memory, current, sink),
            false => v1::memory(memory, fresh, sink),
        }
    }
    if let Some(cpu) = resources.cpu() {
        match on_v2(host, "cpu", "cpu") {
            true => v2::cpu(cpu, current, sink),
            false => v1::cpu(cpu, sink),
        }
        v1::cpuset(cpu, sink);
    }
    if let Some(pids) = resources.pids() {
        v1::pids(pids, sink);
    }
}

/// Block devices, huge pages, RDMA.
fn of_devices(resources: &spec::LinuxResources, host: &Hierarchies, sink: &mut Sink<'_>) {
    if let Some(io) = resources.block_io() {
        match on_v2(host, "blkio", "io") {
            true => v2::io(io, sink),
            false => v1::blkio(io, sink),
        }
    }
    if let Some(limits) = resources.hugepage_limits() {
        let suffix = if on_v2(host, "hugetlb", "hugetlb") { "max" } else { "limit_in_bytes" };
        v1::hugetlb(limits, suffix, sink);
    }
    if let Some(limits) = resources.rdma() {
        v1::rdma(limits, sink);
    }
}

/// Whether a controller, by its names on v1 and v2, has to be looked for in the v2 hierarchy.
fn on_v2(host: &Hierarchies, v1: &str, v2: &str) -> bool {
    let mounted = |name: &str| {
        host.v1.iter().any(|hierarchy| hierarchy.controllers.iter().any(|has| has == name))
    };
    let offered = |name: &str| {
        host.unified
            .as_ref()
            .is_some_and(|unified| unified.controllers.iter().any(|has| has == name))
    };
    host.is_v2() || !mounted(v1) && offered(v2)
}

fn place(request: &Request<'_>, host: &Hierarchies, faults: &mut Vec<Error>) -> Place {
    let path = request.cgroups_path.filter(|path| !path.as_os_str().is_empty());
    let mut place = Place {
        manager: request.manager,
        paths: BTreeMap::new(),
        unit: None,
        lenient: request.rootless && path.is_none(),
    };
    match request.manager {
        Manager::Disabled => return place,
        Manager::Systemd => {
            match systemd::unit(path, request.id, request.rootless) {
                Ok(unit) => {
                    place.paths = systemd::directories(&unit, request.uid, host);
                    place.unit = Some(unit);
                }
                Err(fault) => faults.push(fault),
            }
            return place;
        }
        Manager::Cgroupfs => {}
    }
    let inner = path.unwrap_or(Path::new(request.id));
    match check_path(inner) {
        Ok(()) => place.paths = directories(inner, host),
        Err(fault) => faults.push(fault),
    }
    place
}

/// The directory of each controller, and of v2 under the empty key.
fn directories(inner: &Path, host: &Hierarchies) -> BTreeMap<String, PathBuf> {
    let mut paths = BTreeMap::new();
    for hierarchy in &host.v1 {
        let directory = below(&hierarchy.mount, &hierarchy.own, inner);
        for controller in &hierarchy.controllers {
            paths.insert(controller.clone(), directory.clone());
        }
    }
    if let Some(unified) = &host.unified {
        // The cgroup of this process has processes, so on v2 it cannot hand controllers down; its
        // parent can (cgroup-v2.rst, "No Internal Process Constraint").
        let own = match host.is_v2() {
            true => unified.own.parent().unwrap_or(Path::new("/")),
            false => &unified.own,
        };
        paths.insert(String::new(), below(&unified.mount, own, inner));
    }
    paths
}

/// An absolute path starts at the mount, a relative one at the own cgroup.
fn below(mount: &Path, own: &Path, inner: &Path) -> PathBuf {
    let inside = |path: &Path| -> PathBuf {
        path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
    };
    match inner.is_absolute() {
        true => mount.join(inside(inner)),
        false => mount.join(inside(own)).join(inside(inner)),
    }
}

fn check_path(path: &Path) -> Result<(), Error> {
    const AT: &str = "linux.cgroupsPath";
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Error::config(AT, format!("cgroupsPath {path:?} contains \"..\""))
            .hint("give the path from the root of the hierarchy, or a name below the own cgroup"));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::config(AT, format!("cgroupsPath {path:?} contains a NUL byte")));
    }
    Ok(())
}

/// What systemd has to know; nothing where it is not the manager.
fn properties(
    request: &Request<'_>,
    rules: &devices::Rules,
    place: &Place,
    sink: &mut Sink<'_>,
) -> Vec<systemd::Property> {
    if place.unit.is_none() {
        return Vec::new();
    }
    let (allow_by_default, exceptions) = devices::exceptions(rules);
    let v1 = place.paths.contains_key("devices");
    let mut properties = systemd::device_properties(allow_by_default, &exceptions, v1);
    properties.extend(systemd::from_writes(&sink.writes));
    if let Some(annotations) = request.annotations {
        properties.extend(systemd::from_annotations(annotations, sink.faults));
    }
    properties
}

/// v1 rules are added to the writes of `sink`; the v2 program is returned.
fn device_rules(
    request: &Request<'_>,
    rules: &devices::Rules,
    place: &Place,
    sink: &mut Sink<'_>,
) -> Option<devices::Devices> {
    // Rootless: device files of the host are out of reach anyhow, and neither interface is permitted.
    let need = if request.rootless { Need::IfPermitted } else { Need::Required };
    // A place without any directory has its own fault, or needs no device rules.
    if place.paths.contains_key("devices") || place.paths.is_empty() {
        devices::v1(rules, need, sink);
        return None;
    }
    Some(devices::v2(rules, need))
}

/// Every write needs a directory whose hierarchy has the controller.
fn check_controllers(place: &Place, host: &Hierarchies, sink: &mut Sink<'_>) {
    let has = |write: &Write| {
        let offered = |unified: &super::Unified| {
            write.controller == "cgroup" || unified.controllers.contains(&write.controller)
        };
        place.paths.contains_key(&write.controller) || host.unified.as_ref().is_some_and(offered)
    };
    let mut missing = BTreeMap::new();
    for write in sink.writes.iter().filter(|write| !has(write) && write.need == Need::Required) {
        missing.entry(write.controller.clone()).or_insert_with(|| write.at.clone());
    }
    let available = available(host);
    for (controller, at) in missing {
        let at = at.unwrap_or_default();
        let at = at.trim_start_matches("linux.resources.");
        let lacks = format!("this host has no {controller} cgroup controller, {available}");
        let (what, hint) = match at.strip_prefix("unified.") {
            Some(file) => (
                format!(
                    "unified resource {file:?} can't be set: controller {controller:?} not available"
                ),
                Some(lacks),
            ),
            // podman and docker pass on what a runtime says, and not its hints.
            None => (
                format!(
                    "cannot set {controller} limit: container could not join or create cgroup: {lacks}"
                ),
                None,
            ),
        };
        sink.refuse(Kind::Unsupported, at, what, hint);
    }
}

fn available(host: &Hierarchies) -> String {
    let v1 = host.v1.iter().flat_map(|hierarchy| &hierarchy.controllers);
    let v2 = host.unified.iter().flat_map(|unified| &unified.controllers);
    let names: BTreeSet<&str> = v1.chain(v2).map(String::as_str).collect();
    match names.is_empty() {
        true => "and no other".to_owned(),
        false => format!("only {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{
        Hierarchy, Unified,
        tests::{faults_of, lines},
    };

    fn hierarchy(controllers: &str, mount: &str, own: &str) -> Hierarchy {
        Hierarchy {
            controllers: controllers.split(',').map(str::to_owned).collect(),
            mount: Path::new("/sys/fs/cgroup").join(mount),
            own: own.into(),
        }
    }

    fn unified(mount: &str, own: &str, controllers: &str) -> Option<Unified> {
        Some(Unified {
            controllers: controllers.split(' ').map(str::to_owned).collect(),
            mount: mount.into(),
            own: own.into(),
        })
    }

    fn v1() -> Hierarchies {
        Hierarchies {
            v1: vec![
                hierarchy("cpu,cpuacct", "cpu,cpuacct", "/user"),
                hierarchy("devices", "devices", "/"),
                hierarchy("memory", "memory", "/user/1"),
                hierarchy("name=systemd", "systemd", "/"),
            ],
            unified: None,
        }
    }

    fn hybrid() -> Hierarchies {
        Hierarchies { unified: unified("/sys/fs/cgroup/unified", "/user", "hugetlb io"), ..v1() }
    }

    fn v2() -> Hierarchies {
        Hierarchies {
            v1: Vec::new(),
            unified: unified("/sys/fs/cgroup", "/user/1", "cpuset cpu io memory pids dmem"),
        }
    }

    fn planned(path: Option<&str>, json: &str, host: &Hierarchies) -> (Plan, Vec<String>) {
        let resources = serde_json::from_str(json).expect("resources");
        let request = Request {
            annotations: None,
            uid: 0,
            id: "c1",
            cgroups_path: path.map(Path::new),
            resources: Some(&resources),
            devices: &[],
            manager: Manager::Cgroupfs,
            rootless: false,
            owner: Some(1000),
        };
        let mut faults = Vec::new();
        let plan = plan(&request, host, &mut faults);
        (plan, faults_of(&faults))
    }

    fn paths(path: Option<&str>, host: &Hierarchies) -> Vec<String> {
        let (plan, faults) = planned(path, "{}", host);
        assert_eq!(faults, Vec::<String>::new());
        let line = |(name, path): (&String, &PathBuf)| format!("{name} {}", path.display());
        plan.place.paths.iter().map(line).collect()
    }

    #[test]
    fn absolute_paths_start_at_the_mount() {
        assert_eq!(
            paths(Some("/a/./b//"), &hybrid()),
            [
                " /sys/fs/cgroup/unified/a/b",
                "cpu /sys/fs/cgroup/cpu,cpuacct/a/b",
                "cpuacct /sys/fs/cgroup/cpu,cpuacct/a/b",
                "devices /sys/fs/cgroup/devices/a/b",
                "memory /sys/fs/cgroup/memory/a/b",
                "name=systemd /sys/fs/cgroup/systemd/a/b",
            ]
        );
        assert_eq!(paths(Some("/a"), &v2()), [" /sys/fs/cgroup/a"]);
    }

    #[test]
    fn relative_and_absent_paths_start_at_the_own_cgroup() {
        let expected = [
            " /sys/fs/cgroup/unified/user/c1",
            "cpu /sys/fs/cgroup/cpu,cpuacct/user/c1",
            "cpuacct /sys/fs/cgroup/cpu,cpuacct/user/c1",
            "devices /sys/fs/cgroup/devices/c1",
            "memory /sys/fs/cgroup/memory/user/1/c1",
            "name=systemd /sys/fs/cgroup/systemd/c1",
        ];
        assert_eq!(paths(None, &hybrid()), expected);
        assert_eq!(paths(Some(""), &hybrid()), expected);
        assert_eq!(paths(Some("c1"), &hybrid()), expected);
        // Beside the own cgroup: that one has processes.
        assert_eq!(paths(Some("c1"), &v2()), [" /sys/fs/cgroup/user/c1"]);
    }

    #[test]
    fn a_path_that_climbs_is_refused() {
        for path in ["..", "../x", "/../x", "a/../b", "/a/.."] {
            let (plan, faults) = planned(Some(path), "{}", &v1());
            assert_eq!(
                faults[0],
                format!("cgroupsPath {path:?} contains \"..\" @linux.cgroupsPath")
            );
            assert!(plan.place.paths.is_empty());
        }
    }

    #[test]
    fn each_limit_goes_where_its_controller_is() {
        let json = r#"{"memory":{"limit":4096},"blockIO":{"weight":100},
            "hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#;
        let (plan, faults) = planned(Some("/a"), json, &hybrid());
        assert_eq!(faults, Vec::<String>::new());
        let others: Vec<_> = lines(&plan.limits.writes)
            .into_iter()
            .filter(|line| !line.starts_with("devices."))
            .collect();
        assert_eq!(
            others,
            [
                "memory.limit_in_bytes=4096 @memory.limit",
                "io.bfq.weight=100 @blockIO.weight or io.weight=910",
                "hugetlb.2MB.max=0 @hugepageLimits[0]",
                "hugetlb.2MB.rsvd.max=0 @hugepageLimits[0] ifPresent",
            ]
        );
        assert_eq!(plan.limits.controllers, ["hugetlb", "io"]);
        assert!(plan.limits.devices.is_none() && plan.limits.owner.is_none());
    }

    #[test]
    fn on_v2_devices_are_a_program_and_controllers_are_handed_down() {
        let (plan, faults) = planned(Some("/a"), "{}", &v2());
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(plan.limits.controllers, ["cpuset", "cpu", "io", "memory", "pids"]);
        assert_eq!(plan.limits.owner, Some(1000));
        assert!(plan.limits.writes.is_empty());
        assert_eq!(plan.limits.devices.map(|devices| devices.default), Some("deny"));
    }

    #[test]
    fn what_only_v1_has_is_a_fault_on_v2() {
        let nothing = r#"{"network":{"classID":0,"priorities":[]},"cpu":{"realtimePeriod":0}}"#;
        assert_eq!(planned(Some("/a"), nothing, &v2()).1, Vec::<String>::new());
        let json = r#"{"network":{"classID":1},"cpu":{"realtimeRuntime":5}}"#;
        let (_, faults) = planned(Some("/a"), json, &v2());
        assert_eq!(
            faults,
            [
                "cannot convert cpu.realtimeRuntime: cgroup v2 has no realtime limits @cpu.realtimeRuntime",
                "cannot convert network: cgroup v2 has no network classes and priorities @network",
            ]
        );
    }

    #[test]
    fn a_limit_without_its_controller_is_a_fault_once() {
        let json = r#"{"pids":{"limit":1},"network":{"classID":1,
            "priorities":[{"name":"a","priority":1},{"name":"b","priority":1}]}}"#;
        let (_, faults) = planned(Some("/a"), json, &v1());
        let fault = |name: &str, at: &str| {
            format!(
                "cannot set {name} limit: container could not join or create cgroup: this host has \
                 no {name} cgroup controller, only cpu, cpuacct, devices, memory, name=systemd \
                 @{at}"
            )
        };
        assert_eq!(
            faults,
            [
                fault("net_cls", "network.classID"),
                fault("net_prio", "network.priorities[0]"),
                fault("pids", "pids.limit"),
            ]
        );
        let (_, faults) = planned(Some("/a"), r#"{"unified":{"rdma.max":"x"}}"#, &v2());
        assert_eq!(
            faults,
            [
                "unified resource \"rdma.max\" can't be set: controller \"rdma\" not available @unified.rdma.max"
            ]
        );
        let (_, faults) = planned(Some("/a"), r#"{"unified":{"rdma.max":"x"}}"#, &hybrid());
        assert_eq!(faults, ["invalid configuration: cannot use unified on cgroup v1 @unified"]);
    }

    #[test]
    fn a_host_without_cgroups_cannot_confine_devices() {
        let (_, faults) = planned(None, "{}", &Hierarchies::default());
        assert_eq!(
            faults,
            ["cannot set devices limit: container could not join or create cgroup: this host has \
                 no devices cgroup controller, and no other @devices"]
        );
    }

    #[test]
    fn a_disabled_manager_makes_nothing() {
        let request = Request {
            annotations: None,
            uid: 0,
            id: "c1",
            cgroups_path: None,
            resources: None,
            devices: &[],
            manager: Manager::Disabled,
            rootless: false,
            owner: None,
        };
        let mut faults = Vec::new();
        let plan = plan(&request, &v1(), &mut faults);
        assert!(faults.is_empty() && plan.place.paths.is_empty() && plan.limits.writes.is_empty());
    }

    #[test]
    fn the_place_survives_the_state_file() {
        let (plan, _) = planned(Some("/a"), "{}", &hybrid());
        let text = serde_json::to_string(&plan.place).expect("json");
        assert_eq!(serde_json::from_str::<Place>(&text).expect("place"), plan.place);
    }

    #[test]
    fn systemd_is_told_what_the_files_say() {
        let host = v2();
        let resources = serde_json::from_str(r#"{"memory":{"limit":4096},"pids":{"limit":3}}"#);
        let annotations =
            HashMap::from([("org.systemd.property.TimeoutStopSec".to_owned(), "5".to_owned())]);
        let request = Request {
            cgroups_path: Some(Path::new("a-b.slice:p:c1")),
            resources: Some(&resources.expect("resources")),
            manager: Manager::Systemd,
            annotations: Some(&annotations),
            id: "c1",
            uid: 0,
            devices: &[],
            rootless: false,
            owner: None,
        };
        let mut faults = Vec::new();
        let plan = plan(&request, &host, &mut faults);
        assert_eq!(faults_of(&faults), Vec::<String>::new());
        assert_eq!(
            plan.place.paths()[""],
            Path::new("/sys/fs/cgroup/a.slice/a-b.slice/p-c1.scope")
        );
        let properties = serde_json::to_string(&plan.limits.properties).expect("JSON");
        for told in [
            r#"{"name":"MemoryMax","value":"4096"}"#,
            r#"{"name":"TasksMax","value":"3"}"#,
            r#"{"name":"TimeoutStopUSec","value":"5000000"}"#,
            r#"{"name":"DevicePolicy","value":"\"strict\""}"#,
        ] {
            assert!(properties.contains(told), "{told}: {properties}");
        }
        assert_eq!(
            lines(&plan.limits.writes),
            ["memory.max=4096 @memory.limit", "pids.max=3 @pids.limit"]
        );
    }
}
