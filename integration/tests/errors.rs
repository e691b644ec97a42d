//! Bad input: one line that says what, where in config.json and what to do, an exit status that is
//! not 0, and a host on which nothing is left or changed.

use std::{fs, os::unix::fs::PermissionsExt};

use integration::{
    Bundle, Container, Feature, Kind, Output, Runtime, Test, bundle::push, host, needs, only_on,
    wait,
};
use serde_json::{Value, json};

/// A fault of config.json: what to change, and the JSON path that has to be named.
struct Fault {
    name: &'static str,
    path: &'static str,
    change: fn(&mut Value),
}

const fn fault(name: &'static str, path: &'static str, change: fn(&mut Value)) -> Fault {
    Fault { name, path, change }
}

/// Creates a container from each; gathers what is wrong with the answers, so that one run tells all.
fn refuse(faults: &[Fault]) {
    let test = Test::new();
    let wrong: Vec<String> = faults.iter().filter_map(|fault| judge(&test, fault).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn judge(test: &Test, fault: &Fault) -> Result<(), String> {
    let say = |what: &str, output: &Output| Err(format!("{}: {what}: {output:?}", fault.name));
    let bundle = test.bundle_named(&fault.name.replace(' ', "-")).edit(fault.change);
    let directory = bundle.dir.to_string_lossy().into_owned();
    let output = test.call(&["create", "--bundle", &directory, test.id()]);
    let left = test.differences();
    if output.status == 0 {
        test.call(&["delete", "--force", test.id()]);
        return if test.excuses(&[Kind::Runc, Kind::Crun], &format!("accepts this: {}", fault.name))
        {
            Ok(())
        } else {
            say("accepted", &output)
        };
    }
    if !left.is_empty() && !test.excuses(&[Kind::Crun], "leaves something behind") {
        return Err(format!("{}: left behind: {left:?}", fault.name));
    }
    if !test.runtime.is(Kind::Rtn) {
        return Ok(());
    }
    one_line(&output).or_else(|what| say(&what, &output))?;
    if !output.stderr.contains(fault.path) {
        return say(&format!("does not name {}", fault.path), &output);
    }
    Ok(())
}

/// One line, with a hint perhaps on the next.
fn one_line(output: &Output) -> Result<(), String> {
    let lines: Vec<&str> =
        output.stderr.lines().filter(|line| !line.trim_start().starts_with("hint:")).collect();
    match lines.len() {
        1 if output.status != 0 => Ok(()),
        count => Err(format!("{count} lines, status {}", output.status)),
    }
}

#[test]
fn faults_of_the_process() {
    refuse(&[
        fault("no process", "process", |c| {
            drop(c.as_object_mut().expect("config").remove("process"))
        }),
        fault("no arguments", "process.args", |c| c["process"]["args"] = json!([])),
        fault("missing arguments", "process.args", |c| {
            drop(c["process"].as_object_mut().expect("process").remove("args"))
        }),
        fault("arguments of the wrong type", "process.args", |c| {
            c["process"]["args"] = json!("sh")
        }),
        fault("a nul in an argument", "process.args[1]", |c| {
            c["process"]["args"] = json!(["/bin/true", "a\u{0}b"])
        }),
        fault("a nul in a variable", "process.env", |c| c["process"]["env"] = json!(["A=\u{0}"])),
        fault("a relative working directory", "process.cwd", |c| {
            c["process"]["cwd"] = json!("relative")
        }),
        fault("an empty working directory", "process.cwd", |c| c["process"]["cwd"] = json!("")),
        fault("a working directory that is a file", "process.cwd", |c| {
            c["process"]["cwd"] = json!("/etc/passwd")
        }),
        fault("a negative user", "process.user.uid", |c| c["process"]["user"]["uid"] = json!(-1)),
        fault("a user that is a name", "process.user.uid", |c| {
            c["process"]["user"]["uid"] = json!("root")
        }),
        fault("an unknown limit", "process.rlimits[0].type", |c| {
            c["process"]["rlimits"] = json!([{ "type": "RLIMIT_PATIENCE", "soft": 1, "hard": 1 }]);
        }),
        fault("a limit twice", "process.rlimits[1]", |c| {
            let limit = json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 });
            c["process"]["rlimits"] = json!([limit, limit]);
        }),
        fault("a soft limit above the hard one", "process.rlimits[0]", |c| {
            c["process"]["rlimits"] = json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]);
        }),
        fault("an oom score out of range", "process.oomScoreAdj", |c| {
            c["process"]["oomScoreAdj"] = json!(1001)
        }),
    ]);
}

