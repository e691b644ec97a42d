//! A container's life after its start.

use std::fs;

use e2e_common::host::{Skip, needs};
use e2e_docker::{
    Container, Docker, Engine, IDLE, cgroup, daemon, docker, host,
    runtime::{TYPE, Way},
    wait,
};
use rustix::process::Signal;

e2e_common::tests! {
    attach_hears_and_speaks
    attach_ends_with_the_status_of_the_container
    attach_to_a_terminal_and_detach_again
    logs_of_both_streams
    logs_are_followed_to_the_end
    top_shows_the_processes_of_the_host
    pause_freezes_and_unpause_thaws
    paused_container_can_be_removed
    paused_container_can_be_stopped_after_unpause
    kill_ends_with_137
    kill_with_a_signal_that_is_caught
    kill_reaches_the_first_process_only
    kill_of_a_stopped_container_is_refused
    stop_lets_the_command_end_itself
    stop_kills_after_its_patience
    stop_with_another_signal
    restart_gives_a_new_process
    start_again_keeps_the_files
    created_container_starts_later
    created_container_is_removed_without_having_run
    remove_of_a_running_container_is_refused
    remove_by_force
    restart_policy_starts_it_again
    inspect_tells_the_truth
    wait_returns_when_it_ends
    copy_into_and_out_of_a_running_container
    runtime_is_listed_and_can_be_chosen
    runtime_behind_a_script_with_arguments
    shim_by_its_type_alone
}

const ECHO: &str =
    "echo ready; while read -r line; do echo \"<$line>\"; [ \"$line\" != quit ] || exit 8; done";

fn attach_hears_and_speaks() {
    let container = Container::start(&["-i"], &["sh", "-c", ECHO]);
    let mut session = Docker::pipes(&["attach", container.name()]);
    session.send("one\n").expect("<one>").send("two\n").expect("<two>").send("quit\n");
    session.end().code(8);
    assert_eq!(container.wait(), "8");
}

fn attach_ends_with_the_status_of_the_container() {
    let container = Container::start(&["-i"], &["sh", "-c", "read -r line; exit $line"]);
    let mut session = Docker::pipes(&["attach", container.name()]);
    session.send("33\n");
    session.end().code(33);
}

fn attach_to_a_terminal_and_detach_again() {
    let container = Container::named();
    container.call(&["run", "-dit"], &[], &["sh"]).ok();
    let attach = ["attach", container.name()];
    let mut session = Docker::terminal(&attach, 24, 80);
    session.send("echo fi''rst\n").expect("first").send("\x10\x11").expect("read escape sequence");
    assert_eq!(container.status(), "running");
    let mut session = Docker::terminal(&attach, 30, 90);
    session
        .send("while [ \"$(stty size)\" != '30 90' ]; do :; done; echo ri''ght\n")
        .expect("right");
    session.send("exit 4\n").end().code(4);
}

fn logs_of_both_streams() {
    let (container, _) =
        Container::ran(&[], &["sh", "-c", "echo out; echo err >&2; printf 'no newline'"]);
    let logs = docker(&["logs", container.name()]);
    assert_eq!((logs.ok(), logs.err()), ("out\nno newline".to_owned(), "err".to_owned()));
    assert_eq!(docker(&["logs", "--tail", "1", container.name()]).out(), "no newline");
}

fn logs_are_followed_to_the_end() {
    let container = Container::start(&["-i"], &["sh", "-c", ECHO]);
    let mut logs = Docker::pipes(&["logs", "-f", container.name()]);
    logs.expect("ready");
    let mut session = Docker::pipes(&["attach", container.name()]);
    session.send("late\n").expect("<late>");
    logs.expect("<late>");
    session.send("quit\n");
    logs.end().code(0);
}

