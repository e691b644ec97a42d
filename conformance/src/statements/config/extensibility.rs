//! config.md "Extensibility" and "Valid values".

use integration::{Output, Test};
use serde_json::{Value, json};

use crate::{Statement, may, must};

const EXTENSIBILITY: &str = r#"config.md "Extensibility""#;
const VALUES: &str = r#"config.md "Valid values""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config.extensibility.unknown",
        EXTENSIBILITY,
        "Runtimes MAY log unknown properties but MUST otherwise ignore them. That includes not \
         generating errors if they encounter an unknown property.",
    )
    .test(|test| ignores_what_it_does_not_know(test, &json!("unknown"))),
    must(
        "config.extensibility.unknown-objects",
        EXTENSIBILITY,
        "Runtimes MAY log unknown properties but MUST otherwise ignore them. That includes not \
         generating errors if they encounter an unknown property.",
    )
    .test(|test| {
        let tree = json!({ "path": 1, "list": [null, true, { "": [] }], "number": 1e300 });
        ignores_what_it_does_not_know(test, &tree);
    }),
    must("config.values.types", VALUES, INVALID).test(|test| refuses_all(test, TYPES)),
    must("config.values.ranges", VALUES, INVALID).test(|test| refuses_all(test, RANGES)),
    must("config.values.names", VALUES, INVALID).test(|test| refuses_all(test, NAMES)),
    must("config.values.json", VALUES, INVALID).test(|test| {
        for (number, text) in
            ["", "{", "[]", "null", "{\"ociVersion\": \"1.0.2\""].iter().enumerate()
        {
            let bundle = test.bundle_named(&format!("text-{number}"));
            bundle.write_text(text);
            super::refuses(test, &bundle);
        }
    }),
    may(
        "config.values.subset",
        VALUES,
        "Unless support for a valid value is explicitly required, runtimes MAY choose which subset \
         of the valid values it will support.",
    )
    .untestable("it leaves a choice and asks for nothing"),
];

const INVALID: &str =
    "Runtimes MUST generate an error when invalid or unsupported values are encountered.";

/// The objects of a configuration, as JSON pointers; those that the default one lacks are made.
const OBJECTS: [&str; 16] = [
    "",
    "/process",
    "/process/user",
    "/process/capabilities",
    "/process/rlimits/0",
    "/process/consoleSize",
    "/root",
    "/mounts/0",
    "/hooks",
    "/hooks/createRuntime/0",
    "/linux",
    "/linux/namespaces/0",
    "/linux/resources",
    "/linux/resources/devices/0",
    "/linux/resources/memory",
    "/linux/seccomp",
];

/// Gives every object of a configuration, one after the other, a property that no version of the
/// specification has.
fn ignores_what_it_does_not_know(test: &Test, value: &Value) {
    let mut wrong = Vec::new();
    for (number, pointer) in OBJECTS.iter().enumerate() {
        let bundle = test.bundle_named(&format!("object-{number}")).edit(|config| {
            config["process"]["consoleSize"] = json!({ "height": 1, "width": 1 });
            config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true" }] });
            config["linux"]["resources"]["memory"] = json!({});
            config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
            config.pointer_mut(pointer).expect("the object")["noSuchProperty"] = value.clone();
        });
        let output = test.run(&bundle);
        if output.status != 0 {
            wrong.push(format!("{pointer}: {}", output.stderr.trim()));
        }
    }
    assert!(wrong.is_empty(), "refused because of a property of:\n{}", wrong.join("\n"));
}