#[test]
fn a_limit_that_the_kernel_refuses_to_raise() {
    if !Feature::SysResource.missing() {
        return;
    }
    refuse(&[
        fault("a hard limit", "process.rlimits[0]", |c| {
            c["process"]["rlimits"] =
                json!([{ "type": "RLIMIT_NOFILE", "soft": 1_000_000, "hard": 1_000_000 }]);
        }),
        fault("an oom score", "process.oomScoreAdj", |c| c["process"]["oomScoreAdj"] = json!(-500)),
    ]);
}

#[test]
fn faults_of_the_program() {
    refuse(&[
        fault("not there", "process.args[0]", |c| c["process"]["args"] = json!(["/not/there"])),
        fault("not in the path", "process.args[0]", |c| {
            c["process"]["args"] = json!(["not-in-the-path"])
        }),
        fault("a directory", "process.args[0]", |c| c["process"]["args"] = json!(["/etc"])),
        fault("not executable", "process.args[0]", |c| {
            c["process"]["args"] = json!(["/etc/passwd"])
        }),
        fault("an empty name", "process.args[0]", |c| c["process"]["args"] = json!([""])),
        fault("a link to nowhere", "process.args[0]", |c| {
            c["process"]["args"] = json!(["/proc/self/fd/1000"])
        }),
    ]);
}

#[test]
fn faults_of_the_program_are_told_in_the_words_that_callers_look_for() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's words have capital letters");
    for (args, words) in [
        (json!(["/not/there"]), "no such file or directory"),
        (json!(["not-in-the-path"]), "executable file not found in $PATH"),
        (json!(["/etc/passwd"]), "permission denied"),
    ] {
        let bundle = test
            .bundle_named(&words.replace(' ', "-").replace('$', ""))
            .edit(|c| c["process"]["args"] = args);
        let output = test.run(&bundle);
        assert!(output.fails().contains(words), "{output:?}");
    }
    let directory = test.bundle_named("directory").args(&["/etc"]);
    let output = test.run(&directory);
    assert!(
        ["is a directory", "permission denied"].iter().any(|words| output.fails().contains(words)),
        "{output:?}"
    );
}

#[test]
fn a_program_without_its_interpreter_is_told() {
    let test = Test::new();
    let bundle = test.bundle().file("/script", "#!/no/interpreter\n");
    fs::set_permissions(bundle.rootfs().join("script"), fs::Permissions::from_mode(0o755))
        .expect("chmod");
    // Found and executable: only execve itself, after start, can tell.
    let output = test.run(&bundle.args(&["/script"]));
    assert!(output.fails().to_lowercase().contains("no such file or directory"), "{output:?}");
}

#[test]
fn a_text_that_is_no_program_is_told() {
    let test = Test::new();
    let bundle = test.bundle().file("/text", "just words\n");
    fs::set_permissions(bundle.rootfs().join("text"), fs::Permissions::from_mode(0o755))
        .expect("chmod");
    let output = test.run(&bundle.args(&["/text"]));
    assert!(output.fails().to_lowercase().contains("exec format error"), "{output:?}");
}

