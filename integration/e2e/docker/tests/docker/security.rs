//! What a container may not do.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use e2e_docker::{
    Container, IDLE, cgroup, daemon, docker,
    host::{self, Skip},
    run,
};

e2e_common::tests! {
    default_capabilities
    cap_add_and_cap_drop
    cap_drop_all
    cap_add_all
    another_user_keeps_only_the_bounding_set
    no_new_privileges
    new_privileges_by_default
    default_apparmor_profile_is_in_force
    apparmor_unconfined
    apparmor_profile_that_is_not_loaded
    default_seccomp_profile_is_in_force
    seccomp_unconfined
    custom_seccomp_profile
    custom_seccomp_profile_by_argument
    custom_seccomp_profile_that_kills
    custom_seccomp_profile_with_default_refusal
    ulimits
    ulimits_above_ours
    sysctls
    sysctl_of_the_host_is_refused
    masked_and_read_only_paths
    no_device_or_mask_is_an_inode_of_the_host
    system_paths_unconfined
    privileged_has_everything
    device_nodes_do_not_give_access
    the_binary_of_the_runtime_is_out_of_reach
}

/// Bit of a capability (capability.h).
const NET_RAW: u64 = 1 << 13;
const NET_ADMIN: u64 = 1 << 12;
const SYS_RESOURCE: u64 = 1 << 24;

/// The fourteen of moby's `oci/caps/defaults.go`.
const DEFAULT: u64 = 0xa804_25fb;

const SETS: [&str; 4] = ["CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn capabilities(flags: &[&str]) -> [u64; 4] {
    let container = Container::start(flags, IDLE);
    let set =
        |name| u64::from_str_radix(&host::status(container.pid(), name), 16).expect("hexadecimal");
    SETS.map(set)
}

fn all_capabilities_here() -> Result<(), Skip> {
    let missing = host::all_capabilities() & !host::capabilities();
    host::needs(missing == 0, format!("full set of capabilities (without {missing:#x})"))
}

fn default_capabilities() {
    assert_eq!(capabilities(&[]), [DEFAULT, DEFAULT, DEFAULT, 0]);
}

fn cap_add_and_cap_drop() {
    let expected = DEFAULT & !NET_RAW | NET_ADMIN;
    let flags = ["--cap-add", "NET_ADMIN", "--cap-drop", "NET_RAW"];
    assert_eq!(capabilities(&flags), [expected, expected, expected, 0]);
    run(&["--cap-add", "NET_ADMIN"], &["ip", "link", "set", "lo", "down"]).ok();
    run(&[], &["ip", "link", "set", "lo", "down"]).fails("operation not permitted");
}

fn cap_drop_all() {
    assert_eq!(capabilities(&["--cap-drop", "ALL"]), [0, 0, 0, 0]);
    run(&["--cap-drop", "ALL"], &["chown", "1:1", "/tmp"]).fails("operation not permitted");
    let only = ["--cap-drop", "ALL", "--cap-add", "CHOWN"];
    run(&only, &["chown", "1:1", "/tmp"]).ok();
    assert_eq!(capabilities(&only), [1, 1, 1, 0]);
}

fn cap_add_all() -> Result<(), Skip> {
    all_capabilities_here()?;
    let all = host::all_capabilities();
    assert_eq!(capabilities(&["--cap-add", "ALL"]), [all, all, all, 0]);
    Ok(())
}

fn another_user_keeps_only_the_bounding_set() {
    assert_eq!(capabilities(&["-u", "1000"]), [0, 0, DEFAULT, 0]);
    run(&["-u", "1000"], &["chown", "1:1", "/tmp"]).fails("operation not permitted");
}

fn no_new_privileges() {
    let container = Container::start(&["--security-opt", "no-new-privileges"], IDLE);
    assert_eq!(host::status(container.pid(), "NoNewPrivs"), "1");
    assert_eq!(host::status(container.pid(), "Seccomp"), "2");
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    assert_eq!(host::status(container.process(&["sleep", "2000"]), "NoNewPrivs"), "1");
}

