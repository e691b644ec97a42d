//! The compiler as a whole: a profile in, decisions out.

use super::interpret::{self, Data};
use super::*;
use serde_json::{Value, json};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;
const AARCH64: u32 = 0xc000_00b7;

const KILL: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn parse(profile: Value) -> LinuxSeccomp {
    serde_json::from_value(profile).expect("a profile")
}

#[track_caller]
fn compiled(profile: Value) -> Filter {
    let mut faults = Vec::new();
    let filter = compile(&parse(profile), false, &mut faults);
    assert!(faults.is_empty(), "{faults:?}");
    filter.expect("a filter")
}

/// The line and the JSON path of every fault.
#[track_caller]
fn faults(profile: Value) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    assert!(compile(&parse(profile), false, &mut faults).is_none());
    assert!(faults.iter().all(|fault| fault.hint_text().is_some()));
    let path = |fault: &Error| fault.spec_path().expect("a path").to_owned();
    faults.iter().map(|fault| (path(fault), fault.to_string())).collect()
}

fn paths(profile: Value) -> Vec<String> {
    faults(profile).into_iter().map(|(path, _)| path).collect()
}

impl Filter {
    fn says(&self, arch: u32, number: u32, args: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        interpret::run(&self.program, &Data { arch, number, args: all })
    }
}

/// A profile that forbids by default, with rules made of (names, action, args).
fn deny(rules: &[(&[&str], &str, Value)]) -> Value {
    let rules = rules.iter().map(|(names, action, args)| {
        json!({ "names": names, "action": format!("SCMP_ACT_{action}"), "args": args })
    });
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules.collect::<Vec<_>>() })
}

fn arg(index: u64, op: &str, value: u64) -> Value {
    json!({ "index": index, "value": value, "op": format!("SCMP_CMP_{op}") })
}

#[test]
fn each_action_has_its_errno() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 6,
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["open"], "action": "SCMP_ACT_TRACE", "errnoRet": 7 },
            { "names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["stat"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["fstat"], "action": "SCMP_ACT_LOG" },
        ],
    }));
    let says = [0, 1, 2, 3, 4, 5].map(|number| filter.says(X86_64, number, &[]));
    assert_eq!(says, [ALLOW, 0x0005_0006, 0x7ff0_0007, ENOSYS, 0x8000_0000, 0x7ffc_0000]);
}

#[test]
fn a_comparison_takes_all_64_bits() {
    let value = 0x1_0000_0005;
    let around = [0, 4, 5, 6, 0x1_0000_0004, value, 0x1_0000_0006, 0x2_0000_0000, u64::MAX];
    type Holds = fn(u64, u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("EQ", |a, b| a == b),
        ("GE", |a, b| a >= b),
        ("GT", |a, b| a > b),
    ];
    for (op, holds) in operators {
        let filter = compiled(deny(&[(&["read"], "ALLOW", json!([arg(0, op, value)]))]));
        for argument in around {
            let expected = if holds(argument, value) { ALLOW } else { EPERM };
            assert_eq!(filter.says(X86_64, 0, &[argument]), expected, "{argument:#x} {op}");
        }
    }
}

#[test]
fn masked_eq_compares_the_bits_of_value_with_value_two() {
    let masked = json!([{
        "index": 2, "op": "SCMP_CMP_MASKED_EQ",
        "value": 0xff_0000_00ff_u64, "valueTwo": 0x12_0000_ff34_u64,
    }]);
    let filter = compiled(deny(&[(&["read"], "ALLOW", masked)]));
    assert_eq!(filter.says(X86_64, 0, &[0, 0, 0x12_0000_0034]), ALLOW);
    assert_eq!(filter.says(X86_64, 0, &[0, 0, 0x0fab_0012_0000_5634]), ALLOW);
    assert_eq!(filter.says(X86_64, 0, &[0, 0, 0x34]), EPERM);
    assert_eq!(filter.says(X86_64, 0, &[0, 0, 0x12_0000_0035]), EPERM);
}

