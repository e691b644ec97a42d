//! Where a container's cgroup is, who makes it, and what is written there.

use std::fs;

use e2e_podman::{
    Container, Engine, IDLE, IMAGE, Place, Podman, Running, Skip, cgroup_of, excuses, host,
    needs_controller, needs_root, podman, run,
};

e2e_common::tests! {
    scope_of_systemd
    directory_of_cgroupfs
    below_another_slice
    without_cgroups
    without_a_cgroup_of_conmon
    split_in_the_cgroup_of_the_caller
    memory_limits
    processor_limits
    limit_of_processes
    processors_by_number
    weights_and_throttling_of_devices
    limits_are_updated
    missing_controller_is_told
    device_is_given
    device_is_not_given
    statistics
    pause_freezes_and_unpause_thaws
    out_of_memory_is_told
}

fn scope_of_systemd() {
    let container = Container::start(&[], IDLE);
    let cgroup = container.cgroup("unified");
    let scope = format!("libpod-{}.scope", container.id());
    assert!(cgroup.components().any(|part| part.as_os_str() == &*scope), "{}", cgroup.display());
    // systemd may have the time it takes to put conmon into a scope of its own.
    podman(&["rm", "-f", "-t", "0", container.name()]).ok();
    assert!(!cgroup.exists(), "{}", cgroup.display());
}

fn directory_of_cgroupfs() {
    let container = Container::named();
    let line = container.line(&["--cgroup-manager=cgroupfs", "run", "-d"], &[], IDLE);
    Podman::call(&line).ok();
    let cgroup = container.cgroup("unified");
    assert!(cgroup.to_string_lossy().contains(&container.id()), "{}", cgroup.display());
    assert!(!cgroup.to_string_lossy().contains(".scope"), "{}", cgroup.display());
    podman(&["--cgroup-manager=cgroupfs", "rm", "-f", "-t", "0", container.name()]).ok();
    assert!(!cgroup.exists(), "{}", cgroup.display());
}

fn below_another_slice() {
    let container = Container::start(&["--cgroup-parent", "rtne2e.slice"], IDLE);
    let cgroup = container.cgroup("unified");
    let slice = cgroup.ancestors().any(|parent| parent.ends_with("rtne2e.slice"));
    assert!(slice, "{}", cgroup.display());
}

fn without_cgroups() -> Result<(), Skip> {
    excuses("runc", "podman does not believe that it can do without cgroups")?;
    let container = Container::start(&["--cgroups=disabled"], IDLE);
    let conmon = host::status(container.pid(), "PPid").parse().expect("a process id");
    assert_eq!(cgroup_of(container.pid()), cgroup_of(conmon));
    assert_eq!(container.exec(&[], &["echo", "inside"]).ok(), "inside");
    podman(&["kill", container.name()]).ok();
    assert_eq!(container.wait(), "137");
    Ok(())
}

fn without_a_cgroup_of_conmon() {
    let container = Container::start(&["--cgroups=no-conmon"], IDLE);
    let conmon = host::status(container.pid(), "PPid").parse().expect("a process id");
    assert_eq!(cgroup_of(conmon), cgroup_of(std::process::id()));
    assert_ne!(cgroup_of(container.pid()), cgroup_of(conmon));
}

/// In a delegated service, as a unit that Quadlet makes.
fn split_in_the_cgroup_of_the_caller() {
    let line =
        ["run", "--rm", "--cgroups=split", "--cgroupns=host", IMAGE, "cat", "/proc/self/cgroup"];
    let told = in_a_service(&line).ok();
    assert!(told.contains(".service/libpod-payload-"), "{told}");
}

/// podman as the main process of a transient service with Delegate=yes.
fn in_a_service(arguments: &[&str]) -> e2e_podman::Output {
    let podman = Podman::command(arguments);
    let mut service = std::process::Command::new("systemd-run");
    service.args(["--quiet", "--pipe", "--wait", "--collect", "-p", "Delegate=yes"]);
    service.args((!Place::shared().is_root()).then_some("--user"));
    for (name, value) in podman.get_envs() {
        let value = value.unwrap_or_default().to_string_lossy();
        service.arg(format!("--setenv={}={value}", name.to_string_lossy()));
    }
    service.arg(podman.get_program()).args(podman.get_args());
    Running::start(service, b"").end()
}

fn memory_limits() -> Result<(), Skip> {
    needs_controller("memory")?;
    let flags = ["-m", "64m", "--memory-reservation", "32m", "--memory-swap", "96m"];
    let container = Container::start(&flags, IDLE);
    assert_eq!(container.limit("unified/memory.max"), "67108864");
    assert_eq!(container.limit("unified/memory.low"), "33554432");
    assert_eq!(container.limit("unified/memory.swap.max"), "33554432");
    Ok(())
}

fn processor_limits() -> Result<(), Skip> {
    needs_controller("cpu")?;
    let container = Container::start(&["--cpus", "0.5", "--cpu-shares", "2048"], IDLE);
    assert_eq!(container.limit("unified/cpu.max"), "50000 100000");
    assert_ne!(container.limit("unified/cpu.weight"), "100");
    Ok(())
}

