//! Limits, judged by the files of the container's cgroup: those of v1, or those of v2.

use std::collections::{BTreeMap, BTreeSet};

use e2e_docker::{
    Container, Docker, Engine, IDLE,
    cgroup::{self, Driver},
    daemon, docker,
    host::{self, Skip},
    run,
};

e2e_common::tests! {
    is_in_a_cgroup_of_every_controller
    cgroups_are_removed_with_the_container
    cgroup_parent_of_another_name
    memory
    memory_with_swap
    memory_with_unlimited_swap
    memory_reservation
    memory_swappiness
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

/// A file and its value where the controllers are in v1 hierarchies, and where they are in v2.
type Limit<'a> = [(&'a str, &'a str); 2];

fn v1() -> Result<(), Skip> {
    host::needs(cgroup::is_v1(), "cgroup v1 hierarchies, whose files this asserts")
}

/// Without a controller dockerd discards the options that need it.
fn needs(controllers: &[&str]) -> Result<(), Skip> {
    controllers.iter().try_for_each(|name| {
        host::needs(cgroup::has_controller(name), format_args!("cgroup controller {name}"))
    })
}

/// Starts an idle container and compares files of its cgroup.
#[track_caller]
fn check(controller: &str, flags: &[&str], limits: &[Limit<'_>]) -> Result<(), Skip> {
    needs(&[controller])?;
    compare(&Container::start(flags, IDLE), limits);
    Ok(())
}

#[track_caller]
fn compare(container: &Container, limits: &[Limit<'_>]) {
    for [v1, v2] in limits {
        let (file, expected) = if cgroup::is_v1() { v1 } else { v2 };
        assert_eq!(container.limit(file), *expected, "{file}");
    }
}

fn memory_and_swap<'a>(memory: &'a str, both: &'a str, swap: &'a str) -> [Limit<'a>; 2] {
    [
        [("memory/memory.limit_in_bytes", memory), ("unified/memory.max", memory)],
        [("memory/memory.memsw.limit_in_bytes", both), ("unified/memory.swap.max", swap)],
    ]
}

fn is_in_a_cgroup_of_every_controller() {
    let container = Container::start(&[], IDLE);
    let expected = daemon::shared().place().tree().of_container(&container.id());
    let found = cgroups(&container);
    assert!(found.len() > if cgroup::is_v1() { 5 } else { 0 }, "{found:?}");
    for (controllers, path) in found {
        assert_eq!(path, expected, "{controllers}");
    }
}

/// The container's cgroup in each hierarchy that this machine uses: a kernel with v1 hierarchies
/// tells of them even if they are not mounted.
fn cgroups(container: &Container) -> BTreeMap<String, String> {
    let mut found = host::cgroups(container.pid());
    found.retain(|controllers, _| cgroup::is_v1() || controllers.is_empty());
    found
}

fn cgroups_are_removed_with_the_container() {
    let container = Container::start(&[], IDLE);
    let hierarchies: BTreeSet<_> = cgroups(&container).into_keys().collect();
    let directory = |names: &String| match names.as_str() {
        "" => container.cgroup("unified"),
        names => container.cgroup(names.trim_start_matches("name=")),
    };
    let directories: Vec<_> = hierarchies.iter().map(directory).collect();
    assert!(directories.iter().all(|directory| directory.exists()), "{directories:?}");
    docker(&["rm", "-f", container.name()]).ok();
    let left: Vec<_> = directories.iter().filter(|directory| directory.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn cgroup_parent_of_another_name() -> Result<(), Skip> {
    needs(&["pids"])?;
    let tree = daemon::shared().place().tree();
    let (parent, path) = tree.other_parent();
    let container = Container::start(&["--cgroup-parent", &parent, "--pids-limit", "66"], IDLE);
    let expected = tree.below(&path, &container.id());
    assert!(
        cgroups(&container).values().all(|path| *path == expected),
        "{:?}",
        cgroups(&container)
    );
    let limit = cgroup::directory("pids", &expected).join("pids.max");
    assert_eq!(std::fs::read_to_string(limit).expect("the file").trim_end(), "66");
    Ok(())
}

fn memory() -> Result<(), Skip> {
    check("memory", &["-m", "64m"], &memory_and_swap("67108864", "134217728", "67108864"))
}

fn memory_with_swap() -> Result<(), Skip> {
    let limits = memory_and_swap("67108864", "104857600", "37748736");
    check("memory", &["-m", "64m", "--memory-swap", "100m"], &limits)
}

fn memory_with_unlimited_swap() -> Result<(), Skip> {
    needs(&["memory"])?;
    let container = Container::start(&["-m", "64m", "--memory-swap", "-1"], IDLE);
    if !cgroup::is_v1() {
        assert_eq!(container.limit("unified/memory.swap.max"), "max");
        return Ok(());
    }
    let limit: u64 =
        container.limit("memory/memory.memsw.limit_in_bytes").parse().expect("a number");
    assert!(limit > 1 << 60, "{limit}");
    Ok(())
}

fn memory_reservation() -> Result<(), Skip> {
    let soft =
        [("memory/memory.soft_limit_in_bytes", "33554432"), ("unified/memory.low", "33554432")];
    check("memory", &["-m", "64m", "--memory-reservation", "32m"], &[soft])
}

fn memory_swappiness() -> Result<(), Skip> {
    v1()?;
    let container = Container::start(&["-m", "64m", "--memory-swappiness", "17"], IDLE);
    assert_eq!(container.limit("memory/memory.swappiness"), "17");
    Ok(())
}

fn memory_smallest_that_docker_allows() -> Result<(), Skip> {
    let limit = [("memory/memory.limit_in_bytes", "6291456"), ("unified/memory.max", "6291456")];
    check("memory", &["-m", "6m"], &[limit])
}

const SMALL: [&str; 4] = ["-m", "16m", "--memory-swap", "16m"];

fn out_of_memory_ends_the_container_with_137() -> Result<(), Skip> {
    needs(&["memory"])?;
    let (container, output) = Container::ran(&SMALL, &["tail", "/dev/zero"]);
    output.code(137);
    assert_eq!(container.inspect("/State/ExitCode"), 137);
    Ok(())
}

fn out_of_memory_is_reported() -> Result<(), Skip> {
    needs(&["memory"])?;
    let container = Container::start(&SMALL, IDLE);
    let of_this = format!("container={}", container.name());
    let filters = ["--since", "1", "--filter", "event=oom", "--filter", &of_this];
    let mut events = Docker::pipes(&[&["events"], &filters[..]].concat());
    container.exec(&[], &["tail", "/dev/zero"]).code(137);
    // containerd reports the OOM and the exit of a process independently: inspect knows only of an
    // OOM that was reported before the container ended.
    events.expect("container oom");
    docker(&["kill", container.name()]).ok();
    container.wait();
    assert_eq!(container.inspect("/State/OOMKilled"), true);
    Ok(())
}

fn out_of_memory_of_a_child_leaves_the_container() -> Result<(), Skip> {
    needs(&["memory"])?;
    let container = Container::start(&SMALL, IDLE);
    container.exec(&[], &["tail", "/dev/zero"]).code(137);
    assert_eq!(container.status(), "running");
    let events =
        if cgroup::is_v1() { "memory/memory.oom_control" } else { "unified/memory.events" };
    assert!(container.limit(events).lines().any(|line| line == "oom_kill 1"), "{events}");
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
    // Between the ends, runtimes convert them in one of two ways.
    for (shares, weight) in [("2", "1"), ("262144", "10000")] {
        check(
            "cpu",
            &["-c", shares],
            &[[("cpu/cpu.shares", shares), ("unified/cpu.weight", weight)]],
        )?;
    }
    Ok(())
}

fn cpus() -> Result<(), Skip> {
    check("cpu", &["--cpus", "0.5"], &quota("50000", "100000", "50000 100000"))
}

fn cpu_quota_and_period() -> Result<(), Skip> {
    let flags = ["--cpu-period", "50000", "--cpu-quota", "20000"];
    check("cpu", &flags, &quota("20000", "50000", "20000 50000"))
}

fn quota<'a>(quota: &'a str, period: &'a str, both: &'a str) -> [Limit<'a>; 2] {
    let max = ("unified/cpu.max", both);
    [[("cpu/cpu.cfs_quota_us", quota), max], [("cpu/cpu.cfs_period_us", period), max]]
}

fn cpuset() -> Result<(), Skip> {
    needs(&["cpuset"])?;
    let container = Container::start(&["--cpuset-cpus", "0", "--cpuset-mems", "0"], IDLE);
    let file = |v1, v2| [(v1, "0"), (v2, "0")];
    compare(
        &container,
        &[
            file("cpuset/cpuset.cpus", "unified/cpuset.cpus"),
            file("cpuset/cpuset.mems", "unified/cpuset.mems"),
        ],
    );
    assert_eq!(host::status(container.pid(), "Cpus_allowed_list"), "0");
    Ok(())
}

fn impossible_cpuset_is_refused() -> Result<(), Skip> {
    needs(&["cpuset"])?;
    run(&["--cpuset-cpus", "4095"], IDLE).fails("not available");
    Ok(())
}

const PIDS: [&str; 2] = ["pids/pids.max", "unified/pids.max"];

fn pids_limit() -> Result<(), Skip> {
    check("pids", &["--pids-limit", "23"], &[PIDS.map(|file| (file, "23"))])
}

fn pids_limit_stops_a_fork_bomb() -> Result<(), Skip> {
    needs(&["pids"])?;
    let container = Container::start(&["--pids-limit", "10"], IDLE);
    let bomb = "for i in $(seq 40); do sleep 1000 & done";
    container.exec(&[], &["sh", "-c", bomb]).fails("can't fork");
    assert_eq!(container.limit("pids/pids.events"), "max 1");
    assert!(container.processes().len() <= 10);
    Ok(())
}

fn device_rates() -> Result<(), Skip> {
    needs(&["io"])?;
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
    // https://github.com/docker/cli/issues/5321: that of 25.0.0 to 27.1.1 sends an empty list.
    let sent = container.inspect("/HostConfig/BlkioDeviceReadBps");
    host::needs(
        sent.as_array().is_some_and(|list| !list.is_empty()),
        "docker client that sends rates",
    )?;
    if !cgroup::is_v1() {
        let all = format!("{number} rbps=1048576 wbps=2097152 riops=300 wiops=400");
        assert_eq!(container.limit("unified/io.max"), all);
        return Ok(());
    }
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
    let container = Container::start(&["--blkio-weight", "321"], IDLE);
    assert_eq!(container.limit("blkio/blkio.weight"), "321");
    Ok(())
}

fn no_limits_by_default() -> Result<(), Skip> {
    needs(&["pids", "cpu", "memory", "io"])?;
    // systemd has a default of its own for the tasks of a unit.
    if Driver::chosen() == Driver::Cgroupfs {
        check("pids", &[], &[PIDS.map(|file| (file, "max"))])?;
    }
    check(
        "memory",
        &[],
        &[
            [("cpu/cpu.shares", "1024"), ("unified/cpu.weight", "100")],
            [("cpu/cpu.cfs_quota_us", "-1"), ("unified/cpu.max", "max 100000")],
            [
                ("memory/memory.limit_in_bytes", "9223372036854771712"),
                ("unified/memory.max", "max"),
            ],
            [("blkio/blkio.throttle.read_bps_device", ""), ("unified/io.max", "")],
        ],
    )
}

fn update_memory() -> Result<(), Skip> {
    needs(&["memory"])?;
    let container = Container::start(&["-m", "64m", "--memory-swap", "64m"], IDLE);
    let update = |memory: &str, swap: &str, bytes: &str| {
        docker(&["update", "-m", memory, "--memory-swap", swap, container.name()]).ok();
        compare(&container, &memory_and_swap(bytes, bytes, "0"));
    };
    // Each order of the two writes fails in one of the two directions.
    update("128m", "128m", "134217728");
    update("32m", "32m", "33554432");
    Ok(())
}

fn update_cpu_and_pids() -> Result<(), Skip> {
    needs(&["cpu", "pids", "cpuset"])?;
    let container = Container::start(&["--cpus", "1", "--pids-limit", "30"], IDLE);
    let name = container.name();
    let flags = ["--cpus", "0.25", "-c", "2", "--cpuset-cpus", "0", "--pids-limit", "40"];
    docker(&[&["update"], &flags[..], &[name]].concat()).ok();
    let [quarter, _] = quota("25000", "100000", "25000 100000");
    let shares = |shares, weight| [("cpu/cpu.shares", shares), ("unified/cpu.weight", weight)];
    compare(
        &container,
        &[
            quarter,
            shares("2", "1"),
            ["cpuset/cpuset.cpus", "unified/cpuset.cpus"].map(|file| (file, "0")),
            PIDS.map(|file| (file, "40")),
        ],
    );
    // What was not mentioned stays, and devices stay as they were.
    docker(&["update", "-c", "262144", name]).ok();
    compare(&container, &[quarter, shares("262144", "10000")]);
    container
        .exec(&[], &["sh", "-c", "mknod /tmp/fuse c 10 229 && : < /tmp/fuse"])
        .fails("operation not permitted");
    Ok(())
}

fn update_of_a_stopped_container_holds_at_start() -> Result<(), Skip> {
    needs(&["memory"])?;
    let container = Container::created(&["-m", "64m"], IDLE);
    docker(&["update", "-m", "32m", "--memory-swap", "48m", container.name()]).ok();
    docker(&["start", container.name()]).ok();
    compare(&container, &memory_and_swap("33554432", "50331648", "16777216"));
    Ok(())
}

fn update_below_usage_is_refused() -> Result<(), Skip> {
    // v2 takes any limit, and kills for it.
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
    needs(&["memory", "pids"])?;
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
