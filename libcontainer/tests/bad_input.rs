//! Every value of a full config.json, one after the other, made wrong in every way that its type
//! has: each time one fault names it.

use std::path::PathBuf;

use libcontainer::{
    Error, Kind, bundle,
    cgroup::{Hierarchies, Hierarchy, Manager, Unified},
    host::Host,
    plan::{Options, Plan},
};
use serde_json::{Value, json};

const FULL: &str = include_str!("data/full.json");

/// A machine that has everything, so that nothing is refused for want of it.
fn host(cgroup: Hierarchies) -> Host {
    Host {
        euid: 0,
        egid: 0,
        initial_user_namespace: true,
        owns_mounts: true,
        resctrl: Some("/sys/fs/resctrl".into()),
        capabilities: u64::MAX,
        apparmor: true,
        selinux: true,
        cgroup,
    }
}

fn v1() -> Hierarchies {
    let names = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio"];
    let hierarchy = |name: &&str| Hierarchy {
        controllers: vec![(*name).to_owned()],
        mount: PathBuf::from("/sys/fs/cgroup").join(name),
        own: "/".into(),
    };
    Hierarchies {
        v1: names.iter().chain(&["rdma", "devices"]).map(hierarchy).collect(),
        unified: None,
    }
}

fn v2() -> Hierarchies {
    let controllers = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];
    let unified = Unified {
        controllers: controllers.map(str::to_owned).into(),
        mount: "/sys/fs/cgroup".into(),
        own: "/user".into(),
    };
    Hierarchies { v1: Vec::new(), unified: Some(unified) }
}

fn options() -> Options {
    Options {
        id: "one".into(),
        bundle: "/bundle".into(),
        manager: Manager::Cgroupfs,
        rootless: false,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        notify_dir: None,
    }
}

fn faults(config: &str, host: &Host) -> Vec<Error> {
    match bundle::parse(config.as_bytes()) {
        Ok(spec) => Plan::new(&spec, &options(), host).err().unwrap_or_default(),
        Err(error) => vec![error],
    }
}

/// Pointers (RFC 6901) to every value that is no object or array.
fn leaves(value: &Value, pointer: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            leaves(value, &format!("{pointer}/{name}"), all);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| {
            leaves(value, &format!("{pointer}/{index}"), all);
        }),
        _ => all.push(pointer.to_owned()),
    }
}

/// What a value may be beside what full.json has; everything else is refused with its path.
#[derive(Clone, Copy, Debug)]
enum Valid {
    Number(i128, i128),
    /// A number that has a meaning of its own beside the range.
    NumberOr(i128, i128, i128),
    /// Any text without NUL.
    Text,
    /// Any text without NUL but the empty one.
    Named,
    /// Any text without NUL that does not lead upwards.
    Below,
    /// The name of one directory, or empty for none.
    Directory,
    /// What is left out may also be empty.
    Empty,
    /// Text that nobody but the container's author reads.
    Anything,
}

use Valid::{Anything, Below, Directory, Empty, Named, Number, NumberOr, Text};

const U16: i128 = u16::MAX as i128;
const U32: i128 = u32::MAX as i128;
const I64: i128 = i64::MAX as i128;
const MIN: i128 = i64::MIN as i128;
const U64: i128 = u64::MAX as i128;

