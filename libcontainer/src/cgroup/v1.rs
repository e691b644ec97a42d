//! Resources as cgroup v1 files (Documentation/admin-guide/cgroup-v1). Pure.
//!
//! The order within a controller is the one that a fresh cgroup accepts. Where the right order
//! depends on the values that are there already, the writer tries the refused ones again.

use std::collections::HashMap;

use super::write::{Need, Sink};
use crate::spec;

/// The scheduler's bounds of a weight (kernel/sched/sched.h); it clamps silently.
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 1 << 18;

/// What neither version takes: the kernel would say no more than EINVAL.
pub(super) fn check_cpu(cpu: &spec::LinuxCpu, sink: &mut Sink<'_>) {
    if let (Some(quota @ 1..), Some(burst)) = (cpu.quota(), cpu.burst())
        && burst > quota.unsigned_abs()
    {
        sink.fault("cpu.burst", format!("the burst {burst} is larger than the quota {quota}"));
    }
    if let Some(idle) = cpu.idle().filter(|idle| !matches!(idle, 0 | 1)) {
        sink.fault("cpu.idle", format!("{idle} is neither 0 nor 1 (SCHED_IDLE)"));
    }
}

pub(super) fn cpu(cpu: &spec::LinuxCpu, sink: &mut Sink<'_>) {
    check_cpu(cpu, sink);
    let set = |value: Option<u64>| value.filter(|value| *value != 0);
    if let Some(shares) = set(cpu.shares()) {
        match shares {
            ..MIN_SHARES => {
                sink.fault("cpu.shares", format!("the minimum allowed cpu-shares is {MIN_SHARES}"))
            }
            MIN_SHARES..=MAX_SHARES => {
                sink.put("cpu", "cpu.shares", shares, "cpu.shares");
            }
            _ => {
                sink.fault("cpu.shares", format!("the maximum allowed cpu-shares is {MAX_SHARES}"))
            }
        }
    }
    if let Some(period) = set(cpu.period()) {
        sink.put("cpu", "cpu.cfs_period_us", period, "cpu.period");
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        sink.put("cpu", "cpu.cfs_quota_us", quota, "cpu.quota");
    }
    if let Some(burst) = cpu.burst() {
        sink.put("cpu", "cpu.cfs_burst_us", burst, "cpu.burst").need = Need::IfPresent;
    }
    // After the shares: an idle group has none to set.
    if let Some(idle) = cpu.idle() {
        sink.put("cpu", "cpu.idle", idle, "cpu.idle");
    }
    if let Some(period) = set(cpu.realtime_period()) {
        sink.put("cpu", "cpu.rt_period_us", period, "cpu.realtimePeriod");
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        sink.put("cpu", "cpu.rt_runtime_us", runtime, "cpu.realtimeRuntime");
    }
}

pub(super) fn cpuset(cpu: &spec::LinuxCpu, sink: &mut Sink<'_>) {
    for (file, list, at) in [
        ("cpuset.cpus", cpu.cpus().as_ref(), "cpu.cpus"),
        ("cpuset.mems", cpu.mems().as_ref(), "cpu.mems"),
    ] {
        if let Some(list) = sink.list(list, at) {
            sink.put("cpuset", file, list, at);
        }
    }
}

/// `fresh`: the cgroup has no limits yet.
pub(super) fn memory(memory: &spec::LinuxMemory, fresh: bool, sink: &mut Sink<'_>) {
    let limit = sink.bytes(memory.limit(), "memory.limit");
    let swap = sink.bytes(memory.swap(), "memory.swap");
    check_swap(limit, swap, fresh, sink);
    limit_and_swap(limit, swap, sink);
    if let Some(reservation) = sink.bytes(memory.reservation(), "memory.reservation") {
        sink.put("memory", "memory.soft_limit_in_bytes", reservation, "memory.reservation");
    }
    if memory.disable_oom_killer() == Some(true) {
        sink.put("memory", "memory.oom_control", 1, "memory.disableOOMKiller");
    }
    // Callers that mean "unset" send -1 in the unsigned field, as runc's own types once did.
    match memory.swappiness().filter(|value| *value != u64::MAX) {
        Some(value @ 0..=100) => {
            sink.put("memory", "memory.swappiness", value, "memory.swappiness");
        }
        Some(value) => sink.fault(
            "memory.swappiness",
            format!("invalid memory swappiness value: {value} (valid range is 0-100)"),
        ),
        None => {}
    }
    kernel_memory(memory, sink);
}

