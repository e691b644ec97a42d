//! What holds a container in.

use std::fs;

use e2e_podman::{Container, IDLE, Place, Skip, all_capabilities, host, needs, podman, run};

e2e_common::tests! {
    capabilities_are_added_and_dropped
    privileged_has_what_the_machine_has
    no_new_privileges
    seccomp_of_podman_and_none
    seccomp_of_ones_own
    paths_are_masked_and_unmasked
    labels_are_disabled
    apparmor_profile_is_applied
    limits_of_the_process
    kernel_parameters
}

fn status(container: &Container, key: &str) -> String {
    host::status(container.pid(), key)
}

fn capabilities_are_added_and_dropped() {
    let container = Container::start(&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], IDLE);
    for (key, mask) in
        [("CapPrm", 1 << 12), ("CapEff", 1 << 12), ("CapBnd", 1 << 12), ("CapInh", 0)]
    {
        assert_eq!(status(&container, key), format!("{mask:016x}"), "{key}");
    }
    let container = Container::start(&["--cap-drop", "CHOWN"], IDLE);
    let bounding = u64::from_str_radix(&status(&container, "CapBnd"), 16).unwrap_or_default();
    assert_eq!((bounding & 1, bounding & 1 << 10), (0, 1 << 10));
}

fn privileged_has_what_the_machine_has() {
    let container = Container::start(&["--privileged"], IDLE);
    assert_eq!(status(&container, "CapEff"), format!("{:016x}", all_capabilities()));
    assert_eq!(status(&container, "Seccomp"), "0");
    let mounts = host::mounts(container.pid());
    assert!(!mounts.iter().any(|mount| mount.target.starts_with("/proc/")), "{mounts:#?}");
}

fn no_new_privileges() {
    let flags = ["--security-opt", "no-new-privileges"];
    assert_eq!(status(&Container::start(&flags, IDLE), "NoNewPrivs"), "1");
    assert_eq!(status(&Container::start(&[], IDLE), "NoNewPrivs"), "0");
}

fn seccomp_of_podman_and_none() {
    let container = Container::start(&[], IDLE);
    assert_eq!(status(&container, "Seccomp"), "2");
    let none = ["--security-opt", "seccomp=unconfined"];
    assert_eq!(status(&Container::start(&none, IDLE), "Seccomp"), "0");
}

fn seccomp_of_ones_own() {
    let profile = Place::shared().file("seccomp.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#;
    fs::write(&profile, text).expect("a file");
    let flag = format!("seccomp={}", profile.display());
    run(&["--security-opt", &flag], &["mkdir", "/tmp/x"]).fails("not supported");
    run(&["--security-opt", &flag], &["touch", "/tmp/x"]).ok();
}

/// Whether something is mounted over a path in a container.
fn covers(flags: &[&str], path: &str) -> bool {
    let container = Container::start(flags, IDLE);
    host::mounts(container.pid()).iter().any(|mount| mount.target == path)
}

fn paths_are_masked_and_unmasked() {
    assert!(covers(&[], "/proc/keys"));
    assert!(!covers(&["--security-opt", "unmask=/proc/keys"], "/proc/keys"));
    assert!(!covers(&["--security-opt", "unmask=ALL"], "/proc/keys"));
    assert!(covers(&["--security-opt", "mask=/etc/passwd"], "/etc/passwd"));
    assert_eq!(run(&["--security-opt", "mask=/etc/passwd"], &["cat", "/etc/passwd"]).ok(), "");
    run(&[], &["sh", "-c", "echo 1 >/proc/sys/kernel/panic"]).fails("read-only file system");
}

fn labels_are_disabled() {
    run(&["--security-opt", "label=disable"], &["true"]).ok();
}

fn apparmor_profile_is_applied() -> Result<(), Skip> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    needs(enabled.is_ok_and(|answer| answer.starts_with('Y')), "AppArmor")?;
    e2e_podman::needs_root()?;
    let confined = host::proc(Container::start(&[], IDLE).pid(), "attr/current");
    assert!(confined.starts_with("containers-default-"), "{confined:?}");
    let flags = ["--security-opt", "apparmor=unconfined"];
    let free = host::proc(Container::start(&flags, IDLE).pid(), "attr/current");
    assert_eq!(free.trim_end(), "unconfined");
    Ok(())
}

fn limits_of_the_process() {
    let container = Container::start(&["--ulimit", "nofile=100:200"], IDLE);
    let limit = host::rlimit(container.pid(), "Max open files");
    assert_eq!(limit, Some(("100".to_owned(), "200".to_owned())));
}

fn kernel_parameters() {
    let flags = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=1000000"];
    let read = ["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax"];
    assert_eq!(run(&flags, &read).ok(), "1\n1000000");
    let output = run(&["--sysctl", "kernel.panic=1"], &["true"]);
    assert!(output.status != Some(0), "{output:?}");
    podman(&["image", "exists", e2e_podman::IMAGE]).ok();
}
