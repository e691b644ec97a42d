//! What is left when all containers are removed: nothing.

use e2e_containerd::{
    daemon,
    rest::{no_cgroup, no_mount, no_shim},
};

e2e_common::tests! {
    no_shim
    no_mount
    no_cgroup
    no_bundle
    no_socket
}

fn no_bundle() {
    let bundles: Vec<_> = std::fs::read_dir(daemon::shared().bundles())
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    assert!(bundles.is_empty(), "{bundles:?}");
}

/// Shims of other daemons listen on theirs.
fn no_socket() {
    if !daemon::shared().is_rtn() {
        // containerd's own `delete` leaves that of a shim that was killed.
        return;
    }
    let dead = daemon::dead_sockets();
    let dead: Vec<_> = dead.difference(daemon::shared().found_sockets()).collect();
    assert!(dead.is_empty(), "{dead:?}");
}
