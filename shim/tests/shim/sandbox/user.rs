//! Pods with a user namespace.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    process::{Child, Command, Stdio},
};

use containerd_shim_protos::{sandbox_api::CreateSandboxRequest, ttrpc::Code};

use super::{CONTAINER, POD, Pod, field, inode, inside, namespace, spec, sysctl};
use crate::common::{host, needs_root, patience, refused};

/// A process in a network namespace of a user namespace, as containerd makes them for a pod with
/// `hostUsers: false`.
struct Mapped(Child);

impl Mapped {
    fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--net", "sh", "-c", "echo; exec sleep 1000"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("unshare");
        let mut line = [0];
        let said = child.stdout.as_mut().expect("it is piped").read(&mut line);
        assert_eq!(said.expect("it talks"), 1);
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", child.id());
            fs::write(path, "0 1000000 65536").expect("root may");
        }
        Self(child)
    }

    fn namespace(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_user_namespace_owns_what_the_pod_shares() {
    needs_root!("making namespaces");
    let mapped = Mapped::start();
    // 1000000, in seven bits at a time.
    let map = [0x08, 0xc0, 0x84, 0x3d, 0x10, 0, 0x18, 0x80, 0x80, 0x04];
    let user = field(5, &[field(2, &map), field(3, &map)].concat());
    for pid in [CONTAINER, POD] {
        let namespaces = [vec![0x10, pid], user.clone()].concat();
        let security = field(2, &field(1, &namespaces));
        let config = field(8, &[security, sysctl("kernel.shmmni", "77")].concat());
        let pod = Pod::start();
        let request =
            CreateSandboxRequest { netns_path: mapped.namespace("net"), ..pod.request(&config) };
        pod.client().create_sandbox(patience(), &request).expect("a sandbox");
        let started = pod.start_sandbox().expect("it starts");
        let spec = spec(&started);
        let path = |kind| namespace(&spec, kind).expect("a namespace of the pod");
        assert_eq!(inode(&path("user")), inode(&mapped.namespace("user")));
        assert_eq!(inode(&path("network")), inode(&mapped.namespace("net")));
        // Its root has rights over them.
        let enter = ["--user", "--uts", "--ipc"]
            .map(|option| format!("{option}={}", path(option.trim_start_matches('-'))));
        let script = "hostname other && hostname && cat /proc/sys/kernel/shmmni && id -u";
        let [user, rest @ ..] = &enter;
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let words = [&rest[..], &["sh", "-c", script]].concat();
        assert_eq!(inside(user, &words), "other\n77\n0");
        let hosts = fs::metadata(pod.bundle.join("hosts")).expect("a file");
        assert_eq!((hosts.uid(), hosts.gid()), (1_000_000, 1_000_000));
        if pid == POD {
            let status = host::proc(started.pid, "status");
            assert!(status.contains("Uid:\t1065535\t"), "{status}");
        }
    }
}

/// Not one of its own: the network namespace is the host's user namespace's.
#[test]
fn a_user_namespace_that_is_nobodys_is_refused() {
    needs_root!("making namespaces");
    let map = [0x08, 0xc0, 0x84, 0x3d, 0x10, 0, 0x18, 1];
    let user = field(5, &[field(2, &map), field(3, &map)].concat());
    let config = field(8, &field(2, &field(1, &user)));
    let pod = Pod::start();
    pod.create_sandbox(&config).expect("a sandbox");
    refused(pod.start_sandbox(), Code::INVALID_ARGUMENT, "no user namespace");
}
