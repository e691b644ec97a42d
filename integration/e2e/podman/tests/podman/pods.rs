//! Pods: containers with namespaces in common, and those that a file of Kubernetes describes.

use std::fs;

use e2e_podman::{Container, Engine, IMAGE, Place, Podman, cgroup_of, host, podman};

e2e_common::tests! {
    pod_shares_its_namespaces
    pod_pauses_stops_and_starts
    pod_is_in_a_cgroup_of_its_own
    pod_of_a_file
}

/// A pod that is removed by force.
struct Pod(String);

impl Pod {
    fn create(flags: &[&str]) -> Self {
        let pod = Self(Container::named().name().replace("test", "pod"));
        podman(&[&["pod", "create", "--name", &pod.0, "--network", "none"], flags].concat()).ok();
        pod
    }

    /// A running container in it.
    fn run(&self) -> Container {
        let container = Container::named();
        container.call(&["run", "-d"], &["--pod", &self.0], e2e_podman::IDLE).ok();
        container.executed(e2e_podman::IDLE);
        container
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Gone already in tests that remove it.
        let _ = std::panic::catch_unwind(|| podman(&["pod", "rm", "-f", "-t", "0", &self.0]));
    }
}

fn pod_shares_its_namespaces() {
    let pod = Pod::create(&["--share", "pid,ipc,net,uts", "--hostname", "podded"]);
    let (first, second) = (pod.run(), pod.run());
    for kind in ["pid", "ipc", "net", "uts"] {
        let (one, two) = (host::namespace(first.pid(), kind), host::namespace(second.pid(), kind));
        assert_eq!(one, two, "{kind}");
    }
    assert_ne!(host::namespace(first.pid(), "mnt"), host::namespace(second.pid(), "mnt"));
    assert_eq!(second.exec(&[], &["hostname"]).ok(), "podded");
    let line = second.exec(&[], &["cat", "/proc/1/cmdline"]).ok();
    assert!(line.starts_with("/catatonit"), "{line:?}");
    // One process of a pid namespace that others live in can be stopped alone.
    podman(&["rm", "-f", "-t", "0", first.name()]).ok();
    assert!(host::is_alive(second.pid()));
}

fn pod_pauses_stops_and_starts() {
    let pod = Pod::create(&[]);
    let container = pod.run();
    podman(&["pod", "pause", &pod.0]).ok();
    assert_eq!(container.status(), "paused");
    podman(&["pod", "unpause", &pod.0]).ok();
    podman(&["pod", "stop", "-t", "0", &pod.0]).ok();
    assert_eq!(container.status(), "exited");
    podman(&["pod", "start", &pod.0]).ok();
    assert_eq!(container.status(), "running");
    podman(&["pod", "rm", "-f", "-t", "0", &pod.0]).ok();
    assert!(container.is_gone());
}

fn pod_is_in_a_cgroup_of_its_own() {
    let pod = Pod::create(&[]);
    let container = pod.run();
    let cgroup = cgroup_of(container.pid());
    let slice = cgroup.ancestors().find(|path| path.to_string_lossy().ends_with(".slice"));
    let slice = slice.expect("a slice").to_owned();
    assert!(slice.to_string_lossy().contains("libpod_pod_"), "{}", slice.display());
    podman(&["pod", "rm", "-f", "-t", "0", &pod.0]).ok();
    assert!(!cgroup.exists() && !slice.exists(), "{}", slice.display());
}

fn pod_of_a_file() {
    let yaml = Place::shared().file("pod.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: filed}}\nspec:\n  containers:\n\
         \x20 - {{name: a, image: localhost/{IMAGE}, imagePullPolicy: Never, command: [sleep, '1000'],\
         \x20    securityContext: {{runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}}}\n\
         \x20 - {{name: b, image: localhost/{IMAGE}, imagePullPolicy: Never, command: [sleep, '1000'],\
         \x20    volumeMounts: [{{name: v, mountPath: /v}}]}}\n\
         \x20 volumes: [{{name: v, emptyDir: {{}}}}]\n"
    );
    fs::write(&yaml, text).expect("a file");
    let yaml = yaml.to_string_lossy();
    podman(&["kube", "play", "--network", "none", &yaml]).ok();
    let told = podman(&["exec", "filed-a", "sh", "-c", "id -u; grep CapBnd /proc/self/status"]);
    let written = podman(&["exec", "filed-b", "touch", "/v/x"]);
    let generated = podman(&["kube", "generate", "filed"]);
    let played = Podman::call(&["kube", "down", "--force", &yaml]);
    assert_eq!(told.ok(), "1000\nCapBnd:\t0000000000000000");
    written.ok();
    assert!(generated.ok().contains("readOnlyRootFilesystem: true"));
    played.ok();
}
