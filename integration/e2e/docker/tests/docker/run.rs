//! `docker run`: streams, terminal, exit status, and the process's surroundings.

use e2e_docker::{Container, Docker, Engine, IDLE, daemon, docker, host, run, wait};
use rustix::process::Signal;

e2e_common::tests! {
    prints_on_both_streams
    passes_a_megabyte_through_stdin_and_stdout
    ends_its_input_when_ours_ends
    gives_no_input_without_interactive
    exits_with_the_status_of_the_command
    exits_127_when_the_command_does_not_exist
    exits_127_when_the_path_does_not_exist
    exits_126_when_the_command_is_a_directory
    exits_126_when_the_command_is_not_executable
    exits_137_when_the_process_is_killed
    exits_143_when_a_signal_ends_the_command
    leaves_nothing_of_a_container_that_could_not_start
    detached_prints_the_id_of_a_running_container
    rm_removes_the_container
    without_rm_the_container_stays_as_exited
    terminal_has_the_size_of_ours
    terminal_follows_a_change_of_size
    terminal_is_the_controlling_one_on_dev_console
    terminal_without_a_terminal_of_ours
    no_terminal_without_asking
    init_is_process_one_and_reaps
    without_init_the_command_is_process_one
    signals_to_the_client_reach_the_command
    environment_is_what_was_asked_for
    environment_from_a_file
    default_environment
    working_directory_is_made_when_missing
    user_by_number_name_and_group
    user_with_additional_groups
    unknown_user_is_refused
    home_is_that_of_the_user
    hostname_and_domainname
    entrypoint_and_arguments
    oom_score_adjustment
    umask_is_that_of_docker
    inherits_three_descriptors_and_no_more
    ignores_no_signal_and_blocks_none
    argument_with_blanks_quotes_and_newlines
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

fn ends_its_input_when_ours_ends() {
    let (_container, mut session) = Container::talk(&["--rm"], &["cat"]);
    session.send("first\n").expect("first\n");
    session.send("second\n").expect("second\n").close_input();
    session.end().code(0);
}

fn gives_no_input_without_interactive() {
    assert_eq!(Container::feed(&[], &["cat"], b"not for you").ok(), "");
}

fn exits_with_the_status_of_the_command() {
    for status in [0, 1, 42, 255] {
        run(&[], &["sh", "-c", &format!("exit {status}")]).code(status);
    }
}

fn exits_127_when_the_command_does_not_exist() {
    run(&[], &["no-such-command"]).code(127).fails("executable file not found in $PATH");
}

fn exits_127_when_the_path_does_not_exist() {
    run(&[], &["/no/such/file"]).code(127).fails("no such file or directory");
}

fn exits_126_when_the_command_is_a_directory() {
    run(&[], &["/etc"]).code(126);
}

fn exits_126_when_the_command_is_not_executable() {
    run(&[], &["/bin/not-executable"]).code(126).fails("permission denied");
}

fn exits_137_when_the_process_is_killed() {
    let container = Container::start(&[], IDLE);
    rustix::process::kill_process(pid(&container), Signal::KILL).expect("it runs");
    assert_eq!(container.wait(), "137");
    assert_eq!(container.inspect("/State/OOMKilled"), false);
}

fn exits_143_when_a_signal_ends_the_command() {
    run(&["--init"], &["sh", "-c", "kill -TERM $$"]).code(143);
}

fn leaves_nothing_of_a_container_that_could_not_start() {
    let (container, output) = Container::ran(&[], &["no-such-command"]);
    output.code(127);
    assert_eq!((container.status(), container.pid()), ("created".to_owned(), 0));
    for controller in ["memory", "devices", "unified"] {
        assert!(!container.cgroup(controller).exists(), "{controller}");
    }
    let state = daemon::shared().runtime_root().join(container.id());
    assert!(!state.exists(), "{}", state.display());
}

fn detached_prints_the_id_of_a_running_container() {
    let container = Container::named();
    let printed = container.call(&["run", "-d"], &[], IDLE).ok();
    assert_eq!((printed.as_str(), printed.len()), (container.id().as_str(), 64));
    assert_eq!(container.status(), "running");
    assert!(host::is_alive(container.pid()));
}

fn rm_removes_the_container() {
    let container = Container::start(&["--rm"], IDLE);
    let (process, cgroup) = (container.pid(), container.cgroup("memory"));
    assert!(cgroup.exists(), "{}", cgroup.display());
    docker(&["kill", container.name()]).ok();
    wait::until("the container is removed", || container.is_gone().then_some(()));
    assert!(!cgroup.exists() && !host::is_alive(process));
}

fn without_rm_the_container_stays_as_exited() {
    let (container, output) = Container::ran(&[], &["sh", "-c", "exit 3"]);
    output.code(3);
    assert_eq!((container.status(), container.pid()), ("exited".to_owned(), 0));
    assert_eq!(container.inspect("/State/ExitCode"), 3);
    assert!(!container.cgroup("memory").exists());
}

fn terminal_has_the_size_of_ours() {
    let container = Container::named();
    let line = container.line(&["run", "--rm", "-it"], &[], &["sh"]);
    let mut session = Docker::terminal(&line, 37, 113);
    // The client sends the size when the container has been started, not before.
    session
        .send("while [ \"$(stty size)\" != '37 113' ]; do :; done; echo ri''ght\n")
        .expect("right");
    session.send("exit 5\n").end().code(5);
}

fn terminal_follows_a_change_of_size() {
    let container = Container::named();
    let line = container.line(&["run", "--rm", "-it"], &[], &["sh"]);
    let mut session = Docker::terminal(&line, 24, 80);
    session.send("while [ \"$(stty size)\" != '50 132' ]; do :; done; echo chan''ged\n");
    session.resize(50, 132, "changed");
    session.send("exit\n").end().code(0);
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

fn terminal_without_a_terminal_of_ours() {
    assert_eq!(run(&["-t"], &["sh", "-c", "test -t 0 && tty"]).ok(), "/dev/pts/0");
}

fn no_terminal_without_asking() {
    run(&["-i"], &["sh", "-c", "test -t 0 || test -t 1 || test -t 2"]).code(1);
    run(&[], &["test", "-e", "/dev/console"]).code(1);
}

fn init_is_process_one_and_reaps() {
    let orphans = "(true & sleep 0 &); sleep 1000; true";
    let container = Container::start(&["--init"], &["sh", "-c", orphans]);
    assert_eq!(host::command_line(container.pid())[0], "/sbin/docker-init");
    container.process(&["sleep", "1000"]);
    wait::until("no zombies are left", || {
        let zombies = |pid: &u32| host::status(*pid, "State").starts_with('Z');
        (container.processes().iter().filter(|pid| zombies(pid)).count() == 0).then_some(())
    });
}

fn without_init_the_command_is_process_one() {
    assert_eq!(run(&[], &["sh", "-c", "echo $$"]).ok(), "1");
}

fn signals_to_the_client_reach_the_command() {
    let script = "trap 'echo got usr1; exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    let (_container, mut session) = Container::talk(&["--rm"], &["sh", "-c", script]);
    session.expect("ready").signal(Signal::USR1).expect("got usr1");
    session.end().code(9);
}

fn environment_is_what_was_asked_for() {
    let flags = ["-e", "PLAIN=value", "-e", "EMPTY=", "-e", "ODD=a=b 'c' \"d\"\te"];
    let container = Container::start(&flags, IDLE);
    let environment = host::proc(container.pid(), "environ");
    for variable in ["PLAIN=value", "EMPTY=", "ODD=a=b 'c' \"d\"\te"] {
        assert!(
            environment.split('\0').any(|it| it == variable),
            "{variable:?} in {environment:?}"
        );
    }
}

fn environment_from_a_file() {
    let file = daemon::shared().place().file("environment");
    std::fs::write(&file, "# a comment\nFROM_FILE=yes\n").expect("a file");
    let output = run(&["--env-file", &file.to_string_lossy()], &["sh", "-c", "echo $FROM_FILE"]);
    assert_eq!(output.ok(), "yes");
}

fn default_environment() {
    let output = run(&["-h", "somewhere"], &["env"]).ok();
    let mut variables: Vec<_> = output.lines().collect();
    variables.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(variables, ["HOME=/root", "HOSTNAME=somewhere", path]);
}

fn working_directory_is_made_when_missing() {
    let container = Container::start(&["-w", "/made/for/it"], IDLE);
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", container.pid())).expect("it runs");
    assert!(cwd.ends_with("made/for/it"), "{}", cwd.display());
    assert_eq!(run(&["-w", "/tmp"], &["pwd"]).ok(), "/tmp");
}

fn user_by_number_name_and_group() {
    let ids = |user: &str| {
        let container = Container::start(&["-u", user], IDLE);
        ["Uid", "Gid", "Groups"].map(|key| host::status(container.pid(), key))
    };
    assert_eq!(ids("1234"), ["1234 1234 1234 1234", "0 0 0 0", "0"]);
    assert_eq!(ids("1000:33"), ["1000 1000 1000 1000", "33 33 33 33", "33"]);
    let [uid, gid, groups] = ids("user");
    assert_eq!((uid.as_str(), gid.as_str()), ("1000 1000 1000 1000", "1000 1000 1000 1000"));
    assert!(groups.split(' ').any(|group| group == "2000"), "of /etc/group: {groups}");
}

fn user_with_additional_groups() {
    let flags = ["-u", "1234:1234", "--group-add", "777", "--group-add", "extra"];
    let container = Container::start(&flags, IDLE);
    let groups = host::status(container.pid(), "Groups");
    for group in ["777", "2000"] {
        assert!(groups.split(' ').any(|it| it == group), "{group} in {groups}");
    }
}

fn unknown_user_is_refused() {
    run(&["-u", "nobody-of-this-name"], &["true"]).fails("unable to find user");
}

fn home_is_that_of_the_user() {
    assert_eq!(run(&["-u", "user"], &["sh", "-c", "echo $HOME"]).ok(), "/home/user");
    assert_eq!(run(&["-u", "4711"], &["sh", "-c", "echo $HOME"]).ok(), "/");
    assert_eq!(run(&["-e", "HOME=/x"], &["sh", "-c", "echo $HOME"]).ok(), "/x");
}

fn hostname_and_domainname() {
    let flags = ["-h", "name", "--domainname", "example.org"];
    let seen =
        run(&flags, &["sh", "-c", "hostname; cat /proc/sys/kernel/domainname; cat /etc/hostname"]);
    assert_eq!(seen.ok(), "name\nexample.org\nname");
    let container = Container::start(&[], IDLE);
    assert_eq!(container.exec(&[], &["hostname"]).ok(), container.id()[..12]);
}

fn entrypoint_and_arguments() {
    assert_eq!(run(&["--entrypoint", "/bin/echo"], &["-n", "as is"]).ok(), "as is");
}

fn oom_score_adjustment() {
    let container = Container::start(&["--oom-score-adj", "321"], IDLE);
    assert_eq!(host::proc(container.pid(), "oom_score_adj").trim(), "321");
    let container = Container::start(&[], IDLE);
    assert_eq!(host::proc(container.pid(), "oom_score_adj").trim(), "0");
}

fn umask_is_that_of_docker() {
    assert_eq!(host::status(Container::start(&[], IDLE).pid(), "Umask"), "0022");
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

fn ignores_no_signal_and_blocks_none() {
    let container = Container::start(&[], IDLE);
    let set = |pid, name| u64::from_str_radix(&host::status(pid, name), 16).expect("hexadecimal");
    // What dockerd was started with, nobody on the way takes back.
    let inherited = set(daemon::shared().pid(), "SigIgn");
    assert_eq!(set(container.pid(), "SigIgn") & !inherited, 0);
    assert_eq!(set(container.pid(), "SigBlk"), 0);
}

fn argument_with_blanks_quotes_and_newlines() {
    let argument = "one  'two' \"three\" $four\nfive\\six \u{fc}";
    assert_eq!(run(&[], &["echo", argument]).ok(), argument);
}

fn pid(container: &Container) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(container.pid() as i32).expect("it runs")
}
