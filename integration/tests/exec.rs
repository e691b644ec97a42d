//! `exec`: another process in a running container.

use std::{collections::BTreeSet, fs};

use integration::{
    Container, Feature, Kind, Mode, Test, console::ConsoleSocket, host, needs, only_on,
    test::parse, wait,
};
use serde_json::json;

#[test]
fn it_is_in_every_namespace_and_cgroup_of_the_container() {
    let test = Test::new();
    let container = test.serve(test.bundle().namespace("cgroup", None));
    let facts = container.exec_facts(&[]);
    let init = host::namespaces(container.pid);
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
        assert_eq!(facts.namespaces[name], init[name], "{name}");
    }
    assert!(facts.pid > 1);
    assert!(
        facts
            .cgroups
            .iter()
            .filter(|line| !line.starts_with("0::"))
            .all(|line| line.ends_with(":/"))
    );
    container.remove();
}

#[test]
fn without_options_it_is_like_the_containers_own_process() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc sets no additional groups for an ordinary user");
    only_on!(test, [Rtn, Runc], "crun takes root, not the user of the configuration");
    let bundle = test.bundle().edit(|config| {
        let process = &mut config["process"];
        process["user"] =
            json!({ "uid": 1000, "gid": 1001, "additionalGids": [2000], "umask": 0o27 });
        process["cwd"] = json!("/tmp");
        process["env"] = json!(["PATH=/bin", "A=1"]);
        process["oomScoreAdj"] = json!(300);
        process["rlimits"] = json!([{ "type": "RLIMIT_MSGQUEUE", "soft": 77, "hard": 88 }]);
    });
    let container = test.serve(bundle);
    let facts = container.exec_facts(&[]);
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1001; 4]));
    assert!(facts.groups.contains(&2000), "{:?}", facts.groups);
    assert_eq!(
        (facts.cwd.as_str(), facts.env("A"), facts.env("HOME")),
        ("/tmp", Some("1"), Some("/home/user"))
    );
    assert_eq!(facts.rlimits["msgqueue"], (77, 88));
    assert_eq!(facts.oom_score_adj, 300);
    if !test.excuses(&[Kind::Runc], "the umask of the configuration is not an exec's in runc 1.1") {
        assert_eq!(facts.umask, 0o27);
    }
    assert!(facts.no_new_privs);
    assert!(facts.caps.effective.is_empty());
    assert!(facts.caps.bounding.contains("CAP_KILL"));
    container.remove();
}

#[test]
fn it_exits_as_the_program_does() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    for status in [0, 1, 42, 254] {
        assert_eq!(container.exec(&["/bin/probe", "exit", &status.to_string()]).status, status);
    }
    assert_eq!(container.exec(&["/bin/probe", "kill-self", "SIGTERM"]).status, 143);
    assert_eq!(container.exec(&["/bin/probe", "kill-self", "SIGKILL"]).status, 137);
    container.remove();
}

#[test]
fn a_failing_exec_exits_with_255() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    for (args, words) in [
        (["/not/there"], "no such file or directory"),
        (["not-in-path"], "executable file not found"),
        (["/etc"], "permission denied"),
        (["/etc/passwd"], "permission denied"),
    ] {
        let output = container.exec(&args);
        if !test.excuses(&[Kind::Crun], "crun exits with 1 and capital letters") {
            assert_eq!(output.status, 255, "{output:?}");
            let line = output.stderr.to_lowercase();
            let directory = args == ["/etc"] && line.contains("is a directory");
            assert!(line.contains(words) || directory, "{output:?}");
        }
    }
    let unknown = test.call(&["exec", "no-such-container", "true"]);
    assert!(
        unknown.fails().contains("does not exist") || test.runtime.is(Kind::Crun),
        "{unknown:?}"
    );
    container.remove();
}

#[test]
fn options_change_the_process() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "--cap replaces the capabilities instead of adding to them");
    let container = test.serve(test.bundle().capabilities(&["CAP_KILL"]));
    let facts = container.exec_facts(&["--cwd", "/tmp", "--env", "B=2", "--env", "C=3"]);
    assert_eq!(
        (facts.cwd.as_str(), facts.env("B"), facts.env("C")),
        ("/tmp", Some("2"), Some("3"))
    );
    let facts = container.exec_facts(&["--cap", "CAP_CHOWN", "--cap", "CAP_NET_RAW"]);
    assert!(
        ["CAP_CHOWN", "CAP_NET_RAW", "CAP_KILL"]
            .iter()
            .all(|cap| facts.caps.effective.contains(*cap)),
        "{:?}",
        facts.caps
    );
    assert!(facts.caps.inheritable.is_empty(), "CVE-2022-29162");
    let facts = container.exec_facts(&["--user", "1000:1001"]);
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1001; 4]));
    assert!(facts.caps.effective.is_empty() && facts.caps.ambient.is_empty());
    container.remove();
}

