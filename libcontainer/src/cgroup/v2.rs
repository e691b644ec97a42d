//! Resources as cgroup v2 files (Documentation/admin-guide/cgroup-v2.rst). Pure.
//!
//! The specification speaks v1; the conversions are runc's, so that a container has the same share
//! of a machine under either runtime.

use std::collections::HashMap;

use super::{
    v1::{check_cpu, check_swap, kernel_memory, throttles, weighted},
    write::{Need, Sink},
};
use crate::{error::Kind, spec};

/// cgroup-v2.rst, cpu.max.
const DEFAULT_PERIOD: u64 = 100_000;

/// sched-design-CFS.rst; a weight of 100.
const DEFAULT_SHARES: u64 = 1024;

/// Values of a running container that an update of others depends on. A fresh cgroup has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Current {
    /// The first word of cpu.max.
    pub(super) quota: Option<String>,
    /// The second word of cpu.max.
    pub(super) period: Option<u64>,
    /// memory.max; -1 is unlimited.
    pub(super) memory: Option<i64>,
    /// memory.current.
    pub(super) usage: Option<u64>,
    /// cpu.idle.
    pub(super) idle: bool,
}

pub(super) fn cpu(cpu: &spec::LinuxCpu, current: &Current, sink: &mut Sink<'_>) {
    check_cpu(cpu, sink);
    let shares = cpu.shares().filter(|shares| *shares != 0);
    // The kernel gives a group that was idle the default weight; who else knows the weight, and not
    // that it was idle, has to hear of it.
    let woken = current.idle && cpu.idle() == Some(0);
    if let Some(shares) = shares.or(woken.then_some(DEFAULT_SHARES)) {
        sink.put("cpu", "cpu.weight", weight_of_shares(shares), "cpu.shares");
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let limit = match quota {
            Some(quota @ 1..) => quota.to_string(),
            Some(_) => "max".to_owned(),
            None => current.quota.clone().unwrap_or_else(|| "max".to_owned()),
        };
        let period = period.or(current.period).unwrap_or(DEFAULT_PERIOD);
        let at = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
        sink.put("cpu", "cpu.max", format!("{limit} {period}"), at);
    }
    if let Some(burst) = cpu.burst() {
        sink.put("cpu", "cpu.max.burst", burst, "cpu.burst");
    }
    // After the weight: an idle group has none to set.
    if let Some(idle) = cpu.idle() {
        sink.put("cpu", "cpu.idle", idle, "cpu.idle");
    }
    let realtime = cpu.realtime_period().is_some_and(|period| period != 0)
        || cpu.realtime_runtime().is_some_and(|runtime| runtime != 0);
    if realtime {
        no_counterpart("cpu.realtimeRuntime", "realtime limits", sink);
    }
}

/// config-linux.md, "Unified": what cannot be converted is an error.
pub(super) fn no_counterpart(at: &str, what: &str, sink: &mut Sink<'_>) {
    let what = format!("cannot convert {at}: cgroup v2 has no {what}");
    sink.refuse(Kind::Unsupported, at, what, None);
}

/// [2, 262144] with default 1024 to [1, 10000] with default 100: the quadratic curve, in
/// logarithms, through the three points (opencontainers/cgroups, since runc 1.3.2).
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let bits = (shares as f64).log2();
            let exponent = (bits * bits + 125.0 * bits) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

