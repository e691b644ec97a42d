//! seccomp: profiles of the runtime specification, as the kernel enforces them (config-linux.md
//! "Seccomp"). How a profile is compiled is tested where the compiler is; here is what comes of it.

use std::{fs, os::fd::AsRawFd};

use integration::{Bundle, Kind, Output, Test, console::ConsoleSocket, only_on, wait};
use serde_json::{Value, json};

/// A profile that allows all but what `rules` say.
fn with_rules(bundle: Bundle, rules: Value) -> Bundle {
    with_profile(
        bundle,
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules }),
    )
}

fn with_profile(bundle: Bundle, profile: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["seccomp"] = profile)
}

/// What `probe try` says of a call.
fn attempt(test: &Test, bundle: Bundle, call: &[&str]) -> String {
    let output = test.run(&bundle.args(&[&["/bin/probe", "try"], call].concat()));
    output.stdout.trim().to_owned()
}

#[test]
fn without_a_profile_there_is_no_filter() {
    let test = Test::new();
    assert_eq!(test.facts(&test.bundle()).seccomp, 0);
}

#[test]
fn with_a_profile_there_is_a_filter() {
    let test = Test::new();
    let bundle =
        with_rules(test.bundle(), json!([{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }]));
    assert_eq!(test.facts(&bundle).seccomp, 2);
}

#[test]
fn errno_is_eperm_unless_the_rule_says_which() {
    let test = Test::new();
    let rules = json!([
        { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" },
        { "names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 },
        { "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 },
    ]);
    let bundle = with_rules(test.bundle(), rules);
    let script =
        "probe try mkdir /x; probe try chmod /etc 448; probe try uname; probe try getpriority";
    let output = test.run(&bundle.shell(script));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..3], ["EPERM", "EOPNOTSUPP", "ok"]);
    assert_eq!(lines[3], "ok", "an errno of 0 is success");
}

#[test]
fn the_default_action_is_for_all_the_others() {
    let test = Test::new();
    // What busybox needs to print a word is allowed by name; a call that is not listed gets ENOTSUP.
    let allowed = json!([
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "mprotect",
        "readlink",
        "readlinkat",
        "getrandom",
        "mmap",
        "munmap",
        "write",
        "writev",
        "exit",
        "exit_group",
        "futex",
        "read",
        "close",
        "fstat",
        "newfstatat",
        "openat",
        "open",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sigaltstack",
        "poll",
        "ppoll",
        "sched_getaffinity",
        "getpid",
        "gettid",
        "tgkill",
        "fcntl",
        "ioctl",
        "statx",
        "lseek",
        "getdents64",
        "uname",
        "access",
        "faccessat",
        "clone",
        "clone3",
        "wait4",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getcwd",
        "capget",
        "capset",
        "chdir",
        "fchdir",
        "prctl",
        "seccomp",
        "setuid",
        "setgid",
        "setgroups",
        "setresuid",
        "setresgid",
        "umask",
        "dup",
        "dup2",
        "dup3",
        "close_range",
        "epoll_ctl",
        "epoll_pwait",
        "epoll_create1",
        "eventfd2",
        "pipe2",
        "nanosleep",
        "clock_nanosleep",
        "madvise",
        "sched_yield",
        "stat",
        "lstat",
        "pread64",
        "mremap",
        "getppid",
        "fstatfs",
        "faccessat2",
        "openat2",
        "sendmsg",
        "recvmsg",
        "sendto",
        "recvfrom",
        "socketpair",
        "timer_create",
        "timer_settime",
        "timer_delete",
        "rt_sigtimedwait",
        "kill",
        "tkill",
        "getsockopt",
    ]);
    let profile = |errno: Value| {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno, "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": allowed, "action": "SCMP_ACT_ALLOW" }],
        })
    };
    assert_eq!(
        attempt(&test, with_profile(test.bundle(), profile(json!(95))), &["mkdir", "/x"]),
        "EOPNOTSUPP"
    );
    assert_eq!(
        attempt(&test, with_profile(test.bundle_named("b"), profile(json!(95))), &["uname"]),
        "ok"
    );
}

