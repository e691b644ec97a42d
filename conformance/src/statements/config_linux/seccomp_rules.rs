//! config-linux.md "Seccomp": `syscalls`.

use integration::{Bundle, Test, wait};
use serde_json::{Value, json};

use super::{
    agent::{self, Agent},
    seccomp::{SECTION, attempt, with},
};
use crate::{Statement, must, optional, required};

const ACTION: &str = "action (string, REQUIRED) - the action for seccomp rules.";
const OPERATOR: &str = "op (string, REQUIRED) - the operator for syscall arguments in seccomp.";
const VALUE: &str = "value (uint64, REQUIRED) - the value for syscall arguments in seccomp.";

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.seccomp.syscalls",
        SECTION,
        "syscalls (array of objects, OPTIONAL) - match a syscall in seccomp. While this property is OPTIONAL, some \
         values of defaultAction are not useful without syscalls entries.",
    )
    .test(a_profile_needs_no_rules),
    required(
        "config-linux.seccomp.syscalls.names",
        SECTION,
        "names (array of strings, REQUIRED) - the names of the syscalls.",
    )
    .test(every_name_is_meant_and_no_other),
    required(
        "config-linux.seccomp.syscalls.names.absent",
        SECTION,
        "names (array of strings, REQUIRED) - the names of the syscalls.",
    )
    .test(|test| refused(test, json!({ "action": "SCMP_ACT_ERRNO" }))),
    must(
        "config-linux.seccomp.syscalls.names.empty",
        SECTION,
        "names MUST contain at least one entry.",
    )
    .test(|test| refused(test, json!({ "names": [], "action": "SCMP_ACT_ERRNO" }))),
    required("config-linux.seccomp.syscalls.action.absent", SECTION, ACTION)
        .test(|test| refused(test, json!({ "names": ["mkdir"] }))),
    required("config-linux.seccomp.syscalls.action.unknown", SECTION, ACTION)
        .test(|test| refused(test, json!({ "names": ["mkdir"], "action": "SCMP_ACT_PONDER" }))),
    required("config-linux.seccomp.syscalls.action.kill", SECTION, ACTION)
        .test(|test| kills_a_thread(test, "SCMP_ACT_KILL")),
    required("config-linux.seccomp.syscalls.action.kill-process", SECTION, ACTION)
        .test(|test| kills_the_process(test, "SCMP_ACT_KILL_PROCESS")),
    required("config-linux.seccomp.syscalls.action.kill-thread", SECTION, ACTION)
        .test(|test| kills_a_thread(test, "SCMP_ACT_KILL_THREAD")),
    required("config-linux.seccomp.syscalls.action.trap", SECTION, ACTION)
        .test(|test| kills_the_process(test, "SCMP_ACT_TRAP")),
    required("config-linux.seccomp.syscalls.action.errno", SECTION, ACTION)
        .test(|test| assert_eq!(mkdir(test, json!({ "action": "SCMP_ACT_ERRNO" })), "EPERM")),
    required("config-linux.seccomp.syscalls.action.trace", SECTION, ACTION).test(|test| {
        // What the kernel says to a call that is to be traced, when nobody does.
        assert_eq!(mkdir(test, json!({ "action": "SCMP_ACT_TRACE" })), "ENOSYS");
    }),
    required("config-linux.seccomp.syscalls.action.allow", SECTION, ACTION)
        .test(an_allowed_argument_of_a_denied_call),
    required("config-linux.seccomp.syscalls.action.log", SECTION, ACTION)
        .test(|test| assert_eq!(mkdir(test, json!({ "action": "SCMP_ACT_LOG" })), "ok")),
    required("config-linux.seccomp.syscalls.action.notify", SECTION, ACTION).test(the_agent_is_asked),
    optional(
        "config-linux.seccomp.syscalls.errno-ret",
        SECTION,
        "errnoRet (uint, OPTIONAL) - the errno return code to use.",
    )
    .test(|test| {
        let rule = json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": 95 });
        assert_eq!(mkdir(test, rule), "EOPNOTSUPP");
    }),
    optional(
        "config-linux.seccomp.syscalls.errno-ret.default",
        SECTION,
        "errnoRet (uint, OPTIONAL) - the errno return code to use. The default is EPERM.",
    )
    .test(|test| assert_eq!(mkdir(test, json!({ "action": "SCMP_ACT_ERRNO" })), "EPERM")),
    must(
        "config-linux.seccomp.syscalls.errno-ret.without-errno",
        SECTION,
        "errnoRet: When the action doesn't support an errno, the runtime MUST print and error and fail.",
    )
    .test(|test| {
        for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_LOG"] {
            let rule = json!({ "names": ["mkdir"], "action": action, "errnoRet": 38 });
            let bundle = rules(test.bundle_named(action), json!([rule]));
            let output = super::limits::call(test, &bundle);
            assert_ne!(output.status, 0, "{action} with an errno was accepted");
            output.fails();
        }
    }),
    optional(
        "config-linux.seccomp.syscalls.args",
        SECTION,
        "args (array of objects, OPTIONAL) - the specific syscall in seccomp.",
    )
    .test(several_arguments_have_to_match_together),
    required(
        "config-linux.seccomp.syscalls.args.index",
        SECTION,
        "index (uint, REQUIRED) - the index for syscall arguments in seccomp.",
    )
    .test(the_index_counts_from_zero),
    required(
        "config-linux.seccomp.syscalls.args.index.beyond",
        SECTION,
        "index (uint, REQUIRED) - the index for syscall arguments in seccomp.",
    )
    .test(|test| refused(test, json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [eq(6, 1)] }))),
    required("config-linux.seccomp.syscalls.args.value", SECTION, VALUE).test(|test| {
        compared(test, eq(0, 8), &["0", "0x20000"], &["8"]);
    }),
    required("config-linux.seccomp.syscalls.args.value.64-bits", SECTION, VALUE)
        .test(both_halves_of_a_value_count),
    optional(
        "config-linux.seccomp.syscalls.args.value-two",
        SECTION,
        "valueTwo (uint64, OPTIONAL) - the value for syscall arguments in seccomp.",
    )
    .test(|test| {
        let masked = json!({ "index": 0, "value": 0x2_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" });
        compared(test, masked, &["0x20000", "0x20008"], &["0", "8"]);
    }),
    required("config-linux.seccomp.syscalls.args.op.ne", SECTION, OPERATOR)
        .test(|test| compared(test, op("NE", 8), &["8"], &["0", "0x20000"])),
    required("config-linux.seccomp.syscalls.args.op.lt", SECTION, OPERATOR)
        .test(|test| compared(test, op("LT", 8), &["8", "0x20000"], &["0"])),
    required("config-linux.seccomp.syscalls.args.op.le", SECTION, OPERATOR)
        .test(|test| compared(test, op("LE", 8), &["0x20000"], &["0", "8"])),
    required("config-linux.seccomp.syscalls.args.op.eq", SECTION, OPERATOR)
        .test(|test| compared(test, op("EQ", 8), &["0", "0x20000"], &["8"])),
    required("config-linux.seccomp.syscalls.args.op.ge", SECTION, OPERATOR)
        .test(|test| compared(test, op("GE", 8), &["0"], &["8", "0x20000"])),
    required("config-linux.seccomp.syscalls.args.op.gt", SECTION, OPERATOR)
        .test(|test| compared(test, op("GT", 8), &["0", "8"], &["0x20000"])),
    required("config-linux.seccomp.syscalls.args.op.masked-eq", SECTION, OPERATOR).test(|test| {
        let masked = json!({
            "index": 0, "value": 0x2_0000, "valueTwo": 0x2_0000, "op": "SCMP_CMP_MASKED_EQ",
        });
        compared(test, masked, &["0", "8"], &["0x20000", "0x20008"]);
    }),
    required("config-linux.seccomp.syscalls.args.op.unknown", SECTION, OPERATOR).test(|test| {
        let argument = json!({ "index": 0, "value": 8, "op": "SCMP_CMP_NEAR" });
        refused(test, json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [argument] }));
    }),
];

