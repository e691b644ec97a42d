//! The limits of `update`, by flags or as JSON.

use std::{fs, io, path::Path};

use clap::Args;
use libcontainer::{
    Error, Kind, Result,
    bundle::lists::misplaced,
    error::Context,
    spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources},
};

use serde_json::Value;

use crate::cli::value;

#[derive(Args, Debug, Default)]
pub(crate) struct Limits {
    /// Specifies per cgroup weight, range is from 10 to 1000
    #[arg(long, default_value_t = 0)]
    blkio_weight: u16,
    /// CPU CFS period to be used for hardcapping (in usecs). 0 to use system default
    #[arg(long)]
    cpu_period: Option<String>,
    /// CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period
    #[arg(long)]
    cpu_quota: Option<String>,
    /// CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst
    /// a given period
    #[arg(long)]
    cpu_burst: Option<String>,
    /// CPU shares (relative weight vs. other containers)
    #[arg(long)]
    cpu_share: Option<String>,
    /// CPU realtime period to be used for hardcapping (in usecs). 0 to use system default
    #[arg(long)]
    cpu_rt_period: Option<String>,
    /// CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period
    #[arg(long)]
    cpu_rt_runtime: Option<String>,
    /// CPU(s) to use
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory node(s) to use
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Memory limit (in bytes)
    #[arg(long)]
    memory: Option<String>,
    /// set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE
    #[arg(long)]
    cpu_idle: Option<String>,
    /// Memory reservation or soft_limit (in bytes)
    #[arg(long)]
    memory_reservation: Option<String>,
    /// Total memory usage (memory + swap); set '-1' to enable unlimited swap
    #[arg(long)]
    memory_swap: Option<String>,
    /// Maximum number of pids allowed in the container
    #[arg(long, default_value_t = 0)]
    pids_limit: i64,
}

impl Limits {
    /// What the flags change, and nothing else: an empty value is none, as is a weight or number
    /// of pids of 0.
    ///
    /// # Errors
    /// `invalid value for <flag>: …`
    pub(crate) fn resources(self) -> Result<LinuxResources> {
        let mut resources = LinuxResources::default();
        resources.set_cpu(non_empty(self.cpu()?)).set_memory(non_empty(self.memory()?));
        if self.blkio_weight != 0 {
            let mut block_io = LinuxBlockIo::default();
            block_io.set_weight(Some(self.blkio_weight));
            resources.set_block_io(Some(block_io));
        }
        if self.pids_limit != 0 {
            let mut pids = LinuxPids::default();
            pids.set_limit(self.pids_limit);
            resources.set_pids(Some(pids));
        }
        Ok(with_unlimited_swap(resources))
    }

    /// Reads resources from the file `path`, or from the standard input if that is `-`.
    ///
    /// # Errors
    /// When it cannot be read or is no `linux.resources`.
    pub(crate) fn read(path: &Path) -> Result<LinuxResources> {
        let text = match path.to_str() {
            Some("-") => io::read_to_string(io::stdin()),
            _ => fs::read_to_string(path),
        };
        let text = text.doing(|| format!("cannot read resources from {path:?}"))?;
        // Only the first document counts: callers may send more on the standard input.
        let mut documents = serde_json::Deserializer::from_str(&text).into_iter();
        let resources = documents.next().unwrap_or_else(|| serde_json::from_str(""));
        resources.and_then(typed).map(with_unlimited_swap).map_err(|cause| {
            let what = format!("cannot parse resources in {path:?}");
            Error::new(Kind::InvalidConfig, what)
                .because(cause)
                .hint("the format is that of linux.resources in config.json")
        })
    }

    fn cpu(&self) -> Result<LinuxCpu> {
        let mut cpu = LinuxCpu::default();
        cpu.set_period(number("cpu-period", &self.cpu_period)?)
            .set_quota(number("cpu-quota", &self.cpu_quota)?)
            .set_burst(number("cpu-burst", &self.cpu_burst)?)
            .set_shares(number("cpu-share", &self.cpu_share)?)
            .set_realtime_period(number("cpu-rt-period", &self.cpu_rt_period)?)
            .set_realtime_runtime(number("cpu-rt-runtime", &self.cpu_rt_runtime)?)
            .set_idle(number("cpu-idle", &self.cpu_idle)?)
            .set_cpus(self.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()))
            .set_mems(self.cpuset_mems.clone().filter(|mems| !mems.is_empty()));
        Ok(cpu)
    }

    fn memory(&self) -> Result<LinuxMemory> {
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(given("memory", &self.memory, value::bytes)?)
            .set_swap(given("memory-swap", &self.memory_swap, value::bytes)?)
            .set_reservation(given("memory-reservation", &self.memory_reservation, value::bytes)?);
        Ok(memory)
    }
}

