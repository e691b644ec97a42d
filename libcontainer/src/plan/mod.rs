//! Everything that can be decided before a process exists, from [`Spec`], [`Options`] and
//! [`Host`] alone: no input or output, no descriptor, no system call.
//!
//! Each room of this folder turns one part of config.json into plain values and reports every
//! fault that it finds with its JSON path, so that one look at a bundle names them all.

use std::{
    collections::HashMap,
    ffi::CString,
    ops::Deref,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use serde::{Serialize, Serializer};

use crate::{cgroup, error::Error, host::Host, seccomp};

use system::Name;
pub use system::check_id;

mod arguments;
pub mod caps;
pub mod devices;
pub mod hooks;
mod intel_rdt;
pub mod memory_policy;
pub mod mounts;
pub mod namespaces;
mod net_devices;
pub mod process;
pub mod propagation;
pub mod scheduling;
pub(crate) mod system;

pub use devices::Device;
pub use hooks::{Hook, Hooks};
pub use intel_rdt::{IntelRdt, Origin, Schema};

pub(crate) use mounts::options::attributes as mount_attributes;
pub use mounts::{Mount, options::known as known_mount_options};
pub use namespaces::Namespaces;
pub use net_devices::NetDevice;
pub use process::Process;

/// The version of the runtime specification that is implemented.
pub const OCI_VERSION: &str = "1.3.0";

/// What the caller decides beside config.json.
#[derive(Clone, Debug)]
pub struct Options {
    pub id: String,
    /// Absolute path of the bundle; relative paths of the specification start here.
    pub bundle: PathBuf,
    pub manager: cgroup::Manager,
    /// Ignore what only the machine's root may do, as `--rootless` says.
    pub rootless: bool,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the container's process keeps.
    pub preserve_fds: u32,
    /// Of these, how many were handed over by socket activation (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// Directory of the host with a socket for sd_notify(3), for the container to have.
    pub notify_dir: Option<PathBuf>,
}

/// What is going to happen, in full. See `docs/create.md` for the order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub id: String,
    pub bundle: PathBuf,
    pub oci_version: String,
    pub namespaces: Namespaces,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<NetDevice>,
    pub rootfs: Rootfs,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// Whether the runtime furnishes /dev (links, /dev/console); not where it is a bind mount.
    pub furnish_dev: bool,
    pub masked_paths: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    pub sysctls: Vec<Sysctl>,
    pub hostname: Option<Text>,
    pub domainname: Option<Text>,
    pub process: Option<Process>,
    pub seccomp: Option<Seccomp>,
    pub cgroup: cgroup::Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// Whether the parent opens the sources of bind mounts: it has rights over the host's files
    /// that a process in another user namespace gives up.
    #[serde(skip)]
    pub sources_by_parent: bool,
    /// Whether a cgroup that refuses a clone is left out: an ordinary user who asked for none, or
    /// for one of v1. There a delegated directory is enough; in the v2 hierarchy beside it, which
    /// limits nothing, the user has to be inside already (cgroups(7), "Delegation").
    #[serde(skip)]
    pub cgroup_optional: bool,
    /// Whether the process gets a session keyring of its own (keyctl(2)).
    pub new_keyring: bool,
    pub hooks: Hooks,
    pub annotations: HashMap<String, String>,
    /// What was ignored or adapted, for the user to know.
    pub warnings: Vec<String>,
}

/// The root filesystem.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    pub readonly: bool,
    /// `MS_*` propagation of all mounts of the new mount namespace, before anything is mounted.
    pub propagation: propagation::Propagation,
    pub entrance: Entrance,
}

/// How the process gets into its root filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Entrance {
    PivotRoot,
    /// `--no-pivot`: MS_MOVE to / and chroot; for roots that cannot be pivoted (initramfs).
    MoveMount,
    /// No mount namespace of its own.
    Chroot,
}