/// memory ≤ memory+swap must hold after every write, so unlimited swap goes first.
fn limit_and_swap(limit: Option<i64>, swap: Option<i64>, sink: &mut Sink<'_>) {
    let put_limit = |sink: &mut Sink<'_>| {
        if let Some(limit) = limit {
            sink.put("memory", "memory.limit_in_bytes", limit, "memory.limit");
        }
    };
    let put_swap = |sink: &mut Sink<'_>, value: i64| {
        sink.put("memory", "memory.memsw.limit_in_bytes", value, "memory.swap");
    };
    match (limit, swap) {
        (_, Some(-1)) => {
            put_swap(sink, -1);
            put_limit(sink);
        }
        (Some(-1), None) => {
            let unlimited = sink.put("memory", "memory.memsw.limit_in_bytes", -1, "memory.limit");
            unlimited.need = Need::IfPresent;
            put_limit(sink);
        }
        _ => {
            put_limit(sink);
            if let Some(swap) = swap {
                put_swap(sink, swap);
            }
        }
    }
}

/// The specification's `swap` is memory plus swap, on v1 and v2.
pub(super) fn check_swap(limit: Option<i64>, swap: Option<i64>, fresh: bool, sink: &mut Sink<'_>) {
    match (limit, swap) {
        (Some(limit @ 1..), Some(swap @ 1..)) if swap < limit => {
            sink.fault("memory.swap", "memory+swap limit should be >= memory limit");
        }
        (None, Some(1..)) if fresh => {
            sink.fault("memory.swap", "unable to set swap limit without memory limit");
        }
        _ => {}
    }
}

pub(super) fn kernel_memory(memory: &spec::LinuxMemory, sink: &mut Sink<'_>) {
    if memory.kernel().is_some() || memory.kernel_tcp().is_some() {
        sink.warn("Kernel memory settings are ignored and will be removed");
    }
    if memory.use_hierarchy() == Some(false) {
        sink.warn("memory.useHierarchy is ignored: Linux always counts what is below (since 5.11)");
    }
}

pub(super) fn blkio(io: &spec::LinuxBlockIo, sink: &mut Sink<'_>) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let write = sink.put("blkio", "blkio.weight", weight, "blockIO.weight");
        write.or = Some(("blkio.bfq.weight".into(), weight.to_string()));
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        sink.put("blkio", "blkio.leaf_weight", weight, "blockIO.leafWeight");
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        weight_device(device, &format!("blockIO.weightDevice[{index}]"), sink);
    }
    for (name, file, devices) in throttles(io) {
        for (index, device) in devices.iter().flatten().enumerate() {
            let at = format!("blockIO.{name}[{index}]");
            if let Some(number) = sink.device(device.major(), device.minor(), &at) {
                sink.put("blkio", file, format!("{number} {}", device.rate()), &at);
            }
        }
    }
}

/// `major:minor`; a fault if nothing is said of it.
pub(super) fn weighted(
    device: &spec::LinuxWeightDevice,
    at: &str,
    sink: &mut Sink<'_>,
) -> Option<String> {
    if device.weight().is_none() && device.leaf_weight().is_none() {
        sink.fault(at, "a device needs a weight or a leafWeight");
        return None;
    }
    sink.device(device.major(), device.minor(), at)
}

fn weight_device(device: &spec::LinuxWeightDevice, at: &str, sink: &mut Sink<'_>) {
    let Some(number) = weighted(device, at, sink) else { return };
    if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
        let line = format!("{number} {weight}");
        let write = sink.put("blkio", "blkio.weight_device", &line, at);
        write.or = Some(("blkio.bfq.weight_device".into(), line));
    }
    if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
        sink.put("blkio", "blkio.leaf_weight_device", format!("{number} {weight}"), at);
    }
}

type Throttle<'a> = (&'static str, &'static str, &'a Option<Vec<spec::LinuxThrottleDevice>>);