/// The types take an array's elements for the members of an object. A pids object without a limit
/// changes nothing (runtime-spec 1.3); they read it as 0.
fn typed(json: Value) -> serde_json::Result<LinuxResources> {
    if let Some(path) = misplaced(json.to_string().as_bytes(), "linux.resources") {
        let what = format!("invalid type: sequence, expected an object at {path}");
        return Err(serde::de::Error::custom(what));
    }
    let limited = json.pointer("/pids/limit").is_some();
    let mut resources: LinuxResources = serde_json::from_value(json)?;
    if !limited {
        resources.set_pids(None);
    }
    Ok(resources)
}

/// Memory without a limit, and no word on swap, is swap without a limit, too: v1 would refuse a
/// memory limit above the one on memory and swap.
fn with_unlimited_swap(mut resources: LinuxResources) -> LinuxResources {
    if let Some(memory) = resources.memory_mut()
        && (memory.limit(), memory.swap()) == (Some(-1), None)
    {
        memory.set_swap(Some(-1));
    }
    resources
}

fn non_empty<T: Default + PartialEq>(part: T) -> Option<T> {
    (part != T::default()).then_some(part)
}

fn number<T: std::str::FromStr>(flag: &str, text: &Option<String>) -> Result<Option<T>> {
    given(flag, text, |text| text.parse().map_err(|_| format!("parsing {text:?}: invalid syntax")))
}

fn given<T>(
    flag: &str,
    text: &Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>> {
    let text = text.as_deref().filter(|text| !text.is_empty());
    text.map(parse).transpose().map_err(|fault| {
        Error::new(Kind::InvalidConfig, format!("invalid value for {flag}: {fault}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resources(limits: Limits) -> Result<Value> {
        Ok(serde_json::to_value(limits.resources()?).unwrap())
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn only_what_was_given_is_changed() {
        assert_eq!(resources(Limits::default()).unwrap(), json!({}));
        let limits = Limits {
            cpu_quota: text("-1"),
            cpuset_cpus: text("0-1"),
            memory: text("50M"),
            memory_swap: text(""),
            pids_limit: -1,
            blkio_weight: 10,
            ..Limits::default()
        };
        assert_eq!(
            resources(limits).unwrap(),
            json!({
                "cpu": {"quota": -1, "cpus": "0-1"}, "memory": {"limit": 50 << 20},
                "pids": {"limit": -1}, "blockIO": {"weight": 10},
            })
        );
    }

    #[test]
    fn no_limit_on_memory_is_no_limit_on_swap() {
        let limits = |memory, memory_swap| Limits { memory, memory_swap, ..Limits::default() };
        let both = resources(limits(text("-1"), None)).unwrap();
        assert_eq!(both, json!({"memory": {"limit": -1, "swap": -1}}));
        let other = resources(limits(text("-1"), text("5"))).unwrap();
        assert_eq!(other, json!({"memory": {"limit": -1, "swap": 5}}));
    }

    #[test]
    fn a_pids_object_without_a_limit_changes_nothing() {
        assert_eq!(typed(json!({"pids": {}})).unwrap().pids(), &None);
        let zero = typed(json!({"pids": {"limit": 0}})).unwrap();
        assert_eq!(zero.pids().map(|pids| pids.limit()), Some(0));
    }

    #[test]
    fn an_array_is_no_object() {
        let error = typed(json!({"memory": [1]})).unwrap_err().to_string();
        assert_eq!(error, "invalid type: sequence, expected an object at linux.resources.memory");
        assert!(typed(json!([])).is_err());
    }

    #[test]
    fn a_bad_value_names_its_flag() {
        let limits = Limits { cpu_share: text("-2"), ..Limits::default() };
        let error = resources(limits).unwrap_err().to_string();
        assert_eq!(error, "invalid value for cpu-share: parsing \"-2\": invalid syntax");
        let limits = Limits { memory: text("1x"), ..Limits::default() };
        let error = resources(limits).unwrap_err().to_string();
        assert_eq!(error, "invalid value for memory: invalid size: '1x'");
    }
}