/// One file below /proc/sys.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    pub name: String,
    /// Relative to /proc/sys.
    pub file: PathBuf,
    pub value: String,
    /// The kind of namespace that keeps it.
    #[serde(skip)]
    pub needs: Option<LinuxNamespaceType>,
}

/// A filter, and who listens to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    #[serde(serialize_with = "summary")]
    pub filter: seccomp::Filter,
    pub listener_path: Option<PathBuf>,
    pub listener_metadata: String,
    /// Whether the parent has no rights over a process that is not dumpable (ptrace(2)).
    #[serde(skip)]
    pub unprivileged_parent: bool,
}

fn summary<S: Serializer>(filter: &seccomp::Filter, serializer: S) -> Result<S::Ok, S::Error> {
    filter.summary.serialize(serializer)
}

/// A C string that prints as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(CString);

impl Text {
    /// A NUL inside is a fault of config.json at `at`.
    fn new(text: impl Into<Vec<u8>>, at: &str, faults: &mut Vec<Error>) -> Self {
        CString::new(text).map(Self).unwrap_or_else(|_| {
            faults.push(Error::config(at, "invalid string: it contains a NUL byte"));
            Self::default()
        })
    }
}

impl Deref for Text {
    type Target = std::ffi::CStr;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl AsRef<std::ffi::CStr> for Text {
    fn as_ref(&self) -> &std::ffi::CStr {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string_lossy())
    }
}

impl Plan {
    /// Decides.
    ///
    /// # Errors
    /// Every fault of the specification, not only the first; never empty.
    pub fn new(spec: &Spec, options: &Options, host: &Host) -> Result<Self, Vec<Error>> {
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        system::check_version(spec.version(), &mut faults);
        system::check_annotations(spec, &mut faults, &mut warnings);
        faults.extend(check_id(&options.id).err());

        let linux = system::linux(spec);
        let mut namespaces = namespaces::plan(&linux, host, &mut faults);
        namespaces.keep_groups = system::keeps_groups(spec);
        let given = Given { spec, linux: &linux, options, host, namespaces: &namespaces };
        let cgroup = given.cgroup(&mut faults);
        let mounts = given.mounts(&cgroup, &mut faults, &mut warnings);
        let rootfs = system::rootfs(spec, &linux, options, &namespaces, &mut faults);
        let furnish_dev = !mounts.iter().any(Mount::binds_dev);
        let devices = devices::plan(&linux, &namespaces, host, furnish_dev, &mut faults);
        let process = given.process(&mut faults, &mut warnings);
        warnings.extend(cgroup.warnings.iter().cloned());
        let paths = |name, paths, faults: &mut _| system::paths(name, paths, &namespaces, faults);
        let name = |which, name, faults: &mut _| system::name(which, name, &namespaces, faults);
        let plan = Self {
            id: options.id.clone(),
            bundle: options.bundle.clone(),
            oci_version: spec.version().clone(),
            hostname: name(Name::Hostname, spec.hostname(), &mut faults),
            domainname: name(Name::Domainname, spec.domainname(), &mut faults),
            sysctls: system::sysctls(&linux, spec.hostname().is_some(), &namespaces, &mut faults),
            masked_paths: paths("maskedPaths", linux.masked_paths(), &mut faults),
            readonly_paths: paths("readonlyPaths", linux.readonly_paths(), &mut faults),
            seccomp: system::seccomp(spec, &linux, host, &mut faults, &mut warnings),
            hooks: hooks::plan(spec.hooks().as_ref(), &mut faults),
            cgroup_optional: options.rootless
                && (linux.cgroups_path().is_none() || host.cgroup.is_hybrid()),
            net_devices: net_devices::plan(&linux, &namespaces, host, &mut faults),
            intel_rdt: intel_rdt::plan(&linux, &options.id, host, &mut faults),
            sources_by_parent: host.euid == 0
                && host.owns_mounts
                && namespaces.private(LinuxNamespaceType::User),
            namespaces,
            rootfs,
            mounts,
            devices,
            furnish_dev,
            process,
            cgroup,
            new_keyring: !options.no_new_keyring,
            annotations: spec.annotations().clone().unwrap_or_default(),
            warnings,
        };
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }

