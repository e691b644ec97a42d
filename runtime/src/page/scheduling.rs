//! When and where a process runs, and which memory is near it.

use serde_json::Value;

use super::{Words, words};

/// A label and its text; no row for what config.json leaves to the kernel.
pub(super) fn rows(process: &Value) -> Vec<(&'static str, String)> {
    let rows = [
        ("policy", scheduler(&process["scheduler"])),
        ("io", io_priority(&process["ioPriority"])),
        ("cpus", cpus(&process["execCPUAffinity"])),
        ("memory", memory_policy(&process["memoryPolicy"])),
    ];
    rows.into_iter().filter_map(|(label, text)| Some((label, text?))).collect()
}

fn scheduler(scheduler: &Value) -> Option<String> {
    let number = |key: &str| scheduler[key].as_u64().filter(|number| *number != 0);
    let named = |key: &'static str, unit: &str| Some(format!("{key} {}{unit}", number(key)?));
    let nice = scheduler["nice"].as_i64().filter(|nice| *nice != 0);
    let list = [
        Some(scheduler["policy"].as_str()?.to_owned()),
        nice.map(|nice| format!("nice {nice}")),
        named("priority", ""),
        named("runtime", " ns"),
        named("deadline", " ns"),
        named("period", " ns"),
        number("flags").map(|flags| format!("flags {flags:#x}")),
    ];
    Some(list.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn io_priority(priority: &Value) -> Option<String> {
    Some(format!("{} {}", priority["class"].as_str()?, priority["priority"]))
}

fn cpus(affinity: &Value) -> Option<String> {
    match (affinity["initial"].as_str(), affinity["final"].as_str()) {
        (None, None) => None,
        (Some(cpus), None) => Some(format!("of an exec: {cpus} until it is in the cgroup")),
        (None, Some(cpus)) => Some(format!("of an exec: {cpus} once it is in the cgroup")),
        (Some(first), Some(then)) => {
            Some(format!("of an exec: {first} until it is in the cgroup, then {then}"))
        }
    }
}

fn memory_policy(policy: &Value) -> Option<String> {
    let nodes = policy["nodes"].text();
    let nodes = if nodes.is_empty() { nodes } else { format!("nodes {nodes}") };
    let list = [policy["mode"].as_str()?.to_owned(), nodes, words(&policy["flags"]).join(" ")];
    Some(list.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_set_has_a_row() {
        let none = json!({
            "scheduler": null, "ioPriority": null, "memoryPolicy": null,
            "execCPUAffinity": {"initial": null, "final": null},
        });
        assert_eq!(rows(&none), []);
        let all = json!({
            "scheduler": {"policy": "SCHED_DEADLINE", "nice": 0, "priority": 0, "flags": 4,
                          "runtime": 2000, "deadline": 3000, "period": 0},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "execCPUAffinity": {"initial": "0", "final": "1-3"},
            "memoryPolicy": {"mode": "MPOL_BIND", "flags": ["MPOL_F_STATIC_NODES"], "nodes": "0-1"},
        });
        let text = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        let rows: Vec<_> = rows(&all).into_iter().map(|(a, b)| (a.to_owned(), b)).collect();
        assert_eq!(
            rows,
            [
                text("policy", "SCHED_DEADLINE, runtime 2000 ns, deadline 3000 ns, flags 0x4"),
                text("io", "IOPRIO_CLASS_BE 4"),
                text("cpus", "of an exec: 0 until it is in the cgroup, then 1-3"),
                text("memory", "MPOL_BIND, nodes 0-1, MPOL_F_STATIC_NODES"),
            ]
        );
    }
}
