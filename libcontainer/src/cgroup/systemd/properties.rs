//! Limits in systemd's words (systemd.resource-control(5)). Pure.
//!
//! The container's files are written all the same: systemd knows only some of them. It has to know
//! these, or it would put its own values back when the unit or the whole manager is reloaded.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use super::{text, value::Value};
use crate::{
    cgroup::{Write, devices::Rule},
    error::Error,
    mask::{CPUS, Mask},
    spec,
};

/// In microseconds, as everything about the quota of a CPU.
const SECOND: u64 = 1_000_000;
/// The kernel's default (cgroup-v2.rst, cpu.max).
const PERIOD: u64 = 100_000;
/// The kernel takes no quota below it (sched-bwc.rst).
const LEAST_QUOTA: u64 = 1000;

/// One property of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Property {
    pub(super) name: String,
    #[serde(serialize_with = "readable")]
    pub(super) value: Value,
    /// A systemd that does not know it is good enough.
    #[serde(skip)]
    pub(super) dispensable: bool,
}

fn readable<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Property {
    pub(super) fn new(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value, dispensable: false }
    }

    pub(super) fn dispensable(self) -> Self {
        Self { dispensable: true, ..self }
    }

    pub(super) fn to_value(&self) -> Value {
        Value::Struct(vec![Value::string(&self.name), Value::variant(self.value.clone())])
    }
}

/// What the files of a cgroup, of either version, are called by systemd.
pub(in crate::cgroup) fn from_writes(writes: &[Write]) -> Vec<Property> {
    let mut properties: Vec<Property> = writes.iter().flat_map(from_write).collect();
    properties.extend(quota_of_v1(writes));
    // A file that was written twice, by a field and by `unified`, has its last value.
    let mut last = Vec::new();
    while let Some(property) = properties.pop() {
        if !last.iter().any(|known: &Property| known.name == property.name) {
            last.push(property);
        }
    }
    last.reverse();
    last
}

fn from_write(write: &Write) -> Vec<Property> {
    let value = write.value.trim();
    let one = |name: &str, value: Option<Value>| {
        value.map(|value| Property::new(name, value)).into_iter().collect()
    };
    match write.file.as_str() {
        "cpu.weight" => one("CPUWeight", number(value)),
        // systemd 252; a weight of 0 is how it says idle.
        "cpu.idle" if value == "1" => {
            vec![Property::new("CPUWeight", Value::Uint64(0)).dispensable()]
        }
        "cpu.max" => quota(value),
        "cpu.shares" => one("CPUShares", number(value)),
        // systemd 244.
        "cpuset.cpus" => cpus("AllowedCPUs", value),
        "cpuset.mems" => cpus("AllowedMemoryNodes", value),
        "memory.max" => one("MemoryMax", number(value)),
        "memory.high" => one("MemoryHigh", number(value)),
        "memory.low" => one("MemoryLow", number(value)),
        "memory.min" => one("MemoryMin", number(value)),
        "memory.swap.max" => one("MemorySwapMax", number(value)),
        "memory.oom.group" => oom_policy(value),
        "memory.limit_in_bytes" => one("MemoryLimit", number(value)),
        "blkio.weight" => one("BlockIOWeight", number(value)),
        "pids.max" => one("TasksMax", number(value)),
        _ => Vec::new(),
    }
}

/// systemd 253, for scopes, and only when they start.
fn oom_policy(group: &str) -> Vec<Property> {
    let policy = match group {
        "0" => "continue",
        "1" => "kill",
        _ => return Vec::new(),
    };
    vec![Property::new("OOMPolicy", Value::string(policy)).dispensable()]
}

/// `max` and -1 are infinity.
fn number(text: &str) -> Option<Value> {
    match text {
        "max" | "-1" => Some(u64::MAX),
        text => text.parse().ok(),
    }
    .map(Value::Uint64)
}

/// cpu.max: quota and period in microseconds.
fn quota(text: &str) -> Vec<Property> {
    let mut words = text.split_ascii_whitespace();
    let quota = words.next().and_then(|word| word.parse().ok());
    match words.next().map_or(Some(PERIOD), |word| word.parse().ok()) {
        Some(period) if period > 0 => quota_and_period(quota, period),
        _ => Vec::new(),
    }
}

/// systemd has the quota of one second, and counts in percent: rounded up, so that cgroups below
/// can be given all of it (runc does the same).
fn per_second(quota: u64, period: u64) -> u64 {
    const PERCENT: u64 = 10_000;
    let exact = quota.saturating_mul(SECOND) / period;
    exact.checked_next_multiple_of(PERCENT).unwrap_or(u64::MAX)
}