pub(super) fn memory(memory: &spec::LinuxMemory, current: &Current, sink: &mut Sink<'_>) {
    let limit = sink.bytes(memory.limit(), "memory.limit");
    let swap = sink.bytes(memory.swap(), "memory.swap");
    if memory.check_before_update() == Some(true) {
        check_usage(limit, swap, current, sink);
    }
    let known = limit.or(current.memory);
    check_swap(known, swap, true, sink);
    match swap_only(known, limit, swap) {
        Some(value) if value == "max" || value == "0" => {
            // Without swap accounting there is no swap to limit.
            sink.put("memory", "memory.swap.max", value, "memory.swap").need = Need::IfPresent;
        }
        Some(value) => {
            sink.put("memory", "memory.swap.max", value, "memory.swap");
        }
        None => {}
    }
    if let Some(limit) = limit {
        sink.put("memory", "memory.max", or_max(limit), "memory.limit");
    }
    if let Some(reservation) = sink.bytes(memory.reservation(), "memory.reservation") {
        sink.put("memory", "memory.low", or_max(reservation), "memory.reservation");
    }
    kernel_memory(memory, sink);
    if memory.swappiness().is_some_and(|value| value != u64::MAX) {
        no_counterpart("memory.swappiness", "swappiness", sink);
    }
    if memory.disable_oom_killer() == Some(true) {
        no_counterpart("memory.disableOOMKiller", "way to disable the OOM killer", sink);
    }
}

/// v2 limits swap alone; the specification's number includes the memory.
fn swap_only(known: Option<i64>, limit: Option<i64>, swap: Option<i64>) -> Option<String> {
    match (known, swap) {
        (_, Some(-1)) => Some("max".to_owned()),
        (Some(-1), Some(swap)) => Some(swap.to_string()),
        (Some(memory), Some(swap)) => Some((swap - memory).max(0).to_string()),
        (None, Some(_)) => None,
        (_, None) => (limit == Some(-1)).then(|| "max".to_owned()),
    }
}

fn check_usage(limit: Option<i64>, swap: Option<i64>, current: &Current, sink: &mut Sink<'_>) {
    let Some(usage) = current.usage else { return };
    let below = |value: Option<i64>| {
        value.filter(|value| *value > 0 && u64::try_from(*value).is_ok_and(|value| value <= usage))
    };
    if let Some(swap) = below(swap) {
        sink.fault("memory.swap", format!("rejecting memory+swap limit {swap} <= usage {usage}"));
    }
    if let Some(limit) = below(limit) {
        sink.fault("memory.limit", format!("rejecting memory limit {limit} <= usage {usage}"));
    }
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

pub(super) fn io(io: &spec::LinuxBlockIo, sink: &mut Sink<'_>) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let write = sink.put("io", "io.bfq.weight", weight, "blockIO.weight");
        write.or = Some(("io.weight".into(), io_weight(weight).to_string()));
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let at = format!("blockIO.weightDevice[{index}]");
        let Some(number) = weighted(device, &at, sink) else { continue };
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            // Only BFQ has weights per device.
            let line = format!("{number} {weight}");
            sink.put("io", "io.bfq.weight", line, &at).need = Need::IfPresent;
        }
    }
    let mut devices = io.weight_device().iter().flatten();
    if io.leaf_weight().is_some() || devices.any(|device| device.leaf_weight().is_some()) {
        no_counterpart("blockIO.leafWeight", "leaf weights", sink);
    }
    for ((name, _, devices), key) in throttles(io).iter().zip(["rbps", "wbps", "riops", "wiops"]) {
        for (index, device) in devices.iter().flatten().enumerate() {
            let at = format!("blockIO.{name}[{index}]");
            let Some(number) = sink.device(device.major(), device.minor(), &at) else { continue };
            // 0 lifts the limit on v1; io.max has a word for that.
            let rate = match device.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            sink.put("io", "io.max", format!("{number} {key}={rate}"), &at);
        }
    }
}

/// [10, 1000] to [1, 10000], linear, as runc.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

