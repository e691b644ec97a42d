//! config-linux.md "Seccomp": the profile, without its rules.

use std::{os::unix::net::UnixDatagram, path::Path};

use integration::{Bundle, Test};
use serde_json::{Value, json};

use super::agent::{self, Agent};
use crate::{Statement, must, must_not, optional, required};

pub(super) const SECTION: &str = r#"config-linux.md "Seccomp""#;

const ARCHITECTURES: &str =
    "architectures (array of strings, OPTIONAL) - the architecture used for system calls.";
const FLAGS: &str = "flags (array of strings, OPTIONAL) - list of flags to use with seccomp(2).";
const SENDING: &str = "If sending to this socket fails, the runtime MUST generate an error.";

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config-linux.seccomp.default-action",
        SECTION,
        "defaultAction (string, REQUIRED) - the default action for seccomp. Allowed values are the same as \
         syscalls[].action.",
    )
    .test(the_default_is_for_all_other_calls),
    required(
        "config-linux.seccomp.default-action.absent",
        SECTION,
        "defaultAction (string, REQUIRED) - the default action for seccomp. Allowed values are the same as \
         syscalls[].action.",
    )
    .test(a_profile_has_a_default),
    required(
        "config-linux.seccomp.default-action.unknown",
        SECTION,
        "defaultAction (string, REQUIRED) - the default action for seccomp. Allowed values are the same as \
         syscalls[].action.",
    )
    .test(|test| refused(test, json!({ "defaultAction": "SCMP_ACT_PONDER" }))),
    optional(
        "config-linux.seccomp.default-errno-ret",
        SECTION,
        "defaultErrnoRet (uint, OPTIONAL) - the errno return code to use.",
    )
    .test(the_default_has_an_errno),
    optional(
        "config-linux.seccomp.default-errno-ret.default",
        SECTION,
        "defaultErrnoRet (uint, OPTIONAL) - the errno return code to use. The default is EPERM.",
    )
    .test(|test| assert_eq!(denied_by_default(test, Value::Null), "EPERM")),
    must(
        "config-linux.seccomp.default-errno-ret.without-errno",
        SECTION,
        "defaultErrnoRet: When the action doesn't support an errno, the runtime MUST print and error and fail.",
    )
    .test(|test| refused(test, json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 38 }))),
    optional("config-linux.seccomp.architectures.native", SECTION, ARCHITECTURES).test(|test| {
        assert_eq!(mkdir(test, json!({ "architectures": ["SCMP_ARCH_X86_64"] })), "EPERM");
    }),
    optional("config-linux.seccomp.architectures.none", SECTION, ARCHITECTURES)
        .test(|test| assert_eq!(mkdir(test, json!({})), "EPERM")),
    optional("config-linux.seccomp.architectures.others", SECTION, ARCHITECTURES).test(|test| {
        let list = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"];
        assert_eq!(mkdir(test, json!({ "architectures": list })), "EPERM");
    }),
    optional(
        "config-linux.seccomp.architectures.known",
        SECTION,
        "architectures (array of strings, OPTIONAL) - A valid list of constants as of libseccomp v2.5.0 is shown below.",
    )
    .test(every_architecture_of_this_byte_order_is_known),
    optional(
        "config-linux.seccomp.architectures.known.others",
        SECTION,
        "architectures (array of strings, OPTIONAL) - A valid list of constants as of libseccomp v2.5.0 is shown below.",
    )
    .test(any_other_architecture_is_taken_or_refused),
    optional("config-linux.seccomp.architectures.unknown", SECTION, ARCHITECTURES).test(|test| {
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"] });
        refused(test, profile);
    }),
    optional("config-linux.seccomp.flags.tsync", SECTION, FLAGS)
        .test(|test| flagged(test, "SECCOMP_FILTER_FLAG_TSYNC")),
    optional("config-linux.seccomp.flags.log", SECTION, FLAGS)
        .test(|test| flagged(test, "SECCOMP_FILTER_FLAG_LOG")),
    optional("config-linux.seccomp.flags.spec-allow", SECTION, FLAGS)
        .test(|test| flagged(test, "SECCOMP_FILTER_FLAG_SPEC_ALLOW")),
    optional("config-linux.seccomp.flags.wait-killable-recv", SECTION, FLAGS)
        .test(a_listener_may_wait_killable),
    optional("config-linux.seccomp.flags.unknown", SECTION, FLAGS).test(|test| {
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FAST"] });
        refused(test, profile);
    }),
    must(
        "config-linux.seccomp.listener-path.type",
        SECTION,
        "This socket MUST use AF_UNIX domain and SOCK_STREAM type.",
    )
    .test(|test| {
        let (heard, _) = agent::heard(test);
        assert!(!heard.bytes.is_empty(), "nothing came over a stream socket");
    }),
    must(
        "config-linux.seccomp.listener-path.exactly-one",
        SECTION,
        "The runtime MUST send exactly one container process state per connection.",
    )
    .test(|test| {
        let (heard, _) = agent::heard(test);
        // One value of JSON, and nothing after it.
        assert!(heard.state().is_object());
    }),
    must_not(
        "config-linux.seccomp.listener-path.not-reused",
        SECTION,
        "The connection MUST NOT be reused and it MUST be closed after sending a seccomp state.",
    )
    .test(each_container_makes_a_connection_of_its_own),
    must(
        "config-linux.seccomp.listener-path.closed",
        SECTION,
        "The connection MUST NOT be reused and it MUST be closed after sending a seccomp state.",
    )
    .test(|test| assert!(agent::heard(test).0.closed, "the connection is still open")),
    must("config-linux.seccomp.listener-path.error.missing", SECTION, SENDING).test(|test| {
        test.create_fails(&agent::listening(test.bundle(), Path::new("/not/there")));
    }),
    must("config-linux.seccomp.listener-path.error.datagram", SECTION, SENDING).test(|test| {
        let path = test.dir().join("datagrams");
        let _socket = UnixDatagram::bind(&path).expect("a socket");
        test.create_fails(&agent::listening(test.bundle(), &path));
    }),
    optional(
        "config-linux.seccomp.listener-path.unused",
        SECTION,
        "listenerPath (string, OPTIONAL) - If the SCMP_ACT_NOTIFY action is not used this value is ignored.",
    )
    .test(|test| assert_eq!(mkdir(test, json!({ "listenerPath": "/not/there" })), "EPERM")),
    required(
        "config-linux.seccomp.seccomp-fd",
        SECTION,
        "seccompFd (string, REQUIRED) is the seccomp file descriptor returned by the seccomp syscall.",
    )
    .test(the_descriptor_is_the_listener),
    optional(
        "config-linux.seccomp.listener-metadata",
        SECTION,
        "listenerMetadata (string, OPTIONAL) - specifies an opaque data to pass to the seccomp agent. This string \
         will be sent as the metadata field in the container process state.",
    )
    .test(|test| assert_eq!(agent::heard(test).0.state()["metadata"], "for the agent")),
    must_not(
        "config-linux.seccomp.listener-metadata.without-path",
        SECTION,
        "This field MUST NOT be set if listenerPath is not set.",
    )
    .test(|test| refused(test, json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }))),
];

