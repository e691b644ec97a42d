//! Limits, judged by the files of the container's cgroup (v1 hierarchies).

use std::collections::BTreeSet;

use e2e_docker::{
    Container, IDLE, Session, cgroup, daemon, docker,
    host::{self, Skip},
    run,
};

tests! {
    is_in_a_cgroup_of_every_controller
    cgroups_are_removed_with_the_container
    cgroup_parent_of_another_name
    memory
    memory_with_swap
    memory_with_unlimited_swap
    memory_reservation_and_swappiness
    memory_smallest_that_docker_allows
    out_of_memory_ends_the_container_with_137
    out_of_memory_is_reported
    out_of_memory_of_a_child_leaves_the_container
    oom_kill_disable
    cpu_shares
    cpus
    cpu_quota_and_period
    cpuset
    impossible_cpuset_is_refused
    pids_limit
    pids_limit_stops_a_fork_bomb
    device_rates
    blkio_weight
    no_limits_by_default
    update_memory
    update_cpu_and_pids
    update_of_a_stopped_container_holds_at_start
    update_below_usage_is_refused
    stats_agree_with_the_kernel
}

fn v1() -> Result<(), Skip> {
    host::needs(cgroup::is_v1(), "cgroup v1 hierarchies, whose files this asserts")
}

/// Starts an idle container and compares files of its cgroup.
#[track_caller]
fn check(flags: &[&str], files: &[(&str, &str)]) -> Result<(), Skip> {
    v1()?;
    compare(&Container::start(flags, IDLE), files);
    Ok(())
}

#[track_caller]
fn compare(container: &Container, files: &[(&str, &str)]) {
    for (file, expected) in files {
        assert_eq!(container.limit(file), *expected, "{file}");
    }
}

fn is_in_a_cgroup_of_every_controller() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&[], IDLE);
    let expected = format!("{}/{}", daemon::shared().place().tree().parent(), container.id());
    let found = host::cgroups(container.pid());
    assert!(found.len() > 5, "{found:?}");
    for (controllers, path) in found {
        assert_eq!(path, expected, "{controllers}");
    }
    Ok(())
}

fn cgroups_are_removed_with_the_container() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&[], IDLE);
    let hierarchies: BTreeSet<_> = host::cgroups(container.pid()).into_keys().collect();
    let directory = |names: &String| match names.as_str() {
        "" => container.cgroup("unified"),
        names => container.cgroup(names.trim_start_matches("name=")),
    };
    let directories: Vec<_> = hierarchies.iter().map(directory).collect();
    assert!(directories.iter().all(|directory| directory.exists()), "{directories:?}");
    docker(&["rm", "-f", container.name()]).ok();
    let left: Vec<_> = directories.iter().filter(|directory| directory.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn cgroup_parent_of_another_name() -> Result<(), Skip> {
    v1()?;
    let parent = format!("{}/nested/deeply", daemon::shared().place().tree().parent());
    let container = Container::start(&["--cgroup-parent", &parent, "-m", "66m"], IDLE);
    let found = host::cgroups(container.pid());
    assert_eq!(found["memory"], format!("{parent}/{}", container.id()));
    let directory = daemon::shared().place().tree().directory("memory").join("nested/deeply");
    let limit = directory.join(container.id()).join("memory.limit_in_bytes");
    assert_eq!(
        std::fs::read_to_string(limit).expect("the file").trim_end(),
        (66 << 20).to_string()
    );
    Ok(())
}

fn memory() -> Result<(), Skip> {
    let twice = ("memory/memory.memsw.limit_in_bytes", "134217728");
    check(&["-m", "64m"], &[("memory/memory.limit_in_bytes", "67108864"), twice])
}

fn memory_with_swap() -> Result<(), Skip> {
    check(
        &["-m", "64m", "--memory-swap", "100m"],
        &[
            ("memory/memory.limit_in_bytes", "67108864"),
            ("memory/memory.memsw.limit_in_bytes", "104857600"),
        ],
    )
}

fn memory_with_unlimited_swap() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["-m", "64m", "--memory-swap", "-1"], IDLE);
    let limit: u64 =
        container.limit("memory/memory.memsw.limit_in_bytes").parse().expect("a number");
    assert!(limit > 1 << 60, "{limit}");
    Ok(())
}