/// The four throttles: the specification's name, the v1 file, the devices.
pub(super) fn throttles(io: &spec::LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
        (
            "throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            io.throttle_write_bps_device(),
        ),
        (
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            io.throttle_read_iops_device(),
        ),
        (
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            io.throttle_write_iops_device(),
        ),
    ]
}

/// Same file on v1 and v2. 0 becomes 1, as in runc, whose systemd driver cannot say 0.
pub(super) fn pids(pids: &spec::LinuxPids, sink: &mut Sink<'_>) {
    let limit = match pids.limit() {
        ..0 => "max".to_owned(),
        limit => limit.max(1).to_string(),
    };
    sink.put("pids", "pids.max", limit, "pids.limit");
}

/// `suffix` is `limit_in_bytes` on v1 and `max` on v2. The reservation limit (Linux 5.7) is set
/// too, since a fault beyond the plain one kills with SIGBUS.
pub(super) fn hugetlb(limits: &[spec::LinuxHugepageLimit], suffix: &str, sink: &mut Sink<'_>) {
    for (index, limit) in limits.iter().enumerate() {
        let at = format!("hugepageLimits[{index}]");
        let Some(size) = sink.page_size(limit.page_size(), &format!("{at}.pageSize")) else {
            continue;
        };
        if limit.limit() < 0 {
            sink.fault(&format!("{at}.limit"), "a huge page limit cannot be negative");
            continue;
        }
        sink.put("hugetlb", &format!("hugetlb.{size}.{suffix}"), limit.limit(), &at);
        let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
        sink.put("hugetlb", &reserved, limit.limit(), &at).need = Need::IfPresent;
    }
}

/// Some callers write the object whatever is in it.
pub(super) fn is_network_set(network: &spec::LinuxNetwork) -> bool {
    network.class_id().is_some_and(|class| class != 0)
        || network.priorities().as_ref().is_some_and(|priorities| !priorities.is_empty())
}

pub(super) fn network(network: &spec::LinuxNetwork, sink: &mut Sink<'_>) {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        sink.put("net_cls", "net_cls.classid", class, "network.classID");
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let at = format!("network.priorities[{index}]");
        if sink.interface(priority.name(), &format!("{at}.name")) {
            let line = format!("{} {}", priority.name(), priority.priority());
            sink.put("net_prio", "net_prio.ifpriomap", line, &at);
        }
    }
}

