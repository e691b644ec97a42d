//! cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats,
    PidsStat, RdmaEntry, RdmaStat,
};
use protobuf::MessageField;

use super::{Source, fill, keyed, number};

pub(super) fn collect(source: &Source) -> Metrics {
    Metrics {
        pids: MessageField::some(PidsStat {
            current: source.number("pids.current"),
            limit: source.number("pids.max"),
            ..Default::default()
        }),
        cpu: MessageField::some(cpu(source)),
        memory: MessageField::some(memory(source)),
        memory_events: MessageField::some(events(source)),
        rdma: MessageField::some(RdmaStat {
            current: rdma(source, "rdma.current"),
            limit: rdma(source, "rdma.max"),
            ..Default::default()
        }),
        io: MessageField::some(IOStat {
            usage: io(&source.text("io.stat")),
            psi: psi(&source.text("io.pressure")),
            ..Default::default()
        }),
        hugetlb: hugetlb(source),
        ..Default::default()
    }
}

fn cpu(source: &Source) -> CPUStat {
    let table = source.table("cpu.stat");
    let mut cpu = CPUStat::new();
    fill!(cpu, table;
        usage_usec, user_usec, system_usec, nr_periods, nr_throttled, throttled_usec,
        nr_bursts, burst_usec,
    );
    cpu.psi = psi(&source.text("cpu.pressure"));
    cpu
}

fn memory(source: &Source) -> MemoryStat {
    let table = source.table("memory.stat");
    let mut memory = MemoryStat::new();
    fill!(memory, table;
        anon, file, kernel_stack, slab, sock, shmem, file_mapped, file_dirty, file_writeback,
        anon_thp, inactive_anon, active_anon, inactive_file, active_file, unevictable,
        slab_reclaimable, slab_unreclaimable, pgfault, pgmajfault, workingset_refault,
        workingset_activate, workingset_nodereclaim, pgrefill, pgscan, pgsteal, pgactivate,
        pgdeactivate, pglazyfree, pglazyfreed, thp_fault_alloc, thp_collapse_alloc,
    );
    memory.usage = source.number("memory.current");
    memory.usage_limit = source.number("memory.max");
    memory.max_usage = source.number("memory.peak");
    memory.swap_usage = source.number("memory.swap.current");
    memory.swap_limit = source.number("memory.swap.max");
    memory.swap_max_usage = source.number("memory.swap.peak");
    memory.psi = psi(&source.text("memory.pressure"));
    memory
}

fn events(source: &Source) -> MemoryEvents {
    let table = source.table("memory.events");
    let mut events = MemoryEvents::new();
    fill!(events, table; low, high, max, oom, oom_kill, oom_group_kill);
    events
}

fn rdma(source: &Source, file: &str) -> Vec<RdmaEntry> {
    let entry = |(device, hca_handles, hca_objects)| RdmaEntry {
        device,
        hca_handles,
        hca_objects,
        ..Default::default()
    };
    super::rdma(&source.text(file)).map(entry).collect()
}

/// `MAJOR:MINOR key=value …`.
fn io(text: &str) -> Vec<IOEntry> {
    let entry = |line| {
        let (device, values) = keyed(line)?;
        let (major, minor) = device.split_once(':')?;
        let value = |key| values.get(key).copied().unwrap_or(0);
        Some(IOEntry {
            major: number(major),
            minor: number(minor),
            rbytes: value("rbytes"),
            wbytes: value("wbytes"),
            rios: value("rios"),
            wios: value("wios"),
            ..Default::default()
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and a line `full`.
fn psi(text: &str) -> MessageField<PSIStats> {
    let data = |which: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(which))?;
        let field = |key: &str| {
            line.split_ascii_whitespace().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        };
        let average = |key| field(key).and_then(|value| value.parse().ok()).unwrap_or(0.0);
        Some(PSIData {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: field("total").map_or(0, number),
            ..Default::default()
        })
    };
    let (some, full) = (data("some"), data("full"));
    match some.is_some() || full.is_some() {
        true => MessageField::some(PSIStats {
            some: MessageField::from_option(some),
            full: MessageField::from_option(full),
            ..Default::default()
        }),
        false => MessageField::none(),
    }
}

fn hugetlb(source: &Source) -> Vec<HugeTlbStat> {
    let sizes = source.page_sizes("current");
    let entry = |size: String| {
        let file = |name| format!("hugetlb.{size}.{name}");
        HugeTlbStat {
            current: source.number(&file("current")),
            max: source.number(&file("max")),
            failcnt: source.table(&file("events")).get("max").copied().unwrap_or(0),
            pagesize: size.clone(),
            ..Default::default()
        }
    };
    sizes.into_iter().filter(|size| !size.ends_with("rsvd")).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_files_becomes_a_message() {
        let dir = std::env::temp_dir().join(format!("shim-metrics-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in [
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n"),
            ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=42\n"),
            ("memory.stat", "anon 4096\nworkingset_refault 9\n"),
            ("memory.max", "1048576\n"),
            ("memory.events", "low 0\noom_kill 2\n"),
            ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("hugetlb.2MB.current", "2097152\n"),
            ("hugetlb.2MB.events", "max 5\n"),
            ("hugetlb.2MB.rsvd.current", "1\n"),
        ] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let metrics = collect(&Source(dir.clone()));
        std::fs::remove_dir_all(dir).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, u64::MAX));
        assert_eq!((metrics.cpu.usage_usec, metrics.cpu.system_usec), (7, 3));
        assert_eq!((metrics.cpu.psi.some.avg10, metrics.cpu.psi.some.total), (1.5, 42));
        assert_eq!((metrics.memory.anon, metrics.memory.workingset_refault), (4096, 9));
        assert_eq!((metrics.memory.usage_limit, metrics.memory_events.oom_kill), (1 << 20, 2));
        let io = &metrics.io.usage[0];
        assert_eq!((io.major, io.minor, io.rbytes, io.wios), (8, 16, 1, 4));
        let [huge] = &metrics.hugetlb[..] else { panic!("{:?}", metrics.hugetlb) };
        assert_eq!((&*huge.pagesize, huge.current, huge.failcnt), ("2MB", 2 << 20, 5));
    }
}