fn memory_reservation_and_swappiness() -> Result<(), Skip> {
    check(
        &["-m", "64m", "--memory-reservation", "32m", "--memory-swappiness", "17"],
        &[("memory/memory.soft_limit_in_bytes", "33554432"), ("memory/memory.swappiness", "17")],
    )
}

fn memory_smallest_that_docker_allows() -> Result<(), Skip> {
    check(&["-m", "6m"], &[("memory/memory.limit_in_bytes", "6291456")])
}

const SMALL: [&str; 4] = ["-m", "16m", "--memory-swap", "16m"];

fn out_of_memory_ends_the_container_with_137() {
    let (container, output) = Container::ran(&SMALL, &["tail", "/dev/zero"]);
    output.code(137);
    assert_eq!(container.inspect("/State/ExitCode"), 137);
}

fn out_of_memory_is_reported() {
    let container = Container::start(&SMALL, IDLE);
    let of_this = format!("container={}", container.name());
    let filters = ["--since", "1", "--filter", "event=oom", "--filter", &of_this];
    let mut events = Session::pipes(&[&["events"], &filters[..]].concat());
    container.exec(&[], &["tail", "/dev/zero"]).code(137);
    // containerd reports the OOM and the exit of a process independently: inspect knows only of an
    // OOM that was reported before the container ended.
    events.expect("container oom");
    docker(&["kill", container.name()]).ok();
    container.wait();
    assert_eq!(container.inspect("/State/OOMKilled"), true);
}

fn out_of_memory_of_a_child_leaves_the_container() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&SMALL, IDLE);
    container.exec(&[], &["tail", "/dev/zero"]).code(137);
    assert_eq!(container.status(), "running");
    assert!(container.limit("memory/memory.oom_control").contains("oom_kill 1"));
    Ok(())
}

fn oom_kill_disable() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["-m", "64m", "--oom-kill-disable"], IDLE);
    let control = container.limit("memory/memory.oom_control");
    assert!(control.contains("oom_kill_disable 1"), "{control}");
    Ok(())
}

fn cpu_shares() -> Result<(), Skip> {
    check(&["-c", "512"], &[("cpu/cpu.shares", "512")])
}

fn cpus() -> Result<(), Skip> {
    check(
        &["--cpus", "0.5"],
        &[("cpu/cpu.cfs_quota_us", "50000"), ("cpu/cpu.cfs_period_us", "100000")],
    )
}

fn cpu_quota_and_period() -> Result<(), Skip> {
    check(
        &["--cpu-period", "50000", "--cpu-quota", "20000"],
        &[("cpu/cpu.cfs_quota_us", "20000"), ("cpu/cpu.cfs_period_us", "50000")],
    )
}

fn cpuset() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["--cpuset-cpus", "0", "--cpuset-mems", "0"], IDLE);
    compare(&container, &[("cpuset/cpuset.cpus", "0"), ("cpuset/cpuset.mems", "0")]);
    assert_eq!(host::status(container.pid(), "Cpus_allowed_list"), "0");
    Ok(())
}

fn impossible_cpuset_is_refused() {
    run(&["--cpuset-cpus", "4095"], IDLE).fails("not available");
}

fn pids_limit() -> Result<(), Skip> {
    check(&["--pids-limit", "23"], &[("pids/pids.max", "23")])
}

fn pids_limit_stops_a_fork_bomb() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["--pids-limit", "10"], IDLE);
    let bomb = "for i in $(seq 40); do sleep 1000 & done";
    container.exec(&[], &["sh", "-c", bomb]).fails("can't fork");
    assert_eq!(container.limit("pids/pids.events"), "max 1");
    assert!(container.processes().len() <= 10);
    Ok(())
}

fn device_rates() -> Result<(), Skip> {
    v1()?;
    let (node, number) = host::block_device().ok_or(Skip("this machine has no disk".to_owned()))?;
    let limit = |value: &str| format!("{}:{value}", node.display());
    let container = Container::start(
        &[
            "--device-read-bps",
            &limit("1mb"),
            "--device-write-bps",
            &limit("2mb"),
            "--device-read-iops",
            &limit("300"),
            "--device-write-iops",
            &limit("400"),
        ],
        IDLE,
    );
    let throttle = |name, value: &str| {
        let file = format!("blkio/blkio.throttle.{name}_device");
        assert_eq!(container.limit(&file), format!("{number} {value}"), "{file}");
    };
    throttle("read_bps", "1048576");
    throttle("write_bps", "2097152");
    throttle("read_iops", "300");
    throttle("write_iops", "400");
    Ok(())
}