fn new_privileges_by_default() {
    assert_eq!(host::status(Container::start(&[], IDLE).pid(), "NoNewPrivs"), "0");
}

fn apparmor() -> Result<(), Skip> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    host::needs(enabled.is_ok_and(|word| word.starts_with('Y')), "AppArmor")
}

/// The profile of a process, from the outside.
fn profile(pid: u32) -> String {
    host::proc(pid, "attr/apparmor/current").trim_end().to_owned()
}

fn default_apparmor_profile_is_in_force() -> Result<(), Skip> {
    apparmor()?;
    let container = Container::start(&[], IDLE);
    assert_eq!(profile(container.pid()), "docker-default (enforce)");
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    assert_eq!(profile(container.process(&["sleep", "2000"])), "docker-default (enforce)");
    // What nothing but the profile forbids to a container with this capability.
    let script = "mount -t tmpfs none /tmp";
    let with = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    run(&with, &["sh", "-c", script]).fails("permission denied");
    run(&[&with[..], &["--security-opt", "apparmor=unconfined"]].concat(), &["sh", "-c", script])
        .ok();
    Ok(())
}

fn apparmor_unconfined() -> Result<(), Skip> {
    apparmor()?;
    for flags in [&["--security-opt", "apparmor=unconfined"][..], &["--privileged"]] {
        assert_eq!(profile(Container::start(flags, IDLE).pid()), "unconfined", "{flags:?}");
    }
    Ok(())
}

fn apparmor_profile_that_is_not_loaded() -> Result<(), Skip> {
    apparmor()?;
    let flags = ["--security-opt", "apparmor=not-loaded"];
    run(&flags, &["true"]).fails("apparmor");
    Ok(())
}

fn default_seccomp_profile_is_in_force() {
    let container = Container::start(&[], IDLE);
    assert_eq!(host::status(container.pid(), "Seccomp"), "2");
    // unshare(CLONE_NEWUSER) needs no capability: only the profile refuses it.
    container.exec(&[], &["unshare", "-U", "true"]).fails("operation not permitted");
}

/// AppArmor's profile refuses some of what a test has to see allowed.
const NO_APPARMOR: [&str; 2] = ["--security-opt", "apparmor=unconfined"];

fn seccomp_unconfined() {
    let flags = ["--security-opt", "seccomp=unconfined"];
    let container = Container::start(&[flags, NO_APPARMOR].concat(), IDLE);
    assert_eq!(host::status(container.pid(), "Seccomp"), "0");
    container.exec(&[], &["unshare", "-U", "true"]).ok();
}

/// A profile in a file of its own.
struct Profile(PathBuf);

impl Profile {
    fn new(name: &str, text: &str) -> Self {
        let file = daemon::shared().place().file(name);
        fs::write(&file, text).expect("a file");
        Self(file)
    }

    fn option(&self) -> String {
        format!("seccomp={}", self.0.display())
    }
}

fn custom_seccomp_profile() {
    let profile = Profile::new(
        "errno",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#,
    );
    let option = profile.option();
    let container = Container::start(&["--security-opt", &option], IDLE);
    container.exec(&[], &["mkdir", "/tmp/refused"]).fails("no space left on device");
    container.exec(&[], &["touch", "/tmp/allowed"]).ok();
    assert!(!host::root(container.pid()).join("tmp/refused").exists());
}