/// Pointers with `*` for any name or index.
const VALID: &[(&str, Valid)] = &[
    ("/annotations/*", Anything),
    ("/domainname", Text),
    ("/hooks/*/*/args/*", Text),
    // What has no "=" is no variable, but execve(2) takes it, and so do runc and crun.
    ("/hooks/*/*/env/*", Text),
    ("/hooks/*/*/timeout", Number(1, U32)),
    ("/hostname", Text),
    ("/linux/*idMappings/*/containerID", Number(0, U32 - 65536)),
    ("/linux/*idMappings/*/hostID", Number(0, U32 - 65536)),
    // 0 is told; a small one leaves ids of the process unmapped, which is told of them.
    ("/linux/*idMappings/*/size", Number(1, U32 - 200_000)),
    ("/linux/cgroupsPath", Below),
    ("/linux/devices/*/fileMode", Number(0, 0o177_777)),
    ("/linux/devices/*/gid", Number(0, U32 - 1)),
    ("/linux/devices/*/major", Number(0, 4095)),
    ("/linux/devices/*/minor", Number(0, 1_048_575)),
    ("/linux/devices/*/uid", Number(0, U32 - 1)),
    ("/linux/intelRdt/closID", Directory),
    ("/linux/mountLabel", Text),
    ("/linux/namespaces/*/path", Empty),
    ("/linux/netDevices/*/name", Empty),
    ("/linux/resources/blockIO/*/*/leafWeight", Number(0, U16)),
    ("/linux/resources/blockIO/*/*/major", Number(0, U32)),
    ("/linux/resources/blockIO/*/*/minor", Number(0, U32)),
    ("/linux/resources/blockIO/*/*/rate", Number(0, U64)),
    ("/linux/resources/blockIO/*/*/weight", Number(0, U16)),
    ("/linux/resources/blockIO/leafWeight", Number(0, U16)),
    ("/linux/resources/blockIO/weight", Number(0, U16)),
    ("/linux/resources/cpu/burst", Number(0, U64)),
    ("/linux/resources/cpu/cpus", Empty),
    ("/linux/resources/cpu/idle", Number(0, 1)),
    ("/linux/resources/cpu/mems", Empty),
    ("/linux/resources/cpu/period", Number(0, U64)),
    ("/linux/resources/cpu/quota", Number(MIN, I64)),
    ("/linux/resources/cpu/realtimePeriod", Number(0, U64)),
    ("/linux/resources/cpu/realtimeRuntime", Number(MIN, I64)),
    ("/linux/resources/cpu/shares", NumberOr(2, 262_144, 0)),
    ("/linux/resources/devices/*/major", Number(-1, U32)),
    ("/linux/resources/devices/*/minor", Number(-1, U32)),
    ("/linux/resources/hugepageLimits/*/limit", Number(0, I64)),
    // Ignored with a warning, as Linux does since 5.16.
    ("/linux/resources/memory/kernel", Number(MIN, I64)),
    ("/linux/resources/memory/kernelTCP", Number(MIN, I64)),
    ("/linux/resources/memory/limit", Number(-1, I64)),
    ("/linux/resources/memory/reservation", Number(-1, I64)),
    ("/linux/resources/memory/swap", Number(-1, I64)),
    // -1 in the unsigned field of Go programs is "not set".
    ("/linux/resources/memory/swappiness", NumberOr(0, 100, U64)),
    ("/linux/resources/network/classID", Number(0, U32)),
    ("/linux/resources/network/priorities/*/priority", Number(0, U32)),
    ("/linux/resources/pids/limit", Number(MIN, I64)),
    ("/linux/resources/rdma/*/*", Number(0, U32)),
    ("/linux/rootfsPropagation", Empty),
    ("/linux/seccomp/listenerMetadata", Anything),
    ("/linux/seccomp/listenerPath", Named),
    ("/linux/seccomp/syscalls/*/args/*/index", Number(0, 5)),
    ("/linux/seccomp/syscalls/*/args/*/value", Number(0, U64)),
    ("/linux/seccomp/syscalls/*/args/*/valueTwo", Number(0, U64)),
    ("/linux/seccomp/syscalls/*/errnoRet", Number(0, 4094)),
    // The kernel knows what may be in which file.
    ("/linux/sysctl/*", Text),
    ("/linux/timeOffsets/*/nanosecs", Number(0, 999_999_999)),
    ("/linux/timeOffsets/*/secs", Number(MIN, I64)),
    // A relative destination starts at the root.
    ("/mounts/*/destination", Below),
    // A word that no runtime knows is the filesystem's.
    ("/mounts/1/options/*", Text),
    ("/mounts/*/source", Text),
    // That of a bind mount means nothing; whether a filesystem exists the kernel knows.
    ("/mounts/2/type", Anything),
    ("/mounts/*/type", Named),
    ("/process/apparmorProfile", Text),
    ("/process/args/*", Text),
    // Unknown names are left out with a warning (config.md "Linux Process").
    ("/process/capabilities/*/*", Anything),
    ("/process/consoleSize/*", Number(0, U16)),
    ("/process/execCPUAffinity/*", Empty),
    ("/process/ioPriority/priority", Number(0, 7)),
    ("/process/oomScoreAdj", Number(-1000, 1000)),
    ("/process/rlimits/*/hard", Number(0, U64)),
    ("/process/rlimits/*/soft", Number(0, U64)),
    ("/process/scheduler/nice", Number(-20, 19)),
    ("/process/scheduler/priority", Number(1, 99)),
    ("/process/selinuxLabel", Text),
    // As many as are mapped.
    ("/process/user/*id", Number(0, 65_535)),
    ("/process/user/additionalGids/*", Number(0, 65_535)),
    ("/process/user/umask", Number(0, 0o7777)),
    ("/root/path", Named),
];

/// cgroup v2 has no such limits or clamps them.
const VALID_ON_V2: &[(&str, Valid)] = &[
    ("/linux/resources/cpu/shares", Number(0, U64)),
    ("/linux/resources/memory/swappiness", Number(0, U64)),
    ("/linux/resources/network/priorities/*/name", Anything),
];

