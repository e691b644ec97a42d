//! What containers of a pod share, and what the pod has of its own.

use e2e_common::host;
use e2e_kubernetes::{
    Container, Pod, call, daemon,
    message::{DnsConfig, NamespaceMode, PodSandboxConfig, PodSandboxState, StatusRequest},
    pod,
};

e2e_common::tests! {
    several_containers
    pids_of_the_pod
    pids_of_each_container
    pids_of_another_container
    pids_of_the_host
    ipc_of_the_pod
    ipc_of_the_host
    a_network_of_its_own
    names_and_settings
    the_handler_chooses_the_shim
    an_unknown_handler
    what_a_handler_can
}

fn pids(mode: NamespaceMode) -> Pod {
    Pod::with(|config| config.namespaces().pid = mode as i32)
}

fn same(one: u32, other: u32, kind: &str) -> bool {
    host::namespace(one, kind) == host::namespace(other, kind)
}

fn several_containers() {
    let pod = Pod::run();
    let containers = [pod.idle(), pod.idle(), pod.idle()];
    let shims = containers.each_ref().map(|container| host::status(container.pid(), "PPid"));
    // One for the pod.
    assert!(shims.iter().all(|shim| *shim == host::status(pod.pid(), "PPid")), "{shims:?}");
    let files = containers.each_ref().map(|container| container.shell("touch /mine; ls /mine"));
    assert_eq!(files, ["/mine"; 3]);
    let [first, second, third] = &containers;
    first.stop(0).expect("it can be stopped");
    first.remove().expect("it can be removed");
    assert_eq!(second.shell("echo still"), "still");
    assert!(!same(second.pid(), third.pid(), "mnt"));
}

/// Command lines of the processes that it sees.
fn seen(container: &Container) -> String {
    container.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
}

fn pids_of_the_pod() {
    let pod = pids(NamespaceMode::Pod);
    let (first, second) = (pod.start(&["sleep", "5001"]), pod.start(&["sleep", "5002"]));
    assert!(same(first.pid(), pod.pid(), "pid"));
    let seen = seen(&second);
    assert!(["sleep 5001", "sleep 5002", "sleep 1000000"].iter().all(|line| seen.contains(line)));
    assert_ne!(second.shell("tr '\\0' ' ' </proc/1/cmdline"), "sleep 5002 ");
    // Without a namespace to end with it, all that it has started ends all the same.
    let third = pod.start(&["sh", "-c", "sleep 5003 & exec sleep 5004"]);
    third.stop(0).expect("it can be stopped");
    e2e_kubernetes::wait::until("it ends with its container", || {
        (!self::seen(&second).contains("sleep 5003")).then_some(())
    });
}

fn pids_of_each_container() {
    let pod = pids(NamespaceMode::Container);
    let (first, second) = (pod.start(&["sleep", "5005"]), pod.idle());
    assert!(!same(first.pid(), second.pid(), "pid") && !same(first.pid(), pod.pid(), "pid"));
    assert_eq!(first.shell("tr '\\0' ' ' </proc/1/cmdline"), "sleep 5005 ");
    assert!(!seen(&second).contains("sleep 5005"));
}

/// `kubectl debug --target`.
fn pids_of_another_container() {
    let pod = pids(NamespaceMode::Container);
    let target = pod.start(&["sleep", "5006"]);
    let container = pod.start_with(&["sleep", "5007"], |config| {
        let namespaces = config.security().namespace_options.get_or_insert_default();
        namespaces.pid = NamespaceMode::Target as i32;
        namespaces.target_id = target.id().to_owned();
    });
    assert!(same(container.pid(), target.pid(), "pid"));
    assert_eq!(container.shell("tr '\\0' ' ' </proc/1/cmdline"), "sleep 5006 ");
}

fn pids_of_the_host() {
    let pod = pids(NamespaceMode::Node);
    let container = pod.idle();
    assert!(same(container.pid(), std::process::id(), "pid"));
    let pid = container.pid();
    container.stop(0).expect("it can be stopped");
    assert!(!host::is_alive(pid));
}