/// What is wrong, and how to make it so.
type Fault = (&'static str, fn(&mut Value));

/// Runs the bundle with each of the faults; tells all that it took.
fn refuses_all(test: &Test, faults: &[Fault]) {
    let taken: Vec<&str> =
        faults.iter().filter(|(name, change)| takes(test, name, *change)).map(|f| f.0).collect();
    assert!(taken.is_empty(), "taken as valid: {}", taken.join(", "));
}

fn takes(test: &Test, name: &str, change: fn(&mut Value)) -> bool {
    let bundle = test.bundle_named(&name.replace('/', "-")).edit(change);
    let output: Output = test.run(&bundle);
    if output.status != 0 {
        output.fails();
    }
    output.status == 0
}

/// Values of another JSON type than the property's.
const TYPES: &[Fault] = &[
    ("ociVersion: number", |c| c["ociVersion"] = json!(1)),
    ("root: string", |c| c["root"] = json!("rootfs")),
    ("root: list", |c| c["root"] = json!(["rootfs", false])),
    ("root.path: list", |c| c["root"]["path"] = json!(["rootfs"])),
    ("root.readonly: string", |c| c["root"]["readonly"] = json!("true")),
    ("mounts: object", |c| c["mounts"] = json!({ "destination": "/data", "type": "tmpfs" })),
    ("mounts[]: list", |c| c["mounts"][5] = json!(["/sys", "sysfs", "sysfs", ["ro"], null, null])),
    ("mounts[].destination: number", |c| c["mounts"][0]["destination"] = json!(1)),
    ("mounts[].options: string", |c| c["mounts"][5]["options"] = json!("ro")),
    ("process: list", |c| c["process"] = json!([])),
    ("process.terminal: string", |c| c["process"]["terminal"] = json!("false")),
    ("process.cwd: number", |c| c["process"]["cwd"] = json!(1)),
    ("process.env: object", |c| c["process"]["env"] = json!({ "A": "b" })),
    ("process.env[]: number", |c| c["process"]["env"] = json!([1])),
    ("process.args: string", |c| c["process"]["args"] = json!("/bin/true")),
    ("process.args[]: number", |c| c["process"]["args"] = json!(["/bin/echo", 1])),
    ("process.user: string", |c| c["process"]["user"] = json!("root")),
    ("process.user: list", |c| c["process"]["user"] = json!([0, 0, null, null, null])),
    ("process.user.uid: string", |c| c["process"]["user"]["uid"] = json!("0")),
    ("process.user.gid: boolean", |c| c["process"]["user"]["gid"] = json!(true)),
    ("process.user.additionalGids[]: string", |c| {
        c["process"]["user"]["additionalGids"] = json!(["1"]);
    }),
    ("process.capabilities: list", |c| c["process"]["capabilities"] = json!(["CAP_KILL"])),
    ("process.rlimits: object", |c| c["process"]["rlimits"] = json!({ "RLIMIT_CORE": 1 })),
    ("process.rlimits[].soft: string", |c| c["process"]["rlimits"][0]["soft"] = json!("1")),
    ("process.noNewPrivileges: number", |c| c["process"]["noNewPrivileges"] = json!(1)),
    ("process.oomScoreAdj: string", |c| c["process"]["oomScoreAdj"] = json!("100")),
    ("hostname: number", |c| c["hostname"] = json!(1)),
    ("domainname: list", |c| c["domainname"] = json!(["a"])),
    ("hooks: list", |c| c["hooks"] = json!([])),
    ("hooks.createRuntime: object", |c| {
        c["hooks"] = json!({ "createRuntime": { "path": "/bin/true" } })
    }),
    ("linux: string", |c| c["linux"] = json!("linux")),
    ("linux: list", |c| c["linux"] = json!([])),
    ("linux.resources: list", |c| c["linux"]["resources"] = json!([])),
    ("linux.namespaces: object", |c| c["linux"]["namespaces"] = json!({ "type": "pid" })),
];

/// Numbers that the property cannot be, and texts that the kernel cannot take.
const RANGES: &[Fault] = &[
    ("process.user.uid: negative", |c| c["process"]["user"]["uid"] = json!(-1)),
    ("process.user.uid: too large", |c| c["process"]["user"]["uid"] = json!(1_u64 << 32)),
    ("process.user.gid: negative", |c| c["process"]["user"]["gid"] = json!(-1)),
    ("process.user.gid: fraction", |c| c["process"]["user"]["gid"] = json!(0.5)),
    ("process.user.additionalGids[]: negative", |c| {
        c["process"]["user"]["additionalGids"] = json!([-1]);
    }),
    ("process.oomScoreAdj: too large", |c| c["process"]["oomScoreAdj"] = json!(1001)),
    ("process.oomScoreAdj: too small", |c| c["process"]["oomScoreAdj"] = json!(-1001)),
    ("process.rlimits[].soft: negative", |c| c["process"]["rlimits"][0]["soft"] = json!(-1)),
    ("hostname: longer than the kernel takes", |c| c["hostname"] = json!("a".repeat(65))),
    ("domainname: longer than the kernel takes", |c| c["domainname"] = json!("a".repeat(65))),
];

/// Names that are none of those that the specification or the kernel has.
const NAMES: &[Fault] = &[
    ("process.args[0]: no such program", |c| c["process"]["args"][0] = json!("/no/such/program")),
    ("process.args[0]: a directory", |c| c["process"]["args"][0] = json!("/etc")),
    ("process.args[0]: not executable", |c| c["process"]["args"][0] = json!("/etc/passwd")),
    ("process.scheduler.policy", |c| c["process"]["scheduler"] = json!({ "policy": "SCHED_X" })),
    ("process.ioPriority.class", |c| {
        c["process"]["ioPriority"] = json!({ "class": "IOPRIO_X", "priority": 1 });
    }),
    ("process.rlimits[].type", |c| c["process"]["rlimits"][0]["type"] = json!("RLIMIT_X")),
    ("mounts[].type", |c| c["mounts"][5]["type"] = json!("no-such-fs")),
    ("linux.namespaces[].type", |c| c["linux"]["namespaces"][0]["type"] = json!("no-such-ns")),
    ("linux.rootfsPropagation", |c| c["linux"]["rootfsPropagation"] = json!("no-such-kind")),
    ("linux.seccomp.defaultAction", |c| {
        c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_X" });
    }),
    ("linux.resources.devices[].type", |c| {
        c["linux"]["resources"]["devices"] = json!([{ "allow": true, "type": "x", "access": "r" }]);
    }),
    ("linux.personality.domain", |c| c["linux"]["personality"] = json!({ "domain": "BSD" })),
    ("linux.devices[].type", |c| {
        c["linux"]["devices"] = json!([{ "path": "/dev/x", "type": "x", "major": 1, "minor": 3 }]);
    }),
];