impl Valid {
    fn takes(self, value: &Value) -> bool {
        let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
        match (self, number, value.as_str()) {
            (Number(min, max), Some(number), _) => (min..=max).contains(&number),
            (NumberOr(min, max, or), Some(number), _) => {
                (min..=max).contains(&number) || number == or
            }
            (Anything, _, Some(_)) => true,
            (Text, _, Some(text)) => !text.contains('\0'),
            (Named, _, Some(text)) => !text.contains('\0') && !text.is_empty(),
            (Below, _, Some(text)) => !text.contains('\0') && !text.contains(".."),
            (Directory, _, Some(text)) => !text.contains(['\0', '\n', '/']),
            (Empty, _, Some(text)) => text.is_empty(),
            _ => false,
        }
    }
}

fn fits(pattern: &str, pointer: &str) -> bool {
    let mut parts = pattern.split('/').zip(pointer.split('/'));
    let fits = |(pattern, part): (&str, &str)| match pattern.split_once('*') {
        Some((_, end)) => part.ends_with(end),
        None => pattern == part,
    };
    pattern.split('/').count() == pointer.split('/').count() && parts.all(fits)
}

fn valid(tables: &[&[(&str, Valid)]], pointer: &str, value: &Value) -> bool {
    let all = tables.iter().flat_map(|table| table.iter());
    let found = all.copied().find(|(pattern, _)| fits(pattern, pointer));
    found.is_some_and(|(_, valid)| valid.takes(value))
}

/// Everything that is wrong, or at the limit, somewhere.
fn wrong_values() -> Vec<Value> {
    let numbers =
        [1 << 31, U32 - 1, U32, U32 + 1, I64, I64 + 1, U64].map(|number| json!(number as u64));
    let negative = [-1, -2, i64::from(i32::MIN), i64::MIN].map(|number| json!(number));
    let texts = ["", "no such word", "a\0b", "a\nb", "../../x"].map(|text| json!(text));
    let others = [json!(true), json!(1), json!(1.5), json!(1e30), json!([]), json!({})];
    [numbers.as_slice(), &negative, &texts, &others].concat()
}

/// `mounts[1].options[0]`, `linux.sysctl["a.b"]` as a pointer.
fn pointer_of(path: &str) -> String {
    let mut pointer = String::from("/");
    let mut quoted = false;
    for letter in path.chars() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => pointer.push('/'),
            '[' => pointer.push('/'),
            ']' => {}
            other => pointer.push(other),
        }
    }
    pointer
}

/// Whether a fault names the value at `pointer`, or the element of a list that it is part of.
fn names(fault: &Error, pointer: &str) -> bool {
    let Some(path) = fault.spec_path() else { return false };
    let named = pointer_of(path);
    let is_part = path.ends_with(']') && pointer.starts_with(&format!("{named}/"));
    named == pointer || is_part
}

#[test]
fn every_wrong_value_is_refused_with_its_path() {
    let full: Value = serde_json::from_str(FULL).expect("full.json");
    let mut pointers = Vec::new();
    leaves(&full, "", &mut pointers);
    let mut silent = Vec::new();
    for (part, host, tables) in [
        ("/", host(v1()), [&[], VALID].as_slice()),
        ("/linux/resources/", host(v2()), &[VALID_ON_V2, VALID]),
    ] {
        // A part that this version refuses as a whole.
        let refused = faults(FULL, &host);
        assert!(refused.iter().all(|fault| fault.kind() == Kind::Unsupported), "{refused:?}");
        let refused: Vec<_> = refused.iter().filter_map(Error::spec_path).map(pointer_of).collect();
        for pointer in pointers.iter().filter(|pointer| pointer.starts_with(part)) {
            if refused.iter().any(|part| pointer.starts_with(part.as_str())) {
                continue;
            }
            for wrong in wrong_values() {
                let mut config = full.clone();
                let place = config.pointer_mut(pointer).expect("a leaf");
                if wrong.is_boolean() && place.is_boolean() || valid(tables, pointer, &wrong) {
                    continue;
                }
                *place = wrong.clone();
                let found = faults(&config.to_string(), &host);
                if !found.iter().any(|fault| names(fault, pointer)) {
                    silent.push(format!("{pointer} = {wrong}: {found:?}"));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{} of:\n{}", silent.len(), silent.join("\n"));
}

#[test]
fn null_is_a_field_that_is_not_there_or_a_fault() {
    let full: Value = serde_json::from_str(FULL).expect("full.json");
    let mut pointers = Vec::new();
    leaves(&full, "", &mut pointers);
    for pointer in pointers {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let (mut with_null, mut without) = (full.clone(), full.clone());
        *with_null.pointer_mut(&pointer).expect("a leaf") = Value::Null;
        let Some(parent) = without.pointer_mut(parent).and_then(Value::as_object_mut) else {
            continue;
        };
        parent.remove(name);
        let parse = |config: &Value| bundle::parse(config.to_string().as_bytes());
        match (parse(&with_null), parse(&without)) {
            (Ok(null), without) => assert_eq!(null, without.expect("a document"), "{pointer}"),
            (Err(error), _) => assert!(names(&error, &pointer), "{pointer}: {error}"),
        }
    }
}
