//! The flags of `exec`, and how it says that it failed: with 255, which no program is mistaken for,
//! and before the program has run.

use std::{fs, os::fd::AsRawFd, process::Command};

use integration::{
    Container, Feature, Kind, Mode, Output, Test, console::ConsoleSocket, needs, only_on,
    test::parse, wait,
};
use serde_json::json;

/// `exec` with these options of a program that leaves a trace.
fn exec_trace(container: &Container<'_>, options: &[&str]) -> Output {
    container.exec_with(options, &["/bin/probe", "write", "/tmp/ran", ""])
}

#[test]
fn every_failure_of_exec_itself_is_255_and_the_program_has_not_run() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun exits with 1");
    let container = test.serve(test.bundle().edit(|config| {
        config["process"]["rlimits"] = json!([]);
    }));
    let trace = test.dir().join("bundle/rootfs/tmp/ran");
    for (options, words) in [
        (&["--cwd", "relative"][..], "must be an absolute path"),
        (&["--cwd", "/not/there"], "no such file or directory"),
        (&["--cwd", "/etc/passwd"], "not a directory"),
        (&["--env", "NAMELESS"], "invalid environment variable"),
        (&["--user", "root"], "invalid syntax"),
        (&["--user", "1:staff"], "invalid syntax"),
        (&["--user", "4294967295"], "4294967295"),
        (&["--cgroup", "../"], "is not a sub cgroup path"),
        (&["--cgroup", "/../../other"], "is not a sub cgroup path"),
        (&["--cgroup", "palm:sub"], "palm"),
        (&["--cgroup", "missing"], "no such file or directory"),
        (&["--tty", "--detach"], "without setting console socket"),
        (&["--console-socket", "/not/there"], "will not detach or allocate tty"),
        (&["--tty", "--detach", "--console-socket", "/not/there"], "no such file"),
        (&["--process", "/not/there"], "no such file or directory"),
    ] {
        let output = exec_trace(&container, options);
        let old = matches!(words, "is not a sub cgroup path" | "4294967295");
        if old && test.excuses(&[Kind::Runc], "runc 1.1 has another status or other words") {
            continue;
        }
        let forgets = words == "no such file or directory" && output.status == 0;
        let forgets = forgets && Mode::current().is_rootless();
        if forgets && test.excuses(&[Kind::Runc], "an ordinary user's exec forgets --cgroup") {
            std::fs::remove_file(&trace).expect("a trace");
            continue;
        }
        assert_eq!(output.status, 255, "{options:?}: {output:?}");
        let line = output.stderr.to_lowercase();
        assert!(line.contains(words), "{options:?}: {words:?} is not in {line}");
        assert!(!trace.exists(), "{options:?}: it ran");
    }
    assert_eq!(container.exec(&[]).status, 255, "no program");
    container.remove();
}

#[test]
fn a_caller_that_cannot_be_told_has_no_program() {
    let test = Test::new();
    only_on!(test, [Rtn], "others tell when the program runs already");
    let container = test.serve(test.bundle());
    for options in [["--pid-file", "/not/there/pid"], ["--pidfd-socket", "/not/there"]] {
        let output = exec_trace(&container, &options);
        assert_eq!(output.status, 255, "{output:?}");
        output.fails_with("/not/there");
        assert!(!test.dir().join("bundle/rootfs/tmp/ran").exists(), "{options:?}");
    }
    container.remove();
}

#[test]
fn a_pid_file_means_success() {
    let test = Test::new();
    let container = test.serve(test.bundle().file("/bin/odd", "neither program nor script"));
    let odd = test.dir().join("bundle/rootfs/bin/odd");
    fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let pid_file = test.dir().join("exec.pid");
    let options = ["--pid-file", &pid_file.to_string_lossy()];
    container.exec_with(&options, &["/bin/odd"]).fails();
    if !test.excuses(&[Kind::Runc, Kind::Crun], "they write it before they know") {
        assert!(!pid_file.exists(), "a pid file without a process");
    }
    container.exec_with(&options, &["/bin/true"]).ok();
    let pid = fs::read_to_string(&pid_file).expect("a pid file");
    assert!(pid.parse::<i32>().is_ok_and(|pid| pid > 0), "{pid:?}");
    container.remove();
}

