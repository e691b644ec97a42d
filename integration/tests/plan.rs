//! `plan`: what a container is going to be, without making it. No other runtime has it.

use integration::{Feature, Test, bundle::push, needs, only_on, wait};
use serde_json::{Value, json};

const ONLY_RTN: &str = "no other runtime can tell what it is going to do";

#[test]
fn it_tells_people_what_will_happen() {
    let test = Test::new();
    needs!(Feature::Controller("pids"));
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle().edit(|config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 77 });
        config["hooks"]["createRuntime"] = json!([{ "path": "/bin/true" }]);
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] });
    });
    let output = test.call(&["plan", "--bundle", &bundle.dir.to_string_lossy()]);
    let text = output.ok();
    for word in [
        "network",
        "/dev/mqueue",
        "net_bind_service",
        "77",
        "/bin/true",
        "/dev/null",
        "SCMP_ACT_ALLOW",
    ] {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
    let position = |word: &str| text.find(word).unwrap_or_else(|| panic!("no {word} in:\n{text}"));
    assert!(
        position("/dev/pts") < position("/dev/shm")
            && position("/dev/shm") < position("/dev/mqueue"),
        "{text}"
    );
}

#[test]
fn it_tells_when_and_where_the_process_runs() {
    let test = Test::new();
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle().edit(|config| {
        let process = &mut config["process"];
        process["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 9 });
        process["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
        process["execCPUAffinity"] = json!({ "initial": "0", "final": "2-3,8191" });
        process["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_FLY"]);
        config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0-1" });
    });
    let output = test.call(&["plan", "--bundle", &bundle.dir.to_string_lossy()]);
    for words in [
        "SCHED_BATCH, nice 9",
        "IOPRIO_CLASS_IDLE 0",
        "0 until it is in the cgroup, then 2-3,8191",
        "MPOL_BIND, nodes 0-1",
        "CAP_FLY (config.json: process.capabilities.bounding[1])",
    ] {
        assert!(output.ok().contains(words), "no {words:?} in:\n{}", output.stdout);
    }
}

#[test]
fn it_tells_programs_too() {
    let test = Test::new();
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle();
    let plan =
        test.call(&["plan", "--format", "json", "--bundle", &bundle.dir.to_string_lossy()]).json();
    assert!(plan.is_object(), "{plan}");
    assert_eq!(
        plan["mounts"].as_array().map(Vec::len),
        bundle.config["mounts"].as_array().map(Vec::len)
    );
}

#[test]
fn it_makes_nothing() {
    let test = Test::new();
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle =
        test.bundle().mount(json!({ "destination": "/new", "type": "tmpfs", "source": "tmpfs" }));
    test.call(&["plan", "--bundle", &bundle.dir.to_string_lossy()]).ok();
    assert!(!test.root().exists() && !bundle.rootfs().join("new").exists());
}

#[test]
fn it_needs_no_privilege() {
    let test = Test::new();
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle();
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid", "4246", "--regid", "4246", "--clear-groups", "--"])
        .arg(test.program());
    command.args(["plan", "--bundle"]).arg(&bundle.dir).stdin(std::process::Stdio::null());
    assert!(wait::output(&mut command).ok().contains("/dev/mqueue"));
}

#[test]
fn it_names_every_fault_at_once() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::Root);
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle().edit(|config| {
        config["process"]["cwd"] = json!("relative");
        push(&mut config["linux"]["namespaces"], json!({ "type": "pid" }));
        push(&mut config["mounts"], json!({ "destination": "", "type": "tmpfs" }));
        config["linux"]["cgroupsPath"] = json!("/../../up");
    });
    let output = test.call(&["plan", "--bundle", &bundle.dir.to_string_lossy()]);
    assert!(output.status != 0, "{output:?}");
    for path in ["process.cwd", "linux.namespaces[5]", "mounts[6].destination", "linux.cgroupsPath"]
    {
        assert!(output.stdout.contains(path), "no {path} in {output:?}");
    }
    assert_eq!(output.stdout.lines().count(), 4, "one line for each fault: {output:?}");
}

#[test]
fn it_warns_about_what_has_no_effect() {
    let test = Test::new();
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle();
    let directory = bundle.dir.to_string_lossy().into_owned();
    test.call(&["plan", "--strict", "--bundle", &directory]).ok();
    let bundle = bundle.edit(|config| {
        config["root"]["readOnly"] = json!(true);
        config["windows"] = json!({});
        config["linux"]["resources"]["memory"] = json!({ "kernel": 1 });
    });
    let arguments = ["plan", "--bundle", &directory];
    let text = test.call(&arguments);
    for told in [
        "(config.json: root.readOnly): did you mean \"readonly\"?",
        "for Windows (config.json: windows)",
        "Kernel memory settings are ignored",
    ] {
        assert!(text.ok().contains(told), "no {told} in {text:?}");
    }
    let strict = test.call(&[arguments.as_slice(), &["--strict"]].concat());
    assert_eq!((strict.status, &strict.stdout), (1, &text.stdout));
    assert!(strict.stderr.contains("config.json has 3 warnings"), "{strict:?}");
    let document = test.call(&[arguments.as_slice(), &["--format", "json"]].concat()).json();
    assert_eq!(document["warnings"].as_array().map(Vec::len), Some(3), "{document}");
    drop(bundle);
}

#[test]
fn it_tells_which_field_asked_for_what() {
    let test = Test::new();
    needs!(Feature::Controller("pids"));
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle().edit(|config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 77 });
        config["annotations"] = json!({ "com.example": "an annotation" });
        config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 });
    });
    let output = test.call(&["plan", "--bundle", &bundle.dir.to_string_lossy()]);
    let line = |word: &str| {
        let mut lines = output.ok().lines();
        lines.find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word} in {output:?}"))
    };
    assert!(line("pids.max").contains("linux.resources.pids.limit"));
    assert!(line("/dev/shm").contains("[3]"));
    assert!(line("com.example").contains("an annotation"));
    line("IOPRIO_CLASS_BE 4");
}

#[test]
fn its_json_has_one_spelling() {
    let test = Test::new();
    only_on!(test, [Rtn], ONLY_RTN);
    let bundle = test.bundle().edit(|config| {
        config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 3 });
        config["process"]["terminal"] = json!(true);
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    });
    let plan = test.call(&["plan", "--format", "json", "--bundle", &bundle.dir.to_string_lossy()]);
    let mut keys = Vec::new();
    names(&plan.json(), &mut keys);
    assert!(keys.contains(&"noNewPrivileges".to_owned()), "{keys:?}");
    let other = |key: &&String| key.contains('_') || key.contains('-');
    assert_eq!(keys.iter().filter(other).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Every name of a member, at any depth.
fn names(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            all.push(name.clone());
            names(value, all);
        }),
        Value::Array(list) => list.iter().for_each(|value| names(value, all)),
        _ => {}
    }
}
