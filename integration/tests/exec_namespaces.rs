//! `exec` into containers with namespaces of every origin, and into those that are not there any
//! more.

use std::{collections::BTreeMap, fs, path::Path};

use integration::{Bundle, Container, Feature, Kind, Test, host, needs, only_on, test::parse};
use serde_json::json;

const HOST_ID: u32 = 100_000;
const SIZE: u32 = 65_536;

/// Those of a process that an exec should share; `…_for_children` follow.
fn namespaces(pid: i32) -> BTreeMap<String, u64> {
    host::namespaces(pid)
}

fn assert_inside(container: &Container<'_>) {
    let facts = container.exec_facts(&[]);
    assert_eq!(facts.namespaces, namespaces(container.pid));
}

/// A new namespace of each kind.
fn all_new(bundle: Bundle) -> Bundle {
    ["cgroup", "time"].iter().fold(bundle, |bundle, kind| bundle.namespace(kind, None))
}

#[test]
fn every_namespace_of_a_container_is_entered() {
    let test = Test::new();
    needs!(Feature::UserNamespaces, Feature::TimeNamespaces);
    if test.predates(&[(Kind::Runc, (1, 2))], "the time namespace came with runtime spec 1.1") {
        return;
    }
    let bundle = all_new(test.bundle()).user_namespace(HOST_ID, SIZE).edit(|config| {
        config["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": 7000 } });
    });
    let container = test.serve(bundle);
    assert_inside(&container);
    let facts = container.exec_facts(&["--user", "5:6", "-g", "7"]);
    assert_eq!(facts.uid_map, [(0, HOST_ID, SIZE)]);
    assert_eq!((facts.uids, facts.gids), ([5; 4], [6; 4]));
    assert!(facts.groups.contains(&7), "{:?}", facts.groups);
    assert_eq!(facts.timens["monotonic"], 7000);
    assert!(facts.pid > 1);
    container.remove();
}

#[test]
fn an_id_that_is_not_mapped_cannot_be_entered_as() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let container = test.serve(test.bundle().user_namespace(HOST_ID, 1000));
    for options in [["--user", "1000"], ["--user", "0:1000"]] {
        let output = container.exec_with(&options, &["/bin/true"]);
        output.fails();
        if test.runtime.is(Kind::Rtn) {
            output.fails_with("not mapped");
        }
    }
    container.exec_with(&["--user", "999:999"], &["/bin/true"]).ok();
    container.remove();
}

#[test]
fn joined_namespaces_are_entered_like_new_ones() {
    let test = Test::new();
    needs!(Feature::Root);
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    let mut bundle = test.bundle().edit(|config| config["hostname"] = json!(null));
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        let path = format!("/proc/{}/ns/{name}", other.pid);
        bundle = bundle.namespace(kind, Some(Path::new(&path)));
    }
    let container = test.serve(bundle);
    let facts = container.exec_facts(&[]);
    let theirs = namespaces(other.pid);
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(facts.namespaces[name], theirs[name], "{name}");
    }
    assert_inside(&container);
    // The other's pid namespace ends when all in it have been waited for.
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.delete();
    other.remove();
}

#[test]
fn a_joined_user_namespace_is_entered() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    let other = test.bundle_named("other").user_namespace(HOST_ID, SIZE).serve();
    let other = test.create_as("-other", &[], &other);
    let path = format!("/proc/{}/ns/user", other.pid);
    let bundle =
        test.bundle().user_namespace(HOST_ID, SIZE).namespace("user", Some(Path::new(&path)));
    let container = test.serve(bundle);
    let facts = container.exec_facts(&["--user", "3:4"]);
    assert_eq!(facts.namespaces["user"], namespaces(other.pid)["user"]);
    assert_eq!((facts.uids, facts.uid_map), ([3; 4], vec![(0, HOST_ID, SIZE)]));
    container.remove();
    other.remove();
}

#[test]
fn a_pid_namespace_of_the_hosts_is_shared() {
    let test = Test::new();
    let container = test.serve(test.bundle().without_namespace("pid"));
    let facts = container.exec_facts(&[]);
    assert_eq!(facts.namespaces["pid"], namespaces(std::process::id() as i32)["pid"]);
    assert_inside(&container);
    container.remove();
}

#[test]
fn a_container_whose_first_process_is_gone_is_not_entered() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun has other words");
    // Only a cgroup tells whose what is left is.
    needs!(Feature::Controller("freezer"));
    // In the host's pid namespace the others outlive it.
    let bundle = test.bundle().without_namespace("pid");
    let container = test.start(&bundle.shell("sleep 1000 & exit 3"));
    assert_eq!(container.wait(), 3);
    let output = container.exec(&["/bin/true"]);
    assert_eq!(output.status, 255, "{output:?}");
    output.fails_with("cannot exec in a stopped container");
    container.remove();
}

#[test]
fn the_words_for_containers_that_cannot_be_entered() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun has other words");
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    container.wait();
    container.exec(&["/bin/true"]).fails_with("cannot exec in a stopped container");
    container.delete();
    let output = container.exec(&["/bin/true"]);
    assert_eq!(output.status, 255, "{output:?}");
    output.fails_with("does not exist");
}

#[test]
fn a_container_that_waits_for_start_is_entered_in_its_own_root() {
    let test = Test::new();
    let bundle = test.bundle().file("/marker", "inside").args(&["/bin/probe", "write", "/ran", ""]);
    let container = test.create(&bundle);
    let facts = parse(container.exec(&["/bin/probe", "facts", "--read", "/marker"]).ok());
    assert_eq!(facts.files["/marker"].as_deref(), Ok("inside"));
    assert_eq!(container.status(), "created");
    assert!(!bundle.rootfs().join("ran").exists());
    container.start();
    assert_eq!(container.wait(), 0);
    assert!(bundle.rootfs().join("ran").exists());
    container.delete();
}

#[test]
fn limits_of_a_process_in_a_user_namespace_are_set_from_outside() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 },
        { "type": "RLIMIT_NPROC", "soft": 50, "hard": 60 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).edit(|config| {
        config["process"]["rlimits"] = limits;
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let container = test.serve(bundle);
    let seen = fs::read_to_string(format!("/proc/{}/limits", container.pid)).expect("limits");
    let line = seen.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert!(line.contains(" 64 ") && line.contains(" 128 "), "{line}");
    if !test.excuses(&[Kind::Crun], "crun's exec takes nothing of the configuration") {
        let facts = container.exec_facts(&[]);
        let (soft, hard) = facts.rlimits["nofile"];
        assert_eq!(hard, 128);
        if !test.excuses(&[Kind::Runc], "Go may undo it (opencontainers/runc#4195)") {
            assert_eq!(soft, 64);
        }
        assert_eq!((facts.rlimits["nproc"], facts.rlimits["core"]), ((50, 60), (0, 0)));
    }
    container.remove();
}