#[test]
fn the_pidfd_socket_receives_the_processs_descriptor() {
    let test = Test::new();
    if test.predates(&[(Kind::Runc, (1, 2))], "--pidfd-socket came with runc 1.2") {
        return;
    }
    let container = test.serve(test.bundle());
    let socket = ConsoleSocket::bind(test.dir().join("pidfd"));
    let pid_file = test.dir().join("exec.pid");
    let mut command = test.command(&["exec", "--detach", "--pidfd-socket"]);
    command.arg(socket.path()).arg("--pid-file").arg(&pid_file);
    command.args([test.id(), "/bin/probe", "serve"]);
    let mut exec = Container::from_command(&test, test.id().into(), &mut command, pid_file);
    // Before that it has no handler, and the signal would end it otherwise.
    exec.expect("ready");
    let (pidfd, _) = socket.receive();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let info = info.expect("fdinfo");
    assert!(info.lines().any(|line| line == format!("Pid:\t{}", exec.pid)), "{info}");
    // A pid namespace ends when all in it have been waited for.
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::TERM).expect("kill");
    assert_eq!(exec.wait(), 0);
    container.remove();
}

#[test]
fn each_controller_may_have_a_sub_cgroup_of_its_own() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"), Feature::CgroupV1("memory"));
    only_on!(test, [Rtn, Runc], "crun has a single path for all controllers");
    let container = test.serve(test.bundle());
    let subs = ["pids", "memory"].map(|name| (name, container.cgroup(name).join(name)));
    subs.iter().for_each(|(_, sub)| fs::create_dir(sub).expect("a cgroup below the container's"));
    let facts = container.exec_facts(&["--cgroup", "pids:/pids", "--cgroup", "memory:memory"]);
    for (name, _) in &subs {
        let line = facts.cgroups.iter().find(|line| line.contains(&format!(":{name}:")));
        assert!(line.expect("a hierarchy").ends_with(&format!("/{name}")), "{:?}", facts.cgroups);
    }
    let blkio = facts.cgroups.iter().find(|line| line.contains(":blkio:"));
    assert!(blkio.is_none_or(|line| line.ends_with(test.id())), "{:?}", facts.cgroups);
    subs.iter().for_each(|(_, sub)| fs::remove_dir(sub).expect("an empty cgroup"));
    container.remove();
}

#[test]
fn a_privilege_may_be_given_back() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's flag has no value");
    let container = test.serve(test.bundle());
    assert!(container.exec_facts(&[]).no_new_privs, "the container's own");
    assert!(!container.exec_facts(&["--no-new-privs=false"]).no_new_privs);
    assert!(container.exec_facts(&["--no-new-privs=true"]).no_new_privs);
    container.remove();
}

#[test]
fn the_last_of_two_variables_wins() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "A=1", "HOME=/of/config"]);
    });
    let container = test.serve(bundle);
    let facts = container.exec_facts(&["--env", "A=2", "--env", "A=3", "--env", "EMPTY="]);
    let last = |name: &str| facts.env.iter().rfind(|entry| entry.starts_with(name)).cloned();
    assert_eq!(last("A=").as_deref(), Some("A=3"));
    assert_eq!(last("EMPTY=").as_deref(), Some("EMPTY="));
    assert_eq!(facts.env("HOME"), Some("/of/config"));
    container.remove();
}

