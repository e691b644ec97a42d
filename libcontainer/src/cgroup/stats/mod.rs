//! What a container uses: `data` of `events --stats`, in runc's words (types/events.go).
//!
//! Numbers are cumulative unless they are named current; times are nanoseconds, sizes bytes. What a
//! host does not count is 0 or empty, and left out of the JSON where runc leaves it out.

mod v1;
mod v2;

use std::collections::BTreeMap;

use rustix::io::Errno;
use serde::Serialize;

use super::{Place, dir::Dir};
use crate::{
    error::{Error, Kind, Result},
    resctrl,
};

/// Statistics of a container's cgroup.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// From resctrl, not from the cgroup: whoever knows the container's group fills it in.
    pub intel_rdt: resctrl::Stats,
    network_interfaces: Option<[(); 0]>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// The index is the CPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Pressure stall information (Documentation/accounting/psi.rst).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    pub some: Stall,
    pub full: Stall,
}

/// Averages in percent of the time; `total` in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: Amount,
    /// Memory plus swap.
    pub swap: Amount,
    pub kernel: Amount,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Amount,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Amount {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Every controller from where it is mounted.
pub(super) fn collect(place: &Place) -> Result<Stats> {
    let mut stats = Stats::default();
    let open = |path| match Dir::open(path) {
        Ok(dir) => Ok(Some(Source { dir })),
        Err(Errno::NOENT) => Ok(None),
        Err(cause) => Err(Error::os(format!("cannot open cgroup {path:?}"), cause)),
    };
    for (controller, path) in place.paths() {
        let Some(source) = open(path)? else { continue };
        match controller.as_str() {
            "cpu" => v1::cpu(&source, &mut stats.cpu)?,
            "cpuacct" => v1::cpuacct(&source, &mut stats.cpu.usage)?,
            "cpuset" => v1::cpuset(&source, &mut stats.cpuset)?,
            "memory" => v1::memory(&source, &mut stats.memory)?,
            "pids" => pids(&source, &mut stats.pids)?,
            "blkio" => v1::blkio(&source, &mut stats.blkio)?,
            "hugetlb" => v1::hugetlb(&source, &mut stats.hugetlb)?,
            "" => unified(place, &source, &mut stats)?,
            _ => {}
        }
    }
    Ok(stats)
}

/// What no v1 hierarchy has.
fn unified(place: &Place, source: &Source, stats: &mut Stats) -> Result<()> {
    let here = |controller: &str| !place.paths().contains_key(controller);
    if here("cpu") && here("cpuacct") {
        v2::cpu(source, &mut stats.cpu)?;
    }
    if here("memory") {
        v2::memory(source, &mut stats.memory)?;
    }
    if here("pids") {
        pids(source, &mut stats.pids)?;
        v2::pids(source, &mut stats.pids)?;
    }
    if here("blkio") {
        v2::io(source, &mut stats.blkio)?;
    }
    if here("hugetlb") {
        v2::hugetlb(source, &mut stats.hugetlb)?;
    }
    Ok(())
}

/// Same files on v1 and v2.
fn pids(source: &Source, pids: &mut Pids) -> Result<()> {
    pids.current = source.number("pids.current")?.unwrap_or(0);
    pids.limit = source.number("pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or(0);
    Ok(())
}

/// The files of one directory; a file that is missing is `None`.
struct Source {
    dir: Dir,
}

impl Source {
    fn text(&self, file: &str) -> Result<Option<String>> {
        self.dir.read_if_present(file).map_err(|cause| self.dir.failed("read", file, cause))
    }

    /// `max` is [`u64::MAX`].
    fn number(&self, file: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        match text.trim() {
            "max" => Ok(Some(u64::MAX)),
            word => word.parse().map(Some).map_err(|_| self.malformed(file, word)),
        }
    }

    fn malformed(&self, file: &str, text: &str) -> Error {
        let path = self.dir.path().join(file);
        Error::new(Kind::Unsupported, format!("cannot understand {path:?}: {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_looks_as_in_runc() {
        let json = serde_json::to_value(Stats::default()).expect("json");
        let expected = serde_json::json!({
            "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
            "cpuset": {"cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0,
                "memory_migrate": 0, "memory_spread_page": 0, "memory_spread_slab": 0,
                "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0},
            "memory": {
                "usage": {"limit": 0, "failcnt": 0}, "swap": {"limit": 0, "failcnt": 0},
                "kernel": {"limit": 0, "failcnt": 0}, "kernelTCP": {"limit": 0, "failcnt": 0}},
            "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": null,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn filled_fields_have_the_names_of_runc() {
        let entry = BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 9 };
        let stats = Stats {
            cpu: Cpu {
                throttling: Throttling { periods: 1, throttled_periods: 2, throttled_time: 3 },
                psi: Some(Psi::default()),
                ..Cpu::default()
            },
            pids: Pids { current: 1, limit: 2 },
            blkio: Blkio { io_queue_recursive: vec![entry], ..Blkio::default() },
            ..Stats::default()
        };
        let json = serde_json::to_value(stats).expect("json");
        let throttling =
            serde_json::json!({"periods": 1, "throttledPeriods": 2, "throttledTime": 3});
        assert_eq!(json["cpu"]["throttling"], throttling);
        assert_eq!(json["cpu"]["psi"]["full"]["avg300"], 0.0);
        assert_eq!(json["pids"], serde_json::json!({"current": 1, "limit": 2}));
        let read = serde_json::json!([{"major": 8, "op": "Read", "value": 9}]);
        assert_eq!(json["blkio"]["ioQueueRecursive"], read);
    }
}
