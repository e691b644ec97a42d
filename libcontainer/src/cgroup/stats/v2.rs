//! Statistics from cgroup v2 files (Documentation/admin-guide/cgroup-v2.rst), in the words of v1.

use std::collections::BTreeMap;

use super::{Amount, Blkio, BlkioEntry, Cpu, Hugetlb, Memory, Pids, Psi, Source, Stall};
use crate::{
    cgroup::{
        apply::page_sizes,
        dir::{pairs, value_of},
    },
    error::Result,
};

const MICROSECOND: u64 = 1000;

pub(super) fn cpu(source: &Source, cpu: &mut Cpu) -> Result<()> {
    let text = source.text("cpu.stat")?.unwrap_or_default();
    let count = |key| value_of(&text, key).unwrap_or(0);
    let time = |key| count(key).saturating_mul(MICROSECOND);
    cpu.usage.total = time("usage_usec");
    cpu.usage.user = time("user_usec");
    cpu.usage.kernel = time("system_usec");
    cpu.throttling.periods = count("nr_periods");
    cpu.throttling.throttled_periods = count("nr_throttled");
    cpu.throttling.throttled_time = time("throttled_usec");
    cpu.psi = pressure(source, "cpu.pressure")?;
    Ok(())
}

pub(super) fn memory(source: &Source, memory: &mut Memory) -> Result<()> {
    let text = source.text("memory.stat")?.unwrap_or_default();
    memory.raw = pairs(&text).map(|(key, value)| (key.to_owned(), value)).collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = amount(source, "memory")?;
    let swap = amount(source, "memory.swap")?;
    // v1 counts memory and swap together; a maximum of the sum is not known.
    memory.swap = Amount {
        limit: swap.limit.saturating_add(memory.usage.limit),
        usage: swap.usage.saturating_add(memory.usage.usage),
        max: 0,
        failcnt: swap.failcnt,
    };
    memory.psi = pressure(source, "memory.pressure")?;
    Ok(())
}

fn amount(source: &Source, prefix: &str) -> Result<Amount> {
    let number = |name: &str| Ok(source.number(&format!("{prefix}.{name}"))?.unwrap_or(0));
    let events = source.text(&format!("{prefix}.events"))?.unwrap_or_default();
    Ok(Amount {
        limit: number("max")?,
        usage: number("current")?,
        max: number("peak")?,
        failcnt: value_of(&events, "max").unwrap_or(0),
    })
}

/// Without the controller its processes can be counted still, as runc does.
pub(super) fn pids(source: &Source, pids: &mut Pids) -> Result<()> {
    if pids.current == 0 {
        let found = source.dir.pids();
        let found = found.map_err(|cause| source.dir.failed("read", "cgroup.procs", cause))?;
        pids.current = found.len() as u64;
    }
    Ok(())
}

pub(super) fn io(source: &Source, blkio: &mut Blkio) -> Result<()> {
    let text = source.text("io.stat")?.unwrap_or_default();
    let (bytes, operations) = entries(&text);
    blkio.io_service_bytes_recursive = bytes;
    blkio.io_serviced_recursive = operations;
    blkio.psi = pressure(source, "io.pressure")?;
    Ok(())
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 …`, as bytes and operations.
fn entries(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let device = words.next().and_then(|word| word.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    (bytes, operations)
}

pub(super) fn hugetlb(source: &Source, pages: &mut BTreeMap<String, Hugetlb>) -> Result<()> {
    for size in page_sizes() {
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let Some(usage) = source.number(&format!("{prefix}.current"))? else { continue };
            // Only the plain limit has events.
            let events = source.text(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
            let failcnt = value_of(&events, "max").unwrap_or(0);
            pages.insert(size, Hugetlb { usage, max: 0, failcnt });
            break;
        }
    }
    Ok(())
}

fn pressure(source: &Source, file: &str) -> Result<Option<Psi>> {
    Ok(source.text(file)?.map(|text| psi(&text)))
}

/// Two lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn psi(text: &str) -> Psi {
    let stall = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        let value = |key: &str| {
            line.split(' ').filter_map(|word| word.split_once('=')).find(|(name, _)| *name == key)
        };
        let average = |key| value(key).and_then(|(_, value)| value.parse().ok()).unwrap_or(0.0);
        Stall {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: value("total").and_then(|(_, value)| value.parse().ok()).unwrap_or(0),
        }
    };
    Psi { some: stall("some "), full: stall("full ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_is_split_into_bytes_and_operations() {
        let text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nbroken\n";
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.into(), value };
        assert_eq!(
            entries(text),
            (vec![entry("Read", 1), entry("Write", 2)], vec![entry("Read", 3), entry("Write", 4)])
        );
    }

    #[test]
    fn pressure_has_two_lines() {
        let psi = psi("some avg10=1.50 avg60=0.00 avg300=0.25 total=77\nfull avg10=0.00 total=9\n");
        assert_eq!((psi.some.avg10, psi.some.avg300, psi.some.total), (1.5, 0.25, 77));
        assert_eq!((psi.full.avg60, psi.full.total), (0.0, 9));
    }
}