fn quota_and_period(quota: Option<u64>, period: u64) -> Vec<Property> {
    let per_second = quota.map_or(u64::MAX, |quota| per_second(quota, period));
    vec![
        Property::new("CPUQuotaPerSecUSec", Value::Uint64(per_second)),
        // systemd 242.
        Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)).dispensable(),
    ]
}

/// Rounds a quota as systemd does. That writes the file with every change of the unit, and would
/// change the quota, too, if the two differed (opencontainers/runc#4622). What `unified` says stays.
pub(in crate::cgroup) fn round_quota(resources: &spec::LinuxResources, writes: &mut [Write]) {
    let Some(cpu) = resources.cpu() else { return };
    if cpu.quota().unwrap_or(0) == 0 && cpu.period().unwrap_or(0) == 0 {
        return;
    }
    let v1_period = v1_number(writes, "cpu.cfs_period_us");
    // The fields come before `unified`.
    let mut limits = writes.iter_mut();
    let limit = limits.find(|write| ["cpu.max", "cpu.cfs_quota_us"].contains(&&*write.file));
    let Some(Write { value, .. }) = limit else { return };
    let mut words = value.split(' ');
    let quota = words.next().and_then(|word| word.parse().ok());
    let period = words.next().map_or(v1_period, |word| word.parse().ok());
    if let Some(quota) = quota {
        let rounded = rounded(quota, period.unwrap_or(PERIOD));
        *value = value.replacen(&quota.to_string(), &rounded.to_string(), 1);
    }
}

/// The quota of one period from the quota of one second, in whole percent. What the kernel refuses
/// stays as it is, for it to refuse.
fn rounded(quota: u64, period: u64) -> u64 {
    let exact = per_second(quota, period).checked_mul(period).filter(|_| quota >= LEAST_QUOTA);
    exact.map_or(quota, |exact| (exact / SECOND).max(quota))
}

/// v1 has quota and period in files of their own.
fn quota_of_v1(writes: &[Write]) -> Vec<Property> {
    let quota = writes.iter().rev().find(|write| write.file == "cpu.cfs_quota_us");
    let period = v1_number(writes, "cpu.cfs_period_us").unwrap_or(PERIOD);
    match quota {
        Some(quota) => quota_and_period(quota.value.parse().ok(), period),
        None => Vec::new(),
    }
}

fn v1_number(writes: &[Write], file: &str) -> Option<u64> {
    let write = writes.iter().rev().find(|write| write.file == file)?;
    write.value.parse().ok()
}

/// A list like `0-3,8` as the bit mask that systemd takes, lowest byte first. Ranges with strides are
/// the kernel's; systemd does not have to know them.
fn cpus(name: &str, list: &str) -> Vec<Property> {
    let Ok(mask) = Mask::parse(list, CPUS) else { return Vec::new() };
    let mut bytes: Vec<u8> = mask.words().iter().flat_map(|word| word.to_le_bytes()).collect();
    while bytes.pop_if(|byte| *byte == 0).is_some() {}
    if bytes.is_empty() {
        return Vec::new();
    }
    let bytes = bytes.into_iter().map(Value::Byte).collect();
    vec![Property::new(name, Value::Array("y".into(), bytes)).dispensable()]
}

/// The device rules. Where systemd cannot say them (everything but a few, any major with a certain
/// minor) it is told to have none: what is attached to the cgroup beside it decides alone. On v1
/// there is nothing beside it, and to have none is to open all, so there it is told what it can say.
pub(in crate::cgroup) fn device_properties(
    allow_by_default: bool,
    exceptions: &[Rule],
    v1: bool,
) -> Vec<Property> {
    let entries: Vec<Value> = exceptions.iter().filter_map(device).collect();
    let (policy, entries) = match v1 || entries.len() == exceptions.len() {
        true if !allow_by_default => ("strict", entries),
        _ => ("auto", Vec::new()),
    };
    vec![
        Property::new("DevicePolicy", Value::string(policy)),
        Property::new("DeviceAllow", Value::Array("(ss)".into(), entries)),
    ]
}

fn device(rule: &Rule) -> Option<Value> {
    let kind = if rule.block { "block" } else { "char" };
    let path = match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    Some(Value::Struct(vec![Value::string(path), Value::string(&rule.access)]))
}

const PREFIX: &str = "org.systemd.property.";

