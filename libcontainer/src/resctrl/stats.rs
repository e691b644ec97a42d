//! `intel_rdt` of `events --stats`, in runc's words (types/events.go).

use std::{fs, path::Path};

use serde::Serialize;

use super::{SCHEMATA, root};

/// What a group may use, and what it uses. What the processor lacks is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// Lines of `schemata`, in the default group and in the container's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// By domain of the L3 cache, which is a NUMA node on most machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<Bandwidth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<Occupancy>>,
}

/// info/L3.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CacheInfo {
    /// All bits, in hexadecimal.
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

/// info/MB; percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BandwidthInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

/// Bytes since the group was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bandwidth {
    #[serde(skip_serializing_if = "is_zero")]
    pub mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub mbm_local_bytes: u64,
}

/// Bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Occupancy {
    #[serde(skip_serializing_if = "is_zero")]
    pub llc_occupancy: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Stats {
    /// Of the container in `group`, which is measured in `monitoring` if that is its own.
    pub fn collect(group: &Path, monitoring: Option<&Path>) -> Self {
        let root = root(group);
        let schema = |group: &Path, resource: &str| line(&group.join(SCHEMATA), resource);
        let mut stats = Self::default();
        if let Some(info) = CacheInfo::read(&root.join("info/L3")) {
            stats.l3_cache_info = Some(info);
            stats.l3_cache_schema_root = schema(&root, "L3");
            stats.l3_cache_schema = schema(group, "L3");
        }
        if let Some(info) = BandwidthInfo::read(&root.join("info/MB")) {
            stats.mem_bw_info = Some(info);
            stats.mem_bw_schema_root = schema(&root, "MB");
            stats.mem_bw_schema = schema(group, "MB");
        }
        stats.measure(&root, &monitoring.unwrap_or(group).join("mon_data"));
        stats
    }

    fn measure(&mut self, root: &Path, data: &Path) {
        let features = text(&root.join("info/L3_MON/mon_features"));
        let has = |feature: &str| features.lines().any(|line| line == feature);
        let domains = domains(data);
        if has("mbm_total_bytes") || has("mbm_local_bytes") {
            let read = |domain: &std::path::PathBuf| Bandwidth {
                mbm_total_bytes: number(&domain.join("mbm_total_bytes")),
                mbm_local_bytes: number(&domain.join("mbm_local_bytes")),
            };
            self.mbm_stats = Some(domains.iter().map(read).collect());
        }
        if has("llc_occupancy") {
            let read = |domain: &std::path::PathBuf| Occupancy {
                llc_occupancy: number(&domain.join("llc_occupancy")),
            };
            self.cmt_stats = Some(domains.iter().map(read).collect());
        }
    }
}

impl CacheInfo {
    fn read(directory: &Path) -> Option<Self> {
        directory.is_dir().then(|| Self {
            cbm_mask: text(&directory.join("cbm_mask")).trim().to_owned(),
            min_cbm_bits: number(&directory.join("min_cbm_bits")),
            num_closids: number(&directory.join("num_closids")),
        })
    }
}

impl BandwidthInfo {
    fn read(directory: &Path) -> Option<Self> {
        directory.is_dir().then(|| Self {
            bandwidth_gran: number(&directory.join("bandwidth_gran")),
            delay_linear: number(&directory.join("delay_linear")),
            min_bandwidth: number(&directory.join("min_bandwidth")),
            num_closids: number(&directory.join("num_closids")),
        })
    }
}

/// mon_L3_00, mon_L3_01, …
fn domains(data: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(data).into_iter().flatten().flatten();
    let mut domains: Vec<_> = entries.map(|entry| entry.path()).collect();
    domains.sort();
    domains
}

/// The line of one resource, as the kernel writes it but for the blanks before it.
fn line(file: &Path, resource: &str) -> String {
    let text = text(file);
    let mut lines = text.lines().map(str::trim_start);
    let wanted = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == resource);
    lines.find(wanted).unwrap_or_default().to_owned()
}

/// A counter may be `Unavailable` for a moment.
fn number(file: &Path) -> u64 {
    text(file).trim().parse().unwrap_or(0)
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
