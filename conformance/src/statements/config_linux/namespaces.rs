//! config-linux.md "Namespaces": what each type is good for.

use std::{fs, os::linux::net::SocketAddrExt, path::Path, process::Command};

use integration::{Feature, Test, bundle::push, host, needs};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use crate::{Statement, required, should, skip};

pub(super) const SECTION: &str = r#"config-linux.md "Namespaces""#;

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config-linux.namespaces.type",
        SECTION,
        "type (string, REQUIRED) - namespace type.",
    )
    .test(the_type_is_not_optional),
    should(
        "config-linux.namespaces.pid",
        SECTION,
        "The following namespace types SHOULD be supported: pid processes inside the container will only be able \
         to see other processes inside the same container or inside the same pid namespace.",
    )
    .test(only_its_own_processes_are_seen),
    should(
        "config-linux.namespaces.network",
        SECTION,
        "The following namespace types SHOULD be supported: network the container will have its own network stack.",
    )
    .test(the_network_stack_is_its_own),
    should(
        "config-linux.namespaces.mount",
        SECTION,
        "The following namespace types SHOULD be supported: mount the container will have an isolated mount table.",
    )
    .test(the_mount_table_is_isolated),
    should(
        "config-linux.namespaces.ipc",
        SECTION,
        "The following namespace types SHOULD be supported: ipc processes inside the container will only be able \
         to communicate to other processes inside the same container via system level IPC.",
    )
    .test(ipc_objects_are_its_own),
    should(
        "config-linux.namespaces.uts",
        SECTION,
        "The following namespace types SHOULD be supported: uts the container will be able to have its own \
         hostname and domain name.",
    )
    .test(names_are_its_own),
    should(
        "config-linux.namespaces.user",
        SECTION,
        "The following namespace types SHOULD be supported: user the container will be able to remap user and \
         group IDs from the host to local users and groups within the container.",
    )
    .test(ids_are_remapped),
    should(
        "config-linux.namespaces.cgroup",
        SECTION,
        "The following namespace types SHOULD be supported: cgroup the container will have an isolated view of the \
         cgroup hierarchy.",
    )
    .test(its_cgroup_is_the_root_of_its_view),
    should(
        "config-linux.namespaces.time",
        SECTION,
        "The following namespace types SHOULD be supported: time the container will be able to have its own clocks.",
    )
    .test(clocks_are_its_own),
];

fn the_type_is_not_optional(test: &Test) {
    let bundle = test.bundle().edit(|config| push(&mut config["linux"]["namespaces"], json!({})));
    test.create_fails(&bundle);
}

fn only_its_own_processes_are_seen(test: &Test) {
    let output = test.run(&test.bundle().shell("cd /proc; echo [0-9]*"));
    assert_eq!(output.ok().trim(), "1", "the processes in /proc");
}

/// Abstract sockets belong to the network namespace.
fn the_network_stack_is_its_own(test: &Test) {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(test.id()).expect("a name");
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).expect("a socket");
    let seen = |bundle| {
        let facts = test.facts_with(&["--read", "/proc/net/unix"], bundle);
        facts.files["/proc/net/unix"].as_ref().expect("sockets").contains(test.id())
    };
    assert!(
        seen(test.bundle_named("host").without_namespace("network")),
        "the host's stack has it"
    );
    assert!(!seen(test.bundle_named("own")), "the container sees a socket of the host's stack");
}

fn the_mount_table_is_isolated(test: &Test) {
    let container = test.serve(test.bundle());
    let inside = container.exec_facts(&[]).mounts;
    let outside = host::mounts();
    container.remove();
    assert!(inside.iter().any(|mount| mount.target == "/dev/shm"), "{inside:?}");
    let leaked = outside.iter().find(|mount| Path::new(&mount.target).starts_with(test.dir()));
    assert_eq!(leaked, None, "the host sees a mount of the container");
}

/// The case is a process of its own, so the segment goes with its namespace.
fn ipc_objects_are_its_own(test: &Test) {
    unshare(CloneFlags::CLONE_NEWIPC).expect("an ipc namespace");
    if !Command::new("ipcmk").args(["--shmem", "4096"]).output().is_ok_and(|o| o.status.success()) {
        skip!("this machine lacks ipcmk, which makes a shared memory segment");
    }
    let segments = |bundle| {
        let facts = test.facts_with(&["--read", "/proc/sysvipc/shm"], bundle);
        facts.files["/proc/sysvipc/shm"].as_ref().expect("segments").lines().skip(1).count()
    };
    assert_eq!(segments(test.bundle_named("host").without_namespace("ipc")), 1, "the host's");
    assert_eq!(segments(test.bundle_named("own")), 0, "the container's");
}

fn names_are_its_own(test: &Test) {
    let read = |file| fs::read_to_string(format!("/proc/sys/kernel/{file}")).expect("a name");
    let before = (read("hostname"), read("domainname"));
    let bundle = test.bundle().capabilities(&["CAP_SYS_ADMIN"]).edit(|config| {
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let script = "echo inner >/proc/sys/kernel/hostname && echo nis >/proc/sys/kernel/domainname; probe facts";
    let facts = integration::test::parse(test.run(&bundle.shell(script)).ok());
    assert_eq!((facts.hostname.as_str(), facts.domainname.as_str()), ("inner", "nis"));
    assert_eq!((read("hostname"), read("domainname")), before, "the host's names");
}

fn ids_are_remapped(test: &Test) {
    needs!(Feature::UserNamespaces);
    let facts = test.facts_with(&["--stat", "/etc"], test.bundle().user_namespace(200_000, 65_536));
    assert_eq!((facts.uids, facts.gids), ([0; 4], [0; 4]));
    assert_eq!(facts.uid_map, [(0, 200_000, 65_536)]);
    let etc = facts.stats["/etc"].as_ref().expect("/etc");
    assert_eq!((etc.uid, etc.gid), (0, 0), "a file of 200000 outside");
}

fn its_cgroup_is_the_root_of_its_view(test: &Test) {
    let facts = test.facts(&test.bundle().namespace("cgroup", None));
    assert!(!facts.cgroups.is_empty());
    // A runtime of v1 leaves the v2 tree of a hybrid host alone.
    let hybrid = facts.cgroups.len() > 1;
    for line in facts.cgroups.iter().filter(|line| !(hybrid && line.starts_with("0::"))) {
        assert!(line.ends_with(":/"), "{line}");
    }
}

fn clocks_are_its_own(test: &Test) {
    needs!(Feature::TimeNamespaces);
    let bundle = test.bundle().namespace("time", None).edit(|config| {
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000_000 } });
    });
    let facts = test.facts_with(&["--read", "/proc/uptime"], bundle);
    let uptime = facts.files["/proc/uptime"].as_ref().expect("uptime");
    let seconds: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).expect("seconds");
    assert!(seconds > 1e9, "the container is up for {seconds} s");
}