pub(super) fn with(bundle: Bundle, profile: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["seccomp"] = profile)
}

/// What `probe try` says of a call.
#[track_caller]
pub(super) fn attempt(test: &Test, bundle: Bundle, call: &[&str]) -> String {
    let output = test.run(&bundle.args(&[&["/bin/probe", "try"], call].concat()));
    assert!(!output.stdout.is_empty(), "{output:?}");
    output.stdout.trim().to_owned()
}

#[track_caller]
fn refused(test: &Test, profile: Value) {
    test.create_fails(&with(test.bundle(), profile));
}

/// A profile that denies mkdir, with more in it.
fn denying_mkdir(bundle: Bundle, more: Value) -> Bundle {
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }],
    });
    for (key, value) in more.as_object().expect("an object") {
        profile[key] = value.clone();
    }
    with(bundle, profile)
}

/// What comes of that mkdir.
#[track_caller]
fn mkdir(test: &Test, more: Value) -> String {
    attempt(test, denying_mkdir(test.bundle(), more), &["mkdir", "/x"])
}

/// What comes of a call that is in no rule, where the others are allowed. What a runtime's last
/// steps and a program's first ones call is known by name; whatever is newer is of no use to them.
fn denied_by_default(test: &Test, errno: Value) -> String {
    let allowed: Vec<&str> = ALLOWED.split_whitespace().collect();
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": allowed, "action": "SCMP_ACT_ALLOW" }],
    });
    if !errno.is_null() {
        profile["defaultErrnoRet"] = errno;
    }
    attempt(test, with(test.bundle(), profile), &["mkdir", "/x"])
}

