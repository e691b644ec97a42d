//! A container's life after its start.

use std::fs;

use e2e_podman::{
    Container, Engine, IDLE, Place, Podman, Skip, excuses, host, needs_root, notify::Listener,
    podman, wait,
};

e2e_common::tests! {
    attach_and_detach_again
    detach_keys_of_ones_own
    attach_ends_with_the_container
    top_shows_the_processes
    kill_with_a_signal_that_is_caught
    stop_lets_the_command_end_itself
    stop_kills_after_its_patience
    stop_with_another_signal
    restart_gives_a_new_process
    created_container_starts_later
    created_container_is_removed_without_having_run
    remove_by_force
    health_is_checked
    hooks_are_run
    hook_that_fails_is_told
    readiness_is_told_by_conmon
    checkpoint_is_refused
    events_are_told
    processes_of_the_host_are_not_killed_with_the_container
}

fn attach_and_detach_again() {
    let container = Container::named();
    container.call(&["run", "-dit"], &[], &["sh"]).ok();
    let attach = ["attach", container.name()];
    let mut session = Podman::terminal(&attach, 24, 80);
    session.send("echo fi''rst\n").expect("first").leave("\x10\x11").code(0);
    assert_eq!(container.status(), "running");
    let mut session = Podman::terminal(&attach, 30, 90);
    // Not before the terminal is the container's: until then a line waits in ours.
    session.send("echo sec''ond\n").expect("second").send("exit 4\n").end();
    assert_eq!(container.wait(), "4");
}

fn detach_keys_of_ones_own() {
    let container = Container::named();
    container.call(&["run", "-dit"], &[], &["sh"]).ok();
    let attach = ["attach", "--detach-keys", "ctrl-a,x", container.name()];
    let mut session = Podman::terminal(&attach, 24, 80);
    session.send("echo fi''rst\n").expect("first").leave("\x01x").code(0);
    assert_eq!(container.status(), "running");
}

fn attach_ends_with_the_container() {
    let container = Container::named();
    container.call(&["run", "-di"], &[], &["sh", "-c", "read -r line; exit $line"]).ok();
    let mut session = Podman::pipes(&["attach", container.name()]);
    session.send("33\n").end();
    // podman 5.4 does not hand the status on.
    assert_eq!(container.wait(), "33");
}