#[test]
fn a_mask_without_bits_always_holds() {
    let masked = json!([{ "index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0, "valueTwo": 1 }]);
    let filter = compiled(deny(&[(&["read"], "ALLOW", masked)]));
    assert_eq!(filter.says(X86_64, 0, &[u64::MAX]), ALLOW);
}

#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let both = json!([arg(0, "EQ", 1), arg(5, "GT", 9)]);
    let filter = compiled(deny(&[(&["read"], "ALLOW", both)]));
    assert_eq!(filter.says(X86_64, 0, &[1, 0, 0, 0, 0, 10]), ALLOW);
    assert_eq!(filter.says(X86_64, 0, &[1, 0, 0, 0, 0, 9]), EPERM);
    assert_eq!(filter.says(X86_64, 0, &[2, 0, 0, 0, 0, 10]), EPERM);
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let either = json!([arg(0, "EQ", 1), arg(0, "EQ", 3), arg(1, "EQ", 7)]);
    let filter = compiled(deny(&[(&["read"], "ALLOW", either)]));
    for args in [[1, 0], [3, 0], [0, 7]] {
        assert_eq!(filter.says(X86_64, 0, &args), ALLOW, "{args:?}");
    }
    assert_eq!(filter.says(X86_64, 0, &[2, 0]), EPERM);
}

#[test]
fn a_rule_without_conditions_decides_alone() {
    let filter = compiled(deny(&[
        (&["read"], "TRAP", json!([arg(0, "EQ", 1)])),
        (&["read"], "ALLOW", json!([])),
        (&["read"], "KILL", json!([])),
    ]));
    assert_eq!(filter.says(X86_64, 0, &[1]), ALLOW);
}

#[test]
fn overlapping_rules_apply_the_tightest() {
    let filter = compiled(deny(&[
        (&["read"], "ALLOW", json!([arg(0, "GE", 10)])),
        (&["read"], "TRAP", json!([arg(0, "GE", 20)])),
        (&["read"], "KILL", json!([arg(0, "EQ", 30)])),
    ]));
    let says = [9, 10, 20, 30, 31].map(|argument| filter.says(X86_64, 0, &[argument]));
    assert_eq!(says, [EPERM, ALLOW, TRAP, KILL, TRAP]);
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let filter = compiled(deny(&[(&["read", "openat2"], "ALLOW", json!([]))]));
    assert_eq!(filter.says(X86_64, 436, &[]), EPERM);
    assert_eq!(filter.says(X86_64, 437, &[]), ALLOW);
    assert_eq!(filter.says(X86_64, 438, &[]), ENOSYS);
    assert_eq!(filter.says(X86_64, 0x3fff_ffff, &[]), ENOSYS);
}

/// Also a rule that only repeats the default action says that its call is not new.
#[test]
fn a_redundant_rule_counts_as_named() {
    let filter =
        compiled(deny(&[(&["read"], "ALLOW", json!([])), (&["openat2"], "ERRNO", json!([]))]));
    assert_eq!(filter.says(X86_64, 437, &[]), EPERM);
    assert_eq!(filter.says(X86_64, 438, &[]), ENOSYS);
}

#[test]
fn a_permissive_default_is_for_newer_calls_too() {
    for (action, value) in [("ALLOW", ALLOW), ("LOG", 0x7ffc_0000), ("TRACE", 0x7ff0_0001)] {
        let filter = compiled(json!({
            "defaultAction": format!("SCMP_ACT_{action}"),
            "syscalls": [{ "names": ["read", "openat2"], "action": "SCMP_ACT_KILL" }],
        }));
        assert_eq!(filter.says(X86_64, 438, &[]), value);
        assert_eq!(filter.says(X86_64, 0, &[]), KILL);
    }
}

#[test]
fn a_foreign_architecture_is_killed() {
    let filter = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    assert_eq!(filter.says(X86_64, 0, &[]), ALLOW);
    for arch in [X86, ARM, AARCH64, 0] {
        assert_eq!(filter.says(arch, 0, &[]), KILL);
    }
}

#[test]
fn x32_calls_are_killed_unless_listed() {
    let filter = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    let numbers = [0x3fff_ffff, 0x4000_0000, 0x8000_0000, 0xffff_fffe, u32::MAX];
    let says = numbers.map(|number| filter.says(X86_64, number, &[]));
    assert_eq!(says, [ALLOW, KILL, KILL, KILL, ALLOW]);

    let mut listed = deny(&[(&["ioctl", "close_range"], "ALLOW", json!([]))]);
    listed["architectures"] = json!(["SCMP_ARCH_X32"]);
    let filter = compiled(listed);
    let numbers = [16, 514, 0x4000_0000 + 16, 0x4000_0000 + 514, 0x4000_0000 + 437, u32::MAX];
    let says = numbers.map(|number| filter.says(X86_64, number, &[]));
    assert_eq!(says, [ALLOW, ENOSYS, EPERM, ALLOW, EPERM, ENOSYS]);
}

#[test]
fn each_architecture_has_its_numbers() {
    let mut profile = deny(&[(&["openat", "arm_fadvise64_64", "openat2"], "ALLOW", json!([]))]);
    profile["architectures"] = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X86"]);
    let filter = compiled(profile);
    for (arch, openat) in [(X86_64, 257), (X86, 295), (AARCH64, 56), (ARM, 322)] {
        assert_eq!(filter.says(arch, openat, &[]), ALLOW, "{arch:#x}");
        assert_eq!(filter.says(arch, openat + 1, &[]), EPERM, "{arch:#x}");
    }
    assert_eq!(filter.says(ARM, 270, &[]), ALLOW);
}

#[test]
fn sockets_of_x86_come_through_socketcall_too() {
    let mut profile = deny(&[(&["accept", "socket", "shmget", "openat2"], "ALLOW", json!([]))]);
    profile["architectures"] = json!(["SCMP_ARCH_X86"]);
    let filter = compiled(profile);
    assert_eq!(filter.says(X86, 102, &[5]), ALLOW);
    assert_eq!(filter.says(X86, 102, &[1]), ALLOW);
    assert_eq!(filter.says(X86, 102, &[2]), EPERM);
    assert_eq!(filter.says(X86, 117, &[23]), ALLOW);
    assert_eq!(filter.says(X86, 117, &[24]), EPERM);
    assert_eq!(filter.says(X86, 359, &[]), ALLOW);
}

#[test]
fn a_bundled_call_with_two_actions_gets_the_stricter() {
    let mut profile = deny(&[
        (&["socket"], "ALLOW", json!([arg(0, "EQ", 1)])),
        (&["socket"], "KILL", json!([arg(0, "EQ", 2)])),
    ]);
    profile["architectures"] = json!(["SCMP_ARCH_X86"]);
    assert_eq!(compiled(profile).says(X86, 102, &[1]), KILL);
}

#[test]
fn flags_are_runcs() {
    let flags = |flags: Value| {
        let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        if !flags.is_null() {
            profile["flags"] = flags;
        }
        compiled(profile).flags
    };
    assert_eq!(flags(Value::Null), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])), 6);
}