/// A profile that allows all but what the rules say.
fn rules(bundle: Bundle, rules: Value) -> Bundle {
    let architectures = ["SCMP_ARCH_X86_64"];
    with(
        bundle,
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": rules }),
    )
}

#[track_caller]
fn refused(test: &Test, rule: Value) {
    test.create_fails(&rules(test.bundle(), json!([rule])));
}

/// What comes of a mkdir with this rule.
#[track_caller]
fn mkdir(test: &Test, mut rule: Value) -> String {
    rule["names"] = json!(["mkdir"]);
    attempt(test, rules(test.bundle(), json!([rule])), &["mkdir", "/x"])
}

fn a_profile_needs_no_rules(test: &Test) {
    let bundle = with(test.bundle(), json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    assert_eq!(attempt(test, bundle, &["mkdir", "/x"]), "ok");
    let bundle =
        with(test.bundle_named("killed"), json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS" }));
    let output = test.run(&bundle.args(&["/bin/probe", "try", "mkdir", "/x"]));
    assert_ne!(output.stdout, "ok\n", "the default is to kill");
}

fn every_name_is_meant_and_no_other(test: &Test) {
    let rule = json!({ "names": ["mkdir", "getpriority", "getcwd"], "action": "SCMP_ACT_ERRNO" });
    let script = "probe try mkdir /x; probe try getpriority; probe try getcwd; probe try uname";
    let output = test.run(&rules(test.bundle(), json!([rule])).shell(script));
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), ["EPERM", "EPERM", "EPERM", "ok"]);
}