#[test]
fn faults_of_the_namespaces() {
    refuse(&[
        fault("an unknown namespace", "linux.namespaces[5].type", |c| {
            push(&mut c["linux"]["namespaces"], json!({ "type": "galaxy" }));
        }),
        fault("a namespace twice", "linux.namespaces[5]", |c| {
            push(&mut c["linux"]["namespaces"], json!({ "type": "pid" }))
        }),
        fault("a namespace without a type", "linux.namespaces[5]", |c| {
            push(&mut c["linux"]["namespaces"], json!({ "path": "/proc/self/ns/net" }));
        }),
        fault("a path that is not there", "linux.namespaces[1].path", |c| {
            c["linux"]["namespaces"][1]["path"] = json!("/not/there");
        }),
        fault("a path to another kind", "linux.namespaces[1].path", |c| {
            c["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/uts");
        }),
        fault("a path to no namespace", "linux.namespaces[1].path", |c| {
            c["linux"]["namespaces"][1]["path"] = json!("/etc/passwd");
        }),
        fault("a relative path", "linux.namespaces[1].path", |c| {
            c["linux"]["namespaces"][1]["path"] = json!("ns/net")
        }),
        fault("a hostname without a uts namespace", "hostname", |c| {
            c["linux"]["namespaces"]
                .as_array_mut()
                .expect("namespaces")
                .retain(|n| n["type"] != "uts");
        }),
        fault("a domainname without a uts namespace", "domainname", |c| {
            c["linux"]["namespaces"]
                .as_array_mut()
                .expect("namespaces")
                .retain(|n| n["type"] != "uts");
            c["hostname"] = json!(null);
            c["domainname"] = json!("example");
        }),
        fault("a hostname that is too long", "hostname", |c| c["hostname"] = json!("h".repeat(65))),
        fault("time offsets without a time namespace", "linux.timeOffsets", |c| {
            c["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": 1, "nanosecs": 0 } });
        }),
    ]);
}

fn user_namespace(config: &mut Value, size: u32) {
    push(&mut config["linux"]["namespaces"], json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": size }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

#[test]
fn faults_of_the_user_namespace() {
    refuse(&[
        fault("a user without a mapping", "process.user.uid", |c| {
            user_namespace(c, 10);
            c["process"]["user"] = json!({ "uid": 1000, "gid": 0 });
        }),
        fault("a group without a mapping", "process.user.gid", |c| {
            user_namespace(c, 10);
            c["process"]["user"] = json!({ "uid": 0, "gid": 1000 });
        }),
        fault("an additional group without a mapping", "process.user.additionalGids[1]", |c| {
            user_namespace(c, 10);
            c["process"]["user"] = json!({ "uid": 0, "gid": 0, "additionalGids": [1, 1000] });
        }),
        fault("no mappings", "linux.uidMappings", |c| {
            push(&mut c["linux"]["namespaces"], json!({ "type": "user" }));
        }),
        fault("mappings without a user namespace", "linux.uidMappings", |c| {
            c["linux"]["uidMappings"] =
                json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
            c["linux"]["gidMappings"] =
                json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
        }),
        fault("mappings that overlap", "linux.uidMappings[1]", |c| {
            user_namespace(c, 10);
            push(
                &mut c["linux"]["uidMappings"],
                json!({ "containerID": 5, "hostID": 200_000, "size": 10 }),
            );
        }),
        fault("a mapping of nothing", "linux.uidMappings[0]", |c| user_namespace(c, 0)),
    ]);
}

#[test]
fn faults_of_the_mounts() {
    refuse(&[
        fault("no destination", "mounts[6]", |c| {
            push(&mut c["mounts"], json!({ "type": "tmpfs", "source": "tmpfs" }))
        }),
        fault("an empty destination", "mounts[6].destination", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "", "type": "tmpfs", "source": "tmpfs" }),
            );
        }),
        fault("a destination above the root", "mounts[6].destination", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/../../above", "type": "tmpfs", "source": "tmpfs" }),
            );
        }),
        fault("a relative destination above the root", "mounts[6].destination", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "../above", "type": "tmpfs", "source": "tmpfs" }),
            );
        }),
        fault("an option that the filesystem does not know", "mounts[6]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["frobnicate"] }),
            );
        }),
        fault("an unknown option of a bind mount", "mounts[6].options[1]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/x", "type": "bind", "source": "/etc", "options": ["bind", "frobnicate"] }),
            );
        }),
        fault("an unknown filesystem", "mounts[6]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/x", "type": "frobfs", "source": "none" }),
            );
        }),
        fault("a source that is not there", "mounts[6]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/x", "type": "bind", "source": "/not/there", "options": ["bind"] }),
            );
        }),
        fault("a directory on a file", "mounts[6]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/etc/passwd", "type": "bind", "source": "/etc", "options": ["bind"] }),
            );
        }),
        fault("a file on a directory", "mounts[6]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/etc", "type": "bind", "source": "/etc/passwd", "options": ["bind"] }),
            );
        }),
        fault("a destination below a file", "mounts[6]", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/etc/passwd/x", "type": "tmpfs", "source": "tmpfs" }),
            );
        }),
        fault("an option of the wrong type", "mounts[6].options", |c| {
            push(
                &mut c["mounts"],
                json!({ "destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": "ro" }),
            );
        }),
        fault("an unknown propagation", "linux.rootfsPropagation", |c| {
            c["linux"]["rootfsPropagation"] = json!("sideways")
        }),
    ]);
}