#[test]
fn notify_asks_for_a_listener() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerPath": "/run/agent.sock",
        "listenerMetadata": "x",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
    }));
    assert!(filter.notify);
    assert_eq!(filter.flags, 8 | 32);
    assert_eq!(filter.says(X86_64, 83, &[]), 0x7fc0_0000);
}

#[test]
fn a_listener_path_without_notify_is_ignored() {
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock" });
    let filter = compiled(profile);
    assert!(!filter.notify);
    assert_eq!(filter.summary.listener, None);
}

#[test]
fn every_fault_is_found_at_once() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_NOTIFY",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X", "SCMP_ARCH_MIPSEL64N32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerMetadata": "x",
        "syscalls": [
            { "names": ["read", "raed", ""], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000 },
            { "names": [], "action": "SCMP_ACT_ALLOW" },
            { "names": ["write"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
              "args": [arg(0, "EQ", 1), arg(6, "EQ", 1)] },
        ],
    });
    assert_eq!(
        paths(profile),
        [
            "linux.seccomp.defaultAction",
            "linux.seccomp.defaultErrnoRet",
            "linux.seccomp.architectures[1]",
            "linux.seccomp.architectures[2]",
            "linux.seccomp.flags[1]",
            "linux.seccomp.listenerMetadata",
            "linux.seccomp.syscalls[0].names[1]",
            "linux.seccomp.syscalls[0].names[2]",
            "linux.seccomp.syscalls[0].errnoRet",
            "linux.seccomp.syscalls[1].names",
            "linux.seccomp.syscalls[2].errnoRet",
            "linux.seccomp.syscalls[2].args[1].index",
        ]
    );
}

