//! Limits and figures.

use e2e_common::host::{self, Skip};
use e2e_kubernetes::{
    Pod, call, daemon,
    message::{
        ContainerStatsRequest, LinuxContainerResources, ListPodSandboxStatsRequest,
        PodSandboxStatsFilter, UpdateContainerResourcesRequest,
    },
    wait,
};

e2e_common::tests! {
    memory
    cpu
    updated
    the_order_of_killing
    the_cgroup_of_the_pod
    figures_of_a_container
    figures_of_a_pod
}

fn memory() -> Result<(), Skip> {
    daemon::needs("memory")?;
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.resources().memory_limit_in_bytes = 64 << 20;
    });
    let limit = container.limit("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, (64 << 20).to_string());
    Ok(())
}

fn cpu() -> Result<(), Skip> {
    daemon::needs("cpu")?;
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.resources().cpu_period = 100_000;
        config.resources().cpu_quota = 50_000;
    });
    let quota = container.limit("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"));
    Ok(())
}

/// In-place resize of a pod.
fn updated() -> Result<(), Skip> {
    daemon::needs("memory")?;
    daemon::needs("cpu")?;
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.resources().memory_limit_in_bytes = 64 << 20;
    });
    let resources = LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 30_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 128 << 20,
        ..Default::default()
    };
    let container_id = container.id().to_owned();
    call(UpdateContainerResourcesRequest { container_id, linux: Some(resources) }).expect("it can");
    let limit = container.limit("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, (128 << 20).to_string());
    let quota = container.limit("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("30000"));
    Ok(())
}

fn the_order_of_killing() {
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.resources().oom_score_adj = 987;
    });
    assert_eq!(host::proc(container.pid(), "oom_score_adj").trim_end(), "987");
}

fn the_cgroup_of_the_pod() {
    let pod = Pod::run();
    let container = pod.idle();
    let wanted = pod.cgroup().display().to_string();
    for (controllers, path) in host::cgroups(container.pid()) {
        // Controllers that this host has, but not below the runtime's cgroups.
        let is_there = path.contains(&wanted) && path.contains(container.id());
        assert!(is_there || path == "/", "{controllers}: {path} is not in {wanted}");
    }
    let places = host::cgroups(container.pid()).into_values();
    assert!(places.filter(|path| path.contains(&wanted)).count() > 0);
}

fn figures_of_a_container() -> Result<(), Skip> {
    daemon::needs("memory")?;
    let pod = Pod::run();
    let container = pod.start(&["sh", "-c", "while :; do :; done"]);
    wait::until("processor and memory", || {
        let stats = call(ContainerStatsRequest { container_id: container.id().to_owned() });
        let stats = stats.ok()?.stats?;
        assert_eq!(stats.attributes?.id, container.id());
        let time = stats.cpu?.usage_core_nano_seconds?.value;
        let memory = stats.memory?.working_set_bytes?.value;
        (time > 0 && memory > 0).then_some(())
    });
    Ok(())
}

fn figures_of_a_pod() -> Result<(), Skip> {
    daemon::needs("memory")?;
    daemon::needs("pids")?;
    let pod = Pod::run();
    let container = pod.start(&["sh", "-c", "while :; do :; done"]);
    wait::until("the pod and its container", || {
        let filter = PodSandboxStatsFilter { id: pod.id().to_owned() };
        let stats = call(ListPodSandboxStatsRequest { filter: Some(filter) }).ok()?.stats;
        let [stats] = stats.as_slice() else { return None };
        let linux = stats.linux.as_ref()?;
        let time = linux.cpu.as_ref()?.usage_core_nano_seconds.as_ref()?.value;
        let processes = linux.process.as_ref()?.process_count.as_ref()?.value;
        let is_it = |id: &str| id == container.id();
        let mut ids =
            linux.containers.iter().filter_map(|stats| Some(&*stats.attributes.as_ref()?.id));
        (time > 0 && processes >= 1 && ids.any(is_it)).then_some(())
    });
    Ok(())
}
