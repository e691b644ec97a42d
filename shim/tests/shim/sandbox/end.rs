//! How a pod ends, by whom, and what `delete` finds after it.

use std::time::{Duration, Instant};

use containerd_shim_protos::{
    api::ShutdownRequest,
    sandbox_api::{ShutdownSandboxRequest, WaitSandboxRequest},
    ttrpc::{Code, context},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Signal,
};

use super::{CONTAINER, POD, Pod, config};
use crate::common::{code, host, needs_root, patience};

#[test]
fn a_shared_pid_namespace_ends_with_the_shim() {
    needs_root!("making namespaces");
    let (pod, started) = Pod::with(&config(POD, POD, POD, &[]));
    let first = host::pidfd(started.pid).expect("it lives");
    pod.signal(Signal::KILL);
    assert!(host::ends(&first));
}

#[test]
fn whoever_ends_the_first_process_ends_the_pod() {
    needs_root!("making namespaces");
    let (pod, started) = Pod::with(&config(POD, POD, POD, &[]));
    host::kill(started.pid);
    let wait = WaitSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
    let exit = pod.client().wait_sandbox(patience(), &wait).expect("an exit");
    assert_eq!(exit.exit_status, 137);
    assert_eq!(pod.status().state, "SANDBOX_NOTREADY");
    pod.stop().expect("it has stopped already");
    pod.bundle.has_no_mount();
}

/// The answer is not to be overtaken by the end of the connection.
#[test]
fn whoever_ends_it_hangs_up_first() {
    while !hangs_up_first() {}
}

/// False when so much time went by meanwhile that the shim need not wait any more: nothing was seen.
fn hangs_up_first() -> bool {
    let pod = Pod::start();
    let client = pod.client();
    let begin = Instant::now();
    let request = ShutdownSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
    client.shutdown_sandbox(patience(), &request).expect("nothing keeps it");
    let mut ended = [PollFd::new(&pod.process, PollFlags::IN)];
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let lives = poll(&mut ended, Some(&moment)) == Ok(0);
    let in_time = begin.elapsed() < Duration::from_secs(3);
    assert!(lives || !in_time, "it does not wait");
    drop(client);
    assert!(pod.ends());
    in_time
}

/// containerd shuts down what it could not create.
#[test]
fn a_sandbox_that_was_never_created_ends_its_shim() {
    let pod = Pod::start();
    let other = ShutdownSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    assert_eq!(code(pod.client().shutdown_sandbox(patience(), &other)), Code::NOT_FOUND);
    pod.shut_down().expect("nothing keeps it");
    assert!(pod.ends());
}

/// A containerd that has forgotten the sandbox knows only of a shim.
#[test]
fn the_task_services_shutdown_ends_a_sandbox_that_is_meant() {
    needs_root!("making namespaces");
    let (pod, _) = Pod::with(&config(POD, CONTAINER, POD, &[]));
    let shutdown = |id: &str| ShutdownRequest { id: id.into(), ..Default::default() };
    pod.tasks().shutdown(patience(), &shutdown("c1")).expect("that of a container says nothing");
    assert_eq!(pod.status().state, "SANDBOX_READY");
    pod.tasks().shutdown(patience(), &shutdown("pod")).expect("it ends");
    assert!(pod.ends());
    pod.bundle.has_no_mount();
}

/// With the first process of a pid namespace to wait for, which takes longer than the client stays.
#[test]
fn a_shutdown_is_finished_whoever_waits_for_it() {
    needs_root!("making namespaces");
    let (pod, _) = Pod::with(&config(POD, POD, POD, &[]));
    let shutdown = ShutdownRequest { id: "pod".into(), ..Default::default() };
    let (client, hurried) = (pod.tasks(), context::with_duration(Duration::from_millis(1)));
    // Hardly anybody is that fast.
    let _ = client.shutdown(hurried, &shutdown);
    assert!(pod.ends());
    pod.bundle.has_no_mount();
}

#[test]
fn a_signal_to_end_is_not_heeded_by_a_sandbox() {
    needs_root!("making namespaces");
    let (pod, _) = Pod::with(&config(POD, CONTAINER, POD, &[]));
    pod.signal(Signal::TERM);
    assert_eq!(pod.status().state, "SANDBOX_READY");
}

#[test]
fn delete_removes_what_a_dead_shim_has_left() {
    needs_root!("making namespaces");
    let (pod, _) = Pod::with(&config(POD, CONTAINER, POD, &[]));
    pod.kill();
    assert_eq!(pod.bundle.mounts().len(), 1);
    assert_eq!(pod.bundle.delete().exit_status, 137);
    pod.bundle.has_no_mount();
    assert!(!pod.socket.exists());
}
