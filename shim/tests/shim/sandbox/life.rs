//! The sandbox service: the life of a pod, what is refused, and what is said of it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use containerd_shim_protos::{
    api::{ConnectRequest, CreateTaskRequest},
    sandbox_api::{
        CreateSandboxRequest, PingRequest, PlatformRequest, SandboxMetricsRequest,
        WaitSandboxRequest,
    },
    ttrpc::Code,
};
use serde_json::Value;

use super::{CONTAINER, POD, Pod, config, field, sysctl};
use crate::common::{code, host, needs_root, patience, refused};

#[test]
fn a_life() {
    needs_root!("making namespaces");
    let pod = Pod::start();
    pod.create_sandbox(&config(POD, CONTAINER, POD, &[])).expect("a sandbox");
    assert_eq!(pod.status().state, "SANDBOX_NOTREADY");
    pod.start_sandbox().expect("it starts");
    let status = pod.status();
    assert_eq!((&*status.state, status.exited_at.is_some()), ("SANDBOX_READY", false));
    let info: Value = serde_json::from_str(&status.info["info"]).expect("JSON");
    assert!(info["namespaces"]["ipc"].is_string(), "{info}");
    let id = || "pod".to_owned();
    let client = pod.client();
    let platform = PlatformRequest { sandbox_id: id(), ..Default::default() };
    let platform = client.platform(patience(), &platform).expect("a platform").platform;
    assert_eq!((&*platform.os, &*platform.architecture), ("linux", "amd64"));
    let ping = PingRequest { sandbox_id: id(), ..Default::default() };
    client.ping_sandbox(patience(), &ping).expect("it is there");
    let connect = ConnectRequest { id: id(), ..Default::default() };
    let connected = pod.tasks().connect(patience(), &connect).expect("a restarted containerd");
    assert_eq!(connected.shim_pid, pod.pid);
    let wait = WaitSandboxRequest { sandbox_id: id(), ..Default::default() };
    let exit = thread::scope(|scope| {
        let waiting = scope.spawn(|| pod.client().wait_sandbox(patience(), &wait));
        pod.stop().expect("it stops");
        waiting.join().expect("no panic").expect("an exit")
    });
    pod.stop().expect("twice is fine");
    let status = pod.status();
    assert_eq!((&*status.state, exit.exit_status), ("SANDBOX_NOTREADY", 0));
    assert_eq!(status.exited_at, exit.exited_at);
    assert_eq!(client.wait_sandbox(patience(), &wait).expect("an exit"), exit);
    pod.shut_down().expect("nothing keeps it");
    assert!(pod.ends());
    assert!(!pod.socket.exists());
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    needs_root!("making namespaces");
    let pod = Pod::start();
    assert_eq!(code(pod.start_sandbox()), Code::NOT_FOUND);
    assert_eq!(code(pod.stop()), Code::NOT_FOUND);
    let other = CreateSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    assert_eq!(code(pod.client().create_sandbox(patience(), &other)), Code::INVALID_ARGUMENT);
    refused(pod.create_sandbox(b"\x12\x7f"), Code::INVALID_ARGUMENT, "message");

    let wrong = config(POD, CONTAINER, POD, &[sysctl("vm.swappiness", "1")]);
    pod.create_sandbox(&wrong).expect("a sandbox");
    assert_eq!(code(pod.create_sandbox(&wrong)), Code::ALREADY_EXISTS);
    refused(pod.start_sandbox(), Code::INVALID_ARGUMENT, "vm.swappiness");
    pod.bundle.has_no_mount();

    let task = pod.create(CreateTaskRequest::new());
    refused(task, Code::FAILED_PRECONDITION, "not running");
    let metrics = SandboxMetricsRequest { sandbox_id: "pod".into(), ..Default::default() };
    refused(pod.client().sandbox_metrics(patience(), &metrics), Code::NOT_FOUND, "no cgroup");
    let wait = WaitSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    assert_eq!(code(pod.client().wait_sandbox(patience(), &wait)), Code::NOT_FOUND);
    pod.shut_down().expect("it is good for nothing");
    assert!(pod.ends());
}

/// Where the cgroups of one hierarchy are, and the message that tells of it.
fn hierarchy() -> (PathBuf, &'static str) {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    match unified {
        true => ("/sys/fs/cgroup".into(), "io.containerd.cgroups.v2.Metrics"),
        false => ("/sys/fs/cgroup/memory".into(), "io.containerd.cgroups.v1.Metrics"),
    }
}

#[test]
fn metrics_are_those_of_the_pods_cgroup() {
    needs_root!("making namespaces");
    let (root, name) = hierarchy();
    let cgroup = format!("/pod-metrics-{}", std::process::id());
    let directory = root.join(&cgroup[1..]);
    if let Err(error) = fs::create_dir(&directory) {
        println!("skipped: no cgroup can be made in {root:?}: {error}");
        return;
    }
    let linux = [field(1, cgroup.as_bytes()), field(2, &field(1, &[0x10, 1]))].concat();
    let (pod, _) = Pod::with(&field(8, &linux));
    let request = SandboxMetricsRequest { sandbox_id: "pod".into(), ..Default::default() };
    let answer = pod.client().sandbox_metrics(patience(), &request);
    fs::remove_dir(&directory).expect("it is empty");
    let metrics = answer.expect("figures").metrics;
    assert_eq!((&*metrics.id, &*metrics.data.type_url), ("pod", name));
    assert!(metrics.timestamp.seconds > 0 && !metrics.data.value.is_empty());
    assert_eq!(code(pod.client().sandbox_metrics(patience(), &request)), Code::NOT_FOUND);
}

/// One thread, and little that is its own.
#[test]
fn an_idle_pod_is_small() {
    needs_root!("making namespaces");
    let (pod, _) = Pod::with(&config(POD, CONTAINER, POD, &[]));
    assert!(host::proc(pod.pid, "status").contains("Threads:\t1\n"));
    let memory = host::proc(pod.pid, "smaps_rollup");
    let anonymous = memory.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let anonymous = anonymous.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u32>().ok());
    assert!(anonymous.is_some_and(|size| size <= 512), "{memory}");
}
