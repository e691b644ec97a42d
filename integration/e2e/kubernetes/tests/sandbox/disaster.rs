//! containerd ends while pods run, and comes back; the shim is killed.

use e2e_common::host;
use e2e_kubernetes::{
    call,
    message::{ContainerState, ListPodSandboxRequest, PodSandboxState},
    wait,
};
use rustix::process::Signal;

use crate::{
    daemon,
    pods::{pod, shim},
};

e2e_common::tests! {
    pods_go_on
    ends_are_told
    a_shim_dies
}

/// Starts containerd again, and waits for its CRI, which is the last to answer.
fn up() {
    daemon::shared().up();
    let pods = || call(ListPodSandboxRequest {}).ok();
    wait::until("the CRI answers", pods);
}

fn pods_go_on() {
    let pod = pod();
    let container = pod.start(&["sh", "-c", "while :; do echo line; sleep 0.2; done"]);
    let pids = [shim(&container), container.pid()];
    for signal in [Signal::TERM, Signal::KILL] {
        daemon::shared().down(signal);
        assert!(pids.iter().all(|pid| host::is_alive(*pid)));
        up();
        assert_eq!(pod.status().state(), PodSandboxState::Ready);
        assert_eq!([shim(&container), container.pid()], pids);
        let other = pod.idle();
        assert_eq!(host::namespace(other.pid(), "ipc"), host::namespace(container.pid(), "ipc"));
        let before = container.log().len();
        wait::until("the log grows", || (container.log().len() > before).then_some(()));
    }
}

fn ends_are_told() {
    let pod = pod();
    let container = pod.idle();
    let other = pod.idle();
    let pid = container.pid();
    daemon::shared().down(Signal::KILL);
    host::kill(pid).expect("it is there");
    wait::until("it ends", || (!host::is_alive(pid)).then_some(()));
    up();
    assert_eq!(container.ended().exit_code, 128 + 9);
    assert_eq!(other.status().state(), ContainerState::Running);
    container.remove().expect("it can be removed");
    assert_eq!(pod.start(&["true"]).ended().exit_code, 0);
}

fn a_shim_dies() {
    let pod = pod();
    let (first, second) = (pod.idle(), pod.idle());
    let pids = [first.pid(), second.pid()];
    host::kill(shim(&first)).expect("it is there");
    wait::until("all end with their shim", || {
        pids.iter().all(|pid| !host::is_alive(*pid)).then_some(())
    });
    assert_ne!(first.ended().exit_code, 0);
    wait::until("the pod is told to be over", || {
        (pod.status().state() == PodSandboxState::NotReady).then_some(())
    });
    let mounts = || daemon::shared().mounts().into_iter().any(|mount| mount.contains(pod.id()));
    wait::until("nothing of it is mounted", || (!mounts()).then_some(()));
}
