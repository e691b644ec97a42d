//! Running without being the machine's root: as an ordinary user with and without subordinate ids,
//! and as root of a user namespace, which is what podman makes of an ordinary user.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use integration::{
    Bundle, Feature, Kind, Output, Test, bundle::chown_tree, console::ConsoleSocket, host, needs,
    only_on, test::parse, wait,
};
use nix::mount::{MsFlags, mount};
use serde_json::json;

/// A bundle as `spec --rootless` makes it: one user, no cgroup, no network of its own.
fn rootless_bundle(test: &Test, uid: u32) -> Bundle {
    rootless_bundle_named(test, "bundle", uid)
}

fn rootless_bundle_named(test: &Test, name: &str, uid: u32) -> Bundle {
    let bundle = test.bundle_named(name);
    give(test, &bundle, uid);
    let bundle = bundle.without_namespace("network").without_mount("/sys").namespace("user", None);
    let bundle = bundle.edit(|config| {
        let map = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"].as_object_mut().expect("linux").remove("resources");
        // Only mapped groups can own a terminal.
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        for mount in mounts {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    bundle.mount(json!({ "destination": "/sys", "type": "none", "source": "/sys",
                         "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] }))
}

/// The runtime as an ordinary user.
fn as_user(test: &Test, uid: u32, arguments: &[&str]) -> Output {
    wait::output(&mut as_user_command(test, uid, arguments))
}

fn as_user_command(test: &Test, uid: u32, arguments: &[&str]) -> Command {
    let id = uid.to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "--"]);
    command.arg(&test.runtime.program).arg("--root").arg(test.root()).args(arguments);
    command.env("XDG_RUNTIME_DIR", test.dir()).stdin(std::process::Stdio::null());
    command
}

#[test]
fn an_ordinary_user_runs_a_container() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    let bundle = rootless_bundle(&test, 4242);
    let output =
        as_user(&test, 4242, &["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let facts = parse(output.ok());
    assert_eq!((facts.uids, facts.uid_map), ([0; 4], vec![(0, 4242, 1)]));
    assert_eq!(facts.hostname, "container");
}

#[test]
fn an_ordinary_user_creates_executes_and_deletes() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    let bundle = rootless_bundle(&test, 4243).serve();
    let dir = bundle.dir.to_string_lossy().into_owned();
    as_user(&test, 4243, &["create", "--bundle", &dir, test.id()]).ok();
    as_user(&test, 4243, &["start", test.id()]).ok();
    assert_eq!(as_user(&test, 4243, &["state", test.id()]).json()["status"], "running");
    let facts = parse(as_user(&test, 4243, &["exec", test.id(), "/bin/probe", "facts"]).ok());
    assert_eq!(facts.uids, [0; 4]);
    as_user(&test, 4243, &["kill", test.id(), "KILL"]).ok();
    as_user(&test, 4243, &["delete", "--force", test.id()]).ok();
}

/// The first process is not dumpable while it is made, and exec's never is: files of theirs in /proc
/// are not the user's.
#[test]
fn an_ordinary_user_enters_what_waits_for_start() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 cannot");
    needs!(Feature::UserNamespaces);
    let bundle = rootless_bundle(&test, 4248).serve();
    let dir = bundle.dir.to_string_lossy().into_owned();
    as_user(&test, 4248, &["create", "--bundle", &dir, test.id()]).ok();
    let file = test.dir().join("process.json");
    let process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "oomScoreAdj": 321,
                          "args": ["/bin/probe", "facts"] });
    fs::write(&file, process.to_string()).expect("process.json");
    let process = file.to_string_lossy();
    let facts = parse(as_user(&test, 4248, &["exec", "--process", &process, test.id()]).ok());
    assert_eq!(facts.uid_map, [(0, 4248, 1)]);
    if !test.excuses(&[Kind::Runc], "runc's exec takes no oomScoreAdj") {
        assert_eq!(facts.oom_score_adj, 321);
    }
    as_user(&test, 4248, &["delete", "--force", test.id()]).ok();
}

#[test]
fn an_ordinary_user_maps_its_subordinate_ids() {
    let test = Test::new();
    needs!(Feature::UserNamespaces, Feature::NewIdMap);
    // Seen by this test alone: its mount namespace is its own.
    for (file, text) in [
        ("/etc/passwd", "root:x:0:0::/root:/bin/sh\ntester:x:4244:4244::/:/bin/sh\n"),
        ("/etc/group", "root:x:0:\ntester:x:4244:\n"),
        ("/etc/subuid", "tester:500000:65536\n"),
        ("/etc/subgid", "tester:600000:65536\n"),
    ] {
        let replacement = test.dir().join(Path::new(file).file_name().expect("a name"));
        fs::write(&replacement, text).expect("a file");
        mount(Some(&replacement), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .expect("bind");
    }
    let bundle = rootless_bundle(&test, 4244).edit(|config| {
        let map = |id: u32| {
            json!([{ "containerID": 0, "hostID": 4244, "size": 1 },
                                   { "containerID": 1, "hostID": id, "size": 65535 }])
        };
        config["linux"]["uidMappings"] = map(500_000);
        config["linux"]["gidMappings"] = map(600_000);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let output =
        as_user(&test, 4244, &["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    for file in ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"] {
        nix::mount::umount(file).expect("umount");
    }
    let facts = parse(output.ok());
    assert_eq!(facts.uid_map, [(0, 4244, 1), (1, 500_000, 65_535)]);
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1000; 4]));
}

#[test]
fn the_state_of_an_ordinary_user_is_in_its_runtime_directory() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's directory is called crun");
    needs!(Feature::UserNamespaces);
    let bundle = rootless_bundle(&test, 4245).serve();
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid", "4245", "--regid", "4245", "--clear-groups", "--"])
        .arg(&test.runtime.program);
    command.args(["create", "--bundle"]).arg(&bundle.dir).arg(test.id());
    command.env("XDG_RUNTIME_DIR", test.dir()).stdin(std::process::Stdio::null());
    wait::output(&mut command).ok();
    let name = test.runtime.program.file_name().expect("a name");
    assert!(test.dir().join(name).join(test.id()).is_dir(), "no state below XDG_RUNTIME_DIR");
    let mut delete = Command::new("/usr/bin/setpriv");
    delete
        .args(["--reuid", "4245", "--regid", "4245", "--clear-groups", "--"])
        .arg(&test.runtime.program);
    delete.args(["delete", "--force", test.id()]).env("XDG_RUNTIME_DIR", test.dir());
    wait::output(&mut delete).ok();
}

/// Gives the whole bundle, the test's directory and the state to `uid`.
fn give(test: &Test, bundle: &Bundle, uid: u32) {
    chown_tree(&bundle.dir, uid);
    fs::create_dir_all(test.root()).expect("the state root");
    for dir in [test.dir(), &test.root()] {
        chown(dir, Some(uid), Some(uid)).expect("chown");
    }
}

#[test]
fn what_spec_rootless_writes_runs_as_it_is() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    let bundle = test.bundle();
    fs::remove_file(bundle.dir.join("config.json")).expect("config.json");
    give(&test, &bundle, 10_001);
    let dir = bundle.dir.to_string_lossy().into_owned();
    let mut spec = as_user_command(&test, 10_001, &["spec", "--rootless"]);
    wait::output(spec.current_dir(&bundle.dir)).ok();
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
    let path = socket.path().to_string_lossy().into_owned();
    let create = ["create", "--console-socket", &path, "--bundle", &dir, test.id()];
    // A pipe would be kept open by the container.
    as_user(&test, 10_001, &create).ok();
    let mut terminal = socket.terminal();
    as_user(&test, 10_001, &["start", test.id()]).ok();
    terminal.type_line("cat /proc/self/uid_map; hostname; touch /file; exit");
    let said = terminal.rest();
    let map = said.lines().find(|line| line.split_whitespace().eq(["0", "10001", "1"]));
    assert!(map.is_some(), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    as_user(&test, 10_001, &["delete", "--force", test.id()]).ok();
}

#[test]
fn an_ordinary_user_without_a_user_namespace_is_told() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    only_on!(test, [Rtn, Runc], "crun makes one");
    let bundle = rootless_bundle(&test, 10_002).without_namespace("user").edit(|config| {
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    let run = ["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()];
    let output = as_user(&test, 10_002, &run);
    output.fails();
    if test.runtime.is(Kind::Rtn) {
        output.fails_with("rootless container requires user namespaces");
        output.fails_with("spec --rootless");
    }
}

#[test]
fn ids_that_are_nobodys_to_give_are_refused() {
    let test = Test::new();
    needs!(Feature::UserNamespaces, Feature::NewIdMap);
    only_on!(test, [Rtn, Runc], "crun tries with fewer");
    let bundle = rootless_bundle(&test, 10_003).edit(|config| {
        let map = json!([{ "containerID": 0, "hostID": 10_003, "size": 1 },
                         { "containerID": 1, "hostID": 700_000, "size": 10 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    let dir = bundle.dir.to_string_lossy().into_owned();
    as_user(&test, 10_003, &["run", "--bundle", &dir, test.id()]).fails_with("newuidmap");
    only_on!(test, [Rtn], "runc tells what it did not find, not where it is to be had");
    let mut without = as_user_command(&test, 10_003, &["run", "--bundle", &dir, test.id()]);
    let output = wait::output(without.env("PATH", "/not/there"));
    output.fails_with("cannot run newuidmap (config.json: linux.uidMappings)");
    output.fails_with("uidmap");
}

#[test]
fn groups_that_cannot_be_set_are_refused() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    only_on!(test, [Rtn, Runc], "crun leaves them out");
    let bundle = rootless_bundle(&test, 10_004).edit(|config| {
        config["process"]["user"]["additionalGids"] = json!([0]);
    });
    let dir = bundle.dir.to_string_lossy().into_owned();
    let output = as_user(&test, 10_004, &["run", "--bundle", &dir, test.id()]);
    output.fails_with("cannot set any additional groups in a rootless container");
    let bundle = bundle.serve().edit(|config| {
        config["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    });
    let dir = bundle.dir.to_string_lossy().into_owned();
    as_user(&test, 10_004, &["run", "--detach", "--bundle", &dir, test.id()]).ok();
    let exec = ["exec", "--additional-gids", "0", test.id(), "/bin/true"];
    let output = as_user(&test, 10_004, &exec);
    assert_eq!(output.status, 255, "{output:?}");
    output.fails_with("cannot set any additional groups");
    as_user(&test, 10_004, &["delete", "--force", test.id()]).ok();
}

#[test]
fn what_only_root_may_ask_for_is_refused_with_its_path() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    only_on!(test, [Rtn], "no other runtime names it");
    for (name, key, value) in [
        ("fifo", "scheduler", json!({ "policy": "SCHED_FIFO", "priority": 1 })),
        ("nice", "scheduler", json!({ "policy": "SCHED_OTHER", "nice": -5 })),
        ("io", "ioPriority", json!({ "class": "IOPRIO_CLASS_RT", "priority": 0 })),
        ("oom", "oomScoreAdj", json!(-500)),
    ] {
        let bundle = rootless_bundle_named(&test, name, 10_005);
        let bundle = bundle.edit(|config| config["process"][key] = value);
        let dir = bundle.dir.to_string_lossy().into_owned();
        let output = as_user(&test, 10_005, &["run", "--bundle", &dir, test.id()]);
        output.fails_with(&format!("(config.json: process.{key}"));
    }
}

#[test]
fn a_container_of_one_user_is_closed_to_others() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    let bundle = rootless_bundle(&test, 10_006).serve();
    fs::set_permissions(test.root(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let dir = bundle.dir.to_string_lossy().into_owned();
    as_user(&test, 10_006, &["run", "--detach", "--bundle", &dir, test.id()]).ok();
    for verb in [
        &["exec", test.id(), "/bin/true"][..],
        &["kill", test.id(), "KILL"],
        &["delete", "--force", test.id()],
    ] {
        as_user(&test, 10_007, verb).fails();
    }
    assert_eq!(as_user(&test, 10_006, &["state", test.id()]).json()["status"], "running");
    as_user(&test, 10_006, &["delete", "--force", test.id()]).ok();
}

/// A cgroup in each v1 hierarchy that belongs to `uid`, as an administrator delegates them.
fn delegate(test: &Test, uid: u32) -> Vec<PathBuf> {
    let hierarchies = host::hierarchies().map(|mount| PathBuf::from(mount.target));
    let delegated = hierarchies.map(|hierarchy| hierarchy.join(format!("{}-delegated", test.id())));
    let delegated: Vec<_> = delegated.filter(|dir| fs::create_dir(dir).is_ok()).collect();
    for dir in &delegated {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // A new cpuset is empty, and an empty one takes no process.
            let above = fs::read_to_string(dir.parent().expect("the root").join(file));
            above.into_iter().for_each(|text| drop(fs::write(dir.join(file), text)));
        }
        for file in ["", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"] {
            let _ = chown(dir.join(file), Some(uid), Some(uid));
        }
    }
    delegated
}

#[test]
fn delegated_cgroups_are_used() {
    let test = Test::new();
    needs!(Feature::UserNamespaces, Feature::CgroupV1("pids"));
    only_on!(test, [Rtn, Runc], "crun leaves the new cpuset empty");
    let delegated = delegate(&test, 10_008);
    let path = format!("/{}-delegated/inner", test.id());
    let bundle = rootless_bundle(&test, 10_008).serve().edit(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        config["linux"]["resources"] = json!({ "pids": { "limit": 33 } });
    });
    let dir = bundle.dir.to_string_lossy().into_owned();
    let pid_file = test.dir().join("pid");
    let run = ["run", "--detach", "--pid-file", &pid_file.to_string_lossy(), "--bundle", &dir];
    as_user(&test, 10_008, &[&run[..], &[test.id()]].concat()).ok();
    let pid: i32 = fs::read_to_string(&pid_file).expect("a pid file").parse().expect("a pid");
    let pids = host::cgroup_of(pid, "pids");
    assert!(pids.ends_with(path.trim_start_matches('/')), "{}", pids.display());
    assert_eq!(fs::read_to_string(pids.join("pids.max")).expect("a limit").trim(), "33");
    let exec = as_user(&test, 10_008, &["exec", test.id(), "/bin/probe", "facts"]);
    let line = format!(":pids:{path}");
    assert!(parse(exec.ok()).cgroups.iter().any(|cgroup| cgroup.ends_with(&line)));
    as_user(&test, 10_008, &["delete", "--force", test.id()]).ok();
    assert!(!pids.exists(), "the container's own is removed");
    delegated.iter().for_each(|dir| fs::remove_dir(dir).expect("an empty cgroup"));
}

#[test]
fn a_cgroup_that_is_refused_is_left_out_unless_it_was_asked_for() {
    let test = Test::new();
    needs!(Feature::UserNamespaces, Feature::Controller("freezer"));
    only_on!(test, [Rtn, Runc], "crun leaves it out even then");
    let bundle = rootless_bundle(&test, 10_009);
    let dir = bundle.dir.to_string_lossy().into_owned();
    for flag in ["--rootless=auto", "--rootless=true"] {
        as_user(&test, 10_009, &[flag, "run", "--bundle", &dir, test.id()]).ok();
    }
    let strict = ["--rootless=false", "run", "--bundle", &dir, test.id()];
    let output = as_user(&test, 10_009, &strict);
    assert!(output.fails().to_lowercase().contains("permission denied"), "{output:?}");
    let bundle = bundle.edit(|config| config["linux"]["cgroupsPath"] = json!("/palm/own"));
    let dir = bundle.dir.to_string_lossy().into_owned();
    let output = as_user(&test, 10_009, &["run", "--bundle", &dir, test.id()]);
    assert!(output.fails().to_lowercase().contains("permission denied"), "{output:?}");
    only_on!(test, [Rtn], "runc looks at the word when it is too late");
    test.call(&["--rootless=perhaps", "list"]).fails_with("invalid rootless: perhaps");
}

/// The shell script `script` as root of a new user namespace that maps `uid` alone; `$RUNTIME` is
/// the runtime with its root.
fn as_root_of_namespace(test: &Test, uid: u32, options: &[&str], script: &str) -> Output {
    let id = uid.to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "--"]);
    command.args(["unshare", "--user", "--map-root-user"]).args(options);
    command.args(["/bin/busybox", "sh", "-ec", script]);
    let runtime = format!("{} --root {}", test.program().display(), test.root().display());
    command.env("RUNTIME", runtime).env("ID", test.id()).env("XDG_RUNTIME_DIR", test.dir());
    wait::output(command.stdin(std::process::Stdio::null()))
}

#[test]
fn root_of_a_user_namespace_needs_none_of_its_own() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    let firsts = [(Kind::Runc, (1, 2)), (Kind::Crun, (1, 0))];
    if test.predates(&firsts, "runc 1.1 wants mounts of its own") {
        return;
    }
    for (name, own) in [("own", true), ("shared", false)] {
        for (suffix, options) in [("", &[][..]), ("-mounts", &["--mount"])] {
            let bundle = rootless_bundle_named(&test, &format!("{name}{suffix}"), 10_010);
            let bundle = bundle.edit(|config| {
                let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
            });
            let bundle = if own { bundle } else { without_user_namespace(bundle) };
            let script = format!("$RUNTIME run --bundle {} $ID", bundle.dir.display());
            let facts = parse(as_root_of_namespace(&test, 10_010, options, &script).ok());
            assert_eq!(facts.uids, [0; 4], "{name}{suffix}");
            let host = host::namespaces(std::process::id() as i32);
            assert_ne!(facts.namespaces["user"], host["user"]);
            assert_ne!(facts.namespaces["mnt"], host["mnt"]);
        }
    }
}

fn without_user_namespace(bundle: Bundle) -> Bundle {
    bundle.without_namespace("user").edit(|config| {
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    })
}

#[test]
fn root_of_a_user_namespace_creates_executes_and_deletes() {
    let test = Test::new();
    needs!(Feature::UserNamespaces);
    let bundle = without_user_namespace(rootless_bundle(&test, 10_011)).serve();
    let script = format!(
        "$RUNTIME create --bundle {} $ID >/dev/null 2>&1; $RUNTIME start $ID; \
         $RUNTIME exec $ID /bin/probe facts; $RUNTIME kill $ID KILL; $RUNTIME delete --force $ID",
        bundle.dir.display()
    );
    let output = as_root_of_namespace(&test, 10_011, &["--mount"], &script);
    let facts = parse(output.ok());
    assert_eq!((facts.uids, facts.uid_map), ([0; 4], vec![(0, 10_011, 1)]));
    test.assert_unknown();
}
