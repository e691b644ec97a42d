//! The containers of a pod that has no process of its own.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, DeleteRequest, StartRequest, WaitRequest},
    ttrpc::Code,
};
use serde_json::json;

use super::{CONTAINER, POD, Pod, config, inode, namespace, spec};
use crate::common::{host, needs_root, packed, patience, refused};

/// A container that sleeps, as containerd describes it for a pod whose sandbox has no process.
struct Container<'a> {
    pod: &'a Pod,
    id: String,
    bundle: PathBuf,
    pid: u32,
}

impl<'a> Container<'a> {
    /// `None` where there is nothing to run it with.
    fn start(pod: &'a Pod) -> Option<Self> {
        host::runtime()?;
        let id = format!("c-{}", pod.bundle.file_name()?.to_string_lossy());
        let bundle = pod.bundle.join("c1");
        host::make_root(&bundle);
        let path = |file: &str| format!("/proc/0/ns/{file}");
        let config = json!({
            "ociVersion": "1.2.0",
            "annotations": {"io.kubernetes.cri.sandbox-id": "pod"},
            "process": {"args": ["/bin/busybox", "sleep", "1000"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
            ],
            "linux": {"namespaces": [
                {"type": "mount"},
                {"type": "pid"},
                {"type": "network", "path": path("net")},
                {"type": "ipc", "path": path("ipc")},
                {"type": "uts", "path": path("uts")},
            ]},
        });
        fs::write(bundle.join("config.json"), config.to_string()).expect("config.json");
        let request = CreateTaskRequest {
            id: id.clone(),
            bundle: bundle.to_string_lossy().into_owned(),
            options: Some(packed(&pod.bundle.options())).into(),
            ..Default::default()
        };
        let pid = pod.tasks().create(patience(), &request).expect("a container").pid;
        let request = StartRequest { id: id.clone(), ..Default::default() };
        pod.tasks().start(patience(), &request).expect("it starts");
        Some(Self { pod, id, bundle, pid })
    }

    fn exit_status(&self) -> u32 {
        let request = WaitRequest { id: self.id.clone(), ..Default::default() };
        self.pod.tasks().wait(patience(), &request).expect("an exit").exit_status
    }

    fn delete(&self) {
        let request = DeleteRequest { id: self.id.clone(), ..Default::default() };
        self.pod.tasks().delete(patience(), &request).expect("it has ended");
    }
}

#[test]
fn containers_are_in_the_pod_and_end_with_it() {
    needs_root!("making namespaces");
    let (pod, started) = Pod::with(&config(POD, CONTAINER, POD, &[]));
    let Some(container) = Container::start(&pod) else { return };
    let spec = spec(&started);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let held = namespace(&spec, kind).expect("a namespace of the pod");
        assert_eq!(inode(&held), inode(&format!("/proc/{}/ns/{file}", container.pid)), "{kind}");
    }
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let device = |path: &Path| fs::metadata(path).expect("a directory").dev();
    assert_eq!(device(&root.join("dev/shm")), device(&pod.bundle.join("shm")));
    assert_eq!(fs::read(root.join("etc/hostname")).expect("a file"), b"pod-name\n");
    refused(pod.shut_down(), Code::FAILED_PRECONDITION, "has containers");
    assert_eq!(pod.status().state, "SANDBOX_READY");
    pod.stop().expect("it stops");
    assert_eq!(container.exit_status(), 137);
    container.delete();
    pod.shut_down().expect("nothing keeps it");
    assert!(pod.ends());
}

/// A containerd that leaves the containers of a sandbox to its shim calls `delete` for the sandbox
/// alone.
#[test]
fn delete_takes_the_containers_along() {
    needs_root!("making namespaces");
    let (pod, _) = Pod::with(&config(POD, CONTAINER, POD, &[]));
    let Some(container) = Container::start(&pod) else { return };
    let first = host::pidfd(container.pid).expect("it lives");
    pod.kill();
    pod.bundle.delete();
    assert!(host::ends(&first));
    let states = pod.bundle.join("states/tests");
    assert_eq!(fs::read_dir(states).expect("it was there").count(), 0);
    assert!(container.bundle.exists());
    pod.bundle.has_no_mount();
}
