//! The directory that containerd makes for a container: what the shim reads there and what it leaves
//! for `delete`, which may run when the shim is dead.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    error::{Doing, Fault, Result},
    options::Options,
};

const CONFIG: &str = "config.json";
pub(crate) const ROOTFS: &str = "rootfs";
/// The socket of the shim that serves the container.
const ADDRESS: &str = "address";
/// The options with which the container was created.
const OPTIONS: &str = "options.json";
/// Decimal; the name and the form are those of containerd's own shim.
const PID: &str = "init.pid";

/// A bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle(PathBuf);

/// What the shim needs to know of config.json; the rest is the runtime's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    #[serde(deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    #[serde(deserialize_with = "or_default")]
    namespaces: Vec<Namespace>,
    #[serde(rename = "cgroupsPath", deserialize_with = "or_default")]
    cgroups_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
    #[serde(deserialize_with = "or_default")]
    path: String,
}

/// null is nothing, as it is for the runtime.
fn or_default<'de, D, T>(value: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// The annotations that name a pod, the stronger one first.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The pod that a container with these annotations belongs to.
pub(crate) fn group<'a>(annotations: &'a BTreeMap<String, String>, id: &'a str) -> &'a str {
    GROUPS.iter().find_map(|name| annotations.get(*name)).map_or(id, String::as_str)
}

impl Config {
    /// The pod that the container belongs to; by itself it is one of its own.
    pub(crate) fn group<'a>(&'a self, id: &'a str) -> &'a str {
        group(&self.annotations, id)
    }

    /// Whether its cgroup is a unit of systemd's, `slice:prefix:name`: what dockerd writes for its
    /// systemd driver, without options that would say so to a shim that it does not know. A path of
    /// the other kind begins with a slash, or has no colons.
    pub(crate) fn is_unit(&self) -> bool {
        let mut parts = self.linux.cgroups_path.split(':');
        let slice = parts.next().is_some_and(|slice| slice.ends_with(".slice"));
        slice && parts.count() == 2 && !self.linux.cgroups_path.contains('/')
    }

    /// Whether its processes end with its first one, because that is the first of a pid namespace.
    pub(crate) fn has_own_pids(&self) -> bool {
        let own = |namespace: &Namespace| namespace.r#type == "pid" && namespace.path.is_empty();
        self.linux.namespaces.iter().any(own)
    }
}

impl Bundle {
    /// `path` if there is one, else the working directory, which is how containerd calls a shim.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        match path.as_os_str().is_empty() {
            false => Ok(Self(path.to_owned())),
            true => std::env::current_dir().doing(|| "cannot find the bundle").map(Self),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join(ROOTFS)
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.0.join(PID)
    }

    /// While its runtime runs; not [`PID`], whatever its name is.
    pub(crate) fn exec_pid_file(&self, exec_id: &str) -> PathBuf {
        self.0.join(format!("exec-{exec_id}.pid"))
    }

    /// Whether it is that of a pod's sandbox, which is no container: containerd writes no
    /// config.json.
    pub(crate) fn is_sandbox(&self) -> bool {
        !self.0.join(CONFIG).exists()
    }

    pub(crate) fn config(&self) -> Result<Config> {
        self.read_config()
    }

    /// config.json as `T` wants it.
    pub(crate) fn read_config<T: DeserializeOwned>(&self) -> Result<T> {
        let path = self.0.join(CONFIG);
        let text = std::fs::read(&path).doing(|| format!("cannot read {path:?}"))?;
        serde_json::from_slice(&text)
            .map_err(|error| Fault::invalid(format!("cannot read {path:?}: {error}")))
    }

    pub(crate) fn write_config(&self, config: &serde_json::Value) -> Result<()> {
        self.write(CONFIG, config.to_string().as_bytes())
    }

    /// 0 if it never had one.
    pub(crate) fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.pid_file()).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub(crate) fn write_address(&self, address: &str) -> Result<()> {
        self.write(ADDRESS, address.as_bytes())
    }

    pub(crate) fn address(&self) -> Option<String> {
        std::fs::read_to_string(self.0.join(ADDRESS)).ok()
    }

    pub(crate) fn write_options(&self, options: &Options) -> Result<()> {
        let text = serde_json::to_vec(options).unwrap_or_default();
        self.write(OPTIONS, &text)
    }

    /// The options that [`write_options`](Self::write_options) wrote, or the default.
    pub(crate) fn options(&self) -> Options {
        let text = std::fs::read(self.0.join(OPTIONS)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whole or not at all.
    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        let doing = || format!("cannot write {path:?}");
        let unfinished = self.0.join(format!(".{name}"));
        std::fs::write(&unfinished, content).doing(doing)?;
        std::fs::rename(&unfinished, &path).doing(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_pod_is_named_by_either_annotation() {
        let [group, sandbox] = GROUPS;
        let both = serde_json::json!({"annotations": {group: "g", sandbox: "s"}});
        assert_eq!(config(both).group("c"), "g");
        assert_eq!(config(serde_json::json!({"annotations": {sandbox: "s"}})).group("c"), "s");
        assert_eq!(config(serde_json::json!({})).group("c"), "c");
    }

    #[test]
    fn null_is_nothing() {
        let empty = serde_json::json!({"annotations": null, "linux": null});
        assert_eq!(config(empty).group("c"), "c");
        let linux = serde_json::json!({"namespaces": null, "cgroupsPath": null});
        let config = config(serde_json::json!({"linux": linux}));
        assert!(!config.has_own_pids() && !config.is_unit());
    }

    #[test]
    fn a_unit_is_known_by_its_form() {
        let path = |path| config(serde_json::json!({"linux": {"cgroupsPath": path}}));
        assert!(path("system.slice:docker:0123").is_unit());
        for other in ["", "/docker/0123", "docker", "/x.slice:y:z", "x.slice:y", "a:b:c"] {
            assert!(!path(other).is_unit(), "{other}");
        }
    }

    #[test]
    fn a_pid_namespace_is_its_own_without_a_path() {
        let pid = |value| config(serde_json::json!({"linux": {"namespaces": [value]}}));
        assert!(pid(serde_json::json!({"type": "pid"})).has_own_pids());
        assert!(!pid(serde_json::json!({"type": "pid", "path": "/proc/1/ns/pid"})).has_own_pids());
        assert!(!pid(serde_json::json!({"type": "mount"})).has_own_pids());
    }
}
