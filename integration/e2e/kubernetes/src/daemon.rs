//! containerd with its CRI plugin, as the manual configures it.

use std::{env, fs, path::Path};

use e2e_containerd::{
    daemon::{self, Setup, version},
    image,
};

pub use e2e_containerd::daemon::{Daemon, shared};

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

/// Starts it with the shim that is judged.
///
/// # Panics
/// When it does not come up.
pub fn start(runtime: String, shims: Option<std::path::PathBuf>) {
    // Short, since sockets are in it.
    let directory = env::temp_dir().join(format!("kube.{}", std::process::id()));
    let network = directory.join("net.d");
    fs::create_dir_all(&network).expect("a directory for the network");
    fs::write(network.join("10-bridge.conflist"), bridge(&directory)).expect("a network");
    let tables = tables(&directory, &runtime);
    daemon::start(Setup {
        directory,
        namespace: NAMESPACE.to_owned(),
        cgroups: cgroups(),
        runtime,
        shims,
        disabled_plugins: vec!["io.containerd.nri.v1.nri".to_owned()],
        tables,
    });
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
fn tables(directory: &Path, runtime: &str) -> String {
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
        fragment(version)
            .replace("io.containerd.rtn.v2", runtime)
            .replace("SystemdCgroup = true", &driver)
    )
}

/// The tables of the manual's configuration file of this version.
fn fragment(version: u32) -> String {
    let mut blocks = MANUAL.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let first = format!("version = {version}\n");
    let block = blocks.find_map(|block| block.strip_prefix(&first));
    block.expect("the manual has a configuration file for it").to_owned()
}
