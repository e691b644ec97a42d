use std::{collections::BTreeMap, ops::RangeInclusive};

use clap::Args;
use libcontainer::{
    Result,
    plan::{OCI_VERSION, caps, known_mount_options, namespaces::kind_word},
    seccomp,
    spec::{
        Arch, LinuxNamespaceType, LinuxSeccompFilterFlag, MemoryPolicyFlagType as PolicyFlag,
        MemoryPolicyModeType as PolicyMode,
    },
};
use serde::Serialize;

use crate::{cli::Verb, globals::Globals, output};

#[derive(Args, Debug)]
pub(crate) struct Features {}

impl Verb for Features {
    const NAME: &'static str = "features";
    const ABOUT: &'static str = "show the enabled features";
    const USAGE: &'static str = "";
    const DESCRIPTION: &'static str = r#"Show the enabled features.
   The result is parsable as a JSON.
   See https://github.com/opencontainers/runtime-spec/blob/main/features.md for the type definition."#;
    const ARGUMENTS: RangeInclusive<usize> = 0..=0;

    fn run(self, _: &Globals) -> Result<u8> {
        output::pretty(&Document::new(), "    ").map(|()| 0)
    }
}

/// The features document (runtime-spec, features.md and features-linux.md), in its order. What is
/// said holds for this program; the host may have less.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: [&'static str; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Switch,
    selinux: Switch,
    intel_rdt: IntelRdt,
    mount_extensions: MountExtensions,
    net_devices: Switch,
    memory_policy: MemoryPolicy,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: [&'static str; 9],
    operators: [&'static str; 7],
    archs: Vec<Arch>,
    known_flags: Vec<LinuxSeccompFilterFlag>,
    supported_flags: Vec<LinuxSeccompFilterFlag>,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: [PolicyMode; 7],
    flags: [PolicyFlag; 3],
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Switch,
}

#[derive(Serialize)]
struct Switch {
    enabled: bool,
}

const ON: Switch = Switch { enabled: true };

const MEMORY_POLICY: MemoryPolicy = MemoryPolicy {
    modes: [
        PolicyMode::MpolDefault,
        PolicyMode::MpolBind,
        PolicyMode::MpolInterleave,
        PolicyMode::MpolWeightedInterleave,
        PolicyMode::MpolPreferred,
        PolicyMode::MpolPreferredMany,
        PolicyMode::MpolLocal,
    ],
    flags: [
        PolicyFlag::MpolFNumaBalancing,
        PolicyFlag::MpolFRelativeNodes,
        PolicyFlag::MpolFStaticNodes,
    ],
};

impl Document {
    fn new() -> Self {
        Self {
            oci_version_min: "1.0.0",
            oci_version_max: OCI_VERSION,
            hooks: [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ],
            mount_options: known_mount_options().collect(),
            linux: Linux::new(),
            annotations: BTreeMap::from([
                // The runc whose command line this is, which tools look for.
                ("org.opencontainers.runc.version", "1.4.0"),
                ("org.opencontainers.runc.checkpoint.enabled", "false"),
            ]),
            // A name that ends with "." is a prefix.
            potentially_unsafe_config_annotations: ["bundle", "org.systemd.property.", "run.oci."],
        }
    }
}

impl Linux {
    fn new() -> Self {
        use LinuxNamespaceType::{Cgroup as CgroupType, Ipc, Mount, Network, Pid, Time, User, Uts};
        Self {
            namespaces: [CgroupType, Ipc, Mount, Network, Pid, Time, User, Uts]
                .map(kind_word)
                .into(),
            capabilities: caps::list(u64::MAX),
            cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
            seccomp: Seccomp::new(),
            apparmor: ON,
            selinux: ON,
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            mount_extensions: MountExtensions { idmap: ON },
            net_devices: ON,
            memory_policy: MEMORY_POLICY,
        }
    }
}

impl Seccomp {
    fn new() -> Self {
        let supported = seccomp::FLAGS.into_iter().filter(|flag| seccomp::supports(*flag));
        Self {
            enabled: true,
            actions: [
                "SCMP_ACT_ALLOW",
                "SCMP_ACT_ERRNO",
                "SCMP_ACT_KILL",
                "SCMP_ACT_KILL_PROCESS",
                "SCMP_ACT_KILL_THREAD",
                "SCMP_ACT_LOG",
                "SCMP_ACT_NOTIFY",
                "SCMP_ACT_TRACE",
                "SCMP_ACT_TRAP",
            ],
            operators: [
                "SCMP_CMP_EQ",
                "SCMP_CMP_GE",
                "SCMP_CMP_GT",
                "SCMP_CMP_LE",
                "SCMP_CMP_LT",
                "SCMP_CMP_MASKED_EQ",
                "SCMP_CMP_NE",
            ],
            archs: seccomp::ARCHITECTURES.into(),
            known_flags: seccomp::FLAGS.into(),
            supported_flags: supported.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcontainer::spec;
    use serde_json::{Value, json};

    fn ours() -> Value {
        serde_json::to_value(Document::new()).unwrap()
    }

    #[test]
    fn the_document_is_one_of_the_specification() {
        let ours = ours();
        let features: spec::Features = serde_json::from_value(ours.clone()).unwrap();
        assert_eq!(features.oci_version_max(), OCI_VERSION);
        // Nothing was lost on the way, so every key is one that the specification has.
        let theirs = serde_json::to_value(&features).unwrap();
        let mut lost = Vec::new();
        for (path, value) in flat(&ours) {
            if theirs.pointer(&path) != Some(&value) && !path.contains("/seccomp/actions/") {
                lost.push(format!("{path}: {value} {:?}", theirs.pointer(&path)));
            }
        }
        assert!(lost.is_empty(), "{lost:?}");
    }

    /// Every value that is no object or array, by its pointer.
    fn flat(value: &Value) -> Vec<(String, Value)> {
        let below = |key: String, value: &Value| {
            flat(value).into_iter().map(move |(path, value)| (format!("/{key}{path}"), value))
        };
        let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
        match value {
            Value::Object(members) => {
                members.iter().flat_map(|(key, value)| below(escaped(key), value)).collect()
            }
            Value::Array(list) => {
                let list = list.iter().enumerate();
                list.flat_map(|(index, value)| below(index.to_string(), value)).collect()
            }
            value => vec![(String::new(), value.clone())],
        }
    }

    /// features.md and features-linux.md of runtime-spec 1.3.
    #[test]
    fn no_key_of_the_specification_is_missing() {
        let ours = ours();
        for pointer in [
            "/ociVersionMin",
            "/ociVersionMax",
            "/hooks/5",
            "/mountOptions/0",
            "/annotations",
            "/potentiallyUnsafeConfigAnnotations/0",
            "/linux/namespaces/7",
            "/linux/capabilities/40",
            "/linux/cgroup/v1",
            "/linux/cgroup/v2",
            "/linux/cgroup/systemd",
            "/linux/cgroup/systemdUser",
            "/linux/cgroup/rdma",
            "/linux/seccomp/enabled",
            "/linux/seccomp/actions/8",
            "/linux/seccomp/operators/6",
            "/linux/seccomp/archs/0",
            "/linux/seccomp/knownFlags/0",
            "/linux/seccomp/supportedFlags/0",
            "/linux/apparmor/enabled",
            "/linux/selinux/enabled",
            "/linux/intelRdt/enabled",
            "/linux/intelRdt/schemata",
            "/linux/intelRdt/monitoring",
            "/linux/mountExtensions/idmap/enabled",
            "/linux/netDevices/enabled",
            "/linux/memoryPolicy/modes/6",
            "/linux/memoryPolicy/flags/2",
        ] {
            assert!(ours.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn lists_have_no_word_twice() {
        let ours = ours();
        for (_, list) in [&ours, &ours["linux"], &ours["linux"]["seccomp"]]
            .into_iter()
            .flat_map(|part| part.as_object().unwrap())
        {
            let words: Vec<_> = list.as_array().into_iter().flatten().collect();
            let distinct: std::collections::HashSet<_> = words.iter().collect();
            assert_eq!(distinct.len(), words.len(), "{list}");
        }
    }

    /// What is said of the words of config.json is what the plan takes.
    #[test]
    fn every_word_is_one_that_config_json_may_have() {
        let ours = ours();
        let words = |pointer: &str| ours.pointer(pointer).unwrap().as_array().unwrap().clone();
        let namespaces = words("/linux/namespaces").into_iter().map(|word| json!({"type": word}));
        let rule = |action: Value| json!({"names": ["mkdir"], "action": action});
        let args = words("/linux/seccomp/operators")
            .into_iter()
            .map(|op| json!({"index": 0, "value": 1, "op": op}));
        let mut rules: Vec<_> = words("/linux/seccomp/actions").into_iter().map(rule).collect();
        rules[0]["args"] = args.collect();
        let config = json!({
            "ociVersion": ours["ociVersionMax"],
            "process": {"cwd": "/", "user": {}, "capabilities": {"bounding": words("/linux/capabilities")}},
            "linux": {
                "namespaces": namespaces.collect::<Vec<_>>(),
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": words("/linux/seccomp/archs"),
                    "flags": words("/linux/seccomp/knownFlags"),
                    "syscalls": rules,
                },
            },
        });
        libcontainer::bundle::parse(config.to_string().as_bytes()).unwrap();
    }
}