fn custom_seccomp_profile_by_argument() {
    let profile = Profile::new(
        "argument",
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
            {"names": ["fchmodat", "chmod"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 1, "value": 2048, "valueTwo": 2048, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#,
    );
    let flags = ["--security-opt", &profile.option()];
    let script = "trap '' USR1 USR2; kill -USR2 $$ && echo USR2; kill -USR1 $$ || echo refused";
    let output = run(&flags, &["sh", "-c", script]);
    assert_eq!(output.ok(), "USR2\nrefused", "{output:?}");
}

fn custom_seccomp_profile_that_kills() {
    let profile = Profile::new(
        "kills",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    // 128 + SIGSYS, even for the first process of a pid namespace.
    run(&["--security-opt", &profile.option()], &["mkdir", "/tmp/never"]).code(159);
}

fn custom_seccomp_profile_with_default_refusal() {
    let profile = Profile::new(
        "refusal",
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["execve", "exit_group", "write", "read", "brk", "mmap", "mprotect", "munmap",
                       "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
                       "readlink", "readlinkat", "getrandom", "uname", "futex", "rt_sigaction",
                       "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "madvise", "nanosleep",
                       "getuid", "getpid", "getppid", "gettid", "tgkill", "close", "fstat",
                       "newfstatat", "openat", "fcntl", "fstatfs", "getdents64", "epoll_ctl",
                       "epoll_pwait", "prctl", "capget", "capset", "setuid", "setgid", "setgroups",
                       "chdir", "getcwd"],
             "action": "SCMP_ACT_ALLOW"}]}"#,
    );
    let option = profile.option();
    run(&["--security-opt", &option], &["echo", "allowed"]).ok();
    run(&["--security-opt", &option], &["mkdir", "/tmp/no"]).fails("operation not permitted");
}

fn ulimits() {
    let flags = ["--ulimit", "nofile=1000:1500", "--ulimit", "core=0", "--ulimit", "cpu=3600"];
    let process = Container::start(&flags, IDLE);
    let limit = |name| host::rlimit(process.pid(), name);
    let pair = |soft: &str, hard: &str| Some((soft.to_owned(), hard.to_owned()));
    assert_eq!(limit("Max open files"), pair("1000", "1500"));
    assert_eq!(limit("Max core file size"), pair("0", "0"));
    assert_eq!(limit("Max cpu time"), pair("3600", "3600"));
}

fn ulimits_above_ours() -> Result<(), Skip> {
    let can = host::capabilities() & SYS_RESOURCE != 0;
    host::needs(can, "CAP_SYS_RESOURCE, which raising a hard limit takes")?;
    let process = Container::start(&["--ulimit", "nofile=1048577:1048577"], IDLE);
    let expected = ("1048577".to_owned(), "1048577".to_owned());
    assert_eq!(host::rlimit(process.pid(), "Max open files"), Some(expected));
    Ok(())
}

fn sysctls() {
    let flags =
        ["--sysctl", "net.ipv4.ip_unprivileged_port_start=42", "--sysctl", "kernel.msgmax=4242"];
    let files = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/msgmax"];
    assert_eq!(run(&flags, &files).ok(), "42\n4242");
    let ours = fs::read_to_string("/proc/sys/kernel/msgmax").expect("a sysctl");
    assert_ne!(ours.trim(), "4242");
}

fn sysctl_of_the_host_is_refused() {
    run(&["--sysctl", "vm.swappiness=1"], &["true"]).fails("vm.swappiness");
    let flags = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=42", "--network", "host"];
    run(&flags, &["true"]).fails("net.ipv4.ip_unprivileged_port_start");
    let ours =
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("a sysctl");
    assert_ne!(ours.trim(), "42");
}

fn masked_and_read_only_paths() {
    let container = Container::start(&NO_APPARMOR, IDLE);
    let mount = |path: &str| host::mount_on(container.pid(), path);
    for file in there(&["keys", "timer_list", "latency_stats", "sched_debug", "kcore"]) {
        assert!(mount(&file).root.ends_with("/null"), "{:?}", mount(&file));
        assert_eq!(container.exec(&[], &["cat", &file]).ok(), "", "{file}");
    }
    for directory in there(&["acpi", "scsi", "../sys/firmware"]) {
        let directory = directory.replace("/proc/../", "/");
        assert!(mount(&directory).kind == "tmpfs" && mount(&directory).has("ro"), "{directory}");
        assert_eq!(container.exec(&[], &["ls", &directory]).ok(), "", "{directory}");
    }
    for read_only in there(&["bus", "fs", "irq", "sys", "sysrq-trigger"]) {
        assert!(mount(&read_only).has("ro"), "{read_only}");
    }
    container
        .exec(&[], &["sh", "-c", "echo 1 > /proc/sys/kernel/hostname"])
        .fails("read-only file system");
}

