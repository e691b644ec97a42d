//! `ctr task exec`.

use e2e_common::host;
use e2e_containerd::{Container, ctr, wait};

e2e_common::tests! {
    output_and_status
    a_missing_program
    a_terminal
    an_id_twice
    many_at_once
    listed_with_its_id
    not_while_paused
    not_after_the_end
    a_child_that_stays
}

fn output_and_status() {
    let container = Container::idle();
    let output = container.exec(&[], &["sh", "-c", "echo inside; exit 3"]);
    assert_eq!(output.code(3).out(), "inside");
    container.exec(&[], &["sh", "-c", "kill -KILL $$"]).code(128 + 9);
}

fn a_missing_program() {
    let container = Container::idle();
    let output = container.exec(&[], &["/bin/missing"]);
    output.fails("exec failed").fails("no such file or directory");
    // Once, by the client: what the runtime says is not the process's output.
    assert_eq!(output.err().matches("no such file or directory").count(), 1, "{output:?}");
    container.exec(&[], &["true"]).code(0);
}

fn a_terminal() {
    let container = Container::idle();
    let name = container.name();
    let words = [
        "task",
        "exec",
        "-t",
        "--exec-id",
        "tty",
        name,
        "sh",
        "-c",
        "test -t 0 -a -t 1; echo tty=$?",
    ];
    let output = ctr::on_terminal(&words);
    assert!(output.code(0).out().contains("tty=0"), "{output:?}");
}

fn an_id_twice() {
    let container = Container::idle();
    let words = ["task", "exec", "-d", "--exec-id", "same", container.name(), "sleep", "1000"];
    ctr::ctr(&words).code(0);
    ctr::ctr(&words).fails("already exists");
}

fn many_at_once() {
    let container = Container::idle();
    std::thread::scope(|scope| {
        let execs: Vec<_> = (0..8)
            .map(|number: u32| {
                let container = &container;
                scope.spawn(move || {
                    let script = format!("echo {number}; exit {number}");
                    let output = container.exec(&[], &["sh", "-c", &script]);
                    assert_eq!(output.code(number as i32).out(), number.to_string());
                })
            })
            .collect();
        execs.into_iter().for_each(|exec| exec.join().expect("each one has its own exit"));
    });
}

fn listed_with_its_id() {
    let container = Container::idle();
    let words = ["task", "exec", "-d", "--exec-id", "known", container.name(), "sleep", "1000"];
    ctr::ctr(&words).code(0);
    let listed = container.task("ps", &[]).ok();
    let exec = listed.lines().find(|line| line.contains("known")).expect(&listed);
    let pid: u32 = exec.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect(exec);
    // Its descriptors are closed before its words are in place.
    wait::until("it runs", || (host::command_line(pid) == ["sleep", "1000"]).then_some(()));
    assert!(listed.lines().any(|line| line.starts_with(&container.pid().to_string())), "{listed}");
}

fn not_while_paused() {
    let container = Container::idle();
    container.task("pause", &[]).code(0);
    container.exec(&[], &["true"]).fails("cannot exec in a paused");
    container.task("resume", &[]).code(0);
    container.exec(&[], &["true"]).code(0);
}

fn not_after_the_end() {
    let container = Container::idle();
    container.task("kill", &["-s", "KILL"]).code(0);
    container.becomes("STOPPED");
    assert_ne!(container.exec(&[], &["true"]).status, Some(0));
}

/// It inherits the streams of a process that ends before it.
fn a_child_that_stays() {
    let container = Container::idle();
    let script = "sleep 1000 </dev/null >/dev/null 2>&1 & echo started";
    assert_eq!(container.exec(&[], &["sh", "-c", script]).ok(), "started");
    let pid = container.pid();
    let children = || {
        let listed = container.task("ps", &[]).ok();
        (listed.lines().count() == 3).then_some(())
    };
    wait::until("it is there", children);
    container.task("kill", &["-s", "KILL"]).code(0);
    container.becomes("STOPPED");
    assert!(!e2e_common::host::is_alive(pid));
}
