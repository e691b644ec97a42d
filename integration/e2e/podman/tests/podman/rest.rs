//! What all tests together have left, before podman's own store is removed: nothing.

use std::fs;

use e2e_podman::{Place, host, podman, wait};

e2e_common::tests! {
    no_container
    no_process
    no_cgroup
    no_mount
    no_state_of_the_runtime
}

fn no_container() {
    assert_eq!(podman(&["ps", "-aq"]).ok(), "");
    assert_eq!(podman(&["pod", "ps", "-q"]).ok(), "");
    assert_eq!(podman(&["volume", "ls", "-q"]).ok(), "");
}

/// But the one that keeps an ordinary user's namespaces.
fn no_process() {
    wait::until("every conmon has ended", || {
        let left = Place::shared().processes().into_iter().filter(|pid| host::is_alive(*pid));
        (left.count() == 0).then_some(())
    });
}

fn no_cgroup() {
    wait::until("systemd has removed every scope", || {
        Place::shared().new_scopes().is_empty().then_some(())
    });
}

fn no_mount() {
    let left: Vec<_> = host::mounts(std::process::id())
        .into_iter()
        .filter(|mount| Place::shared().owns(&mount.target) && !mount.target.ends_with("/overlay"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

fn no_state_of_the_runtime() {
    let root = Place::shared().state_of_the_runtime();
    let left: Vec<_> =
        fs::read_dir(&root).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "{}: {left:?}", root.display());
}