#[test]
fn faults_of_the_root() {
    refuse(&[
        fault("no root", "root", |c| drop(c.as_object_mut().expect("config").remove("root"))),
        fault("a root that is not there", "root.path", |c| c["root"]["path"] = json!("not-there")),
        fault("a root that is a file", "root.path", |c| c["root"]["path"] = json!("config.json")),
        fault("an empty root", "root.path", |c| c["root"]["path"] = json!("")),
        fault("a relative masked path", "linux.maskedPaths[0]", |c| {
            c["linux"]["maskedPaths"] = json!(["proc/kcore"])
        }),
        fault("a relative read-only path", "linux.readonlyPaths[0]", |c| {
            c["linux"]["readonlyPaths"] = json!(["proc/sys"])
        }),
    ]);
}

#[test]
fn faults_of_the_devices() {
    if Runtime::from_env().is(Kind::Crun) {
        return host::skipped("Crun: what it accepts of these it cannot delete");
    }
    refuse(&[
        fault("an unknown kind", "linux.devices[0].type", |c| {
            c["linux"]["devices"] =
                json!([{ "path": "/dev/x", "type": "x", "major": 1, "minor": 3 }]);
        }),
        fault("a relative path", "linux.devices[0].path", |c| {
            c["linux"]["devices"] =
                json!([{ "path": "dev/x", "type": "c", "major": 1, "minor": 3 }]);
        }),
        fault("no path", "linux.devices[0].path", |c| {
            c["linux"]["devices"] = json!([{ "type": "c", "major": 1, "minor": 3 }]);
        }),
        fault("a path above the root", "linux.devices[0].path", |c| {
            c["linux"]["devices"] =
                json!([{ "path": "/../../x", "type": "c", "major": 1, "minor": 3 }]);
        }),
        fault("unknown access", "linux.resources.devices[0].access", |c| {
            c["linux"]["resources"]["devices"] =
                json!([{ "allow": true, "type": "c", "access": "rx" }]);
        }),
    ]);
}

