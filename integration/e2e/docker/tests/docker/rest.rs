//! What all tests together have left, while the daemon still runs: nothing.

use std::fs;

use e2e_docker::{daemon, docker, host, wait};

e2e_common::tests! {
    no_container
    no_process
    no_cgroup
    no_mount
    no_state_of_the_runtime
}

fn no_container() {
    assert_eq!(docker(&["ps", "-aq"]).ok(), "");
}

/// Beside dockerd and containerd; a shim may take a moment to end after its container.
fn no_process() {
    let tree = daemon::shared().place().tree();
    let own = |pid: &u32| ["dockerd", "containerd"].contains(&host::proc(*pid, "comm").trim_end());
    wait::until("all shims have ended", || {
        tree.processes().iter().filter(|pid| host::is_alive(**pid)).all(own).then_some(())
    });
}

fn no_cgroup() {
    let mut left = daemon::shared().place().tree().containers();
    // dockerd's parents of containers stay, with any runtime: nobody owns them.
    left.retain(|directory| {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        !["nested", "deeply", "buildkit"].contains(&&*name) && !name.ends_with(".slice")
    });
    assert!(left.is_empty(), "{left:?}");
}

fn no_mount() {
    let mut left = daemon::shared().new_mounts();
    // dockerd keeps its own network namespace there from the first `--network host` on.
    left.retain(|mount| !mount.target.ends_with("/netns/default"));
    assert!(left.is_empty(), "{left:#?}");
}

fn no_state_of_the_runtime() {
    let root = daemon::shared().runtime_root();
    let left: Vec<_> =
        fs::read_dir(&root).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "{}: {left:?}", root.display());
}