/// Those paths of /proc that this kernel has.
fn there(names: &[&str]) -> Vec<String> {
    let paths = names.iter().map(|name| format!("/proc/{name}"));
    paths.filter(|path| fs::exists(path).unwrap_or_default()).collect()
}

/// A container's root may chmod and chown whatever inode it reaches, on any mount that is writable.
fn no_device_or_mask_is_an_inode_of_the_host() {
    let container = Container::start(&[], IDLE);
    let inode = |path: PathBuf| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let masked = there(&["keys", "timer_list", "latency_stats", "sched_debug", "kcore"]);
    let devices =
        ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
    for path in masked.iter().map(String::as_str).chain(devices) {
        let inside = inode(host::root(container.pid()).join(&path[1..]));
        assert!(inside.is_some(), "{path}");
        for device in devices {
            assert_ne!(
                inside,
                inode(device.into()),
                "{path} of the container is {device} of the host"
            );
        }
    }
}

fn system_paths_unconfined() {
    let process = Container::start(&["--security-opt", "systempaths=unconfined"], IDLE);
    let below = |mount: &host::Mount| mount.target.starts_with("/proc/");
    assert_eq!(host::mounts(process.pid()).into_iter().find(below), None);
}

fn privileged_has_everything() -> Result<(), Skip> {
    all_capabilities_here()?;
    let container = Container::start(&["--privileged"], IDLE);
    let all = format!("{:016x}", host::all_capabilities());
    assert_eq!(host::status(container.pid(), "CapEff"), all);
    assert_eq!(host::status(container.pid(), "Seccomp"), "0");
    assert!(!host::mount_on(container.pid(), "/sys").has("ro"));
    if cgroup::is_v1() {
        assert_eq!(container.limit("devices/devices.list"), "a *:* rwm");
    }
    container.exec(&[], &["sh", "-c", "mknod /tmp/fuse c 10 229 && : < /tmp/fuse"]).ok();
    Ok(())
}

fn device_nodes_do_not_give_access() -> Result<(), Skip> {
    let (_, number) = host::block_device().ok_or(Skip("this machine has no disk".to_owned()))?;
    let (major, minor) = number.split_once(':').expect("major:minor");
    let script = format!("mknod /tmp/disk b {major} {minor} && cat /tmp/disk");
    run(&[], &["sh", "-c", &script]).fails("operation not permitted");
    Ok(())
}

/// Opens the program of every other process and later tries to write to it.
const GRAB: &str = "echo ready
    while :; do
        for process in /proc/[0-9]*; do (
            exec 3<$process/exe || exit
            case $(readlink /proc/self/fd/3) in */busybox) exit;; esac
            sleep 0.2
            echo X >>/proc/self/fd/3 && echo WRITTEN
        ) 2>/dev/null; done
    done";

/// CVE-2019-5736: a process of the container opens `/proc/<runtime>/exe` and overwrites the runtime
/// when that has ended.
fn the_binary_of_the_runtime_is_out_of_reach() {
    let runtime = daemon::shared().runtime();
    let before = fs::read(runtime).expect("the runtime");
    let container = Container::start(&[], &["sh", "-c", GRAB]);
    for _ in 0..5 {
        container.exec(&[], &["/proc/self/exe", "--version"]);
    }
    assert!(!docker(&["logs", container.name()]).ok().contains("WRITTEN"));
    assert!(fs::read(runtime).expect("the runtime") == before, "{} is changed", runtime.display());
}