#[test]
fn faults_of_the_resources() {
    needs!(
        Feature::Controller("cpuset"),
        Feature::Controller("cpu"),
        Feature::Controller("memory")
    );
    refuse(&[
        fault("a processor that is not there", "linux.resources.cpu.cpus", |c| {
            c["linux"]["resources"]["cpu"] = json!({ "cpus": "9998-9999" });
        }),
        fault("a list that is none", "linux.resources.cpu.cpus", |c| {
            c["linux"]["resources"]["cpu"] = json!({ "cpus": "one" })
        }),
        fault("a memory node that is not there", "linux.resources.cpu.mems", |c| {
            c["linux"]["resources"]["cpu"] = json!({ "mems": "63" });
        }),
        fault("a quota that the kernel refuses", "linux.resources.cpu.quota", |c| {
            c["linux"]["resources"]["cpu"] = json!({ "quota": 10 });
        }),
        fault("a period that the kernel refuses", "linux.resources.cpu.period", |c| {
            c["linux"]["resources"]["cpu"] = json!({ "period": 10_000_000 });
        }),
        fault("a swap limit below the memory limit", "linux.resources.memory.swap", |c| {
            c["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 32 << 20 });
        }),
        fault("a throttled device that is not there", "linux.resources.blockIO", |c| {
            c["linux"]["resources"]["blockIO"] =
                json!({ "throttleReadBpsDevice": [{ "major": 4094, "minor": 77, "rate": 1000 }] });
        }),
        fault("a number that is a text", "linux.resources.memory.limit", |c| {
            c["linux"]["resources"]["memory"] = json!({ "limit": "64M" });
        }),
        fault("a cgroup above the root", "linux.cgroupsPath", |c| {
            c["linux"]["cgroupsPath"] = json!("/../../up")
        }),
        fault("a relative cgroup above the own", "linux.cgroupsPath", |c| {
            c["linux"]["cgroupsPath"] = json!("../../up")
        }),
    ]);
}

#[test]
fn faults_of_the_resources_that_only_v1_has() {
    needs!(Feature::CgroupV1("memory"));
    refuse(&[fault("a swappiness out of range", "linux.resources.memory.swappiness", |c| {
        c["linux"]["resources"]["memory"] = json!({ "swappiness": 1000 });
    })]);
}

#[test]
fn faults_of_the_hooks() {
    refuse(&[
        fault("a hook that is not there", "hooks.createRuntime[0]", |c| {
            c["hooks"]["createRuntime"] = json!([{ "path": "/not/there" }]);
        }),
        fault("a hook that fails", "hooks.createRuntime[1]", |c| {
            c["hooks"]["createRuntime"] =
                json!([{ "path": "/bin/true" }, { "path": "/bin/false" }]);
        }),
        fault("a hook that is a directory", "hooks.createRuntime[0]", |c| {
            c["hooks"]["createRuntime"] = json!([{ "path": "/etc" }]);
        }),
        fault("a hook that hangs", "hooks.createContainer[0]", |c| {
            c["hooks"]["createContainer"] =
                json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
        }),
        fault("a relative hook", "hooks.prestart[0].path", |c| {
            c["hooks"]["prestart"] = json!([{ "path": "bin/true" }])
        }),
        fault("a timeout of nothing", "hooks.prestart[0].timeout", |c| {
            c["hooks"]["prestart"] = json!([{ "path": "/bin/true", "timeout": 0 }]);
        }),
    ]);
}

#[test]
fn faults_of_the_seccomp_profile() {
    refuse(&[
        fault("an unknown action", "linux.seccomp.syscalls[0].action", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_BLESS" }] });
        }),
        fault("an unknown default action", "linux.seccomp.defaultAction", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_BLESS" });
        }),
        fault("an unknown architecture", "linux.seccomp.architectures[0]", |c| {
            c["linux"]["seccomp"] =
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"] });
        }),
        fault("an unknown operator", "linux.seccomp.syscalls[0].args[0].op", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
                "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_ALMOST" }],
            }] });
        }),
        fault("a seventh argument", "linux.seccomp.syscalls[0].args[0].index", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
                "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }],
            }] });
        }),
        fault("no names", "linux.seccomp.syscalls[0].names", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [], "action": "SCMP_ACT_ERRNO" }] });
        }),
        fault("notify without a listener", "linux.seccomp.listenerPath", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
        }),
        fault("notify as the default", "linux.seccomp.defaultAction", |c| {
            c["linux"]["seccomp"] =
                json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/x" });
        }),
        fault("an unknown flag", "linux.seccomp.flags[0]", |c| {
            c["linux"]["seccomp"] =
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WISH"] });
        }),
    ]);
}