#[test]
fn kill_ends_the_process_with_sigsys() {
    let test = Test::new();
    for action in
        ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"]
    {
        let bundle = with_rules(
            test.bundle_named(action),
            json!([{ "names": ["mkdir"], "action": action }]),
        );
        let output = test.run(&bundle.args(&["/bin/probe", "try", "mkdir", "/x"]));
        assert_eq!(output.status, 128 + 31, "{action}: {output:?}");
    }
}

#[test]
fn log_lets_the_call_through() {
    let test = Test::new();
    let bundle =
        with_rules(test.bundle(), json!([{ "names": ["mkdir"], "action": "SCMP_ACT_LOG" }]));
    assert_eq!(attempt(&test, bundle, &["mkdir", "/x"]), "ok");
}

#[test]
fn trace_without_a_tracer_is_enosys() {
    let test = Test::new();
    let bundle =
        with_rules(test.bundle(), json!([{ "names": ["mkdir"], "action": "SCMP_ACT_TRACE" }]));
    assert_eq!(attempt(&test, bundle, &["mkdir", "/x"]), "ENOSYS");
}

/// personality(2) takes any number, so it shows how an argument is compared. Its result does not
/// matter to the filter: 0x8 is PER_LINUX32, which needs no privilege.
fn personality(
    test: &Test,
    name: &str,
    operator: &str,
    value: u64,
    value_two: u64,
    argument: &str,
) -> String {
    let rules = json!([{
        "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95,
        "args": [{ "index": 0, "value": value, "valueTwo": value_two, "op": operator }],
    }]);
    attempt(test, with_rules(test.bundle_named(name), rules), &["personality", argument])
}

#[test]
fn every_comparison_of_an_argument() {
    let test = Test::new();
    let cases = [
        ("SCMP_CMP_EQ", 8, 0, "0", false),
        ("SCMP_CMP_EQ", 8, 0, "8", true),
        ("SCMP_CMP_NE", 8, 0, "0", true),
        ("SCMP_CMP_NE", 8, 0, "8", false),
        ("SCMP_CMP_LT", 8, 0, "0", true),
        ("SCMP_CMP_LT", 8, 0, "8", false),
        ("SCMP_CMP_LE", 8, 0, "8", true),
        ("SCMP_CMP_LE", 8, 0, "0x20000", false),
        ("SCMP_CMP_GE", 8, 0, "0", false),
        ("SCMP_CMP_GE", 8, 0, "8", true),
        ("SCMP_CMP_GT", 8, 0, "8", false),
        ("SCMP_CMP_GT", 8, 0, "0x20000", true),
        ("SCMP_CMP_MASKED_EQ", 0x20000, 0x20000, "8", false),
        ("SCMP_CMP_MASKED_EQ", 0x20000, 0x20000, "0x20008", true),
    ];
    for (operator, value, value_two, argument, denied) in cases {
        let name = format!("{operator}-{argument}");
        let outcome = personality(&test, &name, operator, value, value_two, argument);
        let expected = if denied { "EOPNOTSUPP" } else { "ok" };
        assert_eq!(outcome, expected, "{operator} {value} with {argument}");
    }
}

#[test]
fn several_comparisons_have_to_hold_together() {
    let test = Test::new();
    // socket(AF_UNIX = 1, SOCK_DGRAM = 2)
    let rule = |kind: u64| {
        json!([{
            "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95,
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": kind, "op": "SCMP_CMP_EQ" }],
        }])
    };
    assert_eq!(attempt(&test, with_rules(test.bundle(), rule(2)), &["socket", "1"]), "EOPNOTSUPP");
    assert_eq!(attempt(&test, with_rules(test.bundle_named("b"), rule(1)), &["socket", "1"]), "ok");
}