#[test]
fn notify_has_faults_of_its_own() {
    let found = faults(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "",
        "syscalls": [{ "names": ["mkdir", "write"], "action": "SCMP_ACT_NOTIFY" }],
    }));
    assert_eq!(found[0].0, "linux.seccomp.listenerPath");
    assert!(found[0].1.contains("seccomp listenerPath is not set"));
    assert_eq!(found[1].0, "linux.seccomp.syscalls[0].names[1]");
    assert!(found[1].1.contains("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
}

#[test]
fn contradictory_rules_are_refused_once() {
    let mut profile = deny(&[
        (&["read", "close"], "ALLOW", json!([arg(0, "EQ", 1)])),
        (&["read"], "TRAP", json!([arg(0, "EQ", 1)])),
        (&["open"], "ALLOW", json!([arg(0, "EQ", 1), arg(1, "EQ", 1)])),
        (&["open"], "TRAP", json!([arg(0, "EQ", 1)])),
        (&["close"], "ALLOW", json!([arg(0, "EQ", 1)])),
    ]);
    profile["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!(
        paths(profile),
        ["linux.seccomp.syscalls[1].args", "linux.seccomp.syscalls[3].args"]
    );
}

/// Its rules differ only in bits that x32 comparisons do not have.
#[test]
fn what_an_architecture_cannot_see_is_no_contradiction() {
    let high = 1 << 32;
    let mut profile = deny(&[
        (&["read"], "ALLOW", json!([arg(0, "EQ", 1)])),
        (&["read"], "TRAP", json!([arg(0, "EQ", high + 1)])),
    ]);
    profile["architectures"] = json!(["SCMP_ARCH_X32"]);
    let filter = compiled(profile);
    assert_eq!(filter.says(X86_64, 0, &[1]), ALLOW);
    assert_eq!(filter.says(X86_64, 0, &[high + 1]), TRAP);
    assert_eq!(filter.says(X86_64, 0x4000_0000, &[1]), TRAP);
}

#[test]
fn a_lenient_compilation_skips_unknown_calls_with_a_warning() {
    let profile = parse(deny(&[(&["read", "from_the_future"], "ALLOW", json!([]))]));
    let mut faults = Vec::new();
    let filter = compile(&profile, true, &mut faults).expect("a filter");
    assert_eq!(
        filter.warnings,
        ["unknown system call \"from_the_future\" is ignored \
             (linux.seccomp.syscalls[0].names[1])"]
    );
}

#[test]
fn a_program_too_long_for_the_kernel_is_refused() {
    let args = |i: u64| json!([arg(0, "EQ", i << 32), arg(1, "EQ", i << 32), arg(2, "NE", i)]);
    let rules: Vec<Value> = (0..500)
        .map(|i| json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args(i) }))
        .collect();
    let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules });
    let found = faults(profile);
    assert_eq!(found[0].0, "linux.seccomp.syscalls");
    assert!(found[0].1.contains("the kernel takes 4096"), "{}", found[0].1);
}

