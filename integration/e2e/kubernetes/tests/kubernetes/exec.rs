//! `kubectl exec`, `kubectl attach`, and probes.

use e2e_common::host;
use e2e_kubernetes::{
    Container, Pod, Stream, call, daemon,
    message::{AttachRequest, ExecRequest},
    wait,
};

e2e_common::tests! {
    status_and_both_streams
    a_missing_program
    a_time_that_is_over
    streams
    a_terminal
    attached
    probes_leave_nothing
}

fn status_and_both_streams() {
    let pod = Pod::run();
    let container = pod.idle();
    let said = container.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.status, &*said.stdout, &*said.stderr), (3, "out\n", "err\n"));
    assert_eq!(container.exec(&["sh", "-c", "kill -KILL $$"]).status, 128 + 9);
}

fn a_missing_program() {
    let pod = Pod::run();
    let refused = pod.idle().try_exec(&["/bin/missing"], 0).expect_err("there is none");
    assert!(refused.message().contains("no such file"), "{refused}");
}

/// The processes in the container's pid namespace.
fn processes(container: &Container) -> usize {
    let namespace = host::namespace(container.pid(), "pid");
    let path = |pid| format!("/proc/{pid}/ns/pid");
    let same = |pid: &u32| std::fs::read_link(path(*pid)).is_ok_and(|found| found == namespace);
    host::processes().iter().filter(|pid| same(pid)).count()
}

fn a_time_that_is_over() {
    let pod = Pod::run();
    let container = pod.idle();
    let late = container.try_exec(&["sleep", "1000"], 1).expect_err("it takes longer");
    assert!(late.message().contains("exceeded"), "{late}");
    wait::until("it is killed", || (processes(&container) == 1).then_some(()));
    assert_eq!(container.shell("echo still"), "still");
}

#[track_caller]
fn open(request: ExecRequest) -> Stream {
    let url = call(request).expect("it can be executed").url;
    Stream::open(&url).expect("containerd serves it")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn streams() {
    let pod = Pod::run();
    let container = pod.idle();
    let script = "read line; echo \"out $line\"; echo err >&2; exit 4";
    let mut stream = open(ExecRequest {
        container_id: container.id().to_owned(),
        cmd: words(&["sh", "-c", script]),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    });
    stream.send("typed\n").expect("it listens");
    let said = stream.end().expect("it talks");
    assert_eq!((&*said.stdout, &*said.stderr), ("out typed\n", "err\n"));
    assert!(said.result.contains("\"message\":\"4\""), "{}", said.result);
}

fn a_terminal() {
    let pod = Pod::run();
    let container = pod.idle();
    let mut stream = open(ExecRequest {
        container_id: container.id().to_owned(),
        cmd: words(&["sh"]),
        stdin: true,
        stdout: true,
        tty: true,
        stderr: false,
    });
    stream.resize(120, 40).expect("it listens");
    stream.send("test -t 0 && echo is-$((20+3)); stty size\n").expect("it listens");
    assert!(stream.hears("is-23").expect("it talks"), "{stream:?}");
    // The size comes on its own channel, and may come later than what is typed.
    let deadline = "until stty size | grep -q '^40 120'; do sleep 0.1; done; echo size-$((4+5))\n";
    stream.send(deadline).expect("it listens");
    assert!(stream.hears("size-9").expect("it talks"), "{stream:?}");
    stream.send("exit\n").expect("it listens");
    let said = stream.end().expect("it talks");
    assert!(said.result.contains("Success"), "{}", said.result);
}

fn attached() {
    let pod = Pod::run();
    let script = "while read line; do echo \"heard $line\"; done; echo over";
    let container = pod.start_with(&["sh", "-c", script], |config| {
        config.stdin = true;
        config.stdin_once = true;
    });
    let url = call(AttachRequest {
        container_id: container.id().to_owned(),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    });
    let url = url.expect("it can be attached to").url;
    let mut stream = Stream::open(&url).expect("containerd serves it");
    stream.send("me\n").expect("it listens");
    assert!(stream.hears("heard me\n").expect("it talks"), "{stream:?}");
    drop(stream);
    // Who was alone at its input is gone, and with it the input.
    assert_eq!(container.ended().exit_code, 0);
    assert_eq!(container.log().last().map(|line| line.text.clone()), Some("over".to_owned()));
}

/// Descriptors and children of the shim, and files of the bundle.
fn traces(container: &Container, shim: u32) -> [usize; 3] {
    let count = |path: String| std::fs::read_dir(path).map(Iterator::count).unwrap_or_default();
    let children = host::proc(shim, &format!("task/{shim}/children"));
    [
        count(format!("/proc/{shim}/fd")),
        children.split_whitespace().count(),
        count(container.bundle().display().to_string()),
    ]
}

fn probes_leave_nothing() {
    let pod = Pod::run();
    let container = pod.idle();
    let shim: u32 = host::status(container.pid(), "PPid").parse().expect("its parent is the shim");
    container.exec(&["true"]).ok();
    let before = traces(&container, shim);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let probe = || (0..25).for_each(|_| drop(container.exec(&["true"]).ok().to_owned()));
            scope.spawn(probe);
        }
    });
    match daemon::shared().is_rtn() {
        true => {
            // Of the probe before there may have been something yet, but not a hundred times.
            let more =
                || traces(&container, shim).iter().zip(before).any(|(now, then)| *now > then);
            wait::until("nothing is left", || (!more()).then_some(()))
        }
        // It keeps descriptors for later; one for each probe would be a leak.
        false => assert!(traces(&container, shim)[0] < before[0] + 100),
    }
    assert_eq!(processes(&container), 1);
}