/// Files by name, verbatim (config-linux.md, "Unified"). `fresh`: for a cgroup whose container is
/// still to be made, of which a frozen one would never hear the end.
pub(super) fn unified(files: &HashMap<String, String>, fresh: bool, sink: &mut Sink<'_>) {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    for (name, value) in files {
        let at = format!("unified.{name}");
        match name.split_once('.') {
            _ if name.contains('/') => sink
                .fault(&at, format!("unified resource {name:?} must be a file name (no slashes)")),
            None | Some(("", _)) => sink.fault(
                &at,
                format!("unified resource {name:?} must be in the form CONTROLLER.PARAMETER"),
            ),
            _ if fresh && name == "cgroup.freeze" && value.trim() != "0" => {
                sink.fault(&at, "a container cannot be made in a frozen cgroup");
            }
            // The kernel takes one device or limit at a time.
            Some((controller, _)) => {
                for line in value.lines().filter(|line| !line.is_empty()) {
                    sink.put(controller, name, line, &at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cgroup::tests::{faults_of, lines},
        spec::LinuxResources,
    };

    fn convert(json: &str, current: &Current) -> (Vec<String>, Vec<String>) {
        let resources: LinuxResources = serde_json::from_str(json).expect("resources");
        let mut faults = Vec::new();
        let mut sink = Sink::new(true, &mut faults);
        resources.cpu().iter().for_each(|part| cpu(part, current, &mut sink));
        resources.memory().iter().for_each(|part| memory(part, current, &mut sink));
        resources.block_io().iter().for_each(|part| io(part, &mut sink));
        resources.unified().iter().for_each(|part| unified(part, true, &mut sink));
        let writes = lines(&sink.writes);
        (writes, faults_of(&faults))
    }

    fn writes(json: &str) -> Vec<String> {
        let (writes, faults) = convert(json, &Current::default());
        assert_eq!(faults, Vec::<String>::new());
        writes
    }

    #[test]
    fn shares_keep_minimum_default_and_maximum() {
        let weights = [0, 1, 2, 1024, 512, 2048, 262_144, 300_000].map(weight_of_shares);
        assert_eq!(weights, [1, 1, 1, 100, 59, 174, 10_000, 10_000]);
    }

    #[test]
    fn cpu_has_quota_and_period_in_one_file() {
        assert_eq!(
            writes(r#"{"cpu":{"shares":1024,"quota":50000,"period":200000,"burst":9,"idle":1}}"#),
            [
                "cpu.weight=100 @cpu.shares",
                "cpu.max=50000 200000 @cpu.quota",
                "cpu.max.burst=9 @cpu.burst",
                "cpu.idle=1 @cpu.idle",
            ]
        );
        assert_eq!(writes(r#"{"cpu":{"quota":50000}}"#), ["cpu.max=50000 100000 @cpu.quota"]);
        assert_eq!(writes(r#"{"cpu":{"quota":-1}}"#), ["cpu.max=max 100000 @cpu.quota"]);
        assert_eq!(writes(r#"{"cpu":{"period":5000}}"#), ["cpu.max=max 5000 @cpu.period"]);
        let current =
            Current { quota: Some("7000".into()), period: Some(10_000), ..Current::default() };
        let (writes, _) = convert(r#"{"cpu":{"period":5000}}"#, &current);
        assert_eq!(writes, ["cpu.max=7000 5000 @cpu.period"]);
        let (writes, _) = convert(r#"{"cpu":{"quota":5000}}"#, &current);
        assert_eq!(writes, ["cpu.max=5000 10000 @cpu.quota"]);
        let idle = Current { idle: true, ..Current::default() };
        let (writes, _) = convert(r#"{"cpu":{"idle":0}}"#, &idle);
        assert_eq!(writes, ["cpu.weight=100 @cpu.shares", "cpu.idle=0 @cpu.idle"]);
        let (writes, _) = convert(r#"{"cpu":{"idle":0,"shares":512}}"#, &idle);
        assert_eq!(writes, ["cpu.weight=59 @cpu.shares", "cpu.idle=0 @cpu.idle"]);
    }

    #[test]
    fn swap_is_counted_without_the_memory() {
        assert_eq!(
            writes(r#"{"memory":{"limit":100,"swap":300,"reservation":50}}"#),
            [
                "memory.swap.max=200 @memory.swap",
                "memory.max=100 @memory.limit",
                "memory.low=50 @memory.reservation",
            ]
        );
        assert_eq!(
            writes(r#"{"memory":{"limit":100,"swap":100}}"#),
            ["memory.swap.max=0 @memory.swap ifPresent", "memory.max=100 @memory.limit"]
        );
        assert_eq!(
            writes(r#"{"memory":{"limit":-1}}"#),
            ["memory.swap.max=max @memory.swap ifPresent", "memory.max=max @memory.limit"]
        );
        assert_eq!(
            writes(r#"{"memory":{"limit":-1,"swap":70}}"#),
            ["memory.swap.max=70 @memory.swap", "memory.max=max @memory.limit"]
        );
        assert_eq!(
            writes(r#"{"memory":{"swap":-1}}"#),
            ["memory.swap.max=max @memory.swap ifPresent"]
        );
        let current = Current { memory: Some(100), ..Current::default() };
        let (writes, _) = convert(r#"{"memory":{"swap":300}}"#, &current);
        assert_eq!(writes, ["memory.swap.max=200 @memory.swap"]);
    }

    #[test]
    fn impossible_memory_is_refused() {
        let (_, faults) = convert(r#"{"memory":{"limit":20,"swap":10}}"#, &Current::default());
        assert_eq!(faults, ["memory+swap limit should be >= memory limit @memory.swap"]);
        let (_, faults) = convert(r#"{"memory":{"swap":10}}"#, &Current::default());
        assert_eq!(faults, ["unable to set swap limit without memory limit @memory.swap"]);
        let current = Current { usage: Some(100), ..Current::default() };
        let (_, faults) =
            convert(r#"{"memory":{"limit":90,"swap":95,"checkBeforeUpdate":true}}"#, &current);
        assert_eq!(
            faults,
            [
                "rejecting memory+swap limit 95 <= usage 100 @memory.swap",
                "rejecting memory limit 90 <= usage 100 @memory.limit",
            ]
        );
    }

    #[test]
    fn block_io_prefers_bfq() {
        assert_eq!(
            writes(
                r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}],
                    "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#
            ),
            [
                "io.bfq.weight=500 @blockIO.weight or io.weight=4950",
                "io.bfq.weight=8:0 300 @blockIO.weightDevice[0] ifPresent",
                "io.max=8:0 rbps=600 @blockIO.throttleReadBpsDevice[0]",
                "io.max=8:0 wiops=max @blockIO.throttleWriteIOPSDevice[0]",
            ]
        );
        assert_eq!([10, 100, 1000].map(io_weight), [1, 910, 10_000]);
    }

    #[test]
    fn values_at_their_limits() {
        assert_eq!(
            writes(
                r#"{"cpu":{"quota":9223372036854775807,"period":18446744073709551615,"burst":0,"idle":0}}"#
            ),
            [
                "cpu.max=9223372036854775807 18446744073709551615 @cpu.quota",
                "cpu.max.burst=0 @cpu.burst",
                "cpu.idle=0 @cpu.idle",
            ]
        );
        assert_eq!(
            writes(
                r#"{"memory":{"limit":1,"swap":9223372036854775807,"reservation":-1},
                    "blockIO":{"weight":10,"weightDevice":[{"major":0,"minor":0,"weight":1}]}}"#
            ),
            [
                "memory.swap.max=9223372036854775806 @memory.swap",
                "memory.max=1 @memory.limit",
                "memory.low=max @memory.reservation",
                "io.bfq.weight=10 @blockIO.weight or io.weight=1",
                "io.bfq.weight=0:0 1 @blockIO.weightDevice[0] ifPresent",
            ]
        );
        assert_eq!([1, 9, 10, 11].map(io_weight), [1, 1, 1, 11]);
        let (_, faults) = convert(
            r#"{"cpu":{"quota":5,"burst":6,"idle":3},"blockIO":{"weightDevice":[{"major":1,"minor":1}]}}"#,
            &Current::default(),
        );
        assert_eq!(
            faults,
            [
                "the burst 6 is larger than the quota 5 @cpu.burst",
                "3 is neither 0 nor 1 (SCHED_IDLE) @cpu.idle",
                "a device needs a weight or a leafWeight @blockIO.weightDevice[0]",
            ]
        );
    }

    #[test]
    fn what_v2_lacks_is_said() {
        let json = r#"{"memory":{"swappiness":60,"disableOOMKiller":true,"useHierarchy":false,"kernel":1},
            "blockIO":{"leafWeight":10},"cpu":{"realtimePeriod":1000}}"#;
        let resources: LinuxResources = serde_json::from_str(json).expect("resources");
        let mut faults = Vec::new();
        let mut sink = Sink::new(true, &mut faults);
        let current = Current::default();
        resources.cpu().iter().for_each(|part| cpu(part, &current, &mut sink));
        resources.memory().iter().for_each(|part| memory(part, &current, &mut sink));
        resources.block_io().iter().for_each(|part| io(part, &mut sink));
        assert_eq!((sink.writes.len(), sink.warnings.len()), (0, 2), "{:?}", sink.warnings);
        for word in ["Kernel memory", "useHierarchy"] {
            assert!(sink.warnings.iter().any(|warning| warning.contains(word)), "{word}");
        }
        assert_eq!(
            faults_of(&faults),
            [
                "cannot convert cpu.realtimeRuntime: cgroup v2 has no realtime limits @cpu.realtimeRuntime",
                "cannot convert memory.swappiness: cgroup v2 has no swappiness @memory.swappiness",
                "cannot convert memory.disableOOMKiller: cgroup v2 has no way to disable the OOM killer @memory.disableOOMKiller",
                "cannot convert blockIO.leafWeight: cgroup v2 has no leaf weights @blockIO.leafWeight",
            ]
        );
    }

    #[test]
    fn a_limit_that_would_kill_is_refused_only_if_asked_to() {
        let current = Current { usage: Some(100), memory: Some(-1), ..Current::default() };
        for (memory, refused) in [
            (r#"{"limit":100,"checkBeforeUpdate":true}"#, true),
            (r#"{"limit":101,"checkBeforeUpdate":true}"#, false),
            (r#"{"limit":-1,"swap":-1,"checkBeforeUpdate":true}"#, false),
            (r#"{"reservation":1,"checkBeforeUpdate":true}"#, false),
            (r#"{"limit":1,"checkBeforeUpdate":false}"#, false),
            (r#"{"limit":1}"#, false),
        ] {
            let (_, faults) = convert(&format!(r#"{{"memory":{memory}}}"#), &current);
            assert_eq!(!faults.is_empty(), refused, "{memory}: {faults:?}");
        }
        // A cgroup that does not exist yet uses nothing.
        let fresh = r#"{"memory":{"limit":1,"checkBeforeUpdate":true}}"#;
        assert_eq!(convert(fresh, &Current::default()).1, Vec::<String>::new());
    }

    #[test]
    fn unified_is_verbatim_by_line() {
        assert_eq!(
            writes(r#"{"unified":{"memory.high":"1000","io.max":"8:0 rbps=1\n8:16 wbps=2\n"}}"#),
            [
                "io.max=8:0 rbps=1 @unified.io.max",
                "io.max=8:16 wbps=2 @unified.io.max",
                "memory.high=1000 @unified.memory.high",
            ]
        );
        let (_, faults) = convert(
            r#"{"unified":{"../memory.max":"1","memory":"1",".x":"1","cgroup.freeze":" 1"}}"#,
            &Current::default(),
        );
        assert_eq!(
            faults,
            [
                "unified resource \"../memory.max\" must be a file name (no slashes) @unified.../memory.max",
                "unified resource \".x\" must be in the form CONTROLLER.PARAMETER @unified..x",
                "a container cannot be made in a frozen cgroup @unified.cgroup.freeze",
                "unified resource \"memory\" must be in the form CONTROLLER.PARAMETER @unified.memory",
            ]
        );
    }
}
