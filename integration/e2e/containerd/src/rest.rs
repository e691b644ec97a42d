//! What is left when all that the tests made is removed: nothing. For the list of each program.

use crate::{daemon::shared, wait};

pub fn no_shim() {
    wait::until("no shim", || shared().shims().is_empty().then_some(()));
}

pub fn no_mount() {
    let mounts = shared().mounts();
    assert!(mounts.is_empty(), "{mounts:?}");
}

pub fn no_cgroup() {
    let cgroups = shared().cgroups();
    assert!(cgroups.is_empty(), "{cgroups:?}");
}