fn killed(test: &Test, action: &str, how: &str) -> integration::Output {
    let rule = json!({ "names": ["mkdir"], "action": action });
    let bundle = rules(test.bundle_named(how), json!([rule]));
    test.run(&bundle.args(&["/bin/probe", how, "mkdir", "/x"]))
}

/// One thread of two; the only one takes the process with it.
fn kills_a_thread(test: &Test, action: &str) {
    let output = killed(test, action, "try-thread");
    assert_eq!(output.stdout, "the thread was killed\n", "{action}: {output:?}");
    assert_eq!(killed(test, action, "try").status, 128 + 31, "{action}: SIGSYS");
}

/// By SIGSYS; for `SCMP_ACT_TRAP` because nobody handles it.
fn kills_the_process(test: &Test, action: &str) {
    for how in ["try", "try-thread"] {
        let output = killed(test, action, how);
        assert_eq!((output.status, output.stdout.as_str()), (128 + 31, ""), "{action}, {how}");
    }
}

/// More than one rule for a call, with actions of their own.
fn an_allowed_argument_of_a_denied_call(test: &Test) {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [op("NE", 8)] }],
    });
    let script = "probe try personality 8; probe try personality 0";
    let output = test.run(&with(test.bundle(), profile).shell(script));
    assert_eq!(output.stdout, "ok\nEPERM\n");
}

/// The call waits until the agent is gone, and is then one that the kernel does not have.
fn the_agent_is_asked(test: &Test) {
    let agent = Agent::new(test);
    let bundle = agent::bundle(test, &agent).args(&["/bin/probe", "try", "mkdir", "/x"]);
    let mut container = test.create(&bundle);
    container.start();
    let heard = agent.hear();
    let listener = heard.descriptors.iter().flatten().next().expect("a listener");
    assert!(wait::readable(listener, wait::DEADLINE), "no call is pending");
    drop(heard);
    assert_eq!(container.output(), "ENOSYS\n");
    container.wait();
    container.delete();
}

fn op(operator: &str, value: u64) -> Value {
    json!({ "index": 0, "value": value, "op": format!("SCMP_CMP_{operator}") })
}

fn eq(index: u32, value: u64) -> Value {
    json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" })
}

/// A rule for personality(2), whose argument may be anything; which ones it lets through.
fn compared(test: &Test, argument: Value, allowed: &[&str], denied: &[&str]) {
    let rule = json!({
        "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [&argument],
    });
    let values = allowed.iter().chain(denied);
    let script: Vec<String> = values.map(|v| format!("probe try personality {v}")).collect();
    let output = test.run(&rules(test.bundle(), json!([rule])).shell(&script.join("; ")));
    let expected = [vec!["ok"; allowed.len()], vec!["EOPNOTSUPP"; denied.len()]].concat();
    let found: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(found, expected, "{argument} for {allowed:?} and {denied:?}");
}

/// socket(AF_UNIX, SOCK_DGRAM): 1 and 2.
fn several_arguments_have_to_match_together(test: &Test) {
    for (kind, expected) in [(2, "EPERM"), (1, "ok")] {
        let rule = json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [eq(0, 1), eq(1, kind)] });
        let bundle = rules(test.bundle_named(&format!("type{kind}")), json!([rule]));
        assert_eq!(attempt(test, bundle, &["socket", "1"]), expected, "type {kind}");
    }
}

fn the_index_counts_from_zero(test: &Test) {
    for (index, expected) in [(0, "ok"), (1, "EPERM"), (2, "ok")] {
        let rule =
            json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [eq(index, 2)] });
        let bundle = rules(test.bundle_named(&format!("index{index}")), json!([rule]));
        assert_eq!(attempt(test, bundle, &["socket", "1"]), expected, "argument {index} is 2");
    }
}

/// truncate(2) with lengths that have the same lower half.
fn both_halves_of_a_value_count(test: &Test) {
    let rule = json!({ "names": ["truncate"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [eq(1, 0x1_0000_0007)] });
    let bundle = rules(test.bundle().file("/tmp/file", ""), json!([rule]));
    let script = "probe try truncate /tmp/file 0x100000007; probe try truncate /tmp/file 7; \
                  probe try truncate /tmp/file 0x200000007";
    let output = test.run(&bundle.shell(script));
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), ["EOPNOTSUPP", "ok", "ok"]);
}