#[test]
fn faults_of_the_sysctls() {
    refuse(&[
        fault("a sysctl of the whole host", "linux.sysctl", |c| {
            c["linux"]["sysctl"] = json!({ "vm.swappiness": "1" })
        }),
        fault("a sysctl of a namespace that is the host's", "linux.sysctl", |c| {
            c["linux"]["namespaces"]
                .as_array_mut()
                .expect("namespaces")
                .retain(|n| n["type"] != "network");
            c["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        }),
        fault("a sysctl that is not there", "linux.sysctl", |c| {
            c["linux"]["sysctl"] = json!({ "net.ipv4.frobnicate": "1" })
        }),
        fault("a value that the kernel refuses", "linux.sysctl", |c| {
            c["linux"]["sysctl"] = json!({ "net.core.somaxconn": "many" })
        }),
        fault("a sysctl with dots that climb", "linux.sysctl", |c| {
            c["linux"]["sysctl"] = json!({ "net/../kernel/domainname": "x" });
        }),
    ]);
}

#[test]
fn a_personality_that_is_unknown() {
    refuse(&[fault("an unknown domain", "linux.personality.domain", |c| {
        c["linux"]["personality"] = json!({ "domain": "PALM" })
    })]);
}

#[test]
fn an_unknown_capability_is_told_and_not_given() {
    let test = Test::new();
    let bundle = test.bundle().capabilities(&["CAP_KILL", "CAP_FLY"]);
    let output = test.run(&bundle);
    // "Runtimes SHOULD NOT fail", says the specification, but the user has to be told.
    if output.status == 0 {
        assert!(integration::test::parse(&output.stdout).caps.bounding.contains("CAP_KILL"));
    }
    only_on!(test, [Rtn, Runc], "crun says nothing");
    assert!(output.stderr.contains("CAP_FLY"), "{output:?}");
    if test.runtime.is(Kind::Rtn) {
        assert!(output.stderr.contains("process.capabilities.bounding[1]"), "{output:?}");
    }
}

#[test]
fn a_config_json_that_is_missing_or_malformed() {
    let test = Test::new();
    let bundle = test.bundle();
    let texts = [
        "",
        "{",
        "[]",
        "null",
        "{\"process\": 3}",
        "{\"ociVersion\": \"1.0.2\", }",
        "\u{0}\u{1}",
        "{}",
    ];
    for text in texts {
        bundle.write_text(text);
        let output = test.create_fails(&bundle);
        if test.runtime.is(Kind::Rtn) {
            one_line(&output).unwrap_or_else(|what| panic!("{text:?}: {what}: {output:?}"));
            assert!(output.stderr.contains("config.json"), "{text:?}: {output:?}");
        }
    }
    fs::remove_file(bundle.dir.join("config.json")).expect("config.json");
    assert!(test.create_fails(&bundle).stderr.contains("config.json"));
    fs::create_dir(bundle.dir.join("config.json")).expect("a directory");
    test.create_fails(&bundle);
    let nowhere = test.call(&["create", "--bundle", "/not/there", test.id()]);
    assert!(nowhere.fails().contains("/not/there"), "{nowhere:?}");
}

#[test]
fn a_config_json_that_is_a_fifo_does_not_hang() {
    let test = Test::new();
    only_on!(test, [Rtn], "others wait for a writer");
    let bundle = test.bundle();
    let config = bundle.dir.join("config.json");
    fs::remove_file(&config).expect("config.json");
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    test.create_fails(&bundle);
}

#[test]
fn an_unsupported_version_is_told() {
    refuse(&[
        fault("a version of the future", "ociVersion", |c| c["ociVersion"] = json!("2.0.0")),
        fault("no version at all", "ociVersion", |c| c["ociVersion"] = json!("new")),
    ]);
}

#[test]
fn ids_that_are_no_names() {
    let test = Test::new();
    let bundle = test.bundle();
    let long = "x".repeat(300);
    for id in ["", ".", "..", "a/b", "../up", "two words", "new\nline", "ünï", "a:b", &long] {
        let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), id]);
        if output.status == 0 && test.excuses(&[Kind::Crun], &format!("{id:?} is a name")) {
            test.call(&["delete", "--force", id]);
            continue;
        }
        output.fails();
        test.assert_clean();
        assert!(!test.dir().join("up").exists());
    }
}

