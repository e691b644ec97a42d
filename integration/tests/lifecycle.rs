//! From create to delete: states, exit statuses, and what the files and calls of the runtime say
//! on the way (runtime spec, runtime.md).

use std::{fs, os::unix::net::UnixListener};

use integration::{Container, Feature, Kind, Mode, Test, bundle::push, needs, only_on, wait};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::{Value, json};

/// `run --detach`.
fn detached<'t>(test: &'t Test, bundle: &integration::Bundle) -> Container<'t> {
    let pid_file = test.dir().join("pid");
    let mut command =
        test.command(&["run", "--detach", "--bundle", &bundle.dir.to_string_lossy(), "--pid-file"]);
    command.arg(&pid_file).arg(test.id());
    Container::from_command(test, test.id().into(), &mut command, pid_file)
}

#[test]
fn a_container_goes_through_its_states() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let container = test.create(&test.bundle().serve());
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.call(&["pause"]).ok();
    assert_eq!(container.status(), "paused");
    container.call(&["resume"]).ok();
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait();
    assert_eq!(container.status(), "stopped");
    container.delete();
    test.assert_unknown();
}

#[test]
fn the_state_tells_what_the_specification_says() {
    let test = Test::new();
    let bundle =
        test.bundle().edit(|config| config["annotations"] = json!({ "org.example.key": "value" }));
    let container = test.create(&bundle.serve());
    let state = container.state();
    assert_eq!(state["id"], test.id());
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"], container.pid);
    assert_eq!(state["bundle"], json!(test.dir().join("bundle")));
    assert_eq!(state["annotations"]["org.example.key"], "value");
    if !test.excuses(&[Kind::Crun], "crun prints root.path as it is") {
        assert_eq!(state["rootfs"], json!(test.dir().join("bundle/rootfs")));
    }
    assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
    assert!(state["created"].as_str().is_some_and(|time| time.contains('T')), "{state}");
    if !test.excuses(&[Kind::Crun], "crun says root") {
        assert_eq!(state["owner"], "");
    }
    container.start();
    assert_eq!(container.state()["pid"], container.pid);
    container.kill("KILL");
    container.wait();
    let state = container.state();
    assert!(state["pid"] == 0 || state["pid"].is_null(), "{state}");
    container.delete();
}

#[test]
fn the_program_runs_at_start_and_not_before() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/probe", "write", "/ran", "x"]);
    let file = bundle.rootfs().join("ran");
    let container = test.create(&bundle);
    assert!(!file.exists());
    container.start();
    assert_eq!(container.wait(), 0);
    assert!(file.exists());
    container.delete();
}

#[test]
fn config_json_is_read_at_create_and_never_again() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/echo", "before"]);
    let mut container = test.create(&bundle);
    bundle.write_text("{ broken");
    container.start();
    assert_eq!(container.output(), "before\n");
    container.wait();
    assert_eq!(container.status(), "stopped");
    container.delete();
}

#[test]
fn run_exits_as_the_program_does() {
    let test = Test::new();
    for status in [0, 1, 42, 126, 127, 255] {
        let bundle = test.bundle_named(&format!("{status}")).args(&[
            "/bin/probe",
            "exit",
            &status.to_string(),
        ]);
        assert_eq!(test.run(&bundle).status, status);
    }
}

#[test]
fn run_exits_with_128_and_the_signal() {
    let test = Test::new();
    for (signal, number) in [("SIGTERM", 15), ("SIGKILL", 9), ("SIGUSR1", 10)] {
        let bundle = test.bundle_named(signal).without_namespace("pid").args(&[
            "/bin/probe",
            "kill-self",
            signal,
        ]);
        assert_eq!(test.run(&bundle).status, 128 + number, "{signal}");
    }
}