#[test]
fn a_process_file_has_a_terminal_of_its_size() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let process = test.dir().join("process.json");
    let text = json!({
        "terminal": true, "consoleSize": { "height": 33, "width": 65535 }, "cwd": "/",
        "user": { "uid": 0, "gid": 0 }, "args": ["/bin/probe", "facts"], "env": ["PATH=/bin"],
    });
    fs::write(&process, text.to_string()).expect("process.json");
    let pid_file = test.dir().join("exec.pid");
    let mut command = test.command(&["exec", "--detach", "--process"]);
    command.arg(&process).arg("--console-socket").arg(socket.path());
    command.arg("--pid-file").arg(&pid_file).arg(test.id());
    let exec = Container::from_command(&test, test.id().into(), &mut command, pid_file);
    let tty = parse(&socket.terminal().rest()).tty.expect("a terminal");
    assert!(tty.controlling);
    if !test.excuses(&[Kind::Crun], "crun's exec has no size") {
        assert_eq!((tty.rows, tty.columns), (33, 65535));
    }
    assert_eq!(exec.wait(), 0);
    container.remove();
}

#[test]
fn a_fault_of_a_process_file_is_named_by_its_path() {
    let test = Test::new();
    only_on!(test, [Rtn], "no other runtime names it");
    let container = test.serve(test.bundle());
    for (fields, path) in [
        (json!({ "args": [] }), "process.args"),
        (json!({ "cwd": "x" }), "process.cwd"),
        (json!({ "cwd": 7 }), "process.cwd"),
        (json!({ "user": { "uid": "root" } }), "process.user.uid"),
        (json!({ "rlimits": [{ "type": "RLIMIT_PALM" }] }), "process.rlimits[0].type"),
        (json!({ "execCPUAffinity": { "initial": "x" } }), "process.execCPUAffinity.initial"),
        (json!({ "execCPUAffinity": { "final": "9000" } }), "process.execCPUAffinity.final"),
        (json!({ "scheduler": { "policy": "SCHED_FIFO" } }), "process.scheduler.priority"),
        (
            json!({ "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 8 } }),
            "process.ioPriority.priority",
        ),
        (
            json!({ "terminal": true, "consoleSize": { "height": 65536 } }),
            "process.consoleSize.height",
        ),
    ] {
        let output = container.exec_process(&fields);
        assert_eq!(output.status, 255, "{fields}: {output:?}");
        output.fails_with(&format!("(config.json: {path})"));
    }
    container.remove();
}

#[test]
fn a_process_file_without_a_user_is_roots() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun wants a user");
    let container = test.serve(test.bundle());
    let process = test.dir().join("process.json");
    fs::write(&process, r#"{"cwd":"/","args":["/bin/probe","facts"]}"#).expect("process.json");
    let output = container.call(&["exec", "--process", &process.to_string_lossy()]);
    assert_eq!(parse(output.ok()).uids, [0; 4]);
    container.remove();
}

#[test]
fn a_label_of_a_module_that_is_off_is_an_error() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun leaves the label out");
    let container = test.serve(test.bundle());
    for (flag, module, path) in [
        ("--apparmor", Feature::AppArmor, "process.apparmorProfile"),
        ("--process-label", Feature::SeLinux, "process.selinuxLabel"),
    ] {
        if !module.missing() {
            continue;
        }
        let output = exec_trace(&container, &[flag, "nobody:knows:it"]);
        assert_eq!(output.status, 255, "{output:?}");
        assert!(!test.dir().join("bundle/rootfs/tmp/ran").exists());
        if test.runtime.is(Kind::Rtn) {
            output.fails_with(path);
        }
        exec_trace(&container, &[flag, ""]).ok();
        fs::remove_file(test.dir().join("bundle/rootfs/tmp/ran")).expect("no label, no refusal");
    }
    container.remove();
}

/// AppArmor's own tool, with a profile that lets everything happen but one file.
const PROFILE: &str = "
profile rtn-integration flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, mount, umount, pivot_root, ptrace, signal, unix,
  deny /tmp/secret rwklx,
}";

fn load_profile(test: &Test, option: &str) -> bool {
    let file = test.dir().join("profile");
    fs::write(&file, PROFILE).expect("a profile");
    let parser = Command::new("apparmor_parser").arg(option).arg(&file).output();
    parser.is_ok_and(|output| output.status.success())
}

