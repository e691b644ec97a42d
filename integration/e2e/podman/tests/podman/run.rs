//! `podman run`: streams, terminal, exit status, and the process's surroundings.

use e2e_podman::{
    Container, Engine, IDLE, IMAGE, Place, Podman, Running, Skip, excuses, host, podman, run,
    through_a_shell, wait,
};

e2e_common::tests! {
    prints_on_both_streams
    passes_a_megabyte_through_stdin_and_stdout
    gives_no_input_without_interactive
    exits_with_the_status_of_the_command
    exits_127_when_the_command_does_not_exist
    exits_127_when_the_path_does_not_exist
    exits_126_when_the_command_is_not_executable
    exits_126_when_the_command_is_a_directory
    exits_137_when_the_process_is_killed
    leaves_nothing_of_a_container_that_could_not_start
    terminal_has_the_size_of_ours_and_follows_it
    terminal_is_the_controlling_one_on_dev_console
    init_is_process_one
    environment_working_directory_and_user
    umask_time_zone_and_personality
    hostname_and_hosts
    oom_score_adjustment
    inherits_three_descriptors_and_no_more
    preserved_descriptors_reach_the_command
    original_groups_are_kept
    signals_to_the_client_reach_the_command
    timeout_kills
    rm_removes_the_container
    rmi_removes_the_image
    restart_policy_starts_it_again
    logs_of_every_driver
    runtime_is_told_with_its_version
}

fn prints_on_both_streams() {
    let output = run(&[], &["sh", "-c", "echo to stdout; echo to stderr >&2"]);
    assert_eq!((output.ok(), output.err()), ("to stdout".to_owned(), "to stderr".to_owned()));
}

fn passes_a_megabyte_through_stdin_and_stdout() {
    let megabyte: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let output = Container::feed(&["-i"], &["cat"], &megabyte);
    assert!(output.code(0).stdout == megabyte, "{} bytes came back", output.stdout.len());
}

fn gives_no_input_without_interactive() {
    assert_eq!(Container::feed(&[], &["cat"], b"not for you").ok(), "");
}

fn exits_with_the_status_of_the_command() {
    for status in [0, 1, 125, 255] {
        run(&[], &["sh", "-c", &format!("exit {status}")]).code(status);
    }
}

/// podman's own words, for which it reads those of the runtime.
const NOT_FOUND: &str = "OCI runtime attempted to invoke a command that was not found";
const DENIED: &str = "OCI permission denied";

fn exits_127_when_the_command_does_not_exist() {
    let output = run(&[], &["no-such-command"]);
    output.code(127).fails("executable file not found in $PATH").fails(NOT_FOUND);
}

fn exits_127_when_the_path_does_not_exist() {
    run(&[], &["/no/such/file"]).code(127).fails("no such file or directory").fails(NOT_FOUND);
}

fn exits_126_when_the_command_is_not_executable() {
    run(&[], &["/bin/not-executable"]).code(126).fails("permission denied").fails(DENIED);
}

fn exits_126_when_the_command_is_a_directory() {
    run(&[], &["/etc"]).code(126);
}

fn exits_137_when_the_process_is_killed() {
    let container = Container::start(&[], IDLE);
    container.exec(&[], &["kill", "-TERM", "1"]).ok();
    assert_eq!(container.status(), "running");
    podman(&["kill", container.name()]).ok();
    assert_eq!(container.wait(), "137");
}

fn leaves_nothing_of_a_container_that_could_not_start() {
    let (container, output) = Container::ran(&[], &["no-such-command"]);
    output.code(127);
    assert_eq!(container.pid(), 0);
    let state = Place::shared().state_of_the_runtime().join(container.id());
    assert!(!state.exists(), "{}", state.display());
}

fn terminal_has_the_size_of_ours_and_follows_it() {
    let container = Container::named();
    let line = container.line(&["run", "--rm", "-it"], &[], &["sh"]);
    let mut session = Podman::terminal(&line, 37, 113);
    let until = |size: &str, word: &str| {
        format!("while [ \"$(stty size)\" != '{size}' ]; do :; done; echo {word}\n")
    };
    session.send(&until("37 113", "ri''ght")).expect("right");
    session.send(&until("50 132", "chan''ged")).resize(50, 132, "changed");
    session.send("exit 5\n").end().code(5);
}

fn terminal_is_the_controlling_one_on_dev_console() {
    let container = Container::start(&["-t"], IDLE);
    let process = container.pid();
    assert_eq!(container.exec(&[], &["readlink", "/proc/1/fd/0"]).ok(), "/dev/pts/0");
    assert_eq!(host::mount_on(process, "/dev/console").kind, "devpts");
    // proc_pid_stat(5): session, and the device number of the controlling terminal.
    let stat = host::proc(process, "stat");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    assert_eq!(fields[3], process.to_string(), "leads its session: {stat}");
    assert_ne!(fields[4], "0", "has a terminal: {stat}");
}

fn init_is_process_one() {
    let container = Container::start(&["--init"], IDLE);
    // Before it has a child it does not hear the signal either.
    container.process(IDLE);
    assert_eq!(host::command_line(container.pid())[0], "/run/podman-init");
    // catatonit answers as its child ends.
    podman(&["stop", "-t", "300", container.name()]).ok();
    assert_eq!(container.wait(), "143");
}

