//! What is left when all pods are removed: nothing.

use std::fs;

use e2e_containerd::{
    daemon::dead_sockets,
    rest::{no_cgroup, no_mount, no_shim},
};
use e2e_kubernetes::{call, message::ListPodSandboxRequest};

use crate::daemon;

e2e_common::tests! {
    no_pod
    no_shim
    no_mount
    no_cgroup
    no_bundle
    no_socket
}

fn no_pod() {
    let pods = call(ListPodSandboxRequest {}).expect("containerd answers").items;
    assert!(pods.is_empty(), "{pods:?}");
}

/// Of containers and of sandboxes.
fn no_bundle() {
    let state = daemon::shared().directory().join("state");
    for plugin in ["io.containerd.runtime.v2.task", "io.containerd.sandbox.controller.v1.shim"] {
        let directory = state.join(plugin).join(daemon::shared().namespace());
        let bundles = fs::read_dir(directory).into_iter().flatten().flatten();
        let bundles: Vec<_> = bundles.map(|entry| entry.path()).collect();
        assert!(bundles.is_empty(), "{bundles:?}");
    }
}

fn no_socket() {
    let dead = dead_sockets();
    let dead: Vec<_> = dead.difference(daemon::shared().found_sockets()).collect();
    assert!(dead.is_empty(), "{dead:?}");
}
