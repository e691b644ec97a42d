//! What config.json says of the pod: containerd writes it for a sandbox that is a process, and this
//! one may be none.
//!
//! Up to 2.3 containerd names namespaces by `/proc/PID/ns`, with the pid 0 of a sandbox without a
//! process, and leaves out the pod's files, which it did not make. So this shim puts both into the
//! config.json of each container. Newer versions take them from the answer to StartSandbox.

use std::{collections::BTreeMap, path::PathBuf};

use protobuf::well_known_types::any::Any;
use serde_json::{Value, json};

use super::Sandbox;
use crate::error::{Fault, Result};

/// As containerd registers the type.
const TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const NO_PROCESS: &str = "/proc/0/ns/";

/// Whatever containers of the pod are to have.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// By the names in config.json.
    pub(super) namespaces: BTreeMap<String, PathBuf>,
    /// The names in /proc/PID/ns of the kinds that are the host's.
    pub(super) hosts: Vec<&'static str>,
    pub(super) private_pids: bool,
    /// Where they are expected, and where they are.
    pub(super) files: Vec<(&'static str, PathBuf)>,
}

impl Sandbox {
    /// For a containerd that asks.
    pub(super) fn spec(&self) -> Result<Any> {
        let shared = self.shared()?;
        let namespace = |(kind, path)| json!({"type": kind, "path": path});
        let mut namespaces: Vec<Value> = shared.namespaces.iter().map(namespace).collect();
        if shared.private_pids {
            namespaces.push(json!({"type": "pid"}));
        }
        let mounts: Vec<Value> =
            shared.files.iter().map(|(target, source)| bind(target, source, false)).collect();
        let spec = json!({
            "ociVersion": "1.2.0",
            "linux": {"namespaces": namespaces},
            "mounts": mounts,
        });
        let value = serde_json::to_vec(&spec).unwrap_or_default();
        Ok(Any { type_url: TYPE.to_owned(), value, ..Default::default() })
    }
}

fn bind(target: &str, source: &PathBuf, read_only: bool) -> Value {
    let mode = if read_only { "ro" } else { "rw" };
    json!({
        "destination": target,
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", mode],
    })
}

impl Shared {
    /// Puts what is the pod's into `config`, config.json of a container. Returns whether anything was
    /// changed.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for a namespace that the pod does not have.
    pub(super) fn put_into(&self, config: &mut Value) -> Result<bool> {
        let mut changed = false;
        if let Some(namespaces) = config.pointer_mut("/linux/namespaces") {
            changed |= self.put_namespaces(namespaces)?;
        }
        let read_only = config.pointer("/root/readonly") == Some(&Value::Bool(true));
        if let Some(config) = config.as_object_mut() {
            let mounts = config.entry("mounts").or_insert_with(|| json!([]));
            changed |=
                mounts.as_array_mut().is_some_and(|mounts| self.put_files(mounts, read_only));
        }
        Ok(changed)
    }

    fn put_namespaces(&self, namespaces: &mut Value) -> Result<bool> {
        let Some(list) = namespaces.as_array_mut() else { return Ok(false) };
        let mut changed = false;
        let mut kept = Vec::with_capacity(list.len());
        for mut namespace in list.drain(..) {
            let path = namespace["path"].as_str().unwrap_or_default();
            let Some(kind) = path.strip_prefix(NO_PROCESS).map(str::to_owned) else {
                kept.push(namespace);
                continue;
            };
            changed = true;
            let name = namespace["type"].as_str().unwrap_or_default();
            match self.namespaces.get(name) {
                Some(path) => {
                    namespace["path"] = json!(path);
                    kept.push(namespace);
                }
                // Without an entry a container is where its runtime is.
                None if self.hosts.contains(&&*kind) => {}
                None => return Err(missing(&kind)),
            }
        }
        *list = kept;
        Ok(changed)
    }

    /// /dev/shm is there already, as one that the container would have for itself.
    fn put_files(&self, mounts: &mut Vec<Value>, read_only: bool) -> bool {
        let mut changed = false;
        for (target, source) in &self.files {
            let is_shm = *target == "/dev/shm";
            let there = mounts.iter().position(|mount| mount["destination"] == *target);
            let mount = bind(target, source, read_only && !is_shm);
            match there {
                None => mounts.push(mount),
                Some(at) if is_shm && mounts[at]["type"] == "tmpfs" => mounts[at] = mount,
                Some(_) => continue,
            }
            changed = true;
        }
        changed
    }
}

fn missing(kind: &str) -> Fault {
    Fault::precondition(format!(
        "the container wants the {kind} namespace of a pod that has none: it and its pod ask for \
         different namespaces"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared {
            namespaces: [("network".into(), "/run/netns/1".into()), ("ipc".into(), "/fd/7".into())]
                .into(),
            hosts: vec!["pid"],
            private_pids: false,
            files: vec![("/etc/hosts", "/b/hosts".into()), ("/dev/shm", "/b/shm".into())],
        }
    }

    #[test]
    fn a_process_that_is_none_is_replaced() {
        let mut config = json!({"linux": {"namespaces": [
            {"type": "network", "path": "/proc/0/ns/net"},
            {"type": "ipc", "path": "/proc/0/ns/ipc"},
            {"type": "pid", "path": "/proc/0/ns/pid"},
            {"type": "mount"},
            {"type": "time", "path": "/proc/7/ns/time"},
        ]}});
        assert!(shared().put_into(&mut config).unwrap());
        let expected = json!([
            {"type": "network", "path": "/run/netns/1"},
            {"type": "ipc", "path": "/fd/7"},
            {"type": "mount"},
            {"type": "time", "path": "/proc/7/ns/time"},
        ]);
        assert_eq!(config["linux"]["namespaces"], expected);
        let mut config =
            json!({"linux": {"namespaces": [{"type": "uts", "path": "/proc/0/ns/uts"}]}});
        let fault = shared().put_into(&mut config).unwrap_err();
        assert!(fault.text.contains("uts namespace"), "{fault}");
    }

    #[test]
    fn files_are_the_pods_unless_the_container_has_its_own() {
        let mut config = json!({"root": {"readonly": true}, "mounts": [
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/kubelet/hosts"},
        ]});
        assert!(shared().put_into(&mut config).unwrap());
        assert_eq!(config["mounts"][0]["source"], "/b/shm");
        assert_eq!(config["mounts"][0]["options"][2], "rw");
        assert_eq!(config["mounts"][1]["source"], "/kubelet/hosts");
        assert!(!shared().put_into(&mut config).unwrap());
        let mut config = json!({"root": {"readonly": true}});
        assert!(shared().put_into(&mut config).unwrap());
        assert_eq!(config["mounts"][0]["options"][2], "ro");
    }
}
