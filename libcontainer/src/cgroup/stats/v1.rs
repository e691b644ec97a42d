//! Statistics from cgroup v1 files (Documentation/admin-guide/cgroup-v1).

use std::collections::BTreeMap;

use super::{Amount, Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, Source};
use crate::{
    cgroup::{
        apply::page_sizes,
        dir::{pairs, value_of},
    },
    error::Result,
};

/// cpuacct.stat counts USER_HZ ticks, which are 10 ms on every Linux.
const TICK: u64 = 10_000_000;

pub(super) fn cpu(source: &Source, cpu: &mut Cpu) -> Result<()> {
    let text = source.text("cpu.stat")?.unwrap_or_default();
    let value = |key| value_of(&text, key).unwrap_or(0);
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = value("throttled_time");
    Ok(())
}

pub(super) fn cpuacct(source: &Source, usage: &mut CpuUsage) -> Result<()> {
    let ticks = source.text("cpuacct.stat")?.unwrap_or_default();
    let time = |key| value_of(&ticks, key).unwrap_or(0).saturating_mul(TICK);
    usage.user = time("user");
    usage.kernel = time("system");
    usage.total = source.number("cpuacct.usage")?.unwrap_or(0);
    let percpu = source.text("cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    // A header, then lines of `cpu user system` (Linux 4.8).
    let all = source.text("cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut words = line.split(' ').skip(1).map(|word| word.parse().unwrap_or(0));
        usage.percpu_user.push(words.next().unwrap_or(0));
        usage.percpu_kernel.push(words.next().unwrap_or(0));
    }
    Ok(())
}

pub(super) fn cpuset(source: &Source, set: &mut Cpuset) -> Result<()> {
    let number = |name: &str| Ok(source.number(&format!("cpuset.{name}"))?.unwrap_or(0));
    let list = |file| source.text(file).map(|text| expand(&text.unwrap_or_default()));
    set.cpus = list("cpuset.cpus")?;
    set.mems = list("cpuset.mems")?;
    set.cpu_exclusive = number("cpu_exclusive")?;
    set.mem_hardwall = number("mem_hardwall")?;
    set.mem_exclusive = number("mem_exclusive")?;
    set.memory_migrate = number("memory_migrate")?;
    set.memory_spread_page = number("memory_spread_page")?;
    set.memory_spread_slab = number("memory_spread_slab")?;
    set.memory_pressure = number("memory_pressure")?;
    set.sched_load_balance = number("sched_load_balance")?;
    // The only one that can be negative.
    let level = source.text("cpuset.sched_relax_domain_level")?.unwrap_or_default();
    set.sched_relax_domain_level = level.trim().parse().unwrap_or(0);
    Ok(())
}

/// `0-2,5` as numbers.
fn expand(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

pub(super) fn memory(source: &Source, memory: &mut Memory) -> Result<()> {
    let text = source.text("memory.stat")?.unwrap_or_default();
    memory.raw = pairs(&text).map(|(key, value)| (key.to_owned(), value)).collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = amount(source, "memory")?;
    memory.swap = amount(source, "memory.memsw")?;
    memory.kernel = amount(source, "memory.kmem")?;
    memory.kernel_tcp = amount(source, "memory.kmem.tcp")?;
    Ok(())
}

fn amount(source: &Source, prefix: &str) -> Result<Amount> {
    let number = |name: &str| Ok(source.number(&format!("{prefix}.{name}"))?.unwrap_or(0));
    Ok(Amount {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
    })
}

/// Every I/O scheduler has its own files, and leaves those of the others empty: BFQ with its
/// debugging files, CFQ, throttling with and without the sub-cgroups. The first with something in
/// it counts (runc's order).
const SOURCES: [&str; 4] = ["blkio.bfq.", "blkio.", "blkio.throttle.", "blkio.throttle."];

pub(super) fn blkio(source: &Source, blkio: &mut Blkio) -> Result<()> {
    for (index, prefix) in SOURCES.iter().enumerate() {
        let suffix = if index == SOURCES.len() - 1 { "" } else { "_recursive" };
        let read = |name: &str| {
            let text = source.text(&format!("{prefix}{name}{suffix}"))?;
            Ok(text.map(|text| entries(&text)).unwrap_or_default())
        };
        blkio.io_serviced_recursive = read("io_serviced")?;
        if blkio.io_serviced_recursive.is_empty() {
            continue;
        }
        blkio.io_service_bytes_recursive = read("io_service_bytes")?;
        if index < 2 {
            blkio.sectors_recursive = read("sectors")?;
            blkio.io_service_time_recursive = read("io_service_time")?;
            blkio.io_wait_time_recursive = read("io_wait_time")?;
            blkio.io_merged_recursive = read("io_merged")?;
            blkio.io_queue_recursive = read("io_queued")?;
            blkio.io_time_recursive = read("time")?;
        }
        return Ok(());
    }
    Ok(())
}

/// Lines of `8:0 Read 4096` or `8:0 4096`; the grand total at the end is skipped.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split([' ', ':']).collect();
        let (major, minor, op, value) = match words[..] {
            [major, minor, op, value] => (major, minor, op, value),
            [major, minor, value] => (major, minor, "", value),
            _ => return None,
        };
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

pub(super) fn hugetlb(source: &Source, pages: &mut BTreeMap<String, Hugetlb>) -> Result<()> {
    for size in page_sizes() {
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let number = |name: &str| source.number(&format!("{prefix}.{name}"));
            let Some(usage) = number("usage_in_bytes")? else { continue };
            let max = number("max_usage_in_bytes")?.unwrap_or(0);
            let failcnt = number("failcnt")?.unwrap_or(0);
            pages.insert(size, Hugetlb { usage, max, failcnt });
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded() {
        assert_eq!(expand("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(expand("\n"), [0u16; 0]);
    }

    #[test]
    fn block_io_lines_have_three_or_four_words() {
        let text = "8:0 Read 4096\n8:0 Total 4096\n8:16 77\nTotal 4096\n";
        let entry = |minor, op: &str, value| BlkioEntry { major: 8, minor, op: op.into(), value };
        assert_eq!(
            entries(text),
            [entry(0, "Read", 4096), entry(0, "Total", 4096), entry(16, "", 77)]
        );
    }
}
