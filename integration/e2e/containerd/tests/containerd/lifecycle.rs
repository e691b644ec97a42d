//! What can be said to a container that runs, and the events that tell of it.

use std::{
    io::{BufRead, BufReader},
    os::fd::AsFd,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use e2e_common::{
    cgroup,
    host::{self, Skip},
};
use e2e_containerd::{Container, container, ctr, daemon, wait};

e2e_common::tests! {
    pause_and_resume
    kill_ends_a_paused_one
    metrics
    a_running_one_stays
    processes_without_a_namespace_end
    orphans_are_reaped
    events_come_in_order
    lack_of_memory_is_told_first
    a_pod_has_one_shim
}

fn pause_and_resume() {
    let container = Container::idle();
    container.task("pause", &[]).code(0);
    assert_eq!(container.status(), "PAUSED");
    container.task("pause", &[]).fails("cannot pause");
    container.task("resume", &[]).code(0);
    assert_eq!(container.status(), "RUNNING");
    container.task("resume", &[]).fails("cannot resume");
}

fn kill_ends_a_paused_one() {
    let container = Container::idle();
    container.task("pause", &[]).code(0);
    container.task("kill", &["-s", "KILL"]).code(0);
    // containerd's own shim leaves the cgroup frozen; the signal works when it is thawed.
    if !daemon::shared().is_rtn() {
        container.task("resume", &[]);
    }
    container.becomes("STOPPED");
}

fn metrics() -> Result<(), Skip> {
    needs("memory")?;
    let container = Container::start(&["--memory-limit", "67108864"], &["sleep", "1000"]);
    // A start is over before the process has become `sleep`; a Go program has several threads.
    let metrics = wait::until("one thread", || {
        let metrics = container.task("metrics", &["--format", "json"]).ok();
        let metrics: serde_json::Value = serde_json::from_str(&metrics).expect(&metrics);
        Some(metrics).filter(|metrics| metrics.pointer("/pids/current") == Some(&1.into()))
    });
    let number = |path: &str| metrics.pointer(path).and_then(serde_json::Value::as_u64);
    let limit = number("/memory/usage/limit").or_else(|| number("/memory/usage_limit"));
    assert_eq!(limit, Some(67108864), "{metrics}");
    let cpu = number("/cpu/usage/total").or_else(|| number("/cpu/usage_usec"));
    assert!(cpu.is_some_and(|time| time > 0), "{metrics}");
    Ok(())
}

fn a_running_one_stays() {
    let container = Container::idle();
    container.task("rm", &[]).fails("task must be stopped before deletion");
    assert_eq!(container.status(), "RUNNING");
}

/// The flag for a container in the pid namespace of the tests.
fn host_pids() -> String {
    format!("pid:/proc/{}/ns/pid", std::process::id())
}

fn processes_without_a_namespace_end() {
    let container = Container::start(
        &["--with-ns", &host_pids()],
        &["sh", "-c", "sleep 3217 & sleep 3218 & wait"],
    );
    let mine = || -> Vec<u32> {
        let listed = container.task("ps", &[]).ok();
        let pids = listed.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
        pids.collect()
    };
    let pids = wait::until("all three", || Some(mine()).filter(|pids| pids.len() == 3));
    container.task("kill", &["-s", "KILL"]).code(0);
    container.becomes("STOPPED");
    wait::until("all end", || pids.iter().all(|pid| !host::is_alive(*pid)).then_some(()));
}

fn orphans_are_reaped() {
    let container = Container::start(
        &["--with-ns", &host_pids()],
        &["sh", "-c", "for i in 1 2 3; do (sleep 0.1 &); done; exec sleep 1000"],
    );
    let shim = container.shim();
    let children = || {
        let path = format!("/proc/{shim}/task/{shim}/children");
        std::fs::read_to_string(path).unwrap_or_default().split_whitespace().count()
    };
    wait::until("one child is left", || (children() == 1).then_some(()));
}

/// After which an event that was not heard is made once more.
const SOON: Duration = Duration::from_secs(1);

/// `ctr events`, from now on.
struct Events(Child, BufReader<std::process::ChildStdout>);

impl Events {
    fn listen() -> Self {
        let mut command = daemon::shared().client();
        let command = command.args(["events"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ctr can be executed");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut events = Self(child, lines);
        // Nothing says that it listens but an event that it has heard.
        let label = container::name("heard");
        wait::until("events are heard", || {
            let image = e2e_containerd::image::IMAGE;
            ctr::ctr(&["image", "label", image, &format!("{label}=1")]).code(0);
            // What came before it listened it never hears, nor perhaps anything else.
            let heard = events.is_there_one(SOON) && events.line().contains("/images/update");
            heard.then_some(())
        });
        events
    }

    fn is_there_one(&self, patience: Duration) -> bool {
        let fd = self.1.get_ref().as_fd();
        !self.1.buffer().is_empty() || wait::readable(fd, Instant::now() + patience)
    }

    fn line(&mut self) -> String {
        assert!(self.is_there_one(wait::PATIENCE), "no more events");
        let mut line = String::new();
        self.1.read_line(&mut line).expect("it can be read");
        line
    }

    /// The topics of `name` until `last`.
    fn until(&mut self, name: &str, last: &str) -> Vec<String> {
        let mut topics = Vec::new();
        while topics.last().is_none_or(|topic| topic != last) {
            let line = self.line();
            assert!(!line.is_empty(), "the events end after {topics:?}");
            let of_container = line.contains(&format!("\"container_id\":\"{name}\""));
            let topic = line.split_whitespace().find(|word| word.starts_with("/tasks/"));
            topics.extend(topic.filter(|_| of_container).map(str::to_owned));
        }
        topics
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn events_come_in_order() {
    let mut events = Events::listen();
    let container = Container::idle();
    let name = container.name().to_owned();
    container.exec(&[], &["true"]).code(0);
    container.task("pause", &[]).code(0);
    container.task("resume", &[]).code(0);
    drop(container);
    let topics = events.until(&name, "/tasks/delete");
    let expected = [
        "create",
        "start",
        "exec-added",
        "exec-started",
        "exit",
        "paused",
        "resumed",
        "exit",
        "delete",
    ];
    assert_eq!(topics, expected.map(|topic| format!("/tasks/{topic}")));
}

fn lack_of_memory_is_told_first() -> Result<(), Skip> {
    needs("memory")?;
    let mut events = Events::listen();
    let flags = ["--memory-limit", "16777216"];
    let container = Container::start(&flags, &["sh", "-c", "exec tail /dev/zero"]);
    container.becomes("STOPPED");
    let name = container.name().to_owned();
    drop(container);
    let topics = events.until(&name, "/tasks/delete");
    let of = |topic: &str| topics.iter().position(|found| found == topic);
    match daemon::shared().is_rtn() {
        true => assert!(
            of("/tasks/oom").is_some() && of("/tasks/oom") < of("/tasks/exit"),
            "{topics:?}"
        ),
        // It comes through another queue than the exit (containerd/containerd#8893).
        false => assert!(of("/tasks/exit").is_some(), "{topics:?}"),
    }
    Ok(())
}

/// The controller is there for containers.
fn needs(controller: &str) -> Result<(), Skip> {
    host::needs(
        cgroup::has(controller),
        format!("cgroup v1 hierarchies, and no controller {controller}"),
    )
}

fn a_pod_has_one_shim() {
    let group = container::name("pod");
    let annotation = format!("io.containerd.runc.v2.group={group}");
    let flags = ["--annotation", annotation.as_str()];
    let first = Container::start(&flags, &["sleep", "1000"]);
    let second = Container::start(&flags, &["sleep", "1000"]);
    assert_eq!(first.shim(), second.shim());
    drop(first);
    assert_eq!(second.exec(&[], &["echo", "still"]).ok(), "still");
    assert_ne!(Container::idle().shim(), second.shim());
}
