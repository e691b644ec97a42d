//! containerd with its CRI plugin, as the manual configures it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use e2e_common::{
    Running, cgroup,
    host::{self, Skip},
};
use e2e_containerd::{
    daemon::{self, Setup, version},
    image,
};

pub use e2e_containerd::daemon::{Daemon, shared};

use crate::{call, message::StatusRequest, wait};

/// What the tests run is what the manual says.
const MANUAL: &str = include_str!("../../../../docs/kubernetes.md");

/// The runtime handler of the shim that is judged, as the manual calls it.
pub const HANDLER: &str = "rtn";

/// Where it puts everything.
pub const NAMESPACE: &str = "k8s.io";

/// Who makes the pods' cgroups: systemd, or whoever needs one, in the file system.
pub fn is_systemd() -> bool {
    match env::var("CGROUP_DRIVER").as_deref() {
        Ok("systemd") => true,
        Ok("cgroupfs") => false,
        // sd_booted(3)
        _ => Path::new("/run/systemd/system").exists(),
    }
}

/// The name of what is this daemon's on the host.
pub fn name() -> String {
    format!("e2e{}", std::process::id())
}

/// The cgroup that its pods' are in.
pub fn cgroups() -> String {
    format!("{}{}", name(), if is_systemd() { ".slice" } else { "" })
}

/// The controller is there for the pods' cgroups.
///
/// # Errors
/// That it is not.
pub fn needs(controller: &str) -> Result<(), Skip> {
    host::needs(cgroup::has(controller), format!("cgroup controller {controller}"))
}

/// containerd is of this version, or newer.
///
/// # Errors
/// That it is not.
pub fn since(major: u32, minor: u32) -> Result<(), Skip> {
    host::needs(version() >= (major, minor), format!("containerd {major}.{minor}"))
}

/// Starts it with the shim that is judged.
///
/// # Panics
/// When it does not come up.
pub fn start(runtime: String, shims: Option<PathBuf>) {
    // Short, since sockets are in it.
    let directory = env::temp_dir().join(format!("kube.{}", std::process::id()));
    let network = directory.join("net.d");
    fs::create_dir_all(&network).expect("a directory for the network");
    fs::write(network.join("10-bridge.conflist"), bridge(&directory)).expect("a network");
    let tables = tables(&directory, &runtime, shims.as_deref());
    daemon::start(Setup {
        directory,
        namespace: NAMESPACE.to_owned(),
        cgroups: cgroups(),
        runtime,
        shims,
        disabled_plugins: vec!["io.containerd.nri.v1.nri".to_owned()],
        tables,
    });
    ready();
}

/// Starts it again after [`Daemon::down`].
pub fn up() {
    shared().up();
    ready();
}

/// The CRI is served later than the rest.
fn ready() {
    wait::until("the CRI is served", || call(StatusRequest::default()).ok());
}

/// Removes what the plugins never do: the bridge.
pub fn remove_network() {
    let mut command = Command::new("ip");
    command.args(["link", "delete", &name()]);
    // There is none if no pod had a network of its own.
    Running::start(command, b"").end();
}

/// A network without a way out, so that nothing of the host's has to change.
fn bridge(directory: &Path) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": name(),
        "plugins": [{
            "type": "bridge",
            "bridge": name(),
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.211.0.0/16"}]],
                "dataDir": directory.join("addresses"),
            },
        }],
    })
    .to_string()
}

/// The tables for this place, and the manual's.
fn tables(directory: &Path, runtime: &str, shims: Option<&Path>) -> String {
    let network = directory.join("net.d");
    let driver = format!("SystemdCgroup = {}", is_systemd());
    let (common, plugin, version) = if version() < (2, 0) {
        ("io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri", 2)
    } else {
        ("io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", 3)
    };
    let images = match version {
        2 => format!("[plugins.{common:?}]\nsandbox_image = {:?}\n", image::PAUSE),
        _ => format!(
            "[plugins.{common:?}]\nstats_collect_period = 1\n\
             [plugins.{common:?}.pinned_images]\nsandbox = {:?}\n[plugins.{plugin:?}]\n",
            image::PAUSE
        ),
    };
    let directories = match version {
        2 => "bin_dir = \"/usr/lib/cni\"",
        _ => "bin_dirs = [\"/usr/lib/cni\"]",
    };
    format!(
        "{images}restrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n\
         [plugins.{plugin:?}.cni]\n{directories}\nconf_dir = {network:?}\n\
         [plugins.{plugin:?}.containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [plugins.{plugin:?}.containerd.runtimes.runc.options]\n{driver}\n{}",
        fragment(version, runtime, shims).replace("SystemdCgroup = true", &driver)
    )
}

/// The tables of the manual's configuration file of this version, with the shim that is judged.
fn fragment(version: u32, runtime: &str, shims: Option<&Path>) -> String {
    let mut blocks = MANUAL.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let first = format!("version = {version}\n");
    let block = blocks.find_map(|block| block.strip_prefix(&first));
    let block = block.expect("the manual has a configuration file for it");
    let line = |line: &str| match (line.trim_start().starts_with("runtime_path"), shims) {
        (true, None) => String::new(),
        (true, Some(shims)) => line.replace("/usr/local/bin", &shims.display().to_string()) + "\n",
        (false, _) => line.replace("io.containerd.rtn.v2", runtime) + "\n",
    };
    block.lines().map(line).collect()
}
