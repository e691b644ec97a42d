//! Wrong values in config.json: one line that says what, where in config.json and what to do, an exit
//! status that is not 0, and a host on which nothing is left or changed.

use std::{fs, os::unix::fs::PermissionsExt};

use integration::{Feature, Kind, Output, Runtime, Test, bundle::push, host, needs, only_on};
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
    if output.status == 0 {
        test.call(&["delete", "--force", test.id()]);
        return if test.excuses(&[Kind::Runc, Kind::Crun], &format!("accepts this: {}", fault.name))
        {
            Ok(())
        } else {
            say("accepted", &output)
        };
    }
    let left = test.differences();
    if !left.is_empty() && !test.excuses(&[Kind::Crun], "leaves something behind") {
        return Err(format!("{}: left behind: {left:?}", fault.name));
    }
    if !test.runtime.is(Kind::Rtn) {
        return Ok(());
    }
    output.one_line().or_else(|what| say(&what, &output))?;
    if !output.stderr.contains(fault.path) {
        return say(&format!("does not name {}", fault.path), &output);
    }
    Ok(())
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
    needs!(Feature::Root);
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
    needs!(Feature::Root);
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
fn an_unsupported_version_is_told() {
    refuse(&[
        fault("a version of the future", "ociVersion", |c| c["ociVersion"] = json!("2.0.0")),
        fault("no version at all", "ociVersion", |c| c["ociVersion"] = json!("new")),
    ]);
}
