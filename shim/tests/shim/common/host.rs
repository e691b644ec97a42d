//! The host: its processes, and what a container takes.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

use super::bundle::PROGRAM;

/// Ends the test, and says so, where it is not root's.
macro_rules! needs_root {
    ($what:literal) => {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: {} takes root", $what);
            return;
        }
    };
}
pub(crate) use needs_root;

/// The runtime as built beside the shim; `None` where no container can be made.
pub(crate) fn runtime() -> Option<PathBuf> {
    let runtime = Path::new(PROGRAM).with_file_name("rtn");
    let is_root = rustix::process::geteuid().is_root();
    let there = is_root && runtime.exists() && Path::new(BUSYBOX).exists();
    if !there {
        println!("skipped: containers take root, {runtime:?}, and {BUSYBOX}");
    }
    there.then_some(runtime)
}

const BUSYBOX: &str = "/bin/busybox";

/// Makes the root of a container, with one static program.
pub(crate) fn make_root(bundle: &Path) {
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).expect("a root");
    fs::copy(BUSYBOX, bin.join("busybox")).expect("a program");
}

/// `/proc/<pid>/<file>`; empty for a process that is gone.
pub(crate) fn proc(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// A line of `/proc/<pid>/status`.
pub(crate) fn status(pid: u32, key: &str) -> String {
    let text = proc(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.expect("it lives").trim().to_owned()
}

/// All processes of this machine.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(crate) fn children(parent: u32) -> Vec<u32> {
    let line = format!("PPid:\t{parent}\n");
    pids().filter(|pid| proc(*pid, "status").contains(&line)).collect()
}

fn id(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("a pid")
}

pub(crate) fn pidfd(pid: u32) -> Result<OwnedFd, Errno> {
    pidfd_open(id(pid), PidfdFlags::empty())
}

#[track_caller]
pub(crate) fn kill(pid: u32) {
    kill_process(id(pid), Signal::KILL).expect("it is there");
}

/// How long anything may take before it counts as hung; as for the integration tests, far beyond what
/// the slowest machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// For what is announced by no event.
#[track_caller]
pub(crate) fn until(what: &str, mut found: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !found() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// Waits for the end of a process.
pub(crate) fn ends(process: &OwnedFd) -> bool {
    let limit = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&limit)).is_ok_and(|ready| ready > 0)
}
