//! A systemd as the first process of a container.

use e2e_podman::{
    Container, IDLE, cgroup_of, host,
    machine::{self, FLAGS, MACHINE},
    notify::Listener,
    podman, wait,
};

e2e_common::tests! {
    boots_and_stops
    finds_what_it_needs
}

/// Boots, is told to stop by its own signal, and ends by itself.
fn boots_and_stops() {
    machine::import();
    let container = Container::named();
    let mut listener = Listener::new("machine");
    let run = ["run", "-d", "--name", container.name(), "--sdnotify=container"];
    listener.run(&[&run[..], FLAGS, &[MACHINE]].concat());
    // systemd itself says so, through the socket that the runtime has brought in.
    listener.until("READY=1");
    let state = container.exec(&[], &["systemctl", "is-system-running", "--wait"]).out();
    let failed = container.exec(&[], &["systemctl", "--failed", "--plain", "--no-legend"]).out();
    assert_eq!((state.as_str(), failed.as_str()), ("running", ""));
    let service = ["systemd-run", "--wait", "-p", "PrivateTmp=yes", "true"];
    container.exec(&[], &service).ok();
    let (process, cgroup) = (container.pid(), cgroup_of(container.pid()));
    // It has moved itself into a cgroup below the one that it was given.
    assert!(cgroup.ends_with("init.scope"), "{}", cgroup.display());
    podman(&["stop", "-t", "50", container.name()]).ok();
    assert_eq!(container.inspect("/Config/StopSignal"), "SIGRTMIN+3");
    assert_ne!(container.wait(), "137", "it was killed");
    assert!(!host::is_alive(process));
    wait::until("its cgroup is gone", || (!cgroup.exists()).then_some(()));
    podman(&["rm", container.name()]).ok();
    podman(&["rmi", MACHINE]).ok();
}

fn finds_what_it_needs() {
    let container = Container::start(&["--systemd=always"], IDLE);
    let process = container.pid();
    for target in ["/run", "/run/lock", "/tmp", "/var/log/journal"] {
        assert_eq!(host::mount_on(process, target).kind, "tmpfs", "{target}");
    }
    assert!(host::mount_on(process, "/sys/fs/cgroup").has("rw"));
    assert!(host::proc(process, "environ").split('\0').any(|it| it == "container=podman"));
    container.exec(&[], &["mkdir", "/sys/fs/cgroup/inside"]).ok();
    container.exec(&[], &["rmdir", "/sys/fs/cgroup/inside"]).ok();
}