#[test]
fn the_user_option_takes_numbers() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let highest = if Mode::current().is_rootless() { "65536" } else { "2147483647" };
    for (user, uid, gid) in [
        ("1", 1, 0),
        ("1:2", 1, 2),
        (highest, highest.parse().expect("a number"), 0),
        ("0:7", 0, 7),
    ] {
        let facts = container.exec_facts(&["--user", user]);
        assert_eq!((facts.uids, facts.gids), ([uid; 4], [gid; 4]), "{user}");
    }
    container.remove();
}

#[test]
fn additional_groups_are_set() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc sets no additional groups for an ordinary user");
    only_on!(test, [Rtn, Runc], "crun has no --additional-gids");
    let container = test.serve(test.bundle());
    let facts = container.exec_facts(&["-g", "100", "-g", "65534"]);
    assert!(facts.groups.is_superset(&BTreeSet::from([100, 65534])), "{:?}", facts.groups);
    container.remove();
}

#[test]
fn home_follows_the_user() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    assert_eq!(container.exec_facts(&["--user", "1000"]).env("HOME"), Some("/home/user"));
    container.remove();
}

#[test]
fn no_new_privileges_follows_the_option() {
    let test = Test::new();
    let container = test
        .serve(test.bundle().edit(|config| config["process"]["noNewPrivileges"] = json!(false)));
    assert!(!container.exec_facts(&[]).no_new_privs);
    assert!(container.exec_facts(&["--no-new-privs"]).no_new_privs);
    container.remove();
}

#[test]
fn a_process_file_says_everything() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc sets no additional groups for an ordinary user");
    let container = test.serve(test.bundle());
    let output = container.exec_process(&json!({
        "cwd": "/tmp",
        "user": { "uid": 1000, "gid": 1001, "additionalGids": [9] },
        "env": ["PATH=/bin", "FROM=file"],
        "capabilities": { "bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"],
                          "effective": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"] },
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }],
        "noNewPrivileges": true,
        "oomScoreAdj": 400,
    }));
    let facts = parse(output.ok());
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1001; 4]));
    assert!(facts.groups.contains(&9));
    assert_eq!((facts.cwd.as_str(), facts.env("FROM")), ("/tmp", Some("file")));
    assert_eq!(facts.caps.ambient, BTreeSet::from(["CAP_CHOWN".to_owned()]));
    assert_eq!(facts.caps.effective, facts.caps.ambient);
    assert_eq!(facts.rlimits["core"], (1, 2));
    assert!(facts.no_new_privs);
    if !test.excuses(&[Kind::Runc, Kind::Crun], "oomScoreAdj of an exec came with runc 1.2") {
        assert_eq!(facts.oom_score_adj, 400);
    }
    container.remove();
}

#[test]
fn a_detached_exec_returns_while_the_program_runs() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let container = test.serve(test.bundle());
    let pid_file = test.dir().join("exec.pid");
    let mut command = test.command(&["exec", "--detach", "--pid-file"]);
    command.arg(&pid_file).args([test.id(), "/bin/probe", "serve"]);
    let mut exec = Container::from_command(&test, test.id().into(), &mut command, pid_file);
    exec.expect("ready");
    assert_eq!(host::namespaces(exec.pid)["pid"], host::namespaces(container.pid)["pid"]);
    let pids = container.call(&["ps", "--format", "json"]).json();
    assert_eq!(pids.as_array().map(Vec::len), Some(2), "{pids}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(exec.pid), nix::sys::signal::SIGTERM)
        .expect("kill");
    assert_eq!(exec.wait(), 0, "this process is its parent");
    container.remove();
}

#[test]
fn only_the_standard_descriptors_are_open() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let facts = container.exec_facts(&[]);
    assert_eq!(facts.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{:?}", facts.fds);
    container.remove();
}

#[test]
fn descriptors_are_preserved_on_request() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let script = "exec 3</etc/hostname 4</etc/passwd; exec \"$@\"";
    let mut command = test.command_after(
        &["/bin/busybox", "sh", "-c", script, "sh"],
        &["exec", "--preserve-fds", "1", test.id(), "/bin/probe", "facts"],
    );
    let facts = parse(wait::output(&mut command).ok());
    assert_eq!(facts.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{:?}", facts.fds);
    assert!(facts.fds[&3].ends_with("/etc/hostname"));
    container.remove();
}

#[test]
fn standard_streams_are_the_callers() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let input = test.dir().join("input");
    fs::write(&input, "through").expect("a file");
    let mut command = test.command(&["exec", test.id(), "/bin/sh", "-c", "cat; echo err >&2"]);
    let output = wait::output(command.stdin(fs::File::open(&input).expect("the file")));
    assert_eq!((output.ok(), output.stderr.as_str()), ("through", "err\n"));
    container.remove();
}

