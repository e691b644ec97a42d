//! The bundles: one busybox root filesystem and a config.json per kind of container.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{self, Command},
};

use libcontainer::{Error, Kind, Result, error::Context, seccomp, spec};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use crate::runtime::{Interface, Runtime};

/// Begins the name of everything that this benchmark makes, so that what is left behind is found
/// and nothing of a benchmark beside it.
pub(crate) fn prefix() -> String {
    format!("rtn-bench-{}-", process::id())
}

/// Docker's settings as dockerd 20.10 writes them, without what exists on one host only.
const DOCKER: &str = include_str!("../docker-config.json");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settings {
    /// `rtn spec`, running `true`.
    Default,
    /// bench/docker-config.json, running `true`.
    Docker,
    /// `rtn spec`, running until it is killed.
    Sleep,
    /// `rtn spec` with limits, running `true`.
    Crowd,
}

impl Settings {
    const ALL: [Self; 4] = [Self::Default, Self::Docker, Self::Sleep, Self::Crowd];

    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Docker => "docker",
            Self::Sleep => "sleep",
            Self::Crowd => "crowd",
        }
    }

    pub(crate) fn args(self) -> &'static [&'static str] {
        match self {
            Self::Sleep => &["sleep", "1000000"],
            _ => &["true"],
        }
    }
}

/// A temporary directory with the bundles, the runtimes' state and the floor's filter; removed
/// when it is dropped.
#[derive(Debug)]
pub(crate) struct Bundles {
    pub(crate) directory: PathBuf,
    /// Whether the `rtn spec` container has a cgroup namespace of its own.
    pub(crate) cgroup_namespace: bool,
}

impl Bundles {
    /// The default configuration is what the first of `runtimes` prints for `spec`.
    pub(crate) fn create(runtimes: &[Runtime]) -> Result<Self> {
        let directory = env::temp_dir().join(prefix() + "files");
        make(&directory)?;
        let mut bundles = Self { directory, cgroup_namespace: false };
        bundles.make_state()?;
        bundles.populate_rootfs()?;
        let default = bundles.default_config(runtimes)?;
        bundles.cgroup_namespace = has_cgroup_namespace(&default);
        let docker = parse(DOCKER)?;
        for settings in Settings::ALL {
            let config = if settings == Settings::Docker { &docker } else { &default };
            bundles.write(settings, config)?;
        }
        let filter = bundles.filter();
        fs::write(&filter, compile(&docker)?)
            .doing(|| format!("cannot write {}", filter.display()))?;
        Ok(bundles)
    }

    /// `below`: with the container's cgroup at [`Bundles::nested_cgroup`] instead of the default.
    pub(crate) fn bundle(&self, settings: Settings, below: bool) -> PathBuf {
        let suffix = if below { "-below" } else { "" };
        self.directory.join(format!("{}{suffix}", settings.name()))
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// The Docker profile's BPF program, eight bytes per instruction as the kernel reads it.
    pub(crate) fn filter(&self) -> PathBuf {
        self.directory.join("docker.bpf")
    }

    /// Any file of a container's size, for the floor of `state`.
    pub(crate) fn some_file(&self) -> PathBuf {
        self.bundle(Settings::Default, false).join("config.json")
    }

    pub(crate) fn state_root(&self, runtime: &Runtime) -> PathBuf {
        self.state().join(&runtime.name)
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// State belongs below /run, which is in memory on every host that runs containers.
    fn make_state(&self) -> Result<()> {
        let state = self.state();
        make(&state)?;
        mount("tmpfs", &state, "tmpfs", MountFlags::empty(), Some(c"mode=700"))
            .doing(|| format!("cannot mount tmpfs on {}", state.display()))
    }

    pub(crate) fn outer_cgroup(&self) -> String {
        prefix() + "meter"
    }

    pub(crate) fn nested_cgroup(&self) -> String {
        format!("{}/container", self.outer_cgroup())
    }

    fn populate_rootfs(&self) -> Result<()> {
        let rootfs = self.rootfs();
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            make(&rootfs.join(name))?;
        }
        let (busybox, target) = (busybox()?, rootfs.join("bin/busybox"));
        fs::copy(&busybox, target).doing(|| format!("cannot copy {}", busybox.display()))?;
        ["true", "sleep"].iter().try_for_each(|name| {
            symlink("busybox", rootfs.join("bin").join(name))
                .doing(|| format!("cannot link {name}"))
        })
    }

    fn default_config(&self, runtimes: &[Runtime]) -> Result<Value> {
        let runtime = runtimes
            .iter()
            .find(|runtime| runtime.interface == Interface::Oci)
            .ok_or_else(|| {
                Error::new(
                    Kind::InvalidConfig,
                    "cannot measure the floor alone: no runtime to ask for `spec`",
                )
            })?;
        let directory = self.directory.join("spec");
        make(&directory)?;
        let doing = || format!("cannot run {} spec", runtime.program.display());
        let status = Command::new(&runtime.program)
            .arg("spec")
            .current_dir(&directory)
            .status()
            .doing(doing)?;
        if !status.success() {
            return Err(Error::new(Kind::Os, format!("{}: {status}", doing())));
        }
        parse(&fs::read_to_string(directory.join("config.json")).doing(doing)?)
    }

    fn write(&self, settings: Settings, config: &Value) -> Result<()> {
        let mut config = config.clone();
        // crun refuses versions of the specification that are newer than itself.
        config["ociVersion"] = json!("1.0.2");
        config["process"]["args"] = json!(settings.args());
        config["process"]["terminal"] = json!(false);
        config["root"]["path"] = json!(self.rootfs());
        if settings == Settings::Crowd {
            config["linux"]["resources"]["pids"] = json!({"limit": 64});
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        }
        leave_out_missing_controllers(&mut config);
        self.write_to(&self.bundle(settings, false), &config)?;
        config["linux"]["cgroupsPath"] = json!(format!("/{}", self.nested_cgroup()));
        self.write_to(&self.bundle(settings, true), &config)
    }

    fn write_to(&self, bundle: &Path, config: &Value) -> Result<()> {
        make(bundle)?;
        let file = bundle.join("config.json");
        fs::write(&file, config.to_string()).doing(|| format!("cannot write {}", file.display()))
    }
}

impl Drop for Bundles {
    fn drop(&mut self) {
        let _ = unmount(self.state(), UnmountFlags::DETACH);
        // A mount that a broken runtime left in here makes this fail, and must not be followed.
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("bench: cannot remove {}: {error}", self.directory.display());
        }
    }
}