#[test]
fn run_passes_signals_on() {
    let test = Test::new();
    let bundle = test.bundle().serve();
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let (mut child, mut output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    wait::line(&mut output, "ready");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    for (signal, name) in
        [(nix::sys::signal::SIGHUP, "SIGHUP"), (nix::sys::signal::SIGUSR2, "SIGUSR2")]
    {
        nix::sys::signal::kill(pid, signal).expect("kill");
        wait::line(&mut output, name);
    }
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("kill");
    assert_eq!(wait::exit_status(&mut child, &command), 0);
}

#[test]
fn run_deletes_the_container_and_keep_does_not() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/true"]);
    test.run(&bundle).ok();
    test.assert_unknown();
    only_on!(test, [Rtn], "--keep came with runc 1.1.6 and crun 1.9");
    test.run_with(&["--keep"], &bundle).ok();
    assert_eq!(test.call(&["state", test.id()]).json()["status"], "stopped");
    test.call(&["delete", test.id()]).ok();
}

#[test]
fn a_detached_run_returns_while_the_program_runs() {
    let test = Test::new();
    let mut container = detached(&test, &test.bundle().serve());
    container.expect("ready");
    assert_eq!(container.status(), "running");
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    container.delete();
}

#[test]
fn the_pid_file_holds_the_pid_and_nothing_else() {
    let test = Test::new();
    let container = test.create(&test.bundle().serve());
    let text =
        fs::read_to_string(test.dir().join(format!("{}.pid", test.id()))).expect("the pid file");
    assert_eq!(text, container.state()["pid"].to_string());
    let status = fs::read_to_string(format!("/proc/{text}/status")).expect("the process");
    assert!(
        status.contains("NSpid:")
            && status.lines().any(|l| l.starts_with("NSpid:") && l.ends_with("\t1"))
    );
    container.remove();
}

#[test]
fn the_created_process_belongs_to_the_callers_reaper() {
    let test = Test::new();
    let container = test.create(&test.bundle().serve());
    let status =
        fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("the process");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent");
    assert_eq!(parent, std::process::id().to_string());
    container.remove();
}

#[test]
fn the_pidfd_socket_receives_the_processs_descriptor() {
    let test = Test::new();
    only_on!(test, [Rtn], "--pidfd-socket came with runc 1.2");
    let socket = integration::console::ConsoleSocket::bind(test.dir().join("pidfd"));
    let path = socket.path().to_string_lossy().into_owned();
    let container = test.create_as("", &["--pidfd-socket", &path], &test.bundle().serve());
    let (pidfd, _) = socket.receive();
    let number = std::os::fd::AsRawFd::as_raw_fd(&pidfd);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).expect("fdinfo");
    assert!(info.lines().any(|line| line == format!("Pid:\t{}", container.pid)), "{info}");
    container.remove();
}

#[test]
fn kill_sends_what_it_is_told() {
    let test = Test::new();
    let mut container = test.serve(test.bundle());
    for (signal, name) in
        [("HUP", "SIGHUP"), ("SIGUSR1", "SIGUSR1"), ("12", "SIGUSR2"), ("WINCH", "SIGWINCH")]
    {
        container.kill(signal);
        container.expect(name);
    }
    container.call(&["kill"]).ok();
    container.expect("SIGTERM");
    assert_eq!(container.wait(), 0);
    container.delete();
}

#[test]
fn kill_all_reaches_every_process() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let bundle = test.bundle().without_namespace("pid").shell("probe serve & exec probe serve");
    let mut container = test.start(&bundle);
    container.expect("ready");
    container.expect("ready");
    test.call(&["kill", "--all", container.id.as_str(), "KILL"]).ok();
    assert_eq!(container.wait(), 137);
    container.output();
    container.delete();
}

