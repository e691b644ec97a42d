//! What there is of one container on the host, and what must not be left of it.

use std::{fs, path::Path, process::Command, time::Duration};

use e2e_common::{Running, host};

use crate::{daemon, wait};

/// Whatever there is of a container on the host.
pub fn of(name: &str) -> Vec<String> {
    let daemon = daemon::shared();
    let cgroup = format!("/{}/{name}", daemon.namespace());
    let inside = |pid: &u32| host::proc(*pid, "cgroup").lines().any(|line| line.ends_with(&cgroup));
    let alive = |pid: &u32| host::is_alive(*pid);
    let processes = host::processes().into_iter().filter(inside).filter(alive);
    let processes = processes.map(|pid| format!("process {pid} {:?}", host::command_line(pid)));
    let shims = shims(name).into_iter().map(|pid| format!("shim {pid}"));
    let bundle = daemon.bundles().join(name);
    let in_bundle = bundle.display().to_string();
    let mounts = daemon.mounts().into_iter().filter(|line| line.contains(&in_bundle));
    let cgroups = daemon.cgroups().into_iter().filter(|path| path.ends_with(name));
    let states = ["rtn", "runc"].map(|runtime| {
        Path::new("/run/containerd").join(runtime).join(daemon.namespace()).join(name)
    });
    let paths = states.into_iter().chain([bundle]).filter(|path| path.exists()).chain(cgroups);
    let paths = paths.map(|path| path.display().to_string());
    processes.chain(shims).chain(mounts).chain(paths).collect()
}

/// The processes of its shim.
fn shims(name: &str) -> Vec<u32> {
    let of = |pid: &u32| host::command_line(*pid).windows(2).any(|pair| pair == ["-id", name]);
    daemon::shared().shims().into_iter().filter(of).collect()
}

/// Kills its shim, if there is one.
pub fn kill_shims(name: &str) {
    for shim in shims(name) {
        // It may have ended by itself.
        let _ = host::kill(shim);
    }
}

/// Waits until there is nothing of it any more. `when` says at which moment somebody was killed.
///
/// # Panics
/// When rtn's shim leaves something. What containerd's own leaves is removed.
#[track_caller]
pub fn nothing_is_left(name: &str, when: Duration) {
    let is_rtn = daemon::shared().is_rtn();
    let patience = if is_rtn { wait::PATIENCE } else { Duration::from_secs(3) };
    match wait::within(patience, || of(name).is_empty().then_some(())) {
        Some(()) => {}
        None if is_rtn => panic!("{name}, after {when:?}: {:#?}", of(name)),
        None => sweep(name),
    }
}

/// containerd's own shim leaves a container or a cgroup of runc's that died early, and itself where it
/// was started and never told what to create.
fn sweep(name: &str) {
    kill_shims(name);
    let daemon = daemon::shared();
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(Path::new("/run/containerd/runc").join(daemon.namespace()));
    runc.args(["delete", "--force", name]);
    Running::start(runc, b"").end();
    for cgroup in daemon.cgroups().into_iter().filter(|path| path.ends_with(name)) {
        wait::until("its processes end", || fs::remove_dir(&cgroup).ok());
    }
    let bundle = daemon.bundles().join(name);
    // Whether there is a mount, or still a bundle, depends on the moment.
    let _ = rustix::mount::unmount(bundle.join("rootfs"), rustix::mount::UnmountFlags::DETACH);
    let _ = fs::remove_dir_all(bundle);
}