#[test]
fn other_calls_refuse_such_ids_too() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun looks where the id points to");
    let victim = test.dir().join("victim");
    fs::create_dir_all(victim.join("data")).expect("a directory");
    fs::create_dir(test.root()).expect("the state root");
    for command in [
        &["delete"] as &[&str],
        &["delete", "--force"],
        &["state"],
        &["kill"],
        &["start"],
        &["pause"],
    ] {
        let output = test.call(&[command, &["../victim"]].concat());
        if command != ["delete", "--force"] {
            output.fails();
        }
        assert!(victim.join("data").is_dir(), "{command:?} went outside of the state root");
    }
}

#[test]
fn an_id_that_is_taken() {
    let test = Test::new();
    let first = test.create(&test.bundle().serve());
    let output = test.call(&[
        "create",
        "--bundle",
        &test.bundle_named("second").dir.to_string_lossy(),
        test.id(),
    ]);
    if !test.runtime.is(Kind::Crun) {
        output.fails_with("exist");
    }
    output.fails();
    assert_eq!(first.status(), "created", "the first one is not touched");
    first.remove();
}

#[test]
fn many_creates_of_one_id_at_once_make_one_container() {
    let test = Test::new();
    only_on!(test, [Rtn], "the check for a taken id is not atomic, and losers leave a process");
    let bundle = test.bundle().serve();
    let mut running: Vec<_> = (0..8)
        .map(|_| {
            let mut command =
                test.command(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            (command.spawn().expect("the runtime"), command)
        })
        .collect();
    let made = running
        .iter_mut()
        .filter_map(|(child, command)| (wait::exit_status(child, command) == 0).then_some(()))
        .count();
    test.call(&["delete", "--force", test.id()]);
    assert_eq!(made, 1, "containers of one id");
}

#[test]
fn calls_in_the_wrong_state() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun allows some of them");
    let container = test.create(&test.bundle().serve());
    container.start();
    wrong(&container, &["start"]);
    wrong(&container, &["resume"]);
    wrong(&container, &["delete"]);
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait();
    for command in ["start", "pause", "resume"] {
        wrong(&container, &[command]);
    }
    let killed = wrong(&container, &["kill"]);
    // The words that containerd and CRI-O look for.
    assert!(killed.contains("container not running") || !test.runtime.is(Kind::Rtn), "{killed}");
    container.exec(&["/bin/true"]).fails();
    container.delete();
    for command in ["start", "kill", "delete", "state", "pause", "resume", "ps", "events"] {
        let output = container.call(&[command]);
        output.fails();
        if test.runtime.is(Kind::Rtn) {
            output.fails_with("does not exist");
        }
    }
}

/// A call that has to fail; its message.
fn wrong(container: &Container<'_>, command: &[&str]) -> String {
    let output = container.call(command);
    output.fails().to_owned()
}

#[test]
fn a_signal_that_does_not_exist() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    for signal in ["SIGNOTHING", "999", "-1", ""] {
        let output = test.call(&["kill", test.id(), signal]);
        if output.status == 0
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{signal:?} is accepted"))
        {
            continue;
        }
        output.fails();
    }
    container.remove();
}

#[test]
fn arguments_that_are_wrong() {
    let test = Test::new();
    for arguments in [
        &["create"] as &[&str],
        &["start"],
        &["create", "a", "b"],
        &["--no-such-option"],
        &["no-such-command"],
        &["run", "--no-such-option", "a"],
        &["exec", "a"],
        &["run", "--preserve-fds", "many", "a"],
    ] {
        let output = test.call(arguments);
        if output.status == 0
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{arguments:?} prints the help"))
        {
            continue;
        }
        assert!(output.status != 0, "{arguments:?}: {output:?}");
    }
}

