//! `podman exec`.

use std::path::Path;

use e2e_podman::{Container, Engine, IDLE, Podman, all_capabilities, cgroup_of, host, wait};

e2e_common::tests! {
    prints_on_both_streams_and_exits_with_the_status
    hears_what_it_is_told
    exits_127_when_the_command_does_not_exist
    exits_126_when_the_command_is_not_executable
    refuses_a_working_directory_that_does_not_exist
    user_working_directory_and_environment
    terminal_has_the_size_of_ours_and_follows_it
    detached_runs_on
    privileged_has_all_capabilities
    has_the_capabilities_of_the_container_and_no_more
    is_in_the_cgroup_and_the_namespaces_of_the_container
    ten_at_once
    ends_with_the_container
}

fn prints_on_both_streams_and_exits_with_the_status() {
    let container = Container::start(&[], IDLE);
    let output = container.exec(&[], &["sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"]);
    assert_eq!((output.out(), output.err()), ("to stdout".to_owned(), "to stderr".to_owned()));
    output.code(7);
}

fn hears_what_it_is_told() {
    let container = Container::start(&[], IDLE);
    let megabyte: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let output = Podman::feed(&["exec", "-i", container.name(), "cat"], &megabyte);
    assert!(output.code(0).stdout == megabyte, "{} bytes came back", output.stdout.len());
}

fn exits_127_when_the_command_does_not_exist() {
    let container = Container::start(&[], IDLE);
    for command in ["no-such-command", "/no/such/file"] {
        let output = container.exec(&[], &[command]);
        output.code(127).fails("OCI runtime attempted to invoke a command that was not found");
    }
}

fn exits_126_when_the_command_is_not_executable() {
    let container = Container::start(&[], IDLE);
    container.exec(&[], &["/bin/not-executable"]).code(126).fails("OCI permission denied");
}

fn refuses_a_working_directory_that_does_not_exist() {
    let container = Container::start(&[], IDLE);
    container.exec(&["-w", "/no/such"], &["pwd"]).code(127).fails("no such file or directory");
}

fn user_working_directory_and_environment() {
    let container = Container::start(&[], IDLE);
    let flags = ["--user", "1000:33", "--workdir", "/tmp", "--env", "A=b c"];
    let told = container.exec(&flags, &["sh", "-c", "id -u; id -g; pwd; echo $A; echo $HOME"]);
    assert_eq!(told.ok(), "1000\n33\n/tmp\nb c\n/home/user");
    let told = container.exec(&["--user", "user"], &["id", "-G"]).ok();
    assert!(told.split(' ').any(|group| group == "2000"), "of /etc/group: {told}");
}

fn terminal_has_the_size_of_ours_and_follows_it() {
    let container = Container::start(&[], IDLE);
    let mut session = Podman::terminal(&["exec", "-it", container.name(), "sh"], 41, 97);
    let until = |size: &str, word: &str| {
        format!("while [ \"$(stty size)\" != '{size}' ]; do :; done; echo {word}\n")
    };
    session.send(&until("41 97", "ri''ght")).expect("right");
    session.send(&until("30 90", "chan''ged")).resize(30, 90, "changed");
    session.send("exit 6\n").end().code(6);
}

fn detached_runs_on() {
    let container = Container::start(&[], IDLE);
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    container.process(&["sleep", "2000"]);
}

/// A line of the status of a process that `podman exec` starts.
fn status(container: &Container, flags: &[&str], key: &str) -> String {
    let told = container.exec(flags, &["grep", &format!("^{key}:"), "/proc/self/status"]).ok();
    told.split_whitespace().last().unwrap_or_default().to_owned()
}

fn privileged_has_all_capabilities() {
    let container = Container::start(&[], IDLE);
    let all = format!("{:016x}", all_capabilities());
    assert_eq!(status(&container, &["--privileged"], "CapEff"), all);
    assert_eq!(status(&container, &["--privileged"], "CapInh"), "0000000000000000");
}

fn has_the_capabilities_of_the_container_and_no_more() {
    let container = Container::start(&["--cap-drop", "CHOWN", "--cap-add", "NET_ADMIN"], IDLE);
    for key in ["CapEff", "CapBnd", "CapInh", "CapAmb", "Seccomp", "NoNewPrivs"] {
        assert_eq!(status(&container, &[], key), host::status(container.pid(), key), "{key}");
    }
    assert_eq!(status(&container, &["--user", "1000"], "CapEff"), "0000000000000000");
}

fn is_in_the_cgroup_and_the_namespaces_of_the_container() {
    let container = Container::start(&[], IDLE);
    container.exec(&["-d"], &["sleep", "2000"]).ok();
    let process = container.process(&["sleep", "2000"]);
    assert_eq!(cgroup_of(process), container.cgroup("unified"));
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let of_container = host::namespace(container.pid(), kind);
        assert_eq!(host::namespace(process, kind), of_container, "{kind}");
    }
    assert_eq!(host::command_line(process), ["sleep", "2000"]);
}

fn ten_at_once() {
    let container = Container::start(&[], IDLE);
    let numbers: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let start = |number: &String| Podman::start(&["exec", container.name(), "echo", number], b"");
    let running: Vec<_> = numbers.iter().map(start).collect();
    let said: Vec<_> = running.into_iter().map(|running| running.end().ok()).collect();
    assert_eq!(said, numbers);
}

fn ends_with_the_container() {
    let container = Container::start(&[], IDLE);
    let line = ["exec", container.name(), "sleep", "2000"];
    let running = Podman::start(&line, b"");
    let process = container.process(&["sleep", "2000"]);
    e2e_podman::podman(&["kill", container.name()]).ok();
    running.end().code(137);
    wait::until("it has ended", || (!host::is_alive(process)).then_some(()));
    assert!(!Path::new(&format!("/proc/{process}/ns")).exists());
}
