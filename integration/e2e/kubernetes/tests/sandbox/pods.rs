//! What such a pod is, and what its containers share.

use e2e_common::host;
use e2e_kubernetes::{
    Container, Pod, daemon,
    message::{
        DnsConfig, IdMapping, NamespaceMode, PodSandboxConfig, PodSandboxState, UserNamespace,
    },
    pod, wait,
};

e2e_common::tests! {
    nothing_but_its_containers
    files_in_memory
    names_and_settings
    pids_of_the_pod
    pids_and_ipc_of_the_host
    ids_of_its_own
    stopped
    a_setting_that_is_not_the_pods
    it_leaves_nothing
    many_come_and_go
}

/// In a network of its own: containerd up to 2.2 does not survive that a sandbox of a shim is in the
/// host's (containerd #12983).
pub(crate) fn pod() -> Pod {
    pod_with(|_| {})
}

fn pod_with(change: impl FnOnce(&mut PodSandboxConfig)) -> Pod {
    Pod::with(|config| {
        config.namespaces().network = NamespaceMode::Pod as i32;
        change(config);
    })
}

pub(crate) fn shim(container: &Container) -> u32 {
    host::status(container.pid(), "PPid").parse().expect("its parent is the shim")
}

fn children(pid: u32) -> Vec<u32> {
    let children = host::proc(pid, &format!("task/{pid}/children"));
    let mut children: Vec<u32> =
        children.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
    children.sort_unstable();
    children
}

fn same(one: u32, other: u32, kind: &str) -> bool {
    host::namespace(one, kind) == host::namespace(other, kind)
}

fn nothing_but_its_containers() {
    let pod = pod();
    let (first, second) = (pod.idle(), pod.idle());
    let shim = shim(&first);
    let mut pids = [first.pid(), second.pid()];
    pids.sort_unstable();
    assert_eq!(children(shim), pids);
    assert_eq!(host::status(shim, "Threads"), "1");
    for kind in ["net", "ipc", "uts"] {
        assert!(same(pids[0], pids[1], kind) && !same(pids[0], shim, kind), "{kind}");
    }
    assert!(!same(pids[0], pids[1], "pid") && same(shim, std::process::id(), "net"));
    assert_eq!((pod.info("/pid"), pod.status().state()), (0.into(), PodSandboxState::Ready));
    let address = pod.status().network.expect("it has a network").ip;
    assert!(first.shell("ip addr show eth0").contains(&format!("inet {address}/")));
    assert_eq!(second.exec(&["sh", "-c", "exit 7"]).status, 7);
}

fn files_in_memory() {
    let pod = pod();
    let (first, second) = (pod.idle(), pod.idle());
    first.shell("echo shared >/dev/shm/file");
    assert_eq!(second.shell("cat /dev/shm/file; stat -c %a /dev/shm"), "shared\n1777");
    assert!(second.shell("grep ' /dev/shm ' /proc/mounts").contains("size=65536k"));
    let read_only = pod.start_with(&["sleep", "1000"], |config| {
        config
            .linux
            .get_or_insert_default()
            .security_context
            .get_or_insert_default()
            .readonly_rootfs = true;
    });
    assert_ne!(read_only.exec(&["sh", "-c", "echo >>/etc/hosts"]).status, 0);
    assert_eq!(read_only.shell("cat /dev/shm/file && echo >/dev/shm/file"), "shared");
}