#[test]
fn an_apparmor_profile_confines_the_container_and_an_exec() {
    let test = Test::new();
    needs!(Feature::AppArmor);
    assert!(load_profile(&test, "--replace"), "apparmor_parser loads a profile");
    let bundle = test.bundle().file("/tmp/secret", "s").edit(|config| {
        config["process"]["apparmorProfile"] = json!("rtn-integration");
    });
    let container = test.serve(bundle);
    let current = fs::read_to_string(format!("/proc/{}/attr/current", container.pid));
    assert!(current.expect("a profile").starts_with("rtn-integration"));
    let read = |options: &[&str]| {
        container.exec_with(options, &["/bin/probe", "try", "open", "/tmp/secret"]).stdout
    };
    if !test.excuses(&[Kind::Crun], "crun's exec takes nothing of the configuration") {
        assert_eq!(read(&[]).trim(), "EACCES");
    }
    assert_eq!(read(&["--apparmor", "rtn-integration"]).trim(), "EACCES");
    assert_eq!(read(&["--apparmor", "unconfined"]).trim(), "ok");
    let unknown = container.exec_with(&["--apparmor", "rtn-nobody-knows"], &["/bin/true"]);
    assert!(unknown.fails().to_lowercase().contains("apparmor"), "{unknown:?}");
    container.remove();
    assert!(load_profile(&test, "--remove"));
}

#[test]
fn a_selinux_label_is_that_of_the_process() {
    let test = Test::new();
    needs!(Feature::SeLinux);
    let own = fs::read_to_string("/proc/self/attr/current").expect("a label");
    let own = own.trim_end_matches(['\0', '\n']);
    let bundle = test.bundle().edit(|config| config["process"]["selinuxLabel"] = json!(own));
    let container = test.serve(bundle);
    let label = |options: &[&str]| {
        let output = container.exec_with(options, &["/bin/cat", "/proc/self/attr/current"]);
        output.ok().trim_end_matches(['\0', '\n']).to_owned()
    };
    assert_eq!(label(&["--process-label", own]), own);
    container.exec_with(&["--process-label", "no:such:label:s99"], &["/bin/true"]).fails();
    container.remove();
}

#[test]
fn a_terminal_in_the_foreground_has_the_callers_streams() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc and crun want a terminal of their own to copy");
    let container = test.serve(test.bundle());
    let output = container.exec_with(&["--tty"], &["/bin/probe", "facts"]);
    assert!(parse(output.ok().trim()).tty.is_some_and(|tty| tty.controlling));
    container.remove();
}

#[test]
fn a_frozen_exec_goes_on_when_the_container_does() {
    let test = Test::new();
    needs!(Feature::CgroupV1("freezer"));
    if test.predates(&[(Kind::Runc, (1, 1))], "crun has no --ignore-paused") {
        return;
    }
    let container = test.serve(test.bundle());
    container.call(&["pause"]).ok();
    let output = exec_trace(&container, &[]);
    assert_eq!(output.status, 255, "{output:?}");
    output.fails_with("cannot exec in a paused container (use --ignore-paused to override)");
    let mut command = test.command(&["exec", "--ignore-paused", test.id()]);
    command.args(["/bin/probe", "write", "/tmp/ran", ""]);
    let mut child = command.spawn().expect("the runtime");
    let pidfd = wait::pidfd(child.id() as i32).expect("a child");
    // It cannot end while the container is paused; time enough for one that would.
    assert!(!wait::readable(&pidfd, std::time::Duration::from_millis(500)));
    assert!(!test.dir().join("bundle/rootfs/tmp/ran").exists());
    container.call(&["resume"]).ok();
    assert_eq!(wait::exit_status(&mut child, &command), 0);
    assert!(test.dir().join("bundle/rootfs/tmp/ran").exists());
    container.remove();
}
