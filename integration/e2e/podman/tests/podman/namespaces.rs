//! Namespaces: new ones, the host's, another container's; user namespaces and their maps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use e2e_podman::{Container, IDLE, Skip, host, needs_root, needs_user, podman, run};

/// Containers with a map of their own, one at a time.
static MAPS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

e2e_common::tests! {
    every_namespace_is_new
    those_of_the_host
    those_of_another_container
    network_namespace_by_path
    network_on_a_bridge
    user_namespace_keeps_the_id
    user_namespace_keeps_the_id_as_another
    user_namespace_without_the_user
    user_namespace_by_itself
    user_namespace_by_map
    exec_in_a_mapped_container
}

fn own(kind: &str) -> std::path::PathBuf {
    host::namespace(std::process::id(), kind)
}

fn every_namespace_is_new() {
    let container = Container::start(&[], IDLE);
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(host::namespace(container.pid(), kind), own(kind), "{kind}");
    }
}

fn those_of_the_host() {
    let flags = ["--pid=host", "--ipc=host", "--network=host", "--uts=host", "--cgroupns=host"];
    let container = Container::start(&flags, IDLE);
    for kind in ["pid", "ipc", "net", "uts", "cgroup"] {
        assert_eq!(host::namespace(container.pid(), kind), own(kind), "{kind}");
    }
    let sees = container.exec(&[], &["cat", &format!("/proc/{}/comm", std::process::id())]);
    assert_eq!(sees.ok(), host::proc(std::process::id(), "comm").trim_end());
    podman(&["stop", "-t", "0", container.name()]).ok();
    assert_eq!(container.wait(), "137");
}

fn those_of_another_container() {
    let first = Container::start(&["--ipc=shareable"], IDLE);
    let of = |kind: &str| format!("--{kind}=container:{}", first.name());
    let flags = [of("pid"), of("ipc"), of("network"), of("uts")];
    let second = Container::start(&flags.each_ref().map(String::as_str), IDLE);
    for kind in ["pid", "ipc", "net", "uts"] {
        let shared = host::namespace(first.pid(), kind);
        assert_eq!(host::namespace(second.pid(), kind), shared, "{kind}");
    }
    assert_eq!(second.exec(&[], &["cat", "/proc/1/cmdline"]).ok(), "sleep\u{0}1000\u{0}");
}

fn network_namespace_by_path() {
    let first = Container::start(&[], IDLE);
    let path = format!("ns:/proc/{}/ns/net", first.pid());
    let second = Container::start(&["--network", &path], IDLE);
    assert_eq!(host::namespace(second.pid(), "net"), host::namespace(first.pid(), "net"));
}

fn network_on_a_bridge() -> Result<(), Skip> {
    needs_root()?;
    let seen = run(&["--network", "bridge"], &["ip", "-4", "addr", "show", "eth0"]).ok();
    assert!(seen.contains("inet 10.88."), "{seen}");
    Ok(())
}

/// Lines of `/proc/self/uid_map` in a container.
fn map(flags: &[&str]) -> Vec<Vec<u32>> {
    let map = run(flags, &["cat", "/proc/self/uid_map"]).ok();
    let number = |word: &str| word.parse().expect("a number");
    map.lines().map(|line| line.split_whitespace().map(number).collect()).collect()
}

fn user_namespace_keeps_the_id() {
    let _alone = alone();
    let container = Container::start(&["--userns=keep-id"], IDLE);
    let own = host::status(std::process::id(), "Uid");
    assert_eq!(host::status(container.pid(), "Uid"), own);
    let uid = own.split(' ').next().unwrap_or_default();
    assert_eq!(container.exec(&[], &["id", "-u"]).ok(), uid);
}

fn user_namespace_keeps_the_id_as_another() {
    let _alone = alone();
    let flags = ["--userns=keep-id:uid=5,gid=6"];
    let told =
        run(&flags, &["sh", "-c", "id -u; id -g; touch /dev/shm/x; stat -c %u:%g /dev/shm/x"]);
    assert_eq!(told.ok(), "5\n6\n5:6");
}

fn user_namespace_without_the_user() -> Result<(), Skip> {
    needs_user()?;
    let _alone = alone();
    // The first subordinate id of the user, and not the user's own.
    assert_eq!(map(&["--userns=nomap"])[0][..2], [0, 1]);
    Ok(())
}

fn user_namespace_by_itself() -> Result<(), Skip> {
    needs_user()?;
    // A container that has all ids of the user would leave none.
    let _alone = alone();
    let map = map(&["--userns=auto:size=500"]);
    assert_eq!((map.len(), map[0][0], map[0][2]), (1, 0, 500), "{map:?}");
    Ok(())
}

fn user_namespace_by_map() {
    let _alone = alone();
    let ids = "0:10000:1000";
    assert_eq!(map(&["--uidmap", ids, "--gidmap", ids]), [[0, 10000, 1000]]);
    let told = run(&["--uidmap", ids], &["stat", "-c", "%u", "/bin/busybox", "/proc/1"]);
    assert_eq!(told.ok(), "0\n0");
}

fn exec_in_a_mapped_container() {
    let _alone = alone();
    let container = Container::start(&["--uidmap", "0:10000:1000", "--user", "7"], IDLE);
    let outer = host::status(container.pid(), "Uid");
    let outer: u32 = outer.split(' ').next().and_then(|uid| uid.parse().ok()).unwrap_or_default();
    // For an ordinary user, that is one of the subordinate ids.
    assert!(outer > 10000, "{outer}");
    assert_eq!(container.exec(&[], &["id", "-u"]).ok(), "7");
    let process = host::namespace(container.pid(), "user");
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    assert_eq!(host::namespace(container.process(&["sleep", "2000"]), "user"), process);
}
