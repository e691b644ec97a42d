//! linux.memoryPolicy: which NUMA nodes the container's memory comes from.

use oci_spec::runtime::{
    LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode,
};
use serde::{Serialize, Serializer};

use crate::{error::Error, mask::Mask};

/// What set_mempolicy(2) is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    #[serde(serialize_with = "word")]
    pub mode: Mode,
    #[serde(serialize_with = "words")]
    pub flags: Vec<Flag>,
    pub nodes: Mask,
}

fn word<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(mode)
}

fn words<S: Serializer>(flags: &[Flag], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(flags.iter().map(ToString::to_string))
}

/// As many as any kernel has (CONFIG_NODES_SHIFT is at most 10).
const NODES: u32 = 1024;

pub(super) fn plan(policy: &LinuxMemoryPolicy, faults: &mut Vec<Error>) -> MemoryPolicy {
    let mut fault = |field: &str, what: String| {
        faults.push(Error::config(format!("linux.memoryPolicy.{field}"), what));
    };
    let (mode, flags) = (policy.mode(), policy.flags().clone().unwrap_or_default());
    let list = policy.nodes().as_deref().unwrap_or_default();
    let nodes = Mask::parse(list, NODES);
    match &nodes {
        Ok(nodes) => nodes_fault(mode, nodes).into_iter().for_each(|what| fault("nodes", what)),
        Err(why) => fault("nodes", format!("invalid memory policy nodes {list:?}: {why}")),
    }
    let nodes = nodes.unwrap_or_default();
    flags_fault(mode, &flags, &nodes).into_iter().for_each(|what| fault("flags", what));
    MemoryPolicy { mode, flags, nodes }
}

/// Whether the mode wants nodes (set_mempolicy(2)).
fn nodes_fault(mode: Mode, nodes: &Mask) -> Option<String> {
    match (mode, nodes.is_empty()) {
        (Mode::MpolDefault | Mode::MpolLocal, false) => {
            Some(format!("memory policy mode {mode} requires no nodes but got nodes {nodes}"))
        }
        (
            Mode::MpolBind
            | Mode::MpolInterleave
            | Mode::MpolWeightedInterleave
            | Mode::MpolPreferredMany,
            true,
        ) => Some(format!("memory policy mode {mode} requires at least one node but got 0")),
        _ => None,
    }
}

/// Combinations that no kernel takes.
fn flags_fault(mode: Mode, flags: &[Flag], nodes: &Mask) -> Option<String> {
    let of_nodes = |flag: &&Flag| **flag != Flag::MpolFNumaBalancing;
    let balanced = matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany);
    if flags.contains(&Flag::MpolFStaticNodes) && flags.contains(&Flag::MpolFRelativeNodes) {
        Some("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".into())
    } else if flags.contains(&Flag::MpolFNumaBalancing) && !balanced {
        Some(format!(
            "MPOL_F_NUMA_BALANCING goes with MPOL_BIND or MPOL_PREFERRED_MANY, not {mode}"
        ))
    } else {
        let flag = flags.iter().find(of_nodes).filter(|_| nodes.is_empty());
        flag.map(|flag| format!("{flag} says how to read the nodes, and there are none"))
    }
}

impl MemoryPolicy {
    /// `MPOL_*`, with its `MPOL_F_*`.
    pub(crate) fn mode_word(&self) -> i32 {
        let mode = match self.mode {
            Mode::MpolDefault => 0,
            Mode::MpolPreferred => 1,
            Mode::MpolBind => 2,
            Mode::MpolInterleave => 3,
            Mode::MpolLocal => 4,
            Mode::MpolPreferredMany => 5,
            Mode::MpolWeightedInterleave => 6,
        };
        let flag = |flag: &Flag| match flag {
            Flag::MpolFNumaBalancing => 1 << 13,
            Flag::MpolFRelativeNodes => 1 << 14,
            Flag::MpolFStaticNodes => 1 << 15,
        };
        self.flags.iter().map(flag).fold(mode, |word, flag| word | flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (MemoryPolicy, Vec<String>) {
        let mut faults = Vec::new();
        let policy = plan(&serde_json::from_str(json).unwrap(), &mut faults);
        (policy, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn modes_and_flags_become_one_word() {
        for (json, word, nodes) in [
            (r#"{"mode":"MPOL_DEFAULT"}"#, 0, ""),
            (r#"{"mode":"MPOL_PREFERRED","nodes":""}"#, 1, ""),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0-2","flags":["MPOL_F_NUMA_BALANCING"]}"#,
                0x2002,
                "0-2",
            ),
            (
                r#"{"mode":"MPOL_INTERLEAVE","nodes":"1","flags":["MPOL_F_STATIC_NODES"]}"#,
                0x8003,
                "1",
            ),
            (r#"{"mode":"MPOL_LOCAL"}"#, 4, ""),
            (
                r#"{"mode":"MPOL_PREFERRED_MANY","nodes":"3,5","flags":["MPOL_F_RELATIVE_NODES"]}"#,
                0x4005,
                "3,5",
            ),
            (r#"{"mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":"1023"}"#, 6, "1023"),
        ] {
            let (policy, faults) = read(json);
            assert!(faults.is_empty(), "{json}: {faults:?}");
            assert_eq!((policy.mode_word(), policy.nodes.to_string().as_str()), (word, nodes));
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_is_told_with_its_path() {
        for (json, field) in [
            (r#"{"mode":"MPOL_DEFAULT","nodes":"0"}"#, "nodes"),
            (r#"{"mode":"MPOL_LOCAL","nodes":"0"}"#, "nodes"),
            (r#"{"mode":"MPOL_BIND"}"#, "nodes"),
            (r#"{"mode":"MPOL_INTERLEAVE","nodes":","}"#, "nodes"),
            (r#"{"mode":"MPOL_BIND","nodes":"0-"}"#, "nodes"),
            (r#"{"mode":"MPOL_BIND","nodes":"1024"}"#, "nodes"),
            (r#"{"mode":"MPOL_PREFERRED","flags":["MPOL_F_STATIC_NODES"]}"#, "flags"),
            (r#"{"mode":"MPOL_LOCAL","flags":["MPOL_F_RELATIVE_NODES"]}"#, "flags"),
            (
                r#"{"mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]}"#,
                "flags",
            ),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}"#,
                "flags",
            ),
        ] {
            let (_, faults) = read(json);
            let told = format!("(config.json: linux.memoryPolicy.{field})");
            assert!(faults.len() == 1 && faults[0].contains(&told), "{json}: {faults:?}");
        }
    }

    #[test]
    fn the_plan_shows_words() {
        let (policy, _) =
            read(r#"{"mode":"MPOL_BIND","nodes":"0,1","flags":["MPOL_F_STATIC_NODES"]}"#);
        let shown = serde_json::json!({"mode": "MPOL_BIND", "flags": ["MPOL_F_STATIC_NODES"], "nodes": "0-1"});
        assert_eq!(serde_json::to_value(policy).unwrap(), shown);
    }
}