#[test]
fn several_rules_for_a_call_are_alternatives() {
    let test = Test::new();
    let rule = |value: u64, errno: u32| {
        json!({
            "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
            "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }],
        })
    };
    let bundle = with_rules(test.bundle(), json!([rule(8, 95), rule(0x20000, 38)]));
    let script = "probe try personality 8; probe try personality 0x20000; probe try personality 0";
    let output = test.run(&bundle.shell(script));
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), ["EOPNOTSUPP", "ENOSYS", "ok"]);
}

#[test]
fn comparisons_of_the_same_argument_in_one_rule_are_alternatives() {
    let test = Test::new();
    only_on!(
        test,
        [Rtn, Runc],
        "a rule of the runc family, for libseccomp takes one comparison per argument"
    );
    let bundle = with_rules(
        test.bundle(),
        json!([{
            "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95,
            "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }, { "index": 0, "value": 0x20000, "op": "SCMP_CMP_EQ" }],
        }]),
    );
    let output =
        test.run(&bundle.shell(
            "probe try personality 8; probe try personality 0x20000; probe try personality 0",
        ));
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), ["EOPNOTSUPP", "EOPNOTSUPP", "ok"]);
}

#[test]
fn names_of_other_architectures_are_passed_over() {
    let test = Test::new();
    let names = json!(["mkdir", "s390_pci_mmio_read", "cacheflush", "arm_fadvise64_64", "chown32"]);
    let bundle = with_rules(test.bundle(), json!([{ "names": names, "action": "SCMP_ACT_ERRNO" }]));
    assert_eq!(attempt(&test, bundle, &["mkdir", "/x"]), "EPERM");
}

#[test]
fn a_name_that_no_architecture_knows_is_told_or_passed_over() {
    let test = Test::new();
    let rules =
        json!([{ "names": ["mkdir", "syscall_of_the_future"], "action": "SCMP_ACT_ERRNO" }]);
    let bundle = with_rules(test.bundle(), rules).args(&["/bin/probe", "try", "mkdir", "/x"]);
    let output = test.run(&bundle);
    if test.runtime.is(Kind::Rtn) {
        assert!(output.stderr.contains("linux.seccomp.syscalls[0].names[1]"), "{output:?}");
    }
    // Skipping it must not skip the rest of the rule.
    assert!(output.stdout.is_empty() || output.stdout == "EPERM\n", "{output:?}");
}

#[test]
fn calls_of_another_architecture_are_governed_too() {
    let test = Test::new();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "syscalls": [{ "names": ["mkdir", "chown32"], "action": "SCMP_ACT_ERRNO" }],
    });
    assert_eq!(attempt(&test, with_profile(test.bundle(), profile), &["mkdir", "/x"]), "EPERM");
}

#[test]
fn without_architectures_the_native_one_is_meant() {
    let test = Test::new();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }],
    });
    assert_eq!(attempt(&test, with_profile(test.bundle(), profile), &["mkdir", "/x"]), "EPERM");
}

#[test]
fn flags_are_accepted() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc before 1.2 and crun before 1.9 refuse them");
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]),
    ] {
        let name = format!("flags-{}", flags.as_array().map_or(0, Vec::len));
        let bundle = with_profile(
            test.bundle_named(&name),
            json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": flags,
                "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }],
            }),
        );
        assert_eq!(attempt(&test, bundle, &["mkdir", "/x"]), "EPERM", "{flags}");
    }
}

