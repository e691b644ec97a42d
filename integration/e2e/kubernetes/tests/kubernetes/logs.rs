//! `kubectl logs`.

use std::fs;

use e2e_common::host::Skip;
use e2e_kubernetes::{
    Container, Pod, call, container::Line, daemon, message::ReopenContainerLogRequest, wait,
};

e2e_common::tests! {
    lines_of_both_streams
    a_line_without_an_end
    a_long_line
    all_of_much
    rotated
}

/// The whole log of a container that has ended.
#[track_caller]
fn whole(container: &Container, is_whole: impl Fn(&[Line]) -> bool) -> Vec<Line> {
    container.ended();
    wait::until("the log", || Some(container.log()).filter(|lines| is_whole(lines)))
}

fn line(stream: &str, partial: bool, text: &str) -> Line {
    Line { stream: stream.to_owned(), partial, text: text.to_owned() }
}

fn lines_of_both_streams() {
    let pod = Pod::run();
    let container = pod.start(&["sh", "-c", "echo one; echo two >&2; echo; echo ' four '"]);
    let lines = whole(&container, |lines| lines.len() == 4);
    let of = |stream: &str| -> Vec<_> {
        let lines = lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| (line.partial, line.text.as_str())).collect()
    };
    assert_eq!(of("stdout"), [(false, "one"), (false, ""), (false, " four ")]);
    assert_eq!(of("stderr"), [(false, "two")]);
}

fn a_line_without_an_end() {
    let pod = Pod::run();
    let container = pod.start(&["printf", "whole\\npart"]);
    let lines = whole(&container, |lines| lines.len() == 2);
    assert_eq!(lines, [line("stdout", false, "whole"), line("stdout", true, "part")]);
}

/// Longer than what containerd writes at once (`max_container_log_line_size`).
fn a_long_line() {
    let pod = Pod::run();
    let script = "head -c 50000 /dev/zero | tr '\\0' x; echo; echo after";
    let container = pod.start(&["sh", "-c", script]);
    let is_whole = |lines: &[Line]| lines.last().is_some_and(|line| line.text == "after");
    let lines = whole(&container, is_whole);
    let [parts @ .., end, _] = lines.as_slice() else { panic!("{} lines", lines.len()) };
    assert!(!parts.is_empty() && parts.iter().all(|part| part.partial) && !end.partial);
    let text: String = lines[..lines.len() - 1].iter().map(|line| line.text.as_str()).collect();
    assert_eq!(text, "x".repeat(50000));
}

/// What was written before the end arrives, however much it is.
fn all_of_much() -> Result<(), Skip> {
    let pod = Pod::run();
    let container = pod.start(&["seq", "100000"]);
    // containerd 1.6 closes its ends of the pipes when it hears of the exit. Its own shim then waits
    // for a reader until containerd asks no more.
    if daemon::since(1, 7).is_err() && !daemon::shared().is_rtn() {
        return daemon::since(1, 7);
    }
    assert_eq!(container.ended().exit_code, 0);
    daemon::since(1, 7)?;
    let lines = whole(&container, |lines| lines.len() == 100_000);
    assert!(lines.iter().zip(1..).all(|(line, number): (_, u32)| line.text == number.to_string()));
    Ok(())
}

fn rotated() {
    let pod = Pod::run();
    let container =
        pod.start(&["sh", "-c", "echo before; while ! [ -e /go ]; do sleep 0.1; done; echo after"]);
    wait::until("the first line", || (container.log().len() == 1).then_some(()));
    let old = container.log_path().with_extension("old");
    fs::rename(container.log_path(), &old).expect("it is there");
    call(ReopenContainerLogRequest { container_id: container.id().to_owned() }).expect("it can");
    container.shell("touch /go");
    assert_eq!(whole(&container, |lines| !lines.is_empty()), [line("stdout", false, "after")]);
    assert!(fs::read_to_string(old).expect("it is there").contains("stdout F before"));
}