fn top_shows_the_processes() {
    let container = Container::start(&[], &["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    container.process(&["sleep", "1001"]);
    let top = podman(&["top", container.name(), "hpid", "args"]).ok();
    for process in container.processes() {
        assert!(top.contains(&process.to_string()), "{process}: {top}");
    }
    assert!(top.contains("sleep 1000") && top.contains("sleep 1001"), "{top}");
}

/// Starts a shell script, and waits for its first word.
fn script(flags: &[&str], traps: &str) -> Container {
    let text = format!("{traps}; echo ready; while :; do sleep 0.1; done");
    let container = Container::start(flags, &["sh", "-c", &text]);
    says(&container, "ready");
    container
}

fn says(container: &Container, words: &str) {
    wait::until(words, || podman(&["logs", container.name()]).ok().contains(words).then_some(()));
}

fn kill_with_a_signal_that_is_caught() {
    let container = script(&[], "trap 'echo caught' HUP; trap 'exit 12' USR2");
    podman(&["kill", "-s", "HUP", container.name()]).ok();
    says(&container, "caught");
    podman(&["kill", "-s", "12", container.name()]).ok();
    assert_eq!(container.wait(), "12");
    podman(&["kill", container.name()]).fails("can only kill running containers");
}

fn stop_lets_the_command_end_itself() {
    let container = script(&[], "trap 'echo bye; exit 21' TERM");
    podman(&["stop", "-t", "300", container.name()]).ok();
    assert_eq!((container.wait(), container.status()), ("21".to_owned(), "exited".to_owned()));
}

fn stop_kills_after_its_patience() {
    let container = Container::start(&[], IDLE);
    podman(&["stop", "-t", "1", container.name()]).ok();
    assert_eq!(container.wait(), "137");
}

fn stop_with_another_signal() {
    let container = script(&["--stop-signal", "QUIT"], "trap 'exit 22' QUIT");
    podman(&["stop", "-t", "300", container.name()]).ok();
    assert_eq!(container.wait(), "22");
}

fn restart_gives_a_new_process() {
    let container = Container::start(&[], IDLE);
    let before = container.pid();
    podman(&["restart", "-t", "0", container.name()]).ok();
    let after = container.pid();
    assert!(after != before && host::is_alive(after) && !host::is_alive(before));
}

fn created_container_starts_later() {
    let container = Container::created(&[], IDLE);
    assert_eq!((container.status(), container.pid()), ("created".to_owned(), 0));
    podman(&["init", container.name()]).ok();
    assert_eq!(container.status(), "initialized");
    podman(&["start", container.name()]).ok();
    container.executed(IDLE);
}

fn created_container_is_removed_without_having_run() {
    let container = Container::created(&[], IDLE);
    podman(&["init", container.name()]).ok();
    let process = container.pid();
    podman(&["rm", "-f", "-t", "0", container.name()]).ok();
    assert!(container.is_gone() && !host::is_alive(process));
}

fn remove_by_force() {
    let container = Container::start(&[], &["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    container.process(&["sleep", "1001"]);
    let (processes, cgroup) = (container.processes(), container.cgroup("unified"));
    assert_eq!(processes.len(), 3);
    podman(&["rm", container.name()]).fails("cannot remove container");
    podman(&["rm", "-f", "-t", "0", container.name()]).ok();
    assert!(container.is_gone() && !cgroup.exists());
    assert!(processes.iter().all(|process| !host::is_alive(*process)));
}

fn health_is_checked() {
    let flags = [
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "disable",
        "--health-retries",
        "1",
    ];
    let container = Container::start(&flags, IDLE);
    podman(&["healthcheck", "run", container.name()]).code(1);
    container.exec(&[], &["touch", "/tmp/well"]).ok();
    podman(&["healthcheck", "run", container.name()]).ok();
    container.exec(&[], &["rm", "/tmp/well"]).ok();
    podman(&["healthcheck", "run", container.name()]).code(1);
    assert_eq!(container.inspect("/State/Health/Status"), "unhealthy");
    // podman's timer does not know of the place of these tests; what it calls is this.
}

/// A directory for `--hooks-dir` with one hook for all `stages`.
fn hooks(name: &str, script: &str, stages: &str) -> String {
    let directory = Place::shared().directory(name);
    let hook = serde_json::json!({
        "version": "1.0.0",
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", script]},
        "when": {"always": true},
        "stages": stages.split(' ').collect::<Vec<_>>(),
    });
    fs::write(format!("{directory}/hook.json"), hook.to_string()).expect("a file");
    directory
}

fn hooks_are_run() {
    let said = Place::shared().file("hooks-said");
    let script = format!("cat >>{0}; echo >>{0}", said.display());
    let stages = "prestart createRuntime createContainer poststart poststop";
    let directory = hooks("hooks", &script, stages);
    let container = Container::named();
    let line = container.line(&["--hooks-dir", &directory, "run", "--rm"], &[], &["true"]);
    podman(&line).ok();
    let said = fs::read_to_string(said).unwrap_or_default();
    let states: Vec<serde_json::Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let statuses: Vec<_> = states.iter().map(|state| state["status"].clone()).collect();
    assert_eq!(statuses.len(), 5, "{said}");
    assert_eq!(statuses[4], "stopped", "{said}");
    assert!(states.iter().all(|state| state["bundle"].is_string()), "{said}");
}

fn hook_that_fails_is_told() {
    let directory = hooks("failing", "echo the reason >&2; exit 3", "createRuntime");
    let container = Container::named();
    let line = container.line(&["--hooks-dir", &directory, "run", "--rm"], &[], &["true"]);
    podman(&line).code(126).fails("the reason");
}

fn readiness_is_told_by_conmon() {
    let mut listener = Listener::new("conmon");
    let container = Container::named();
    listener.run(&container.line(&["run", "-d"], &["--sdnotify=conmon"], IDLE));
    let heard = listener.until("READY=1");
    assert!(heard.contains("MAINPID="), "{heard}");
}

fn checkpoint_is_refused() -> Result<(), Skip> {
    needs_root()?;
    excuses("runc", "it has checkpoint")?;
    let container = Container::start(&[], IDLE);
    let output = podman(&["container", "checkpoint", container.name()]);
    output.code(125).fails("runtime does not support checkpoint/restore");
    assert_eq!(container.status(), "running");
    container.exec(&[], &["true"]).ok();
    Ok(())
}

fn events_are_told() {
    let (container, _) = Container::ran(&[], &["sh", "-c", "exit 9"]);
    let filter = format!("container={}", container.name());
    let told =
        podman(&["events", "--stream=false", "--filter", &filter, "--format", "{{.Status}}"]);
    let told = told.ok();
    for event in ["create", "init", "start", "died"] {
        assert!(told.lines().any(|line| line == event), "{event}: {told}");
    }
}

fn processes_of_the_host_are_not_killed_with_the_container() {
    let container =
        Container::start(&["--pid=host"], &["sh", "-c", "sleep 1002 & sleep 1003 & wait"]);
    let process = container.process(&["sleep", "1002"]);
    podman(&["rm", "-f", "-t", "0", container.name()]).ok();
    assert!(host::is_alive(std::process::id()));
    wait::until("the container's are", || (!host::is_alive(process)).then_some(()));
}