#[test]
fn a_large_output_is_complete() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let output = container.exec(&["/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"]);
    assert_eq!(output.ok().len(), 3_000_000);
    container.remove();
}

#[test]
fn a_stopped_container_is_not_entered() {
    let test = Test::new();
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    container.wait();
    container.exec(&["/bin/true"]).fails();
    container.delete();
}

#[test]
fn a_created_container_is_entered() {
    let test = Test::new();
    let container = test.create(&test.bundle().serve());
    let facts = container.exec_facts(&[]);
    assert_eq!(facts.namespaces["pid"], host::namespaces(container.pid)["pid"]);
    container.remove();
}

#[test]
fn a_paused_container_is_not_entered_unless_asked_to() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let container = test.serve(test.bundle());
    container.call(&["pause"]).ok();
    container.exec(&["/bin/true"]).fails_with("paused");
    if !test.excuses(&[Kind::Crun], "crun has no --ignore-paused") {
        let mut command =
            test.command(&["exec", "--ignore-paused", test.id(), "/bin/probe", "exit", "5"]);
        let mut child = command.spawn().expect("the runtime");
        // It is frozen with the others as soon as it is in; resumed, it ends.
        container.call(&["resume"]).ok();
        assert_eq!(wait::exit_status(&mut child, &command), 5);
    }
    container.remove();
}

#[test]
fn seccomp_applies_to_it() {
    let test = Test::new();
    let container = test.serve(test.bundle().edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
        });
    }));
    assert_eq!(container.exec(&["/bin/probe", "try", "mkdir", "/x"]).stdout.trim(), "EOPNOTSUPP");
    assert_eq!(container.exec_facts(&[]).seccomp, 2);
    container.remove();
}

#[test]
fn a_sub_cgroup_can_be_chosen() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    only_on!(test, [Rtn, Runc], "crun has a single path for all controllers");
    let container = test.serve(test.bundle());
    let sub = container.cgroup("pids").join("sub");
    fs::create_dir(&sub).expect("a cgroup below the container's");
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).expect("cgroups");
    let own = own.lines().find_map(|line| line.split_once(":pids:")).expect("pids").1.to_owned();
    let facts = container.exec_facts(&["--cgroup", "pids:sub"]);
    let line = facts.cgroups.iter().find(|line| line.contains(":pids:")).expect("pids");
    assert!(line.ends_with(&format!("{own}/sub")), "{line}");
    container.exec_with(&["--cgroup", "pids:missing"], &["/bin/true"]).fails();
    fs::remove_dir(&sub).expect("an empty cgroup");
    container.remove();
}

#[test]
fn a_terminal_is_handed_over() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let pid_file = test.dir().join("exec.pid");
    let mut command = test.command(&["exec", "--tty", "--detach", "--console-socket"]);
    command.arg(socket.path()).arg("--pid-file").arg(&pid_file);
    command.args([test.id(), "/bin/probe", "facts"]);
    let exec = Container::from_command(&test, test.id().into(), &mut command, pid_file);
    let mut terminal = socket.terminal();
    let facts = parse(&terminal.rest());
    assert!(facts.tty.is_some_and(|tty| tty.controlling && tty.name.starts_with("/dev/pts/")));
    assert_eq!(exec.wait(), 0);
    container.remove();
}

#[test]
fn ten_at_once() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let mut running: Vec<_> = (0..10)
        .map(|n| {
            let mut command =
                test.command(&["exec", test.id(), "/bin/probe", "exit", &n.to_string()]);
            (command.spawn().expect("the runtime"), command)
        })
        .collect();
    let statuses: Vec<i32> =
        running.iter_mut().map(|(child, command)| wait::exit_status(child, command)).collect();
    assert_eq!(statuses, (0..10).collect::<Vec<_>>());
    container.remove();
}

#[test]
fn it_ends_when_the_container_ends() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let mut command = test.command(&["exec", test.id(), "/bin/probe", "serve"]);
    let (mut child, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    wait::line(&mut output, "ready");
    container.kill("KILL");
    assert_eq!(wait::exit_status(&mut child, &command), 137);
    assert_eq!(container.wait(), 137);
    container.delete();
}

#[test]
fn a_signal_to_the_runtime_reaches_the_program() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let mut command = test.command(&["exec", test.id(), "/bin/probe", "serve"]);
    let (mut child, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    wait::line(&mut output, "ready");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("kill");
    wait::line(&mut output, "SIGTERM");
    assert_eq!(wait::exit_status(&mut child, &command), 0);
    container.remove();
}
