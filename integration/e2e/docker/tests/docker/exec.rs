//! `docker exec`: another process in a running container.

use e2e_docker::{Container, Docker, Engine, IDLE, docker, host, wait};

e2e_common::tests! {
    prints_on_both_streams
    exits_with_the_status_of_the_command
    is_refused_when_the_command_does_not_exist
    exits_126_when_the_command_is_not_executable
    exits_137_when_it_is_killed
    reads_its_input
    terminal_has_the_size_of_ours
    runs_as_another_user
    has_its_environment
    has_its_working_directory
    missing_working_directory_is_refused
    detached
    joins_every_namespace
    joins_every_cgroup
    joins_namespaces_of_the_host
    is_confined_like_the_container
    is_not_confined_more_than_the_container
    privileged
    inherits_three_descriptors_and_no_more
    leaves_no_process_behind_when_the_container_ends
    signal_ends_it_without_the_container
    in_a_paused_container_is_refused
    in_a_stopped_container_is_refused
    ten_at_once
    health_check
}

fn prints_on_both_streams() {
    let container = Container::start(&[], IDLE);
    let output = container.exec(&[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.ok(), output.err()), ("out".to_owned(), "err".to_owned()));
}

fn exits_with_the_status_of_the_command() {
    let container = Container::start(&[], IDLE);
    for status in [0, 42, 255] {
        container.exec(&[], &["sh", "-c", &format!("exit {status}")]).code(status);
    }
    assert_eq!(container.status(), "running");
}

fn is_refused_when_the_command_does_not_exist() {
    let container = Container::start(&[], IDLE);
    // Docker 20.10 says 126 for exec, later ones 127.
    let refused = |command, words| {
        let output = container.exec(&[], &[command]);
        assert!(matches!(output.fails(words).status, Some(126 | 127)), "{output:?}");
    };
    refused("no-such-command", "executable file not found in $PATH");
    refused("/no/such/file", "no such file or directory");
    assert_eq!(container.processes(), [container.pid()]);
}

fn exits_126_when_the_command_is_not_executable() {
    let container = Container::start(&[], IDLE);
    container.exec(&[], &["/bin/not-executable"]).code(126).fails("permission denied");
    container.exec(&[], &["/etc"]).code(126);
}

fn exits_137_when_it_is_killed() {
    let container = Container::start(&[], IDLE);
    container.exec(&[], &["sh", "-c", "kill -KILL $$"]).code(137);
    container.exec(&[], &["sh", "-c", "kill -TERM $$"]).code(143);
}

fn reads_its_input() {
    let container = Container::start(&[], IDLE);
    let megabyte: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let output = Docker::feed(&["exec", "-i", container.name(), "cat"], &megabyte);
    assert!(output.code(0).stdout == megabyte, "{} bytes came back", output.stdout.len());
}

fn terminal_has_the_size_of_ours() {
    let container = Container::start(&[], IDLE);
    let mut session = Docker::terminal(&["exec", "-it", container.name(), "sh"], 41, 97);
    session
        .send("while [ \"$(stty size)\" != '41 97' ]; do :; done; echo ri''ght\n")
        .expect("right");
    session.send("while [ \"$(stty size)\" != '42 98' ]; do :; done; echo chan''ged\n");
    session.resize(42, 98, "changed");
    session.send("tty; exit 6\n").expect("/dev/pts/").end().code(6);
}

fn runs_as_another_user() {
    let container = Container::start(&[], IDLE);
    let id = |user: &str| container.exec(&["-u", user], &["id"]).ok();
    assert_eq!(id("user"), "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)");
    assert_eq!(id("1234:33"), "uid=1234 gid=33 groups=33");
    container.exec(&["-u", "user", "-d"], &["sleep", "2000"]).ok();
    let process = container.process(&["sleep", "2000"]);
    assert_eq!(host::status(process, "Uid"), "1000 1000 1000 1000");
    assert_eq!(host::status(process, "CapEff"), "0000000000000000");
}

fn has_its_environment() {
    let container = Container::start(&["-e", "ONE=1", "-e", "TWO=2"], IDLE);
    let output = container
        .exec(&["-e", "TWO=zwei", "-e", "THREE=3"], &["sh", "-c", "echo $ONE $TWO $THREE $HOME"]);
    assert_eq!(output.ok(), "1 zwei 3 /root");
}

fn has_its_working_directory() {
    let container = Container::start(&["-w", "/etc"], IDLE);
    assert_eq!(container.exec(&[], &["pwd"]).ok(), "/etc");
    assert_eq!(container.exec(&["-w", "/tmp"], &["pwd"]).ok(), "/tmp");
}

fn missing_working_directory_is_refused() {
    let container = Container::start(&[], IDLE);
    container.exec(&["-w", "/no/such"], &["pwd"]).fails("no such file or directory");
}

