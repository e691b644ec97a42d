//! containerd as the manual of the shim configures it.

use std::{env, fs, path::PathBuf};

use e2e_containerd::daemon::{self, Setup};
use e2e_kubernetes::daemon::{NAMESPACE, cgroups, name};

/// What the tests run is what the manual says.
const MANUAL: &str = include_str!("../../../../../docs/containerd.md");

pub(crate) use e2e_containerd::daemon::shared;

pub(crate) fn start(runtime: String, shims: Option<PathBuf>) {
    // Short, since sockets are in it.
    let directory = env::temp_dir().join(format!("sandbox.{}", std::process::id()));
    let network = directory.join("net.d");
    fs::create_dir_all(&network).expect("a directory for the network");
    let bridge = serde_json::json!({
        "cniVersion": "0.4.0",
        "name": name(),
        "plugins": [{
            "type": "bridge",
            "bridge": name(),
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.212.0.0/16"}]],
                "dataDir": directory.join("addresses"),
            },
        }],
    });
    fs::write(network.join("10-bridge.conflist"), bridge.to_string()).expect("a network");
    let plugin = "io.containerd.cri.v1.runtime";
    let tables = format!(
        "[plugins.{plugin:?}]\nrestrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n\
         [plugins.{plugin:?}.cni]\nbin_dirs = [\"/usr/lib/cni\"]\nconf_dir = {network:?}\n{}",
        fragment()
    );
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

/// The tables of the manual's configuration file.
fn fragment() -> &'static str {
    let mut blocks = MANUAL.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains("sandboxer = \"shim\""));
    let tables = block.and_then(|block| block.strip_prefix("version = 3\n"));
    tables.expect("the manual has a configuration file for it")
}