    /// The container's state as hooks get it on stdin (runtime-spec, runtime.md "State").
    pub(crate) fn hook_state(&self, status: &str, pid: i32) -> Vec<u8> {
        let state = serde_json::json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "pid": pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        });
        state.to_string().into_bytes()
    }

    /// The container's process.
    ///
    /// # Errors
    /// config.json has none: the specification requires it by the time of `start`, and nothing
    /// can be created to wait for it.
    pub fn process(&self) -> Result<&Process, Error> {
        self.process.as_ref().ok_or_else(|| {
            Error::config("process", "cannot create a container: process is missing")
        })
    }
}

/// What the greater parts are decided from.
struct Given<'a> {
    spec: &'a Spec,
    linux: &'a Linux,
    options: &'a Options,
    host: &'a Host,
    namespaces: &'a Namespaces,
}

impl Given<'_> {
    fn cgroup(&self, faults: &mut Vec<Error>) -> cgroup::Plan {
        let request = cgroup::Request {
            id: &self.options.id,
            cgroups_path: self.linux.cgroups_path().as_deref(),
            resources: self.linux.resources().as_ref(),
            manager: self.options.manager,
            annotations: self.spec.annotations().as_ref(),
            uid: self.host.euid,
            rootless: self.options.rootless,
            devices: self.linux.devices().as_deref().unwrap_or_default(),
            owner: system::cgroup_owner(self.spec, self.namespaces),
        };
        cgroup::plan(&request, &self.host.cgroup, faults)
    }

    fn mounts(
        &self,
        cgroup: &cgroup::Plan,
        faults: &mut Vec<Error>,
        warnings: &mut Vec<String>,
    ) -> Vec<Mount> {
        let selinux = ("selinux", self.host.selinux);
        let label = process::label("linux.mountLabel", self.linux.mount_label(), selinux, faults);
        let context = |label| (mounts::label::context_type(self.spec.annotations(), faults), label);
        let surroundings = mounts::Surroundings {
            bundle: &self.options.bundle,
            mount_label: label.as_deref().map(context),
            cgroup,
            hierarchies: &self.host.cgroup,
            namespaces: self.namespaces,
            maps: &mounts::idmap::ContainerMaps::new(self.linux),
            host: self.host,
        };
        let listed = self.spec.mounts().as_deref().unwrap_or_default();
        let mut mounts = mounts::plan(listed, &surroundings, faults, warnings);
        if let Some(dir) = &self.options.notify_dir {
            mounts.push(Mount::own(dir, Path::new(process::NOTIFY_DIR)));
        }
        mounts
    }

    fn process(&self, faults: &mut Vec<Error>, warnings: &mut Vec<String>) -> Option<Process> {
        let around = process::Surroundings {
            namespaces: self.namespaces,
            host: self.host,
            options: self.options,
            personality: self.linux.personality().as_ref(),
            memory_policy: self.linux.memory_policy().as_ref(),
        };
        let process = self.spec.process().as_ref()?;
        Some(process::plan(process, &around, faults, warnings))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine's root, on a machine that has everything but security modules.
    pub(crate) fn host() -> Host {
        Host {
            euid: 0,
            egid: 0,
            initial_user_namespace: true,
            owns_mounts: true,
            capabilities: u64::MAX,
            apparmor: false,
            selinux: false,
            cgroup: cgroup::Hierarchies::default(),
            resctrl: None,
        }
    }

    pub(crate) fn options() -> Options {
        Options {
            id: "test".into(),
            bundle: "/bundle".into(),
            manager: cgroup::Manager::Cgroupfs,
            rootless: false,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            notify_dir: None,
        }
    }
}