/// A host with v1 hierarchies shows few controllers in a v2 one, and runc fails without their files.
fn leave_out_missing_controllers(config: &mut Value) {
    let Ok(offered) = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") else { return };
    let has = |name: &str| offered.split_ascii_whitespace().any(|offered| offered == name);
    let Some(resources) = config["linux"]["resources"].as_object_mut() else { return };
    for (key, controller) in
        [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids"), ("blockIO", "io")]
    {
        if !has(controller) {
            resources.remove(key);
        }
    }
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).doing(|| format!("cannot make {}", directory.display()))
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|cause| Error::new(Kind::InvalidConfig, "cannot parse config.json").because(cause))
}

fn has_cgroup_namespace(config: &Value) -> bool {
    let namespaces = config["linux"]["namespaces"].as_array();
    namespaces.is_some_and(|all| all.iter().any(|namespace| namespace["type"] == "cgroup"))
}

/// The dynamic busybox would need a C library in the root filesystem.
fn busybox() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join("busybox"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(Kind::NotFound, "cannot find busybox").hint("apt-get install busybox-static")
        })
}

fn compile(docker: &Value) -> Result<Vec<u8>> {
    let profile: spec::LinuxSeccomp = serde_json::from_value(docker["linux"]["seccomp"].clone())
        .map_err(|cause| {
            Error::config("linux.seccomp", "cannot read the seccomp profile").because(cause)
        })?;
    let mut faults = Vec::new();
    let filter = seccomp::compile(&profile, false, &mut faults);
    if let Some(fault) = faults.pop() {
        return Err(fault);
    }
    let filter =
        filter.ok_or_else(|| Error::new(Kind::Bug, "cannot compile the seccomp profile"))?;
    Ok(filter.program.iter().flat_map(instruction).collect())
}

/// struct sock_filter: u16 code, u8 jt, u8 jf, u32 k.
fn instruction(i: &seccomp::Instruction) -> [u8; 8] {
    let ([c0, c1], [k0, k1, k2, k3]) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
    [c0, c1, i.jt, i.jf, k0, k1, k2, k3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docker_settings_hold_nothing_of_one_host() {
        let config = parse(DOCKER).expect("valid JSON");
        assert_eq!(config["root"]["path"], "rootfs");
        assert!(config.get("hooks").is_none());
        assert!(config["linux"].get("cgroupsPath").is_none());
        let mounts = config["mounts"].as_array().expect("a list of mounts");
        assert!(mounts.iter().all(|mount| mount["type"] != "bind"), "{mounts:?}");
        assert!(!DOCKER.contains("/var/lib/docker"));
    }

    #[test]
    fn a_cgroup_namespace_is_seen() {
        let config = |kind| json!({"linux": {"namespaces": [{"type": "pid"}, {"type": kind}]}});
        assert!(has_cgroup_namespace(&config("cgroup")));
        assert!(!has_cgroup_namespace(&config("mount")));
    }
}
