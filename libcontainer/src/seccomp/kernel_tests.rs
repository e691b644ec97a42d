//! Filters of ours in the real kernel. Each test puts its filter on a thread of its own, which dies
//! with it; what kills gets a process.

use super::*;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    process::{getpgid, getpriority_pgrp, getpriority_process},
};
use serde_json::{Value, json};
use std::{
    os::unix::process::ExitStatusExt,
    process::Command,
    sync::mpsc::{Sender, channel},
};

fn compiled(profile: Value) -> Filter {
    let profile = serde_json::from_value(profile).expect("a profile");
    let mut faults = Vec::new();
    compile(&profile, false, &mut faults).unwrap_or_else(|| panic!("{faults:?}"))
}

/// Runs `work` in a thread under `filter`.
fn under<T: Send>(filter: &Filter, work: impl FnOnce(Option<OwnedFd>) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("no_new_privs");
            work(install(filter).expect("installed"))
        });
        thread.join().expect("the thread's result")
    })
}

#[test]
fn rules_apply_by_number_and_by_argument() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENETDOWN },
            { "names": ["getpriority"], "action": "SCMP_ACT_ERRNO",
              "args": [{ "index": 0, "op": "SCMP_CMP_EQ", "value": libc::PRIO_PGRP }] },
        ],
    }));
    let (group, of_group, of_process) = under(&filter, |listener| {
        assert!(listener.is_none());
        (getpgid(None), getpriority_pgrp(None), getpriority_process(None))
    });
    assert_eq!(group, Err(Errno::NETDOWN));
    assert_eq!(of_group, Err(Errno::PERM));
    assert!(of_process.is_ok());
    assert!(getpgid(None).is_ok(), "the other threads are free");
}

#[test]
fn a_call_newer_than_the_profile_fails_with_enosys() {
    // What a thread needs to live and die.
    let needed = [
        "read",
        "write",
        "futex",
        "mmap",
        "munmap",
        "mprotect",
        "madvise",
        "brk",
        "exit",
        "rt_sigprocmask",
        "sigaltstack",
        "rseq",
    ];
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": needed, "action": "SCMP_ACT_ALLOW" }],
    }));
    let (old, new) = under(&filter, |_| {
        let new = openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::empty());
        (getpgid(None).map(drop), new.map(drop))
    });
    assert_eq!(old, Err(Errno::PERM));
    assert_eq!(new, Err(Errno::NOSYS));
}

#[test]
fn the_listener_is_told_and_its_end_is_enosys() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent.sock",
        "flags": [],
        "syscalls": [{ "names": ["getpgid"], "action": "SCMP_ACT_NOTIFY" }],
    }));
    let (sender, receiver) = channel();
    let notified = |sender: Sender<OwnedFd>| {
        under(&filter, |listener| {
            sender.send(listener.expect("a listener")).expect("a receiver");
            getpgid(None)
        })
    };
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| notified(sender));
        let listener = receiver.recv().expect("the listener");
        let deadline = Timespec { tv_sec: 90, tv_nsec: 0 };
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&deadline)), Ok(1), "no notification");
        drop(listener);
        thread.join().expect("a result")
    });
    assert_eq!(result, Err(Errno::NOSYS));
}

#[test]
fn kill_process_ends_by_sigsys() {
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "seccomp::kernel_tests::is_killed", "--ignored"])
        .output()
        .expect("a process")
        .status;
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status:?}");
}

#[test]
#[ignore = "run by kill_process_ends_by_sigsys, in a process of its own"]
fn is_killed() {
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
    )
    .expect("no core file");
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["getpgid"], "action": "SCMP_ACT_KILL_PROCESS" }],
    }));
    under(&filter, |_| getpgid(None).is_ok());
}

#[test]
fn an_unprivileged_thread_without_no_new_privs_is_refused() {
    let filter = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            caps::clear(None, caps::CapSet::Effective).expect("fewer capabilities");
            install(&filter).map(drop)
        });
        thread.join().expect("a result")
    });
    assert_eq!(result, Err(Errno::ACCESS));
}

#[test]
fn this_kernel_knows_the_old_flags() {
    assert!(supports(LinuxSeccompFilterFlag::SeccompFilterFlagLog));
    assert!(supports(LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow));
    assert!(!sys::seccomp::knows(1 << 31));
}