/// The annotations `org.systemd.property.NAME`, whose values are in the text format of GVariant
/// (runc, docs/systemd.md).
pub(in crate::cgroup) fn from_annotations(
    annotations: &HashMap<String, String>,
    faults: &mut Vec<Error>,
) -> Vec<Property> {
    let mut named: Vec<(&str, &str)> = annotations
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str())))
        .collect();
    named.sort_unstable();
    let read = |(name, value): (&str, &str)| {
        annotated(name, value).map_err(|what| {
            faults.push(Error::config(format!("annotations[\"{PREFIX}{name}\"]"), what));
        })
    };
    named.into_iter().map(read).filter_map(Result::ok).collect()
}

fn annotated(name: &str, value: &str) -> Result<Property, String> {
    let valid = name.len() > 2
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !valid {
        return Err(format!("invalid systemd property name {name:?}"));
    }
    let value = text::parse(value)
        .map_err(|what| format!("invalid value of systemd property {name}: {what}"))?;
    // Over D-Bus times are in microseconds, by another name.
    match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
        Some(stem) => match microseconds(&value) {
            Some(value) => Ok(Property::new(format!("{stem}USec"), Value::Uint64(value))),
            None => {
                Err(format!("invalid value of systemd property {name}: not a number of seconds"))
            }
        },
        None => Ok(Property::new(name, value)),
    }
}