fn detached() {
    let container = Container::start(&[], IDLE);
    assert_eq!(container.exec(&["-d"], &["sleep", "2000"]).ok(), "");
    assert!(host::is_alive(container.process(&["sleep", "2000"])));
}

/// The first process of a container, and one that was put in by exec.
fn pair(flags: &[&str]) -> (Container, u32, u32) {
    let container = Container::start(flags, IDLE);
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    let (first, second) = (container.pid(), container.process(&["sleep", "2000"]));
    (container, first, second)
}

fn joins_every_namespace() {
    let (_container, first, second) = pair(&["--cgroupns", "private"]);
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        assert_eq!(host::namespace(first, kind), host::namespace(second, kind), "{kind}");
    }
}

fn joins_every_cgroup() {
    let (_container, first, second) = pair(&["-m", "64m"]);
    assert_eq!(host::cgroups(first), host::cgroups(second));
}

fn joins_namespaces_of_the_host() {
    let (_container, first, second) =
        pair(&["--pid", "host", "--network", "host", "--ipc", "host"]);
    for kind in ["ipc", "mnt", "net", "pid"] {
        assert_eq!(host::namespace(first, kind), host::namespace(second, kind), "{kind}");
    }
}

const CONFINEMENT: [&str; 6] = ["CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];

fn is_confined_like_the_container() {
    let flags = ["--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges"];
    let (container, first, second) = pair(&flags);
    for key in CONFINEMENT {
        assert_eq!(host::status(first, key), host::status(second, key), "{key}");
    }
    container.exec(&[], &["unshare", "-U", "true"]).fails("operation not permitted");
}

fn is_not_confined_more_than_the_container() {
    let flags =
        ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--ulimit", "nofile=99"];
    let (_container, first, second) = pair(&flags);
    for key in CONFINEMENT {
        assert_eq!(host::status(first, key), host::status(second, key), "{key}");
    }
    assert_eq!(host::rlimit(first, "Max open files"), host::rlimit(second, "Max open files"));
    assert_eq!(host::proc(first, "oom_score_adj"), host::proc(second, "oom_score_adj"));
}

fn privileged() -> Result<(), host::Skip> {
    let missing = host::all_capabilities() & !host::capabilities();
    host::needs(missing == 0, format!("full set of capabilities (without {missing:#x})"))?;
    let container = Container::start(&[], IDLE);
    container.exec(&["--privileged", "-d"], &["sleep", "2000"]).ok();
    let all = format!("{:016x}", host::all_capabilities());
    assert_eq!(host::status(container.process(&["sleep", "2000"]), "CapEff"), all);
    Ok(())
}

fn inherits_three_descriptors_and_no_more() {
    let (_container, _, second) = pair(&[]);
    let descriptors = std::fs::read_dir(format!("/proc/{second}/fd")).expect("it runs").flatten();
    let mut descriptors: Vec<_> = descriptors.map(|entry| entry.file_name()).collect();
    descriptors.sort_unstable();
    assert_eq!(descriptors, ["0", "1", "2"]);
}

fn leaves_no_process_behind_when_the_container_ends() {
    let (container, _, second) = pair(&[]);
    docker(&["stop", "-t", "0", container.name()]).ok();
    wait::until("it is gone", || (!host::is_alive(second)).then_some(()));
}

fn signal_ends_it_without_the_container() {
    let (container, first, second) = pair(&[]);
    let pid = rustix::process::Pid::from_raw(second as i32).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    wait::until("it is gone", || (container.processes() == [first]).then_some(()));
    assert_eq!(container.status(), "running");
}

fn in_a_paused_container_is_refused() {
    let container = Container::start(&[], IDLE);
    docker(&["pause", container.name()]).ok();
    container.exec(&[], &["true"]).fails("paused");
    docker(&["unpause", container.name()]).ok();
    container.exec(&[], &["true"]).ok();
}

fn in_a_stopped_container_is_refused() {
    let (container, _) = Container::ran(&[], &["true"]);
    container.exec(&[], &["true"]).fails("not running");
}

fn ten_at_once() {
    let container = Container::start(&[], IDLE);
    let numbers: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    let start = |number: &String| Docker::start(&["exec", container.name(), "echo", number], b"");
    let running: Vec<_> = numbers.iter().map(start).collect();
    let said: Vec<_> = running.into_iter().map(|running| running.end().ok()).collect();
    assert_eq!(said, numbers);
    assert_eq!(container.processes(), [container.pid()]);
}

fn health_check() {
    let flags = [
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "1",
    ];
    let container = Container::start(&flags, IDLE);
    let health = |state: &'static str| {
        wait::until(state, || (container.inspect("/State/Health/Status") == state).then_some(()))
    };
    health("unhealthy");
    container.exec(&[], &["touch", "/tmp/well"]).ok();
    health("healthy");
}
