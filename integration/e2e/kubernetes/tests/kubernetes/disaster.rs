//! containerd ends while pods run, and comes back.

use e2e_common::host::{self, Skip};
use e2e_kubernetes::{
    Pod, daemon,
    message::{ContainerState, PodSandboxState},
    wait,
};
use rustix::process::Signal;

e2e_common::tests! {
    pods_go_on
    ends_are_told
    a_shim_dies
}

fn pods_go_on() {
    let pod = Pod::run();
    let container = pod.start(&["sh", "-c", "while :; do echo line; sleep 0.2; done"]);
    let pids = [pod.pid(), container.pid()];
    for signal in [Signal::TERM, Signal::KILL] {
        daemon::shared().down(signal);
        assert!(pids.iter().all(|pid| host::is_alive(*pid)));
        daemon::up();
        assert_eq!(pod.status().state(), PodSandboxState::Ready);
        assert_eq!([pod.pid(), container.pid()], pids);
        assert_eq!(container.shell("echo again"), "again");
        let before = container.log().len();
        wait::until("the log grows", || (container.log().len() > before).then_some(()));
    }
}

fn ends_are_told() {
    let pod = Pod::run();
    let container = pod.idle();
    let other = pod.idle();
    let pid = container.pid();
    daemon::shared().down(Signal::KILL);
    host::kill(pid).expect("it is there");
    wait::until("it ends", || (!host::is_alive(pid)).then_some(()));
    daemon::up();
    // With its own shim containerd 2 finds no process, and does not ask for the exit.
    let unknown = 255;
    let status = container.ended().exit_code;
    assert!(status == 128 + 9 || status == unknown && !daemon::shared().is_rtn(), "{status}");
    assert_eq!(other.status().state(), ContainerState::Running);
    container.remove().expect("it can be removed");
    assert_eq!(pod.start(&["true"]).ended().exit_code, 0);
}

fn a_shim_dies() -> Result<(), Skip> {
    // Those of containerd's own go on, or leave their cgroups.
    host::needs(daemon::shared().is_rtn(), "shim whose containers end with it")?;
    let pod = Pod::run();
    let container = pod.idle();
    let pids = [pod.pid(), container.pid()];
    host::kill(host::status(pod.pid(), "PPid").parse().expect("a number")).expect("it is there");
    wait::until("all end with their shim", || {
        pids.iter().all(|pid| !host::is_alive(*pid)).then_some(())
    });
    assert_ne!(container.ended().exit_code, 0);
    wait::until("the pod is told to be over", || {
        (pod.status().state() == PodSandboxState::NotReady).then_some(())
    });
    Ok(())
}
