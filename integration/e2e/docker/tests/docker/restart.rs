//! dockerd ends and comes back while containers run (`live-restore`): in order, and killed.

use e2e_docker::{Container, IDLE, daemon, docker, host, wait};
use rustix::process::{Pid, Signal, kill_process};

e2e_common::tests! {
    a_container_goes_on
    a_container_goes_on_when_dockerd_is_killed
    an_end_meanwhile_is_told
    an_end_meanwhile_is_told_when_dockerd_is_killed
    a_terminal_can_be_attached_to_again
}

const TICKS: &str = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done";

fn restart(at_once: bool) {
    daemon::shared().down(at_once);
    daemon::shared().up();
}

fn goes_on(at_once: bool) {
    let container = Container::start(&[], &["sh", "-c", TICKS]);
    let (pid, before) = (container.pid(), daemon::shared().pid());
    let last = || {
        let logs = docker(&["logs", "--tail", "1", container.name()]).ok();
        logs.strip_prefix("tick ").and_then(|number| number.parse::<u32>().ok()).unwrap_or(0)
    };
    let told = wait::until("it ticks", || Some(last()).filter(|number| *number > 2));
    restart(at_once);
    assert_ne!(daemon::shared().pid(), before);
    assert_eq!((container.pid(), container.status()), (pid, "running".to_owned()));
    wait::until("it ticks on", || (last() > told + 20).then_some(()));
    assert_eq!(container.exec(&[], &["echo", "inside"]).ok(), "inside");
    docker(&["pause", container.name()]).ok();
    docker(&["unpause", container.name()]).ok();
    docker(&["kill", container.name()]).ok();
    assert_eq!(container.wait(), "137");
    assert!(!host::is_alive(pid));
}

fn a_container_goes_on() {
    goes_on(false);
}

fn a_container_goes_on_when_dockerd_is_killed() {
    goes_on(true);
}

fn ends_meanwhile(at_once: bool) {
    let container = Container::start(&[], &["sh", "-c", "echo before; sleep 1000; :"]);
    let other = Container::start(&[], IDLE);
    let pid = container.pid();
    daemon::shared().down(at_once);
    kill_process(Pid::from_raw(pid as i32).expect("a pid"), Signal::KILL).expect("it runs");
    wait::until("it has ended", || (!host::is_alive(pid)).then_some(()));
    daemon::shared().up();
    wait::until("it is told", || (container.status() == "exited").then_some(()));
    // From 1.7 on containerd forgets what it finds without a process before dockerd can ask.
    let code = container.inspect("/State/ExitCode");
    assert!(code == 137 || code == 255, "{code}");
    assert_eq!(docker(&["logs", container.name()]).ok(), "before");
    assert_eq!(other.status(), "running");
    docker(&["start", container.name()]).ok();
    assert_eq!(container.status(), "running");
}

fn an_end_meanwhile_is_told() {
    ends_meanwhile(false);
}

fn an_end_meanwhile_is_told_when_dockerd_is_killed() {
    ends_meanwhile(true);
}

fn a_terminal_can_be_attached_to_again() {
    use e2e_docker::{Docker, Engine};
    let container = Container::named();
    container.call(&["run", "-dit"], &[], &["sh"]).ok();
    restart(true);
    let mut session = Docker::terminal(&["attach", container.name()], 24, 80);
    session.send("echo still' 'here\n").expect("still here");
    session.send("exit 4\n").end().code(4);
}