fn environment_working_directory_and_user() {
    let flags = ["-e", "ODD=a=b 'c' \"d\"\te", "-w", "/tmp", "-u", "user:33", "--group-add=777"];
    let told = run(&flags, &["sh", "-c", "echo \"$ODD\"; pwd; id -u; id -g; id -G; echo $HOME"]);
    let told = told.ok();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..4], ["a=b 'c' \"d\"\te", "/tmp", "1000", "33"], "{told}");
    assert!(lines[4].split(' ').any(|group| group == "777"), "{told}");
    assert_eq!(lines[5], "/home/user");
}

fn umask_time_zone_and_personality() -> Result<(), Skip> {
    let flags = ["--umask", "0027", "--tz", "UTC"];
    assert_eq!(run(&flags, &["sh", "-c", "umask; date +%Z"]).ok(), "0027\nUTC");
    excuses("runc", "1.1 does not know linux.personality")?;
    assert_eq!(run(&["--personality=LINUX32"], &["uname", "-m"]).ok(), "i686");
    Ok(())
}

fn hostname_and_hosts() {
    let flags = ["--hostname", "somewhere", "--add-host", "other:192.0.2.7"];
    let seen = run(&flags, &["sh", "-c", "hostname; grep -c '192.0.2.7.*other' /etc/hosts"]);
    assert_eq!(seen.ok(), "somewhere\n1");
}

fn oom_score_adjustment() {
    let container = Container::start(&["--oom-score-adj", "500"], IDLE);
    assert_eq!(host::proc(container.pid(), "oom_score_adj").trim(), "500");
}

fn inherits_three_descriptors_and_no_more() {
    for flags in [&[][..], &["-t"], &["-i"]] {
        let container = Container::start(flags, IDLE);
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", container.pid()));
        let descriptors = descriptors.expect("it runs").flatten().map(|entry| entry.file_name());
        let mut descriptors: Vec<_> = descriptors.collect();
        descriptors.sort_unstable();
        assert_eq!(descriptors, ["0", "1", "2"], "{flags:?}");
    }
}

fn preserved_descriptors_reach_the_command() {
    let kept = ["--preserve-fds", "1"];
    let read = ["cat", "/proc/self/fd/3"];
    let container = Container::start(&[], IDLE);
    let run = [&["run", "--rm"], &kept[..], &[IMAGE], &read].concat();
    let exec = [&["exec"], &kept[..], &[container.name()], &read].concat();
    for line in [run, exec] {
        let shell = through_a_shell("3<&0 </dev/null", &Podman::command(&line));
        assert_eq!(Running::start(shell, b"kept").end().ok(), "kept", "{line:?}");
    }
}

fn original_groups_are_kept() -> Result<(), Skip> {
    excuses("runc", "run.oci.keep_original_groups is an annotation of crun's")?;
    let groups = |pid| host::status(pid, "Groups");
    let container = Container::start(&["--group-add", "keep-groups"], IDLE);
    assert_eq!(groups(container.pid()), groups(std::process::id()));
    Ok(())
}

fn signals_to_the_client_reach_the_command() {
    let script = "trap 'echo got usr1; exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    let (_container, mut session) = Container::talk(&["--rm"], &["sh", "-c", script]);
    session.expect("ready").signal(rustix::process::Signal::USR1).expect("got usr1");
    session.end().code(9);
}

fn timeout_kills() {
    let (container, _) = Container::ran(&["--timeout", "1"], IDLE);
    // "stopped" until podman has cleaned up.
    wait::until("it has ended", || (container.status() == "exited").then_some(()));
    assert_eq!(container.pid(), 0);
}

fn rm_removes_the_container() {
    let container = Container::start(&["--rm"], IDLE);
    let (process, cgroup) = (container.pid(), container.cgroup("unified"));
    assert!(cgroup.exists(), "{}", cgroup.display());
    podman(&["kill", container.name()]).ok();
    wait::until("the container is removed", || container.is_gone().then_some(()));
    assert!(!cgroup.exists() && !host::is_alive(process));
}

fn rmi_removes_the_image() {
    podman(&["tag", IMAGE, "once"]).ok();
    podman(&["run", "--rmi", "once", "true"]).ok();
    podman(&["image", "exists", "once"]).code(1);
}

fn restart_policy_starts_it_again() {
    let container = Container::named();
    let again = ["--restart", "on-failure:2"];
    container.call(&["run", "-d"], &again, &["sh", "-c", "echo run; exit 1"]).ok();
    wait::until("it has been started three times", || {
        let counted = container.inspect("/RestartCount") == 2;
        (counted && container.status() == "exited").then_some(())
    });
    assert_eq!(podman(&["logs", container.name()]).ok(), "run\nrun\nrun");
}

fn logs_of_every_driver() {
    for (driver, logged) in [("k8s-file", true), ("json-file", true), ("none", false)] {
        let flags = ["--log-driver", driver];
        let (container, output) = Container::ran(&flags, &["sh", "-c", "echo out; echo err >&2"]);
        assert_eq!((output.ok(), output.err()), ("out".to_owned(), "err".to_owned()), "{driver}");
        let logs = podman(&["logs", container.name()]);
        assert_eq!(logs.status == Some(0) && logs.out() == "out", logged, "{driver}: {logs:?}");
    }
    assert_eq!(run(&["--log-driver", "passthrough"], &["echo", "passed"]).ok(), "passed");
}

fn runtime_is_told_with_its_version() {
    let format = "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}";
    let told = podman(&["info", "--format", format]).ok();
    let name = Place::shared().runtime();
    assert!(told.starts_with(&format!("{name} {name} version ")), "{told}");
    let container = Container::start(&[], IDLE);
    assert_eq!(container.inspect("/OCIRuntime"), name);
}
