//! Which namespaces a container gets, shares and joins; judged by `/proc/<pid>/ns`.

use e2e_docker::{Container, IDLE, cgroup, daemon, docker, host, run, wait};

e2e_common::tests! {
    every_namespace_of_docker_is_new
    pid_host_sees_the_host
    ipc_host_and_network_host_and_uts_host
    ipc_private_has_no_shared_memory_of_its_own_to_share
    ipc_of_another_container
    pid_of_another_container
    network_of_another_container
    network_none_has_only_loopback
    bridge_reaches_the_neighbour
    cgroup_namespace_is_private_on_request
    host_networking_keeps_the_hostname_of_the_container
    nsenter_by_the_pid_of_inspect
    killing_the_first_process_kills_the_rest
    removing_kills_everyone_without_a_pid_namespace
}

const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// Kinds of namespaces in which two processes differ.
fn different(one: u32, other: u32) -> Vec<&'static str> {
    let differs = |kind: &&str| host::namespace(one, kind) != host::namespace(other, kind);
    KINDS.into_iter().filter(differs).collect()
}

fn of_daemon(flags: &[&str]) -> Vec<&'static str> {
    different(Container::start(flags, IDLE).pid(), daemon::shared().pid())
}

fn every_namespace_of_docker_is_new() {
    let expected: &[&str] = match cgroup::is_v1() {
        true => &["ipc", "mnt", "net", "pid", "uts"],
        false => &["cgroup", "ipc", "mnt", "net", "pid", "uts"],
    };
    assert_eq!(
        of_daemon(&["--cgroupns", if expected.len() == 5 { "host" } else { "private" }]),
        expected
    );
    let pair = [Container::start(&[], IDLE), Container::start(&[], IDLE)];
    let differ = different(pair[0].pid(), pair[1].pid());
    assert!(
        ["ipc", "mnt", "net", "pid", "uts"].iter().all(|kind| differ.contains(kind)),
        "{differ:?}"
    );
}

fn pid_host_sees_the_host() {
    assert!(!of_daemon(&["--pid", "host"]).contains(&"pid"));
    let dockerd = daemon::shared().pid().to_string();
    let seen = run(&["--pid", "host"], &["cat", &format!("/proc/{dockerd}/comm")]);
    assert_eq!(seen.ok(), "dockerd");
}

fn ipc_host_and_network_host_and_uts_host() {
    for (flag, kind) in [("--ipc", "ipc"), ("--network", "net"), ("--uts", "uts")] {
        let differ = of_daemon(&[flag, "host"]);
        assert!(!differ.contains(&kind), "{flag} host: {differ:?}");
        assert!(differ.contains(&"mnt") && differ.contains(&"pid"), "{flag} host: {differ:?}");
    }
}

fn ipc_private_has_no_shared_memory_of_its_own_to_share() {
    let owner = Container::start(&["--ipc", "private"], IDLE);
    let guest = format!("container:{}", owner.name());
    run(&["--ipc", &guest], &["true"]).fails("non-shareable IPC");
    run(&["--ipc", "none"], &["test", "-d", "/dev/shm"]).code(1);
}

fn ipc_of_another_container() {
    let owner = Container::start(&["--ipc", "shareable"], IDLE);
    let guest = Container::start(&["--ipc", &format!("container:{}", owner.name())], IDLE);
    assert!(!different(owner.pid(), guest.pid()).contains(&"ipc"));
    owner.exec(&[], &["sh", "-c", "echo shared > /dev/shm/file"]).ok();
    assert_eq!(guest.exec(&[], &["cat", "/dev/shm/file"]).ok(), "shared");
}

fn pid_of_another_container() {
    let owner = Container::start(&[], IDLE);
    let guest = Container::start(&["--pid", &format!("container:{}", owner.name())], IDLE);
    assert!(!different(owner.pid(), guest.pid()).contains(&"pid"));
    assert_eq!(guest.exec(&[], &["cat", "/proc/1/cmdline"]).ok(), "sleep\u{0}1000\u{0}");
    assert_ne!(guest.exec(&[], &["sh", "-c", "pgrep -f 'sleep 1000' | wc -l"]).ok(), "1");
}

fn network_of_another_container() {
    let owner = Container::start(&[], IDLE);
    let guest = Container::start(&["--network", &format!("container:{}", owner.name())], IDLE);
    assert!(!different(owner.pid(), guest.pid()).contains(&"net"));
    let address = |container: &Container| container.exec(&[], &["ip", "-o", "addr"]).ok();
    assert_eq!(address(&owner), address(&guest));
}

fn network_none_has_only_loopback() {
    let links = run(&["--network", "none"], &["ls", "/sys/class/net"]).ok();
    assert_eq!(links, "lo");
}

fn bridge_reaches_the_neighbour() {
    let server = Container::start(&[], &["nc", "-l", "-p", "7777", "-e", "echo", "hello"]);
    let address = server.inspect("/NetworkSettings/IPAddress");
    let address = address.as_str().expect("an address");
    let said = wait::until("the neighbour answers", || {
        let output = run(&[], &["nc", address, "7777"]);
        (output.status == Some(0)).then(|| output.out())
    });
    assert_eq!(said, "hello");
}

fn cgroup_namespace_is_private_on_request() {
    let differ = of_daemon(&["--cgroupns", "private"]);
    assert!(differ.contains(&"cgroup"), "{differ:?}");
    let seen = run(&["--cgroupns", "private"], &["cat", "/proc/self/cgroup"]).ok();
    assert!(seen.lines().all(|line| line.ends_with(":/")), "{seen}");
}

fn host_networking_keeps_the_hostname_of_the_container() {
    assert_eq!(run(&["--network", "host", "-h", "mine"], &["hostname"]).ok(), "mine");
}

fn nsenter_by_the_pid_of_inspect() {
    let container = Container::start(&["-h", "inside"], IDLE);
    let entered = std::process::Command::new("nsenter")
        .args(["-t", &container.pid().to_string(), "-m", "-u", "-i", "-n", "-p", "-r", "-w"])
        .args(["/bin/sh", "-c", "hostname; pwd; cat /proc/1/cmdline"])
        .output()
        .expect("nsenter can be executed");
    let said = String::from_utf8_lossy(&entered.stdout).into_owned();
    assert_eq!(said, "inside\n/\nsleep\u{0}1000\u{0}", "{entered:?}");
}

fn killing_the_first_process_kills_the_rest() {
    let container = Container::start(&[], IDLE);
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    let other = container.process(&["sleep", "2000"]);
    docker(&["kill", container.name()]).ok();
    container.wait();
    wait::until("the other is gone", || (!host::is_alive(other)).then_some(()));
}

fn removing_kills_everyone_without_a_pid_namespace() {
    let container =
        Container::start(&["--pid", "host"], &["sh", "-c", "sleep 3000 & sleep 3001 & wait"]);
    let (one, other) =
        (container.process(&["sleep", "3000"]), container.process(&["sleep", "3001"]));
    docker(&["rm", "-f", container.name()]).ok();
    wait::until("both are gone", || (!host::is_alive(one) && !host::is_alive(other)).then_some(()));
}