/// Without a cgroup nothing tells which processes are the container's, unless a pid namespace does.
#[test]
fn processes_that_nothing_tells_from_others_are_not_left_in_silence() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc makes a cgroup wherever it can, and crun says nothing");
    let pid_file = test.dir().join("pid");
    let verbs: [&[&str]; 3] = [&["kill", "--all"], &["kill"], &["delete", "--force"]];
    for (number, verb) in verbs.into_iter().enumerate() {
        let id = format!("{}{number}", test.id());
        let script = "sleep 1000 & exec probe serve";
        let bundle = test.bundle_named(&id).without_namespace("pid").shell(script);
        let mut command = test.command(&["--cgroup-manager", "disabled", "create", "--bundle"]);
        command.arg(&bundle.dir).arg("--pid-file").arg(&pid_file).arg(&id);
        let mut container = Container::from_command(&test, id, &mut command, pid_file.clone());
        container.start();
        container.expect("ready");
        let children = format!("/proc/{0}/task/{0}/children", container.pid);
        let other = fs::read_to_string(children).expect("/proc");
        let other = wait::pidfd(other.trim().parse().expect("a pid")).expect("it runs");
        let signal: &[&str] = if verb[0] == "kill" { &["KILL"] } else { &[] };
        let told = test.call(&[verb, &[container.id.as_str()], signal].concat());
        told.ok();
        let words = "cannot find the other processes of container";
        assert!(told.stderr.contains(words) && told.stderr.lines().count() == 1, "{told:?}");
        assert_eq!(container.wait(), 137);
        pidfd_send_signal(&other, Signal::KILL).expect("nobody else has ended it");
        container.output();
        if verb[0] == "kill" {
            test.call(&["delete", &container.id]).ok();
        }
    }
}

#[test]
fn a_created_container_can_be_killed() {
    let test = Test::new();
    let container = test.create(&test.bundle().serve());
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.status(), "stopped");
    container.delete();
}

#[test]
fn delete_works_in_every_state() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let bundle = test.bundle().serve();
    test.create(&bundle).delete();
    test.assert_clean();
    test.create(&bundle).remove();
    test.assert_clean();
    let mut running = test.start(&bundle);
    running.expect("ready");
    running.call(&["delete"]).fails();
    running.remove();
    test.assert_clean();
    let mut paused = test.start(&bundle);
    paused.expect("ready");
    paused.call(&["pause"]).ok();
    paused.call(&["delete"]).fails();
    paused.remove();
    test.assert_clean();
    let stopped = test.start(&bundle.args(&["/bin/true"]));
    stopped.wait();
    stopped.delete();
    test.assert_clean();
}

#[test]
fn delete_force_of_what_does_not_exist_is_no_error() {
    let test = Test::new();
    test.call(&["delete", "--force", test.id()]).ok();
    only_on!(test, [Rtn, Runc], "crun says it in other words");
    test.call(&["delete", test.id()]).fails_with("does not exist");
}

/// Starts a `create` that cannot get past a hook, and returns when the hook runs.
fn stuck_in(test: &Test, kind: &str) -> std::process::Child {
    let bundle = test.bundle_named(kind).serve().edit(|config| {
        let script =
            format!("exec 2>&1; echo > {}/{kind}.reached; exec sleep 1000", test.dir().display());
        push(
            &mut config["hooks"][kind],
            json!({ "path": "/bin/busybox", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }),
        );
    });
    let mut command =
        test.command(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let errors = integration::Output::sink();
    command.stdout(integration::Output::dup(&errors)).stderr(integration::Output::dup(&errors));
    let child = command.spawn().expect("the runtime");
    wait::until(test.dir(), || test.dir().join(format!("{kind}.reached")).exists());
    child
}

#[test]
fn delete_cleans_up_after_a_create_that_was_killed_in_a_hook() {
    let test = Test::new();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut create = stuck_in(&test, kind);
        create.kill().expect("kill");
        create.wait().expect("the runtime ends");
        test.call(&["delete", "--force", test.id()]).ok();
        end_hooks(&test);
        test.assert_unknown();
        if test.excuses(&[Kind::Runc, Kind::Crun], "what a killed create leaves is not found again")
        {
            for pid in integration::leftovers::processes(test.id(), test.dir()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::SIGKILL,
                );
            }
            remove_traces(&test);
        }
        test.assert_clean();
    }
}

/// A hook is a program of the host's: nobody but its own runtime, which is dead, would end it.
fn end_hooks(test: &Test) {
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let parent = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let ours = parent.split(") ").nth(1).and_then(|f| f.split(' ').nth(1))
            == Some(&std::process::id().to_string());
        if ours && line == b"sleep\x001000\x00" && in_own_mounts(test, &entry.path()) {
            let pid = entry.file_name().to_string_lossy().parse().expect("a pid");
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
    }
}

