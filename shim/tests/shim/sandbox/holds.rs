//! What a pod holds for its containers: namespaces, files, and a first process if they share theirs.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use containerd_shim_protos::{sandbox_api::CreateSandboxRequest, ttrpc::Code};
use serde_json::json;

use super::{CONTAINER, NODE, POD, Pod, config, field, inode, inside, namespace, spec, sysctl};
use crate::common::{host, needs_root, patience, refused};

#[test]
fn a_pod_is_held_without_a_process() {
    needs_root!("making namespaces");
    let sysctls = [sysctl("kernel.shmmni", "77"), sysctl("net.ipv4.ip_forward", "1")];
    let (pod, started) = Pod::with(&config(POD, CONTAINER, POD, &sysctls));
    assert_eq!((started.pid, host::children(pod.pid)), (0, Vec::new()));
    let spec = spec(&started);
    let path = |kind| namespace(&spec, kind).expect("a namespace of the pod");
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        assert_ne!(inode(&path(kind)), inode(&format!("/proc/self/ns/{file}")), "{kind}");
        let shims = format!("/proc/{}/ns/{file}", pod.pid);
        assert_eq!(inode(&shims), inode(&format!("/proc/self/ns/{file}")), "{kind}");
    }
    assert_eq!(inside(&format!("--uts={}", path("uts")), &["hostname"]), "pod-name");
    let read = |option: String, name| inside(&option, &["cat", &format!("/proc/sys/{name}")]);
    assert_eq!(read(format!("--ipc={}", path("ipc")), "kernel/shmmni"), "77");
    let net = format!("--net={}", path("network"));
    assert_eq!(read(net.clone(), "net/ipv4/ip_forward"), "1");
    assert_eq!(read(net.clone(), "net/ipv4/ip_unprivileged_port_start"), "0");
    assert!(inside(&net, &["ip", "-o", "link", "show", "lo"]).contains("UP"));
    let pid = namespace(&spec, "pid");
    assert_eq!(pid, None, "an entry without a path: containers have their own");
    assert!(spec.to_string().contains("{\"type\":\"pid\"}"), "{spec}");
}

#[test]
fn a_pod_has_the_files_of_its_containers() {
    needs_root!("making namespaces");
    let dns = [field(1, b"10.0.0.10"), field(2, b"svc.local"), field(3, b"ndots:5")].concat();
    let (pod, started) = Pod::with(&[config(POD, CONTAINER, POD, &[]), field(4, &dns)].concat());
    let spec = spec(&started);
    let source = |target: &str| {
        let mounts = spec["mounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["destination"] == target).expect("a mount");
        PathBuf::from(mount["source"].as_str().expect("a source"))
    };
    let text = |target| fs::read_to_string(source(target)).expect("a file");
    assert_eq!(text("/etc/hostname"), "pod-name\n");
    assert_eq!(text("/etc/hosts"), fs::read_to_string("/etc/hosts").expect("the host's"));
    assert_eq!(
        text("/etc/resolv.conf"),
        "search svc.local\nnameserver 10.0.0.10\noptions ndots:5\n"
    );
    let shm = fs::metadata(source("/dev/shm")).expect("a directory");
    assert_eq!((shm.mode() & 0o7777, pod.bundle.mounts().len()), (0o1777, 1));
    pod.stop().expect("it stops");
    pod.bundle.has_no_mount();
}

#[test]
fn a_pod_of_the_host_holds_nothing() {
    needs_root!("making namespaces");
    let (pod, started) = Pod::with(&config(NODE, NODE, NODE, &[]));
    assert_eq!(spec(&started)["linux"]["namespaces"], json!([]));
    assert_eq!((started.pid, pod.bundle.mounts().len()), (0, 0));
}

#[test]
fn a_shared_pid_namespace_has_a_first_process_that_can_do_nothing() {
    needs_root!("making namespaces");
    let (pod, started) = Pod::with(&config(POD, POD, POD, &[]));
    let pid = started.pid;
    assert_ne!(pid, 0);
    assert_eq!(pod.status().pid, pid);
    let spec = spec(&started);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        let held = namespace(&spec, kind).expect("a namespace of the pod");
        assert_eq!(inode(&held), inode(&format!("/proc/{pid}/ns/{file}")), "{kind}");
        assert_ne!(inode(&held), inode(&format!("/proc/self/ns/{file}")), "{kind}");
    }
    let first = host::pidfd(pid).expect("it lives");
    let status = host::proc(pid, "status");
    for line in ["Uid:\t65535\t65535\t65535\t65535", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.contains(line), "{status}");
    }
    let names = |path: &str| {
        let entries = fs::read_dir(format!("/proc/{pid}/{path}")).expect("a directory").flatten();
        entries.map(|entry| entry.file_name().into_string().expect("text")).collect::<Vec<_>>()
    };
    assert_eq!((names("root"), names("fd")), (vec!["pause".to_owned()], Vec::new()));
    let program = fs::metadata(format!("/proc/{pid}/exe")).expect("its program");
    assert!(program.len() < 4096, "{program:?}");
    // Whoever loses its parent in there becomes its child, and leaves nothing.
    let enter = format!("--pid=/proc/{pid}/ns/pid");
    inside(&enter, &["sh", "-c", "sleep 1000 >&- 2>&- &"]);
    let orphan = host::children(pid).pop().expect("an orphan");
    host::kill(orphan);
    let entry = format!("/proc/{orphan}");
    host::until("it is waited for", || !Path::new(&entry).exists());
    pod.stop().expect("it stops");
    assert!(host::ends(&first));
    assert_eq!(pod.status().state, "SANDBOX_NOTREADY");
}

#[test]
fn a_network_that_is_none_is_refused() {
    needs_root!("making namespaces");
    let pod = Pod::start();
    let netns_path = "/proc/self/ns/uts".to_owned();
    let request = CreateSandboxRequest { netns_path, ..pod.request(&[]) };
    pod.client().create_sandbox(patience(), &request).expect("it is looked at later");
    refused(pod.start_sandbox(), Code::INVALID_ARGUMENT, "not a network namespace");
    pod.shut_down().expect("it is good for nothing");
    assert!(pod.ends());
}