fn top_shows_the_processes_of_the_host() {
    let container = Container::start(&[], &["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    container.process(&["sleep", "1001"]);
    let top = docker(&["top", container.name(), "-o", "pid,args"]).ok();
    let mut shown: Vec<u32> =
        top.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let mut processes = container.processes();
    shown.sort_unstable();
    processes.sort_unstable();
    assert_eq!(shown, processes, "{top}");
    assert!(top.contains("sleep 1000") && top.contains("sleep 1001"), "{top}");
}

/// Whether the kernel says that the container is frozen.
fn frozen(container: &Container) -> bool {
    match cgroup::is_v1() {
        true => container.limit("freezer/freezer.state") == "FROZEN",
        false => container.limit("unified/cgroup.events").contains("frozen 1"),
    }
}

fn pause_freezes_and_unpause_thaws() {
    let container = Container::start(&[], &["sh", "-c", "while :; do echo x >> /tmp/ticks; done"]);
    let ticks = host::root(container.pid()).join("tmp/ticks");
    let size = || fs::metadata(&ticks).map_or(0, |file| file.len());
    wait::until("it ticks", || (size() > 0).then_some(()));
    docker(&["pause", container.name()]).ok();
    assert_eq!(container.status(), "paused");
    assert!(frozen(&container));
    let paused = size();
    assert!(docker(&["top", container.name()]).ok().contains("while"));
    assert_eq!(size(), paused);
    docker(&["unpause", container.name()]).ok();
    assert_eq!(container.status(), "running");
    assert!(!frozen(&container));
    wait::until("it ticks again", || (size() > paused).then_some(()));
}

fn paused_container_can_be_removed() {
    let container = Container::start(&[], IDLE);
    let process = container.pid();
    docker(&["pause", container.name()]).ok();
    docker(&["rm", "-f", container.name()]).ok();
    assert!(container.is_gone() && !host::is_alive(process));
}

fn paused_container_can_be_stopped_after_unpause() {
    let container = Container::start(&[], IDLE);
    docker(&["pause", container.name()]).ok();
    docker(&["unpause", container.name()]).ok();
    docker(&["stop", "-t", "0", container.name()]).ok();
    assert_eq!(container.wait(), "137");
}

fn kill_ends_with_137() {
    let container = Container::start(&[], IDLE);
    let process = container.pid();
    docker(&["kill", container.name()]).ok();
    assert_eq!(container.wait(), "137");
    assert!(!host::is_alive(process));
}

fn kill_with_a_signal_that_is_caught() {
    let script =
        "trap 'echo caught HUP' HUP; trap 'exit 12' USR2; echo ready; while :; do sleep 0.1; done";
    let container = Container::start(&[], &["sh", "-c", script]);
    let said = |words: &'static str| {
        wait::until(words, || {
            docker(&["logs", container.name()]).ok().contains(words).then_some(())
        })
    };
    said("ready");
    docker(&["kill", "-s", "HUP", container.name()]).ok();
    said("caught HUP");
    docker(&["kill", "-s", "12", container.name()]).ok();
    assert_eq!(container.wait(), "12");
}

fn kill_reaches_the_first_process_only() {
    let script = "trap : TERM; sleep 1000 & echo ready; while :; do sleep 1001; done";
    let container = Container::start(&[], &["sh", "-c", script]);
    let child = container.process(&["sleep", "1000"]);
    docker(&["kill", "-s", "TERM", container.name()]).ok();
    assert!(host::is_alive(child));
    assert_eq!(container.status(), "running");
}

fn kill_of_a_stopped_container_is_refused() {
    let (container, _) = Container::ran(&[], &["true"]);
    docker(&["kill", container.name()]).fails("is not running");
}

fn stop_lets_the_command_end_itself() {
    let script = "trap 'echo bye; exit 21' TERM; echo ready; while :; do sleep 0.1; done";
    let container = Container::start(&[], &["sh", "-c", script]);
    wait::until("ready", || {
        docker(&["logs", container.name()]).ok().contains("ready").then_some(())
    });
    docker(&["stop", "-t", "300", container.name()]).ok();
    assert_eq!((container.wait(), container.status()), ("21".to_owned(), "exited".to_owned()));
    assert!(docker(&["logs", container.name()]).ok().contains("bye"));
}

fn stop_kills_after_its_patience() {
    // The first process of a pid namespace ignores SIGTERM unless it catches it.
    let container = Container::start(&[], IDLE);
    docker(&["stop", "-t", "1", container.name()]).ok();
    assert_eq!(container.wait(), "137");
}

fn stop_with_another_signal() {
    let script = "trap 'exit 22' QUIT; echo ready; while :; do sleep 0.1; done";
    let container = Container::start(&["--stop-signal", "QUIT"], &["sh", "-c", script]);
    wait::until("ready", || {
        docker(&["logs", container.name()]).ok().contains("ready").then_some(())
    });
    docker(&["stop", "-t", "300", container.name()]).ok();
    assert_eq!(container.wait(), "22");
}

fn restart_gives_a_new_process() {
    let container = Container::start(&[], IDLE);
    let (id, before) = (container.id(), container.pid());
    docker(&["restart", "-t", "0", container.name()]).ok();
    let after = container.pid();
    assert_eq!(container.id(), id);
    assert!(
        after != before && host::is_alive(after) && !host::is_alive(before),
        "{before} {after}"
    );
}

fn start_again_keeps_the_files() {
    let (container, output) = Container::ran(&[], &["sh", "-c", "echo again >> /file; cat /file"]);
    assert_eq!(output.ok(), "again");
    assert_eq!(docker(&["start", "-a", container.name()]).ok(), "again\nagain");
}

fn created_container_starts_later() {
    let container = Container::created(&[], IDLE);
    assert_eq!((container.status(), container.pid()), ("created".to_owned(), 0));
    docker(&["start", container.name()]).ok();
    assert_eq!(container.status(), "running");
    container.executed(IDLE);
}

fn created_container_is_removed_without_having_run() {
    let container = Container::created(&[], IDLE);
    docker(&["rm", container.name()]).ok();
    assert!(container.is_gone());
}

fn remove_of_a_running_container_is_refused() {
    let container = Container::start(&[], IDLE);
    docker(&["rm", container.name()]).fails("running");
    assert!(host::is_alive(container.pid()));
}

fn remove_by_force() {
    let container = Container::start(&[], &["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    container.process(&["sleep", "1001"]);
    let (processes, cgroup) = (container.processes(), container.cgroup("memory"));
    assert_eq!(processes.len(), 3);
    docker(&["rm", "-f", container.name()]).ok();
    assert!(container.is_gone() && !cgroup.exists());
    assert!(processes.iter().all(|process| !host::is_alive(*process)));
}

fn restart_policy_starts_it_again() {
    // Of a log dockerd loses a line now and then.
    let runs = daemon::shared().place().file("runs");
    fs::write(&runs, "").expect("a file");
    let volume = format!("{}:/runs", runs.display());
    let container = Container::named();
    let flags = ["--restart", "on-failure:2", "-v", &volume];
    container.call(&["run", "-d"], &flags, &["sh", "-c", "echo run >>/runs; exit 1"]).ok();
    wait::until("it has been started three times", || {
        let counted = container.inspect("/RestartCount") == 2;
        (counted && container.status() == "exited").then_some(())
    });
    assert_eq!(fs::read_to_string(runs).unwrap_or_default(), "run\nrun\nrun\n");
}

fn inspect_tells_the_truth() {
    let container = Container::start(&[], IDLE);
    let process = container.pid();
    assert_eq!(host::command_line(process), IDLE);
    assert_eq!(container.inspect("/State/Running"), true);
    rustix::process::kill_process(pid(process), Signal::KILL).expect("it runs");
    container.wait();
    assert_eq!(container.inspect("/State/Running"), false);
    assert_eq!(container.pid(), 0);
}

fn wait_returns_when_it_ends() {
    let container = Container::start(&[], IDLE);
    let waiting = Docker::start(&["wait", container.name()], b"");
    docker(&["kill", container.name()]).ok();
    assert_eq!(waiting.end().ok(), "137");
}

fn copy_into_and_out_of_a_running_container() {
    let container = Container::start(&[], IDLE);
    let file = daemon::shared().place().file("copy");
    fs::write(&file, "copied").expect("a file");
    docker(&["cp", &file.to_string_lossy(), &format!("{}:/tmp/in", container.name())]).ok();
    assert_eq!(container.exec(&[], &["cat", "/tmp/in"]).ok(), "copied");
    container.exec(&[], &["sh", "-c", "echo out > /tmp/out"]).ok();
    docker(&["cp", &format!("{}:/tmp/out", container.name()), &file.to_string_lossy()]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), "out\n");
}

fn runtime_is_listed_and_can_be_chosen() {
    let info = docker(&["info", "--format", "{{json .Runtimes}} {{.DefaultRuntime}}"]).ok();
    assert!(info.contains("\"judged\"") && info.ends_with(" judged"), "{info}");
    let container = Container::start(&["--runtime", "judged"], IDLE);
    assert_eq!(container.inspect("/HostConfig/Runtime"), "judged");
}

fn runtime_behind_a_script_with_arguments() {
    let container = Container::start(&["--runtime", "wrapped"], IDLE);
    assert_eq!(container.exec(&[], &["echo", "two  words"]).ok(), "two  words");
    docker(&["pause", container.name()]).ok();
    docker(&["unpause", container.name()]).ok();
    docker(&["kill", container.name()]).ok();
    assert_eq!(container.wait(), "137");
}

fn shim_by_its_type_alone() -> Result<(), Skip> {
    needs(Way::chosen() == Way::Shim, "rtn's shim in the PATH of dockerd")?;
    let container = Container::start(&["--runtime", TYPE], IDLE);
    assert_eq!(container.inspect("/HostConfig/Runtime"), TYPE);
    let shim: u32 = host::status(container.pid(), "PPid").parse().expect("its parent");
    assert!(host::command_line(shim)[0].ends_with("containerd-shim-rtn-v2"));
    assert_eq!(container.exec(&[], &["echo", "inside"]).ok(), "inside");
    assert!(container.cgroup("unified").exists(), "it is where the driver of dockerd has it");
    Ok(())
}

fn pid(process: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(process as i32).expect("a process id")
}