/// Hooks of other tests run in other mount namespaces.
fn in_own_mounts(test: &Test, process: &std::path::Path) -> bool {
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    mounts == fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo")
        || mounts.contains(&*test.dir().to_string_lossy())
}

/// Removes what other runtimes leave of a create that was killed.
fn remove_traces(test: &Test) {
    let _ = fs::remove_dir_all(test.root().join(test.id()));
    for path in integration::leftovers::cgroups(test.id()) {
        let procs = path.join("cgroup.procs");
        wait::until(path.parent().expect("a parent"), || {
            fs::read_to_string(&procs).is_ok_and(|text| text.is_empty()) || !procs.exists()
        });
        let _ = fs::remove_dir(&path);
    }
}

#[test]
fn delete_cleans_up_after_a_create_that_was_killed_anywhere() {
    let test = Test::new();
    only_on!(
        test,
        [Rtn],
        "what a killed create leaves is not always found again (opencontainers/runc#4534)"
    );
    fs::create_dir(test.root()).expect("the state root");
    for round in 0_u32..60 {
        let bundle = test.bundle_named(&format!("bundle-{round}")).serve();
        let mut command =
            test.command(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
        let mut create = command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("spawn");
        // Ever later: a create makes a few hundred system calls, so each round dies elsewhere.
        let pidfd = wait::pidfd(create.id() as i32).expect("a child");
        let later = std::time::Duration::from_micros(u64::from(round) * 250);
        let ended = wait::readable(&pidfd, later);
        create.kill().expect("kill");
        create.wait().expect("the runtime ends");
        let deleted = test.call(&["delete", "--force", test.id()]);
        assert_eq!(deleted.status, 0, "round {round} (ended: {ended}): {deleted:?}");
        let left = test.differences();
        assert!(left.is_empty(), "round {round} (ended: {ended}), after {deleted:?}: {left:?}");
        let again = test.create(&bundle);
        again.remove();
        fs::remove_dir_all(&bundle.dir).expect("the bundle");
    }
}

#[test]
fn a_container_whose_process_was_killed_from_outside_is_stopped() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(container.pid), nix::sys::signal::SIGKILL)
        .expect("kill");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.status(), "stopped");
    container.call(&["kill"]).fails();
    container.delete();
}

#[test]
fn a_zombie_is_stopped() {
    let test = Test::new();
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    // Ended, but nobody has asked for its status yet.
    let pidfd = wait::pidfd(container.pid).expect("a zombie has a pid");
    assert!(wait::readable(&pidfd, wait::DEADLINE));
    assert_eq!(container.status(), "stopped");
    container.delete();
    assert_eq!(container.wait(), 0);
}

#[test]
fn list_and_ps_show_the_container() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let container = test.serve(test.bundle());
    let list = test.call(&["list", "--format", "json"]).json();
    let entry = list
        .as_array()
        .expect("an array")
        .iter()
        .find(|entry| entry["id"] == test.id())
        .expect("the container");
    assert_eq!((&entry["pid"], &entry["status"]), (&json!(container.pid), &json!("running")));
    assert_eq!(test.call(&["list", "--quiet"]).ok(), format!("{}\n", test.id()));
    assert!(test.call(&["list"]).ok().contains(test.id()));
    assert_eq!(container.call(&["ps", "--format", "json"]).json(), json!([container.pid]));
    if !test.excuses(&[Kind::Crun], "crun prints pids only") {
        assert!(container.call(&["ps"]).ok().contains("probe serve"));
    }
    container.remove();
    let empty = test.call(&["list", "--format", "json"]).json();
    assert!(empty.is_null() || empty == json!([]), "{empty}");
}

#[test]
fn pause_stops_every_process_and_resume_lets_it_go_on() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    let mut container = test.serve(test.bundle());
    container.call(&["pause"]).ok();
    assert!(container.frozen());
    container.kill("USR1");
    container.call(&["resume"]).ok();
    assert!(!container.frozen());
    container.expect("SIGUSR1");
    container.remove();
}