fn names_and_settings() {
    let pod = pod_with(|config| {
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
    assert!(container.shell("cat /etc/hosts").contains("localhost"));
    assert_eq!(container.shell("cat /proc/sys/kernel/shm_rmid_forced"), "1");
    assert_eq!(container.shell("cat /proc/sys/net/ipv4/ip_default_ttl"), "77");
}

/// Command lines of the processes that it sees.
fn seen(container: &Container) -> String {
    container.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
}

fn pids_of_the_pod() {
    let pod = pod_with(|config| config.namespaces().pid = NamespaceMode::Pod as i32);
    let (first, second) = (pod.start(&["sleep", "5001"]), pod.start(&["sleep", "5002"]));
    assert!(same(first.pid(), pod.pid(), "pid") && same(second.pid(), pod.pid(), "pid"));
    let seen = seen(&second);
    assert!(["sleep 5001", "sleep 5002", "pause"].iter().all(|line| seen.contains(line)), "{seen}");
    // Nothing of the host is in reach by it.
    assert_ne!(second.exec(&["ls", "/proc/1/root/"]).status, 0);
    assert_ne!(second.exec(&["cat", "/proc/1/exe"]).status, 0);
    // AppArmor may say so; else the signal is lost.
    second.exec(&["sh", "-c", "kill -KILL 1"]);
    assert!(host::is_alive(pod.pid()), "nobody in there can end it");
    // What a process leaves behind is waited for.
    second.shell("(sleep 0.1 &)");
    wait::until("no zombie", || {
        (!second.shell("cat /proc/[0-9]*/stat").contains(") Z")).then_some(())
    });
    // Without a namespace to end with it, all that it has started ends all the same.
    let third = pod.start(&["sh", "-c", "sleep 5003 & exec sleep 5004"]);
    third.stop(0).expect("it can be stopped");
    wait::until("it ends with its container", || {
        (!self::seen(&second).contains("sleep 5003")).then_some(())
    });
}

fn pids_and_ipc_of_the_host() {
    let pod = pod_with(|config| {
        config.namespaces().pid = NamespaceMode::Node as i32;
        config.namespaces().ipc = NamespaceMode::Node as i32;
    });
    let container = pod.idle();
    let own = std::process::id();
    assert!(same(container.pid(), own, "pid") && same(container.pid(), own, "ipc"));
    assert!(!same(container.pid(), own, "uts"));
}

/// `hostUsers: false`.
fn ids_of_its_own() {
    const FIRST: u32 = 1_000_000;
    const LENGTH: u32 = 65536;
    for pid in [NamespaceMode::Container, NamespaceMode::Pod] {
        let pod = pod_with(|config| {
            let map = vec![IdMapping { host_id: FIRST, container_id: 0, length: LENGTH }];
            let (uids, gids) = (map.clone(), map);
            let namespaces = config.namespaces();
            namespaces.pid = pid as i32;
            namespaces.userns_options =
                Some(UserNamespace { mode: NamespaceMode::Pod as i32, uids, gids });
            config.hostname = "mapped".to_owned();
            let setting = ("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
            config.linux.get_or_insert_default().sysctls = [setting].into();
        });
        let (first, second) = (pod.idle(), pod.idle());
        assert_eq!(host::status(first.pid(), "Uid"), format!("{FIRST} {FIRST} {FIRST} {FIRST}"));
        assert!(same(first.pid(), second.pid(), "user"));
        assert!(!same(first.pid(), std::process::id(), "user"));
        assert_eq!(first.shell("hostname; cat /proc/sys/kernel/shm_rmid_forced"), "mapped\n1");
        assert_eq!(first.shell("stat -c %u:%g /etc/hosts; echo >>/etc/hosts && id -u"), "0:0\n0");
        assert_eq!(first.shell("touch /dev/shm/file; stat -c %u /dev/shm/file"), "0");
    }
}

fn stopped() {
    let pod = pod();
    let container = pod.idle();
    let shim = shim(&container);
    let created = Container::create(&pod, &["true"], |_| {}).expect("its pod runs");
    pod.stop().expect("it can be stopped");
    pod.stop().expect("it has stopped");
    assert_eq!(pod.status().state(), PodSandboxState::NotReady);
    assert_eq!(container.ended().exit_code, 128 + 9);
    assert!(children(shim).is_empty());
    created.start().expect_err("its pod does not run");
}

fn a_setting_that_is_not_the_pods() {
    let mut config = pod::config();
    config.namespaces().network = NamespaceMode::Pod as i32;
    let setting = ("vm.swappiness".to_owned(), "1".to_owned());
    config.linux.get_or_insert_default().sysctls = [setting].into();
    let refused = Pod::of(config, daemon::HANDLER).expect_err("it is the host's");
    assert!(refused.message().contains("\"vm.swappiness\" is not in a separate"), "{refused}");
}

/// One pod's traces; the list `rest` looks for those of all.
fn it_leaves_nothing() {
    let pod = pod();
    let containers = [pod.idle(), pod.start(&["true"])];
    let shim = shim(&containers[0]);
    pod.stop().expect("it can be stopped");
    pod.remove().expect("it can be removed");
    wait::until("its shim ends", || (!host::is_alive(shim)).then_some(()));
    let mounts = crate::daemon::shared().mounts();
    assert_eq!(mounts.iter().find(|mount| mount.contains(pod.id())), None);
    assert!(containers.iter().all(|container| !container.bundle().exists()));
}

/// Each is removed at the first attempt, or the list `rest` finds it.
fn many_come_and_go() {
    let pods: Vec<_> = (0..20).map(|_| pod()).collect();
    for pod in &pods {
        pod.stop().expect("it can be stopped");
        pod.remove().expect("it can be removed");
    }
}
