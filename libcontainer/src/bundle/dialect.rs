//! What the specification allows in `process` and the types of config.json do not read. Only where
//! the types have refused a text is it looked at again, so the usual text pays nothing.

use std::str::FromStr;

use oci_spec::runtime::Capability;
use serde_json::{Map, Value};

/// Rewrites `process`; returns what was left out, for the user to know, or nothing if there was
/// nothing to rewrite.
pub(crate) fn rewrite(process: &mut Value) -> Option<Vec<String>> {
    let process = process.as_object_mut()?;
    let mut warnings = Vec::new();
    let changed =
        [user(process), flags(process), cpu_lists(process), capabilities(process, &mut warnings)];
    changed.contains(&true).then_some(warnings)
}

/// A process without a user is root's, as under runc.
fn user(process: &mut Map<String, Value>) -> bool {
    let missing = !process.contains_key("user");
    if missing {
        process.insert("user".into(), Map::new().into());
    }
    missing
}

/// Flags of the scheduler that the types misspell.
const FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

fn flags(process: &mut Map<String, Value>) -> bool {
    let flags = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    let mut changed = false;
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        let other = FLAGS.iter().find(|(name, _)| flag == name);
        changed |= other.is_some();
        other.into_iter().for_each(|(_, name)| *flag = Value::from(*name));
    }
    changed
}

/// A list of CPUs may be empty, which is as good as none, and runc takes blanks in it.
fn cpu_lists(process: &mut Map<String, Value>) -> bool {
    let affinity = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut);
    let Some(affinity) = affinity else { return false };
    let mut changed = false;
    for name in ["initial", "final"] {
        let Some(list) = affinity.get(name).and_then(Value::as_str) else { continue };
        let ranges = list.split(',').map(str::trim).filter(|range| !range.is_empty());
        let plain = ranges.collect::<Vec<_>>().join(",");
        changed |= plain.is_empty() || plain != list;
        if plain.is_empty() {
            affinity.remove(name);
        } else {
            affinity.insert(name.into(), plain.into());
        }
    }
    changed
}

/// config.md: a capability that no kernel interface has MUST be a warning.
fn capabilities(process: &mut Map<String, Value>, warnings: &mut Vec<String>) -> bool {
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for (name, set) in sets.into_iter().flatten() {
        let mut index = 0..;
        let mut known = |capability: &Value| {
            let at = index.next().unwrap_or(0);
            let unknown = capability.as_str().filter(|capability| !is_capability(capability));
            warnings.extend(unknown.map(|capability| {
                format!("ignoring unknown or unavailable capabilities: {capability} (config.json: process.capabilities.{name}[{at}])")
            }));
            unknown.is_none()
        };
        set.as_array_mut().into_iter().for_each(|set| set.retain(&mut known));
    }
    !warnings.is_empty()
}

fn is_capability(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    Capability::from_str(upper.strip_prefix("CAP_").unwrap_or(&upper)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_specification_allows_becomes_what_the_types_read() {
        let mut process = json!({
            "cwd": "/", "args": ["a"],
            "scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RESET_ON_FORK"]},
            "execCPUAffinity": {"initial": "", "final": " 0-1, 3,"},
            "capabilities": {"bounding": ["CAP_KILL", "CAP_X"], "permitted": ["CAP_X", "kill"]},
        });
        let warnings = rewrite(&mut process).unwrap();
        let told = "ignoring unknown or unavailable capabilities: CAP_X (config.json: process.capabilities";
        assert_eq!(warnings, [format!("{told}.bounding[1])"), format!("{told}.permitted[0])")]);
        let read: oci_spec::runtime::Process = serde_json::from_value(process.clone()).unwrap();
        assert_eq!((read.user().uid(), read.exec_cpu_affinity().is_some()), (0, true));
        assert_eq!(process["execCPUAffinity"], json!({"final": "0-1,3"}));
        assert_eq!(
            process["capabilities"],
            json!({"bounding": ["CAP_KILL"], "permitted": ["kill"]})
        );
        assert_eq!(rewrite(&mut process), None);
        let mut empty = json!({"user": {}, "execCPUAffinity": {"final": ""}});
        assert_eq!(rewrite(&mut empty), Some(vec![]));
        assert_eq!(empty["execCPUAffinity"], json!({}));
    }
}