#[test]
fn kill_of_a_paused_container_ends_it() {
    let test = Test::new();
    needs!(Feature::Controller("freezer"));
    only_on!(test, [Rtn], "older runtimes leave it frozen on v1");
    let container = test.serve(test.bundle());
    container.call(&["pause"]).ok();
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.delete();
}

#[test]
fn the_create_call_ends_though_nobody_reads_its_streams() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 fails without standard streams");
    let bundle = test.bundle().serve();
    // Closed standard streams are what daemons give.
    let mut command = test.command_after(
        &["/bin/busybox", "sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"],
        &["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()],
    );
    let mut child = command.spawn().expect("the runtime");
    assert_eq!(wait::exit_status(&mut child, &command), 0);
    test.call(&["start", test.id()]).ok();
    test.call(&["delete", "--force", test.id()]).ok();
}

#[test]
fn containers_with_any_legal_id() {
    let test = Test::new();
    // systemd.unit(5): a name has no plus.
    let all = !Mode::current().is_systemd();
    let suffixes = [".dot", "_under", "+plus", "-minus", ".-_+", &"x".repeat(100)];
    for suffix in suffixes.into_iter().filter(|suffix| all || !suffix.contains('+')) {
        let container =
            test.create_as(suffix, &[], &test.bundle_named(&format!("b{suffix}")).serve());
        assert_eq!(container.state()["id"], json!(format!("{}{suffix}", test.id())));
        container.remove();
    }
}

#[test]
fn state_json_is_readable_by_others_tools() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's file is called status");
    let container = test.serve(test.bundle());
    let file = test.root().join(test.id()).join("state.json");
    let state: Value =
        serde_json::from_str(&fs::read_to_string(file).expect("state.json")).expect("JSON");
    assert_eq!(state["id"], test.id());
    assert_eq!(state["init_process_pid"], container.pid);
    let start = fs::read_to_string(format!("/proc/{}/stat", container.pid)).expect("stat");
    let start = start.rsplit(") ").next().and_then(|f| f.split(' ').nth(19)).expect("field 22");
    assert_eq!(state["init_process_start"].to_string(), start);
    assert_eq!(state["namespace_paths"]["NEWPID"], format!("/proc/{}/ns/pid", container.pid));
    // A v2 cgroup is all controllers'.
    let key = if integration::host::unified() { "" } else { "pids" };
    if Feature::Controller("freezer").present() {
        assert_eq!(state["cgroup_paths"][key], json!(container.cgroup(key)));
    }
    assert!(state["created"].is_string());
    container.remove();
}

#[test]
fn a_socket_in_the_bundle_does_not_disturb() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/true"]);
    let _socket = UnixListener::bind(bundle.dir.join("socket")).expect("a socket");
    test.run(&bundle).ok();
}

#[test]
fn a_container_outlives_its_bundle() {
    let test = Test::new();
    let bundle = test.bundle();
    let dir = bundle.dir.clone();
    let container = test.serve(bundle);
    fs::rename(dir.join("config.json"), test.dir().join("gone.json")).expect("rename");
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait();
    fs::remove_dir_all(&dir).expect("the bundle");
    assert_eq!(container.status(), "stopped");
    container.delete();
}

#[test]
fn of_two_starts_at_once_one_succeeds() {
    let test = Test::new();
    only_on!(test, [Rtn, Crun], "the second start of runc 1.1 waits for ever");
    for round in 0..10 {
        let container = test.create_as(
            &format!("-{round}"),
            &[],
            &test.bundle_named(&format!("{round}")).serve(),
        );
        let mut starts: Vec<_> = (0..4)
            .map(|_| {
                let mut command = test.command(&["start", &container.id]);
                command.stderr(std::process::Stdio::null());
                (command.spawn().expect("the runtime"), command)
            })
            .collect();
        let statuses: Vec<i32> =
            starts.iter_mut().map(|(child, command)| wait::exit_status(child, command)).collect();
        let succeeded = statuses.iter().filter(|status| **status == 0).count();
        container.remove();
        assert_eq!(succeeded, 1, "{statuses:?}");
    }
}
