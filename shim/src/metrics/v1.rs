//! cgroup v1.

use std::{collections::BTreeMap, path::PathBuf};

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl,
    MemoryStat, Metrics, PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use libcontainer::cgroup::Stats;
use protobuf::MessageField;

use super::{Source, device_names, fill};

/// Each part if its hierarchy has a directory of the container.
pub(super) fn collect(stats: &Stats, dirs: &BTreeMap<String, PathBuf>) -> Metrics {
    let source = |controller| dirs.get(controller).cloned().map(Source);
    let mut metrics = Metrics::new();
    if dirs.contains_key("cpuacct") || dirs.contains_key("cpu") {
        metrics.cpu = MessageField::some(cpu(stats));
    }
    if let Some(memory_dir) = source("memory") {
        metrics.memory = MessageField::some(memory(stats));
        metrics.memory_oom_control = MessageField::some(oom_control(&memory_dir));
    }
    if dirs.contains_key("pids") {
        let (current, limit) = (stats.pids.current, stats.pids.limit);
        metrics.pids = MessageField::some(PidsStat { current, limit, ..Default::default() });
    }
    if dirs.contains_key("blkio") {
        metrics.blkio = MessageField::some(blkio(stats));
    }
    if let Some(rdma_dir) = source("rdma") {
        metrics.rdma = MessageField::some(rdma(&rdma_dir));
    }
    metrics.hugetlb = hugetlb(stats);
    metrics
}

fn cpu(stats: &Stats) -> CPUStat {
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    let usage = CPUUsage {
        total: usage.total,
        kernel: usage.kernel,
        user: usage.user,
        per_cpu: usage.percpu.clone(),
        ..Default::default()
    };
    let throttling = Throttle {
        periods: throttling.periods,
        throttled_periods: throttling.throttled_periods,
        throttled_time: throttling.throttled_time,
        ..Default::default()
    };
    CPUStat {
        usage: MessageField::some(usage),
        throttling: MessageField::some(throttling),
        ..Default::default()
    }
}

fn memory(stats: &Stats) -> MemoryStat {
    let raw = &stats.memory.raw;
    let mut memory = MemoryStat::new();
    fill!(memory, raw;
        cache, rss, rss_huge, mapped_file, dirty, writeback,
        pg_pg_in = "pgpgin", pg_pg_out = "pgpgout", pg_fault = "pgfault", pg_maj_fault = "pgmajfault",
        inactive_anon, active_anon, inactive_file, active_file, unevictable,
        hierarchical_memory_limit, hierarchical_swap_limit = "hierarchical_memsw_limit",
        total_cache, total_rss, total_rss_huge, total_mapped_file, total_dirty, total_writeback,
        total_pg_pg_in = "total_pgpgin", total_pg_pg_out = "total_pgpgout",
        total_pg_fault = "total_pgfault", total_pg_maj_fault = "total_pgmajfault",
        total_inactive_anon, total_active_anon, total_inactive_file, total_active_file,
        total_unevictable,
    );
    let amounts = &stats.memory;
    for (field, amount) in [
        (&mut memory.usage, &amounts.usage),
        (&mut memory.swap, &amounts.swap),
        (&mut memory.kernel, &amounts.kernel),
        (&mut memory.kernel_tcp, &amounts.kernel_tcp),
    ] {
        *field = MessageField::some(MemoryEntry {
            limit: amount.limit,
            usage: amount.usage,
            max: amount.max,
            failcnt: amount.failcnt,
            ..Default::default()
        });
    }
    memory
}

fn oom_control(source: &Source) -> MemoryOomControl {
    let table = source.table("memory.oom_control");
    let mut control = MemoryOomControl::new();
    fill!(control, table; oom_kill_disable, under_oom, oom_kill);
    control
}

fn blkio(stats: &Stats) -> BlkIOStat {
    let names = device_names();
    let convert = |entries: &Vec<libcontainer::cgroup::BlkioEntry>| {
        let entry = |entry: &libcontainer::cgroup::BlkioEntry| BlkIOEntry {
            op: entry.op.clone(),
            device: names.get(&(entry.major, entry.minor)).cloned().unwrap_or_default(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
            ..Default::default()
        };
        entries.iter().map(entry).collect()
    };
    let blkio = &stats.blkio;
    BlkIOStat {
        io_service_bytes_recursive: convert(&blkio.io_service_bytes_recursive),
        io_serviced_recursive: convert(&blkio.io_serviced_recursive),
        io_queued_recursive: convert(&blkio.io_queue_recursive),
        io_service_time_recursive: convert(&blkio.io_service_time_recursive),
        io_wait_time_recursive: convert(&blkio.io_wait_time_recursive),
        io_merged_recursive: convert(&blkio.io_merged_recursive),
        io_time_recursive: convert(&blkio.io_time_recursive),
        sectors_recursive: convert(&blkio.sectors_recursive),
        ..Default::default()
    }
}

fn rdma(source: &Source) -> RdmaStat {
    let entries = |file| {
        let entry = |(device, hca_handles, hca_objects)| RdmaEntry {
            device,
            hca_handles,
            hca_objects,
            ..Default::default()
        };
        super::rdma(&source.text(file)).map(entry).collect()
    };
    RdmaStat { current: entries("rdma.current"), limit: entries("rdma.max"), ..Default::default() }
}

fn hugetlb(stats: &Stats) -> Vec<HugetlbStat> {
    let entry = |(size, stat): (&String, &libcontainer::cgroup::Hugetlb)| HugetlbStat {
        usage: stat.usage,
        max: stat.max,
        failcnt: stat.failcnt,
        pagesize: size.clone(),
        ..Default::default()
    };
    stats.hugetlb.iter().map(entry).collect()
}