const ALLOWED: &str = "execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 mprotect readlink \
    readlinkat getrandom mmap munmap write writev exit exit_group futex futex_waitv read close fstat newfstatat \
    openat open rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack poll ppoll sched_getaffinity getpid gettid \
    tgkill fcntl ioctl statx lseek getdents64 uname access faccessat faccessat2 clone clone3 wait4 getuid geteuid \
    getgid getegid getcwd capget capset chdir fchdir prctl seccomp setuid setgid setgroups setresuid setresgid \
    umask dup dup2 dup3 close_range epoll_ctl epoll_pwait epoll_create1 eventfd2 pipe2 nanosleep clock_nanosleep \
    madvise sched_yield stat lstat pread64 mremap getppid fstatfs openat2 sendmsg recvmsg sendto recvfrom \
    socketpair timer_create timer_settime timer_delete rt_sigtimedwait kill tkill getsockopt keyctl \
    set_mempolicy_home_node";

fn the_default_is_for_all_other_calls(test: &Test) {
    assert_eq!(denied_by_default(test, Value::Null), "EPERM");
}

fn the_default_has_an_errno(test: &Test) {
    assert_eq!(denied_by_default(test, json!(95)), "EOPNOTSUPP");
}

fn a_profile_has_a_default(test: &Test) {
    refused(test, json!({ "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }));
}

fn every_architecture_of_this_byte_order_is_known(test: &Test) {
    let names = "X86 X86_64 X32 ARM AARCH64 MIPSEL MIPSEL64 PPC64LE RISCV64";
    let list: Vec<String> = names.split(' ').map(|name| format!("SCMP_ARCH_{name}")).collect();
    assert_eq!(mkdir(test, json!({ "architectures": list })), "EPERM");
}

/// No program here can make their calls, and libseccomp has no filter for both byte orders.
fn any_other_architecture_is_taken_or_refused(test: &Test) {
    let names = "MIPS MIPS64 MIPS64N32 MIPSEL64N32 PPC PPC64 S390 S390X PARISC PARISC64";
    for name in names.split(' ') {
        let list = json!(["SCMP_ARCH_X86_64", format!("SCMP_ARCH_{name}")]);
        let bundle = denying_mkdir(test.bundle_named(name), json!({ "architectures": list }));
        let output = test.run(&bundle.args(&["/bin/probe", "try", "mkdir", "/x"]));
        assert!(output.stdout == "EPERM\n" || output.stdout.is_empty(), "{name}: {output:?}");
        if output.stdout.is_empty() {
            output.fails();
        }
    }
}

fn flagged(test: &Test, flag: &str) {
    assert_eq!(mkdir(test, json!({ "flags": [flag] })), "EPERM", "{flag}");
}

/// The kernel takes this flag together with a listener only.
fn a_listener_may_wait_killable(test: &Test) {
    let agent = Agent::new(test);
    let bundle = agent::bundle(test, &agent).edit(|config| {
        config["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    });
    let container = test.start(&bundle);
    let heard = agent.hear();
    container.remove();
    assert_eq!(heard.links(), ["anon_inode:seccomp notify"]);
}

fn each_container_makes_a_connection_of_its_own(test: &Test) {
    let agent = Agent::new(test);
    for name in ["one", "two"] {
        let bundle = agent::listening(test.bundle_named(name).serve(), agent.path());
        let container = test.create_as(name, &[], &bundle);
        container.start();
        let heard = agent.hear();
        container.remove();
        assert_eq!(heard.state()["state"]["id"], json!(format!("{}{name}", test.id())));
        assert!(!agent.is_called_again(), "a second connection for the same container");
    }
}

fn the_descriptor_is_the_listener(test: &Test) {
    let (heard, _) = agent::heard(test);
    assert_eq!(heard.state()["fds"], json!(["seccompFd"]));
    assert_eq!(heard.links(), ["anon_inode:seccomp notify"]);
}
