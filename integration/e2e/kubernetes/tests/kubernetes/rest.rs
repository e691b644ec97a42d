//! What is left when all pods are removed: nothing.

use std::fs;

use e2e_containerd::{
    ctr,
    daemon::dead_sockets,
    rest::{no_cgroup, no_mount, no_shim},
};
use e2e_kubernetes::{
    call, daemon,
    message::{ListContainersRequest, ListPodSandboxRequest},
};

e2e_common::tests! {
    no_pod
    no_shim
    no_mount
    no_cgroup
    no_bundle
    no_network
    no_socket
}

fn no_pod() {
    let pods = call(ListPodSandboxRequest {}).expect("containerd answers").items;
    let containers = call(ListContainersRequest {}).expect("containerd answers").containers;
    assert!(pods.is_empty() && containers.is_empty(), "{pods:?} {containers:?}");
    assert_eq!(ctr(&["task", "ls", "-q"]).ok(), "");
    assert_eq!(ctr(&["container", "ls", "-q"]).ok(), "");
}

fn no_bundle() {
    let bundles = fs::read_dir(daemon::shared().bundles()).into_iter().flatten().flatten();
    let bundles: Vec<_> = bundles.map(|entry| entry.path()).collect();
    assert!(bundles.is_empty(), "{bundles:?}");
}

/// Namespaces have names below containerd's directory, and their addresses files.
fn no_network() {
    let directory = daemon::shared().directory();
    for names in [directory.join("state/netns"), directory.join("addresses").join(daemon::name())] {
        let left = fs::read_dir(names).into_iter().flatten().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        // What is not an address is host-local's own: a lock, and the last address.
        let left = left
            .iter()
            .filter(|name| !matches!(name.to_str(), Some("lock" | "last_reserved_ip.0")));
        assert_eq!(left.count(), 0);
    }
}

fn no_socket() {
    if !daemon::shared().is_rtn() {
        // containerd's own `delete` leaves that of a shim that was killed.
        return;
    }
    let dead = dead_sockets();
    let dead: Vec<_> = dead.difference(daemon::shared().found_sockets()).collect();
    assert!(dead.is_empty(), "{dead:?}");
}