fn blkio_weight() -> Result<(), Skip> {
    v1()?;
    let weight = std::path::Path::new("/sys/fs/cgroup/blkio/blkio.weight");
    host::needs(weight.exists(), "blkio.weight, without which dockerd discards the option")?;
    check(&["--blkio-weight", "321"], &[("blkio/blkio.weight", "321")])
}

fn no_limits_by_default() -> Result<(), Skip> {
    check(
        &[],
        &[
            ("pids/pids.max", "max"),
            ("cpu/cpu.shares", "1024"),
            ("cpu/cpu.cfs_quota_us", "-1"),
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
            ("blkio/blkio.throttle.read_bps_device", ""),
        ],
    )
}

fn update_memory() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["-m", "64m", "--memory-swap", "64m"], IDLE);
    let update = |memory: &str, swap: &str, bytes: &str| {
        docker(&["update", "-m", memory, "--memory-swap", swap, container.name()]).ok();
        compare(
            &container,
            &[
                ("memory/memory.limit_in_bytes", bytes),
                ("memory/memory.memsw.limit_in_bytes", bytes),
            ],
        );
    };
    // Each order of the two writes fails in one of the two directions.
    update("128m", "128m", "134217728");
    update("32m", "32m", "33554432");
    Ok(())
}

fn update_cpu_and_pids() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["--cpus", "1", "--pids-limit", "30"], IDLE);
    let name = container.name();
    docker(&[
        "update",
        "--cpus",
        "0.25",
        "-c",
        "700",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "40",
        name,
    ])
    .ok();
    compare(
        &container,
        &[
            ("cpu/cpu.cfs_quota_us", "25000"),
            ("cpu/cpu.shares", "700"),
            ("cpuset/cpuset.cpus", "0"),
            ("pids/pids.max", "40"),
        ],
    );
    // What was not mentioned stays, and devices stay as they were.
    docker(&["update", "-c", "800", name]).ok();
    compare(&container, &[("cpu/cpu.cfs_quota_us", "25000"), ("cpu/cpu.shares", "800")]);
    assert!(!container.limit("devices/devices.list").contains("a *:*"));
    Ok(())
}

fn update_of_a_stopped_container_holds_at_start() -> Result<(), Skip> {
    v1()?;
    let container = Container::created(&["-m", "64m"], IDLE);
    docker(&["update", "-m", "32m", "--memory-swap", "48m", container.name()]).ok();
    docker(&["start", container.name()]).ok();
    compare(
        &container,
        &[
            ("memory/memory.limit_in_bytes", "33554432"),
            ("memory/memory.memsw.limit_in_bytes", "50331648"),
        ],
    );
    Ok(())
}

fn update_below_usage_is_refused() -> Result<(), Skip> {
    v1()?;
    let hog = "dd if=/dev/zero of=/dev/shm/hog bs=1M count=40 2>/dev/null; sleep 1000; true";
    let container = Container::start(&["-m", "128m", "--memory-swap", "128m"], &["sh", "-c", hog]);
    container.process(&["sleep", "1000"]);
    docker(&["update", "-m", "8m", "--memory-swap", "8m", container.name()]).fails("cannot update");
    assert_eq!(container.status(), "running");
    assert_eq!(container.limit("memory/memory.limit_in_bytes"), "134217728");
    Ok(())
}

fn stats_agree_with_the_kernel() -> Result<(), Skip> {
    v1()?;
    let script = "sleep 1000 & sleep 1001 & sleep 1002 & wait";
    let container = Container::start(&["-m", "64m"], &["sh", "-c", script]);
    container.process(&["sleep", "1002"]);
    let format = "{{.PIDs}} {{.MemUsage}}";
    let stats = docker(&["stats", "--no-stream", "--format", format, container.name()]).ok();
    assert_eq!(stats.split(' ').next(), Some(container.processes().len().to_string().as_str()));
    assert!(stats.ends_with("/ 64MiB"), "{stats}");
    assert!(!stats.contains(" 0B /"), "{stats}");
    Ok(())
}