fn ipc_of_the_pod() {
    let pod = Pod::run();
    let (first, second) = (pod.idle(), pod.idle());
    assert!(same(first.pid(), second.pid(), "ipc") && same(first.pid(), pod.pid(), "ipc"));
    assert!(!same(first.pid(), std::process::id(), "ipc"));
    first.shell("echo shared >/dev/shm/file");
    assert_eq!(second.shell("cat /dev/shm/file"), "shared");
}

fn ipc_of_the_host() {
    let pod = Pod::with(|config| config.namespaces().ipc = NamespaceMode::Node as i32);
    assert!(same(pod.idle().pid(), std::process::id(), "ipc"));
}

fn network_of_its_own(config: &mut PodSandboxConfig) {
    config.namespaces().network = NamespaceMode::Pod as i32;
}

fn a_network_of_its_own() {
    let pod = Pod::with(network_of_its_own);
    let container = pod.idle();
    let address = pod.status().network.expect("it has a network").ip;
    let addresses = container.shell("ip addr show eth0");
    assert!(addresses.contains(&format!("inet {address}/")), "{address}: {addresses}");
    assert!(same(container.pid(), pod.pid(), "net"));
    assert!(!same(container.pid(), std::process::id(), "net"));
}

fn names_and_settings() {
    let pod = Pod::with(|config| {
        network_of_its_own(config);
        config.hostname = "called".to_owned();
        let (servers, searches) = (vec!["10.0.0.10".to_owned()], vec!["cluster.local".to_owned()]);
        config.dns_config = Some(DnsConfig { servers, searches, options: Vec::new() });
        let settings = [("kernel.shm_rmid_forced", "1"), ("net.ipv4.ip_default_ttl", "77")];
        config.linux.get_or_insert_default().sysctls =
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    });
    let container = pod.idle();
    assert_eq!(container.shell("hostname"), "called");
    assert_eq!(container.shell("cat /etc/hostname"), "called");
    let resolver = container.shell("cat /etc/resolv.conf");
    assert_eq!(resolver, "search cluster.local\nnameserver 10.0.0.10");
    assert_eq!(container.shell("cat /proc/sys/kernel/shm_rmid_forced"), "1");
    assert_eq!(container.shell("cat /proc/sys/net/ipv4/ip_default_ttl"), "77");
}

/// The program that a pod's first process is a child of.
fn shim(pod: &Pod) -> String {
    let shim = host::status(pod.pid(), "PPid").parse().expect("a number");
    host::command_line(shim).first().cloned().unwrap_or_default()
}

fn the_handler_chooses_the_shim() {
    let judged = Pod::run();
    assert_eq!(judged.status().runtime_handler, daemon::HANDLER);
    let wanted = if daemon::shared().is_rtn() { "shim-rtn-v2" } else { "shim-runc-v2" };
    assert!(shim(&judged).ends_with(wanted), "{}", shim(&judged));
    let other = Pod::of(pod::config(), "").expect("the default handler");
    assert!(shim(&other).ends_with("shim-runc-v2"), "{}", shim(&other));
}

fn an_unknown_handler() {
    let refused = Pod::of(pod::config(), "unknown").expect_err("nobody knows it");
    assert!(refused.message().contains("unknown"), "{refused}");
    assert_eq!(Pod::run().status().state(), PodSandboxState::Ready);
}

/// kubelet asks before it gives a pod to the node.
fn what_a_handler_can() -> Result<(), host::Skip> {
    daemon::since(2, 0)?;
    let status = call(StatusRequest { verbose: true }).expect("containerd answers");
    let handler = status.runtime_handlers.iter().find(|handler| handler.name == daemon::HANDLER);
    let features = handler.and_then(|handler| handler.features.clone()).expect("it is known");
    if daemon::shared().is_rtn() {
        assert!(features.recursive_read_only_mounts && features.user_namespaces, "{features:?}");
    }
    Ok(())
}