/// Blocks of comparisons far longer than a conditional jump: every path still ends where it should.
#[test]
fn long_programs_jump_right() {
    let names = ["read", "open", "close", "ioctl", "mmap", "futex", "clone", "socket"];
    let rules: Vec<Value> = (0..60)
        .flat_map(|i| names.iter().enumerate().map(move |(n, name)| (i, n as u64, name)))
        .map(|(i, n, name)| {
            let action = if i % 3 == 0 { "SCMP_ACT_TRAP" } else { "SCMP_ACT_ALLOW" };
            json!({ "names": [name], "action": action, "args": [arg(n % 6, "EQ", i << 32 | n)] })
        })
        .collect();
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }));
    for (n, number) in [0, 2, 3, 16, 9, 202, 56, 41].into_iter().enumerate() {
        for i in 0..=60 {
            let mut args = [0; 6];
            args[n % 6] = i << 32 | n as u64;
            let expected = match i {
                60 => EPERM,
                i if i % 3 == 0 => TRAP,
                _ => ALLOW,
            };
            assert_eq!(filter.says(X86_64, number, &args), expected, "{n} {i}");
        }
    }
}

#[test]
fn a_summary_says_what_the_filter_does() {
    let mut profile = deny(&[
        (&["read", "openat2"], "ALLOW", json!([])),
        (&["open"], "ERRNO", json!([arg(0, "EQ", 1)])),
    ]);
    profile["architectures"] = json!(["SCMP_ARCH_X86"]);
    let filter = compiled(profile);
    assert_eq!(
        serde_json::to_value(&filter).expect("JSON"),
        json!({
            "defaultAction": "SCMP_ACT_ERRNO(1)",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "rules": { "SCMP_ACT_ALLOW": 2, "SCMP_ACT_ERRNO(1)": 1 },
            "newerCallsReturnEnosys": true,
            "instructions": filter.program.len(),
            "flags": ["SPEC_ALLOW"],
        })
    );
}

/// What the spec says about `args`, without cleverness.
fn holds(arg: &Value, args: &[u64; 6], mask: u64) -> bool {
    let number = |key: &str| arg[key].as_u64().expect("a number") & mask;
    let (argument, value) =
        (args[arg["index"].as_u64().expect("an index") as usize] & mask, number("value"));
    match arg["op"].as_str().expect("an operator") {
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_GT" => argument > value,
        _ => argument & value == number("valueTwo") & value,
    }
}

/// Rules of all shapes that overlap in all ways, against their definition.
#[test]
fn random_rules_decide_by_their_definition() {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let values = [0, 1, 5, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 32, 0x5_0000_0005, u64::MAX];
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % limit
    };
    for _ in 0..300 {
        let rules: Vec<Vec<Value>> = (0..1 + below(8))
            .map(|_| {
                let indexes = (0..6).filter(|_| below(3) == 0).collect::<Vec<_>>();
                let arg = |index| {
                    let two = values[below(values.len())];
                    let mut arg = arg(index, operators[below(7)], values[below(values.len())]);
                    arg["valueTwo"] = two.into();
                    arg
                };
                indexes.into_iter().map(arg).collect()
            })
            .collect();
        let all: Vec<_> =
            rules.iter().map(|args| (&["read"][..], "ALLOW", Value::from(args.clone()))).collect();
        let mut profile = deny(&all);
        profile["architectures"] = json!(["SCMP_ARCH_X32"]);
        let filter = compiled(profile);
        for _ in 0..50 {
            let args: [u64; 6] = std::array::from_fn(|_| {
                values[below(values.len())].wrapping_add(below(3) as u64).wrapping_sub(1)
            });
            for (number, mask) in [(0, u64::MAX), (0x4000_0000, u32::MAX.into())] {
                let any = rules.iter().any(|rule| rule.iter().all(|arg| holds(arg, &args, mask)));
                let expected = if any { ALLOW } else { EPERM };
                assert_eq!(filter.says(X86_64, number, &args), expected, "{rules:#?} {args:#x?}");
            }
        }
    }
}