fn limit_of_processes() -> Result<(), Skip> {
    needs_controller("pids")?;
    let container = Container::start(&["--pids-limit", "50"], IDLE);
    assert_eq!(container.limit("unified/pids.max"), "50");
    Ok(())
}

fn processors_by_number() -> Result<(), Skip> {
    needs_controller("cpuset")?;
    let container = Container::start(&["--cpuset-cpus", "0", "--cpuset-mems", "0"], IDLE);
    assert_eq!(container.limit("unified/cpuset.cpus"), "0");
    assert_eq!(host::status(container.pid(), "Cpus_allowed_list"), "0");
    Ok(())
}

fn weights_and_throttling_of_devices() -> Result<(), Skip> {
    needs_controller("io")?;
    let (node, number) = host::block_device().ok_or_else(|| Skip("no block device".to_owned()))?;
    let limit = format!("{}:1mb", node.display());
    let container = Container::start(&["--device-read-bps", &limit], IDLE);
    let limits = container.limit("unified/io.max");
    assert!(limits.contains(&format!("{number} rbps=1048576")), "{limits}");
    Ok(())
}

fn limits_are_updated() -> Result<(), Skip> {
    for controller in ["memory", "cpu", "pids"] {
        needs_controller(controller)?;
    }
    let container = Container::start(&["-m", "64m"], IDLE);
    let update = ["--memory", "128m", "--cpus", "0.25", "--pids-limit", "33"];
    podman(&[&["update"], &update[..], &[container.name()]].concat()).ok();
    assert_eq!(container.limit("unified/memory.max"), "134217728");
    assert_eq!(container.limit("unified/cpu.max"), "25000 100000");
    assert_eq!(container.limit("unified/pids.max"), "33");
    Ok(())
}

/// A limit that nobody would keep is no container, and one line that says why.
fn missing_controller_is_told() -> Result<(), Skip> {
    let flags = [("memory", "-m=64m"), ("cpu", "--cpus=0.5"), ("io", "--blkio-weight=100")];
    let mut missing = flags.into_iter().filter(|(name, _)| needs_controller(name).is_err());
    let (name, flag) = missing.next().ok_or_else(|| Skip("every controller is here".to_owned()))?;
    let output = run(&[flag], &["true"]);
    assert!(output.status != Some(0), "{name}: {output:?}");
    assert_eq!(output.err().matches("Error:").count(), 1, "{output:?}");
    Ok(())
}

fn device_is_given() {
    let told = run(
        &["--device", "/dev/fuse:/dev/other"],
        &["sh", "-c", "exec 3<>/dev/other && ls -l /dev/other"],
    );
    assert!(told.ok().contains("10, 229"), "{told:?}");
}

fn device_is_not_given() -> Result<(), Skip> {
    e2e_podman::needs_root()?;
    let read = ["sh", "-c", "mknod /tmp/fuse c 10 229 && head -c 0 </tmp/fuse"];
    run(&["--cap-add", "MKNOD"], &read).fails("operation not permitted");
    let rule = ["--cap-add", "MKNOD", "--device-cgroup-rule", "c 10:229 rmw"];
    run(&rule, &read).ok();
    Ok(())
}

fn statistics() -> Result<(), Skip> {
    for controller in ["memory", "cpu", "pids"] {
        needs_controller(controller)?;
    }
    let container = Container::start(&[], &["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    container.process(&["sleep", "1001"]);
    let stats = podman(&["stats", "--no-stream", "--format", "{{.PIDs}}", container.name()]);
    assert_eq!(stats.ok(), "3");
    Ok(())
}

fn pause_freezes_and_unpause_thaws() {
    let container = Container::start(&[], &["sh", "-c", "while :; do echo x >>/tmp/ticks; done"]);
    let events = container.cgroup("unified").join("cgroup.events");
    let frozen = |value: &str| {
        let events = fs::read_to_string(&events).unwrap_or_default();
        assert!(events.contains(&format!("frozen {value}")), "{events}");
    };
    podman(&["pause", container.name()]).ok();
    assert_eq!(container.status(), "paused");
    frozen("1");
    podman(&["unpause", container.name()]).ok();
    frozen("0");
    podman(&["pause", container.name()]).ok();
    podman(&["rm", "-f", "-t", "0", container.name()]).ok();
    assert!(container.is_gone() && !events.exists());
}

/// conmon may miss the kernel's word, and looks once more when the container has ended: systemd may have
/// removed the cgroup by then, the other manager has not. And the container outlives what is killed.
fn out_of_memory_is_told() -> Result<(), Skip> {
    needs_controller("memory")?;
    needs_root()?;
    let small = ["-m", "16m", "--memory-swap", "16m"];
    let fill = ["sh", "-c", "a=x; while :; do a=$a$a; done"];
    run(&small, &fill).code(137);
    let container = Container::named();
    Podman::call(&container.line(&["--cgroup-manager=cgroupfs", "run", "-d"], &small, IDLE)).ok();
    container.exec(&[], &fill).code(137);
    podman(&["kill", container.name()]).ok();
    container.wait();
    assert_eq!(container.inspect("/State/OOMKilled"), true);
    Ok(())
}
