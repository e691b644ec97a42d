//! Processes that are killed while containers run.

use e2e_common::host;
use e2e_containerd::{Container, daemon, wait};
use rustix::process::Signal;

e2e_common::tests! {
    containerd_dies_and_comes_back
    an_exit_while_containerd_is_away
    the_shim_dies
}

fn containerd_dies_and_comes_back() {
    let container = Container::idle();
    let (pid, shim) = (container.pid(), container.shim());
    daemon::shared().down(Signal::KILL);
    assert!(host::is_alive(pid) && host::is_alive(shim));
    daemon::shared().up();
    assert_eq!(container.listed(), Some((pid, "RUNNING".to_owned())));
    assert_eq!(container.exec(&[], &["echo", "again"]).ok(), "again");
}

fn an_exit_while_containerd_is_away() {
    let container = Container::idle();
    let pid = container.pid();
    daemon::shared().down(Signal::TERM);
    host::kill(pid).expect("it is there");
    wait::until("it ends", || (!host::is_alive(pid)).then_some(()));
    daemon::shared().up();
    // Since 1.7 containerd removes what it finds without a process; before, it lists that.
    let settled = wait::until("it is told", || match container.listed() {
        None => Some(None),
        Some((_, status)) => (status == "STOPPED").then_some(Some(status)),
    });
    if settled.is_some() {
        let removed = container.task("rm", &[]);
        assert!(removed.err().contains("exit with non-zero exit code 137"), "{removed:?}");
    }
    wait::until("its bundle is gone", || (!container.bundle().exists()).then_some(()));
}

fn the_shim_dies() {
    let container = Container::idle();
    let (pid, shim) = (container.pid(), container.shim());
    host::kill(shim).expect("it is there");
    wait::until("it ends with its shim", || (!host::is_alive(pid)).then_some(()));
    wait::until("containerd forgets it", || container.listed().is_none().then_some(()));
    wait::until("its bundle is gone", || (!container.bundle().exists()).then_some(()));
}