#[test]
fn calls_newer_than_the_profile_are_enosys() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun answers with the default action");
    // The profile names nothing newer than Linux 4.x; openat2 (437) is beyond, so that C libraries
    // fall back instead of giving up. The newest call of the profile decides.
    let mut profile: Value = json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [] });
    let old: Vec<&str> = OLD_CALLS.split_whitespace().collect();
    profile["syscalls"] = json!([{ "names": old, "action": "SCMP_ACT_ALLOW" }]);
    let bundle = with_profile(test.bundle(), profile);
    let output = test.run(&bundle.clone_with(&["/bin/probe", "try", "openat2", "/etc"]));
    assert_eq!(output.stdout.trim(), "ENOSYS", "{output:?}");
    let output = test.run(&bundle.clone_with(&["/bin/probe", "try", "mknod", "/x", "1", "3"]));
    assert_eq!(output.stdout.trim(), "EPERM", "an old call that is not listed: {output:?}");
}

/// Enough for the probe and for a runtime's last steps, nothing newer than pkey_free (331).
const OLD_CALLS: &str = "execve brk arch_prctl set_tid_address set_robust_list prlimit64 mprotect readlink \
    readlinkat getrandom mmap munmap write writev exit exit_group futex read close fstat newfstatat openat open \
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack poll ppoll sched_getaffinity getpid gettid tgkill fcntl \
    ioctl lseek getdents64 uname access faccessat clone wait4 getuid geteuid getgid getegid getcwd capget capset \
    chdir fchdir prctl seccomp setuid setgid setgroups setresuid setresgid umask dup dup2 dup3 epoll_ctl \
    epoll_pwait epoll_create1 eventfd2 pipe2 nanosleep clock_nanosleep madvise sched_yield stat lstat pread64 \
    mremap getppid fstatfs sendmsg recvmsg sendto recvfrom socketpair timer_create timer_settime timer_delete \
    kill tkill pkey_free";

#[test]
fn it_holds_with_and_without_new_privileges() {
    let test = Test::new();
    for no_new_privileges in [true, false] {
        let bundle = with_rules(
            test.bundle_named(&format!("{no_new_privileges}")),
            json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]),
        );
        let bundle = bundle.edit(|config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        });
        let facts = test.facts(&bundle);
        assert_eq!((facts.seccomp, facts.no_new_privs), (2, no_new_privileges));
        assert_eq!(attempt(&test, bundle, &["mkdir", "/tmp/x"]), "EPERM");
    }
}

#[test]
fn calls_of_the_runtimes_own_last_steps_may_be_denied() {
    let test = Test::new();
    // With no_new_privs the filter is the last thing before the program: identity, capabilities and
    // working directory were set without it.
    let denied = json!([
        "setuid",
        "setgid",
        "setgroups",
        "setresuid",
        "setresgid",
        "capset",
        "chdir",
        "mount",
        "umount2",
        "pivot_root",
        "unshare",
        "setns",
        "sethostname",
        "keyctl",
        "prctl"
    ]);
    let bundle =
        with_rules(test.bundle(), json!([{ "names": denied, "action": "SCMP_ACT_ERRNO" }]));
    let bundle =
        bundle.edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(test.facts(&bundle).uids, [1000; 4]);
}

#[test]
fn the_profile_of_docker_runs_a_shell() {
    let test = Test::new();
    // The shape of it: everything denied but a list, rules with arguments, several architectures.
    let mut names: Vec<&str> = OLD_CALLS.split_whitespace().collect();
    names.extend([
        "clone3",
        "rseq",
        "statx",
        "openat2",
        "faccessat2",
        "close_range",
        "vfork",
        "pipe",
        "getpgrp",
        "setpgid",
        "mkdir",
        "select",
        "pselect6",
        "sysinfo",
        "getsid",
        "setsid",
        "getpgid",
        "exit",
        "wait4",
        "waitid",
    ]);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
        ],
    });
    let script = "probe try personality 8; probe try personality 0x20000; probe try socket 1; probe try socket 40; \
                  mkdir /x && ls -d /x; probe try sethostname x";
    let output = test.run(&with_profile(test.bundle(), profile).shell(script));
    assert_eq!(
        output.stdout.lines().collect::<Vec<_>>(),
        ["ok", "EPERM", "ok", "EPERM", "/x", "EPERM"],
        "{output:?}"
    );
}