/// Same file on v1 and v2.
pub(super) fn rdma(limits: &HashMap<String, spec::LinuxRdma>, sink: &mut Sink<'_>) {
    let mut devices: Vec<_> = limits.iter().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limit) in devices {
        let at = format!("rdma.{name}");
        if !sink.word(name, &at) {
            continue;
        }
        let words: String =
            [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())]
                .into_iter()
                .filter_map(|(key, value)| Some(format!(" {key}={}", value?)))
                .collect();
        if words.is_empty() {
            sink.fault(&at, "a device needs hcaHandles or hcaObjects");
            continue;
        }
        sink.put("rdma", "rdma.max", format!("{name}{words}"), &at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cgroup::tests::{faults_of, lines},
        spec::LinuxResources,
    };

    fn convert(json: &str) -> (Vec<String>, Vec<String>) {
        let resources: LinuxResources = serde_json::from_str(json).expect("resources");
        let mut faults = Vec::new();
        let mut sink = Sink::new(true, &mut faults);
        resources.cpu().iter().for_each(|part| cpu(part, &mut sink));
        resources.cpu().iter().for_each(|part| cpuset(part, &mut sink));
        resources.memory().iter().for_each(|part| memory(part, true, &mut sink));
        resources.block_io().iter().for_each(|part| blkio(part, &mut sink));
        resources.pids().iter().for_each(|part| pids(part, &mut sink));
        resources
            .hugepage_limits()
            .iter()
            .for_each(|part| hugetlb(part, "limit_in_bytes", &mut sink));
        resources.network().iter().for_each(|part| network(part, &mut sink));
        resources.rdma().iter().for_each(|part| rdma(part, &mut sink));
        let writes = lines(&sink.writes);
        (writes, faults_of(&faults))
    }

    fn writes(json: &str) -> Vec<String> {
        let (writes, faults) = convert(json);
        assert_eq!(faults, Vec::<String>::new());
        writes
    }

    #[test]
    fn cpu_in_the_order_that_a_fresh_group_takes() {
        assert_eq!(
            writes(
                r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"burst":1000,"idle":0,
                    "realtimeRuntime":950,"realtimePeriod":1000000,"cpus":"0-1","mems":"0"}}"#
            ),
            [
                "cpu.shares=512 @cpu.shares",
                "cpu.cfs_period_us=100000 @cpu.period",
                "cpu.cfs_quota_us=50000 @cpu.quota",
                "cpu.cfs_burst_us=1000 @cpu.burst ifPresent",
                "cpu.idle=0 @cpu.idle",
                "cpu.rt_period_us=1000000 @cpu.realtimePeriod",
                "cpu.rt_runtime_us=950 @cpu.realtimeRuntime",
                "cpuset.cpus=0-1 @cpu.cpus",
                "cpuset.mems=0 @cpu.mems",
            ]
        );
        assert_eq!(writes(r#"{"cpu":{"quota":-1}}"#), ["cpu.cfs_quota_us=-1 @cpu.quota"]);
    }

    #[test]
    fn cpu_at_its_limits() {
        assert_eq!(
            writes(r#"{"cpu":{"shares":2,"burst":0,"idle":1,"realtimeRuntime":-1}}"#),
            [
                "cpu.shares=2 @cpu.shares",
                "cpu.cfs_burst_us=0 @cpu.burst ifPresent",
                "cpu.idle=1 @cpu.idle",
                "cpu.rt_runtime_us=-1 @cpu.realtimeRuntime",
            ]
        );
        let largest = r#"{"cpu":{"shares":262144,"quota":9223372036854775807,
            "period":18446744073709551615,"burst":9223372036854775807}}"#;
        assert_eq!(
            writes(largest),
            [
                "cpu.shares=262144 @cpu.shares",
                "cpu.cfs_period_us=18446744073709551615 @cpu.period",
                "cpu.cfs_quota_us=9223372036854775807 @cpu.quota",
                "cpu.cfs_burst_us=9223372036854775807 @cpu.burst ifPresent",
            ]
        );
        // Without a quota of its own the burst is checked against what the group has.
        let (_, faults) = convert(r#"{"cpu":{"quota":-1,"burst":5}}"#);
        assert_eq!(faults, Vec::<String>::new());
        let (_, faults) = convert(r#"{"cpu":{"quota":1000,"burst":1001,"idle":2}}"#);
        assert_eq!(
            faults,
            [
                "the burst 1001 is larger than the quota 1000 @cpu.burst",
                "2 is neither 0 nor 1 (SCHED_IDLE) @cpu.idle",
            ]
        );
        let (_, faults) = convert(r#"{"cpu":{"idle":-1}}"#);
        assert_eq!(faults, ["-1 is neither 0 nor 1 (SCHED_IDLE) @cpu.idle"]);
    }

    #[test]
    fn bytes_at_their_limits() {
        assert_eq!(
            writes(
                r#"{"memory":{"limit":9223372036854775807,"swap":9223372036854775807,
                    "reservation":-1,"swappiness":100}}"#
            ),
            [
                "memory.limit_in_bytes=9223372036854775807 @memory.limit",
                "memory.memsw.limit_in_bytes=9223372036854775807 @memory.swap",
                "memory.soft_limit_in_bytes=-1 @memory.reservation",
                "memory.swappiness=100 @memory.swappiness",
            ]
        );
        assert_eq!(
            writes(r#"{"memory":{"limit":1,"swap":1}}"#),
            ["memory.limit_in_bytes=1 @memory.limit", "memory.memsw.limit_in_bytes=1 @memory.swap"]
        );
        // Unset, as Go's types once said it.
        assert_eq!(writes(r#"{"memory":{"swappiness":18446744073709551615}}"#), [""; 0]);
        assert_eq!(
            writes(
                r#"{"hugepageLimits":[{"pageSize":"64KB","limit":0},
                    {"pageSize":"1GB","limit":9223372036854775807}]}"#
            ),
            [
                "hugetlb.64KB.limit_in_bytes=0 @hugepageLimits[0]",
                "hugetlb.64KB.rsvd.limit_in_bytes=0 @hugepageLimits[0] ifPresent",
                "hugetlb.1GB.limit_in_bytes=9223372036854775807 @hugepageLimits[1]",
                "hugetlb.1GB.rsvd.limit_in_bytes=9223372036854775807 @hugepageLimits[1] ifPresent",
            ]
        );
    }

    #[test]
    fn numbers_of_devices_and_processes_at_their_limits() {
        assert_eq!(
            writes(
                r#"{"blockIO":{"weight":1000,"weightDevice":[{"major":0,"minor":0,"leafWeight":10}],
                    "throttleReadIOPSDevice":[{"major":4095,"minor":1048575,"rate":18446744073709551615}]}}"#
            ),
            [
                "blkio.weight=1000 @blockIO.weight or blkio.bfq.weight=1000",
                "blkio.leaf_weight_device=0:0 10 @blockIO.weightDevice[0]",
                "blkio.throttle.read_iops_device=4095:1048575 18446744073709551615 @blockIO.throttleReadIOPSDevice[0]",
            ]
        );
        assert_eq!(
            writes(r#"{"pids":{"limit":-9223372036854775808}}"#),
            ["pids.max=max @pids.limit"]
        );
        assert_eq!(
            writes(r#"{"pids":{"limit":9223372036854775807}}"#),
            ["pids.max=9223372036854775807 @pids.limit"]
        );
        assert_eq!(
            writes(
                r#"{"rdma":{"mlx5_1":{"hcaHandles":0,"hcaObjects":4294967295}},
                    "network":{"classID":4294967295,"priorities":[{"name":"lo","priority":0}]}}"#
            ),
            [
                "net_cls.classid=4294967295 @network.classID",
                "net_prio.ifpriomap=lo 0 @network.priorities[0]",
                "rdma.max=mlx5_1 hca_handle=0 hca_object=4294967295 @rdma.mlx5_1",
            ]
        );
    }

    #[test]
    fn a_device_of_which_nothing_is_said_is_refused() {
        let (writes, faults) = convert(
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]},"rdma":{"mlx5_1":{}},
                "network":{"priorities":[{"name":"","priority":1}]}}"#,
        );
        assert_eq!(writes, Vec::<String>::new());
        assert_eq!(
            faults,
            [
                "a device needs a weight or a leafWeight @blockIO.weightDevice[0]",
                "\"\" is not a name @network.priorities[0].name",
                "a device needs hcaHandles or hcaObjects @rdma.mlx5_1",
            ]
        );
    }

    #[test]
    fn nothing_asked_nothing_written() {
        let zero = r#"{"cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0,
            "cpus":"","mems":""},"memory":{"limit":0,"swap":0,"reservation":0,
            "disableOOMKiller":false},"blockIO":{"weight":0},"network":{"classID":0}}"#;
        assert_eq!(writes(zero), Vec::<String>::new());
        assert_eq!(writes("{}"), Vec::<String>::new());
    }

    #[test]
    fn memory_goes_before_swap_except_when_swap_is_unlimited() {
        assert_eq!(
            writes(r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":65536}}"#),
            [
                "memory.limit_in_bytes=1048576 @memory.limit",
                "memory.memsw.limit_in_bytes=2097152 @memory.swap",
                "memory.soft_limit_in_bytes=65536 @memory.reservation",
            ]
        );
        assert_eq!(
            writes(r#"{"memory":{"limit":1048576,"swap":-1}}"#),
            [
                "memory.memsw.limit_in_bytes=-1 @memory.swap",
                "memory.limit_in_bytes=1048576 @memory.limit",
            ]
        );
        assert_eq!(
            writes(r#"{"memory":{"limit":-1}}"#),
            [
                "memory.memsw.limit_in_bytes=-1 @memory.limit ifPresent",
                "memory.limit_in_bytes=-1 @memory.limit",
            ]
        );
        assert_eq!(
            writes(r#"{"memory":{"swappiness":0,"disableOOMKiller":true}}"#),
            [
                "memory.oom_control=1 @memory.disableOOMKiller",
                "memory.swappiness=0 @memory.swappiness",
            ]
        );
    }

    #[test]
    fn block_io_knows_both_schedulers() {
        assert_eq!(
            writes(
                r#"{"blockIO":{"weight":300,"leafWeight":200,
                    "weightDevice":[{"major":8,"minor":0,"weight":500,"leafWeight":300}],
                    "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#
            ),
            [
                "blkio.weight=300 @blockIO.weight or blkio.bfq.weight=300",
                "blkio.leaf_weight=200 @blockIO.leafWeight",
                "blkio.weight_device=8:0 500 @blockIO.weightDevice[0] or blkio.bfq.weight_device=8:0 500",
                "blkio.leaf_weight_device=8:0 300 @blockIO.weightDevice[0]",
                "blkio.throttle.read_bps_device=8:0 600 @blockIO.throttleReadBpsDevice[0]",
                "blkio.throttle.write_iops_device=8:16 0 @blockIO.throttleWriteIOPSDevice[0]",
            ]
        );
    }

    #[test]
    fn the_small_controllers() {
        assert_eq!(writes(r#"{"pids":{"limit":32}}"#), ["pids.max=32 @pids.limit"]);
        assert_eq!(writes(r#"{"pids":{"limit":-1}}"#), ["pids.max=max @pids.limit"]);
        assert_eq!(writes(r#"{"pids":{"limit":0}}"#), ["pids.max=1 @pids.limit"]);
        assert_eq!(
            writes(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#),
            [
                "hugetlb.2MB.limit_in_bytes=4194304 @hugepageLimits[0]",
                "hugetlb.2MB.rsvd.limit_in_bytes=4194304 @hugepageLimits[0] ifPresent",
            ]
        );
        assert_eq!(
            writes(
                r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]},
                    "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"a":{"hcaObjects":1}}}"#
            ),
            [
                "net_cls.classid=1048577 @network.classID",
                "net_prio.ifpriomap=eth0 5 @network.priorities[0]",
                "rdma.max=a hca_object=1 @rdma.a",
                "rdma.max=mlx5_1 hca_handle=3 hca_object=10000 @rdma.mlx5_1",
            ]
        );
    }

    #[test]
    fn wrong_values_have_a_path() {
        let (writes, faults) = convert(
            r#"{"cpu":{"shares":1,"cpus":"0-","mems":"x"},
                "memory":{"limit":-5,"swappiness":101},
                "blockIO":{"throttleReadBpsDevice":[{"major":-1,"minor":0,"rate":1}]},
                "hugepageLimits":[{"pageSize":"../../x","limit":1},{"pageSize":"2MB","limit":-1}],
                "network":{"priorities":[{"name":"a b","priority":1}]}}"#,
        );
        assert_eq!(writes, Vec::<String>::new());
        assert_eq!(
            faults,
            [
                "the minimum allowed cpu-shares is 2 @cpu.shares",
                "\"0-\" is not a list like \"0-3,6\" @cpu.cpus",
                "\"x\" is not a list like \"0-3,6\" @cpu.mems",
                "-5 is neither -1 (unlimited) nor a number of bytes @memory.limit",
                "invalid memory swappiness value: 101 (valid range is 0-100) @memory.swappiness",
                "-1:0 is not a device number @blockIO.throttleReadBpsDevice[0].major",
                "\"../../x\" is not a page size like \"2MB\" or \"1GB\" @hugepageLimits[0].pageSize",
                "a huge page limit cannot be negative @hugepageLimits[1].limit",
                "\"a b\" is not a name @network.priorities[0].name",
            ]
        );
        let (_, faults) = convert(r#"{"cpu":{"shares":262145},"memory":{"limit":20,"swap":10}}"#);
        assert_eq!(
            faults,
            [
                "the maximum allowed cpu-shares is 262144 @cpu.shares",
                "memory+swap limit should be >= memory limit @memory.swap",
            ]
        );
        let (_, faults) = convert(r#"{"memory":{"swap":10}}"#);
        assert_eq!(faults, ["unable to set swap limit without memory limit @memory.swap"]);
    }
}