/// A stopped container whose state file is changed.
fn stopped(test: &Test) -> (Container<'_>, std::path::PathBuf) {
    let container = test.serve(test.bundle());
    container.kill("KILL");
    container.wait();
    let name = if test.runtime.is(Kind::Crun) { "status" } else { "state.json" };
    let file = test.root().join(test.id()).join(name);
    (container, file)
}

#[test]
fn a_damaged_state_file_is_told_and_can_be_deleted() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun leaves the cgroups");
    let (container, file) = stopped(&test);
    let whole = fs::read_to_string(&file).expect("the state");
    for text in ["", "{", "{}", "null", &whole[..whole.len() / 2], "\u{0}\u{0}\u{0}"] {
        fs::write(&file, text).expect("the state can be damaged");
        let output = container.call(&["state"]);
        if output.status == 0
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("reads {text:?} as a state"))
        {
            continue;
        }
        output.fails();
        if test.runtime.is(Kind::Rtn) {
            one_line(&output).unwrap_or_else(|what| panic!("{text:?}: {what}: {output:?}"));
            assert!(output.stderr.contains("state.json"), "{output:?}");
            test.call(&["list"]).ok();
        }
    }
    let deleted = container.call(&["delete", "--force"]);
    if deleted.status != 0
        && test.excuses(&[Kind::Runc, Kind::Crun], "a damaged state cannot be deleted")
    {
        fs::write(&file, whole).expect("the state can be repaired");
        container.remove();
    } else {
        deleted.ok();
    }
}

#[test]
fn a_pid_that_was_used_again_is_not_the_containers() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's keys have other names");
    let (container, file) = stopped(&test);
    let mut other =
        std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("a process");
    let text = fs::read_to_string(&file).expect("the state");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    state["init_process_pid"] = json!(other.id());
    // Start times are clock ticks, and the two may have begun in the same one; a pid is not used
    // again that soon.
    let start = state["init_process_start"].as_u64().expect("clock ticks");
    state["init_process_start"] = json!(start - 1);
    fs::write(&file, state.to_string()).expect("the state can be changed");
    assert_eq!(container.status(), "stopped");
    container.call(&["kill", "--all"]);
    test.call(&["kill", test.id(), "KILL"]).fails();
    container.call(&["exec"]).fails();
    container.remove();
    assert!(other.try_wait().expect("wait").is_none(), "the other process was killed");
    other.kill().and_then(|()| other.wait()).expect("the other process ends");
}

#[test]
fn rubbish_in_the_state_root_does_not_disturb() {
    let test = Test::new();
    fs::create_dir_all(test.root().join("empty-directory")).expect("a directory");
    fs::write(test.root().join("file"), "").expect("a file");
    let container = test.serve(test.bundle());
    let list = test.call(&["list", "--quiet"]);
    assert!(list.ok().lines().any(|line| line == test.id()), "{list:?}");
    container.remove();
    fs::remove_dir_all(test.root()).expect("the rubbish");
}

#[test]
fn a_state_root_that_is_not_a_directory_is_told() {
    let test = Test::new();
    fs::write(test.root(), "").expect("a file");
    test.call(&["create", "--bundle", &test.bundle().dir.to_string_lossy(), test.id()]).fails();
    fs::remove_file(test.root()).expect("the file");
}

#[test]
fn a_failing_run_leaves_nothing_either() {
    let test = Test::new();
    let bundle: Bundle = test.bundle().args(&["/not/there"]);
    for options in [&[] as &[&str], &["--detach"]] {
        test.run_with(options, &bundle).fails();
        test.assert_clean();
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_is_told() {
    let test = Test::new();
    let bundle = test.bundle().serve();
    let output = test.call(&[
        "create",
        "--bundle",
        &bundle.dir.to_string_lossy(),
        "--pid-file",
        "/not/there/pid",
        test.id(),
    ]);
    output.fails();
    if test.excuses(&[Kind::Crun], "the container is left") {
        test.call(&["delete", "--force", test.id()]);
    }
}