fn microseconds(seconds: &Value) -> Option<u64> {
    const MICRO: u64 = 1_000_000;
    match *seconds {
        Value::Byte(value) => Some(u64::from(value) * MICRO),
        Value::Uint16(value) => Some(u64::from(value) * MICRO),
        Value::Uint32(value) => Some(u64::from(value) * MICRO),
        Value::Uint64(value) => value.checked_mul(MICRO),
        Value::Int16(value) => u64::try_from(value).ok()?.checked_mul(MICRO),
        Value::Int32(value) => u64::try_from(value).ok()?.checked_mul(MICRO),
        Value::Int64(value) => u64::try_from(value).ok()?.checked_mul(MICRO),
        Value::Double(value) if value >= 0.0 => Some((value * MICRO as f64) as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(properties: &[Property]) -> Vec<String> {
        let line = |property: &Property| format!("{}={}", property.name, property.value);
        properties.iter().map(line).collect()
    }

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let write = |(file, value): &(&str, &str)| Write {
            controller: file.split('.').next().unwrap().into(),
            file: (*file).into(),
            value: (*value).into(),
            at: None,
            or: None,
            need: crate::cgroup::Need::Required,
        };
        lines(&from_writes(&files.iter().map(write).collect::<Vec<_>>()))
    }

    #[test]
    fn files_of_v2() {
        assert_eq!(
            of(&[
                ("cpu.weight", "59"),
                ("cpu.max", "50000 200000"),
                ("memory.max", "1000"),
                ("memory.swap.max", "max"),
                ("pids.max", "7"),
                ("cgroup.max.depth", "1"),
            ]),
            [
                "CPUWeight=59",
                "CPUQuotaPerSecUSec=250000",
                "CPUQuotaPeriodUSec=200000",
                "MemoryMax=1000",
                "MemorySwapMax=infinity",
                "TasksMax=7",
            ]
        );
        assert_eq!(
            of(&[("cpu.max", "max 100000")]),
            ["CPUQuotaPerSecUSec=infinity", "CPUQuotaPeriodUSec=100000"]
        );
        assert_eq!(of(&[("memory.oom.group", "1")]), [r#"OOMPolicy="kill""#]);
        assert_eq!(of(&[("memory.oom.group", "0 ")]), [r#"OOMPolicy="continue""#]);
        // 12.345 % of a CPU.
        assert_eq!(of(&[("cpu.max", "12345 100000")])[0], "CPUQuotaPerSecUSec=130000");
    }

    #[test]
    fn files_of_v1() {
        assert_eq!(
            of(&[
                ("cpu.shares", "512"),
                ("cpu.cfs_period_us", "10000"),
                ("cpu.cfs_quota_us", "5000"),
                ("memory.limit_in_bytes", "-1"),
            ]),
            [
                "CPUShares=512",
                "MemoryLimit=infinity",
                "CPUQuotaPerSecUSec=500000",
                "CPUQuotaPeriodUSec=10000",
            ]
        );
    }

    #[test]
    fn a_quota_is_rounded_up_to_percent() {
        let round = |json: &str, files: &[(&str, &str)]| {
            let mut writes: Vec<_> =
                files.iter().map(|(file, value)| Write::new("cpu", file, value)).collect();
            round_quota(&serde_json::from_str(json).expect("resources"), &mut writes);
            writes.into_iter().map(|write| write.value).collect::<Vec<_>>()
        };
        let v2 = |value| round(r#"{"cpu":{"quota":1}}"#, &[("cpu.max", value)]).remove(0);
        assert_eq!(v2("12345 100000"), "13000 100000");
        assert_eq!(v2("13000 100000"), "13000 100000");
        assert_eq!(v2("1000 90000"), "1800 90000");
        assert_eq!(v2("999 100000"), "999 100000");
        assert_eq!(v2("20000 90000"), "20700 90000");
        assert_eq!(v2("max 100000"), "max 100000");
        assert_eq!(v2("9223372036854775807 1000"), "9223372036854775807 1000");
        let period = [("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "12345")];
        assert_eq!(round(r#"{"cpu":{"quota":1}}"#, &period), ["50000", "12500"]);
        assert_eq!(round(r#"{"cpu":{"quota":1}}"#, &[("cpu.cfs_quota_us", "-1")]), ["-1"]);
        let both = [("cpu.max", "12345 100000"), ("cpu.max", "54321 100000")];
        assert_eq!(round(r#"{"cpu":{"period":1}}"#, &both), ["13000 100000", "54321 100000"]);
        assert_eq!(round(r#"{"cpu":{"shares":9}}"#, &both[1..]), ["54321 100000"]);
        // No number is too large to be told.
        assert_eq!(of(&[("cpu.max", "18446744073709551615 1")])[0], "CPUQuotaPerSecUSec=infinity");
    }

    #[test]
    fn the_last_of_two_values_counts() {
        assert_eq!(of(&[("memory.max", "1"), ("memory.max", "2")]), ["MemoryMax=2"]);
    }

    #[test]
    fn lists_are_masks() {
        assert_eq!(of(&[("cpuset.cpus", "0-2,9")]), ["AllowedCPUs=[7, 2]"]);
        assert_eq!(of(&[("cpuset.mems", "0")]), ["AllowedMemoryNodes=[1]"]);
        assert!(of(&[("cpuset.cpus", "0-15:2/4")]).is_empty());
        assert!(of(&[("cpuset.cpus", "4294967295")]).is_empty());
    }

    #[test]
    fn devices_that_systemd_can_name() {
        let rule = |block, major, minor| Rule { block, major, minor, access: "rwm".into() };
        let rules =
            [rule(false, Some(1), Some(3)), rule(false, Some(136), None), rule(true, None, None)];
        assert_eq!(
            lines(&device_properties(false, &rules, false)),
            [
                r#"DevicePolicy="strict""#,
                r#"DeviceAllow=[("/dev/char/1:3", "rwm"), ("char-136", "rwm"), ("block-*", "rwm")]"#
            ]
        );
        let open = [r#"DevicePolicy="auto""#, "DeviceAllow=[]"];
        assert_eq!(lines(&device_properties(true, &rules, true)), open);
        let any_major = [rule(false, None, Some(3))];
        assert_eq!(lines(&device_properties(false, &any_major, false)), open);
        let closed = [r#"DevicePolicy="strict""#, "DeviceAllow=[]"];
        assert_eq!(lines(&device_properties(false, &any_major, true)), closed);
    }

    #[test]
    fn annotations() {
        let read = |entries: &[(&str, &str)]| {
            let mut faults = Vec::new();
            let entries = entries
                .iter()
                .map(|(name, value)| (format!("org.systemd.property.{name}"), (*value).to_owned()));
            let properties = from_annotations(&entries.collect(), &mut faults);
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            (lines(&properties), faults)
        };
        let (properties, faults) = read(&[
            ("CollectMode", "'inactive-or-failed'"),
            ("TimeoutStopSec", "uint64 30"),
            ("RuntimeMaxUSec", "uint64 42"),
            ("After", "['a.service']"),
        ]);
        assert_eq!(
            properties,
            [
                r#"After=["a.service"]"#,
                r#"CollectMode="inactive-or-failed""#,
                "RuntimeMaxUSec=42",
                "TimeoutStopUSec=30000000",
            ]
        );
        assert_eq!(faults, Vec::<String>::new());
        let (_, faults) = read(&[("bad", "1"), ("Good", "x"), ("StopSec", "'a'")]);
        assert_eq!(faults.len(), 3);
        assert!(faults[0].contains("annotations[\"org.systemd.property.Good\"]"), "{faults:?}");
    }
}