/// A listener, as agents make it, and a profile that asks it about `mkdir`.
fn notifying(test: &Test) -> (ConsoleSocket, Bundle) {
    let agent = ConsoleSocket::bind(test.dir().join("agent"));
    let bundle = with_profile(
        test.bundle(),
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "listenerPath": agent.path(), "listenerMetadata": "for the agent",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    (agent, bundle)
}

#[test]
fn notify_hands_the_listener_and_the_state_to_the_agent() {
    let test = Test::new();
    let (agent, bundle) = notifying(&test);
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let bundle = bundle.args(&["/bin/probe", "try", "mkdir", "/x"]);
    let (mut child, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    let (listener, message) = agent.receive();
    let target =
        fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).expect("a descriptor");
    assert!(target.to_string_lossy().contains("seccomp notify"), "{}", target.display());
    let message: Value = serde_json::from_slice(&message).expect("JSON");
    assert_eq!(message["fds"], json!(["seccompFd"]));
    assert_eq!(message["metadata"], "for the agent");
    assert_eq!(message["state"]["id"], test.id());
    assert_eq!(message["state"]["status"], "creating");
    assert_eq!(message["state"]["bundle"], json!(bundle.dir));
    assert!(
        message["pid"].as_i64().is_some_and(|pid| pid > 1) && message["ociVersion"].is_string(),
        "{message}"
    );
    // The call is pending now; an agent that goes away answers it with ENOSYS.
    assert!(wait::readable(&listener, wait::DEADLINE));
    drop(listener);
    assert_eq!(wait::rest(&mut output), "ENOSYS\n");
    wait::exit_status(&mut child, &command);
}

#[test]
fn notify_for_an_exec_tells_its_own_pid() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc's exec of an ordinary user does not hand the listener over");
    only_on!(test, [Rtn, Runc], "crun has no listener for an exec");
    let (agent, bundle) = notifying(&test);
    let container = test.create(&bundle.serve());
    let first = agent.receive();
    container.start();
    let mut command = test.command(&["exec", test.id(), "/bin/probe", "try", "mkdir", "/x"]);
    let (mut child, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    let (listener, message) = agent.receive();
    let message: Value = serde_json::from_slice(&message).expect("JSON");
    assert_ne!(message["pid"], container.pid);
    assert_eq!(message["state"]["pid"], container.pid);
    assert_eq!(message["state"]["status"], "running");
    assert!(wait::readable(&listener, wait::DEADLINE));
    drop(listener);
    assert_eq!(wait::rest(&mut output), "ENOSYS\n");
    wait::exit_status(&mut child, &command);
    drop(first);
    container.remove();
}

/// Whoever made the container may be the agent, and come to it only after `start`.
#[test]
fn start_does_not_wait_for_an_agent_that_is_asked_about_execve() {
    let test = Test::new();
    let (agent, bundle) = notifying(&test);
    let bundle = bundle.edit(|config| {
        config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["execve"]);
        config["process"]["noNewPrivileges"] = json!(true);
    });
    let container = test.create(&bundle.args(&["/bin/true"]));
    let (listener, _) = agent.receive();
    container.start();
    assert!(wait::readable(&listener, wait::DEADLINE));
    container.remove();
}

#[test]
fn notify_without_an_agent_is_an_error() {
    let test = Test::new();
    let bundle = with_profile(
        test.bundle(),
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/not/there",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    test.create_fails(&bundle);
}

#[test]
fn an_agent_that_says_nothing_does_not_hang_the_runtime() {
    let test = Test::new();
    // Connections are queued by the kernel and never taken.
    let (agent, bundle) = notifying(&test);
    let output: Output = test.run(&bundle.args(&["/bin/true"]));
    drop(agent);
    output.ok();
}
