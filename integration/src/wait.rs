//! Waiting: for a process or a descriptor, by poll(2), and never without end.

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
};

use crate::{Mode, Output};

/// How long anything may take before it counts as hung. No test measures time; this is far beyond
/// what the slowest machine needs.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Waits until `fd` can be read (a pidfd: until its process has ended); false when time is up.
pub fn readable(fd: impl AsFd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// A descriptor of the process `pid`; `None` when there is none.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Waits for a child, or for an orphan that became ours (see [`crate::Test::new`]), and reaps it.
/// The exit status is the code, or 128 + signal.
pub fn reap(pidfd: BorrowedFd<'_>) -> i32 {
    assert!(readable(pidfd, DEADLINE), "a process did not end within {DEADLINE:?}");
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
        .expect("the process is a child of this one")
        .expect("the process has ended");
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => panic!("neither an exit nor a signal"),
    }
}

/// Runs `command` to its end. Its output goes to memory files, so that a daemon which keeps them
/// open does not keep us waiting.
pub fn output(command: &mut Command) -> Output {
    let (stdout, stderr) = (Output::sink(), Output::sink());
    command.stdout(Output::dup(&stdout)).stderr(Output::dup(&stderr));
    let status =
        exit_status(&mut command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")), command);
    Output { status, stdout: Output::text(&stdout), stderr: Output::text(&stderr) }
}

/// Waits for a spawned command; one that hangs is killed and fails the test.
pub fn exit_status(child: &mut Child, command: &Command) -> i32 {
    let pidfd = pidfd(child.id() as i32).expect("a child that nobody has reaped");
    if !readable(&pidfd, DEADLINE) {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} did not end within {DEADLINE:?}");
    }
    let status = child.wait().expect("the child can be waited for");
    status
        .code()
        .or_else(|| std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s))
        .unwrap_or(-1)
}

/// Reads a stream until a line equals `wanted`; returns all lines before it.
pub fn line(stream: &mut (impl Read + AsFd), wanted: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line =
            next_line(stream).unwrap_or_else(|| panic!("no line {wanted:?}, only {lines:?}"));
        if line == wanted {
            return lines;
        }
        lines.push(line);
    }
}

/// The next line, byte by byte so that nothing beyond it is taken; `None` at the end.
pub fn next_line(stream: &mut (impl Read + AsFd)) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        assert!(readable(stream.as_fd(), DEADLINE), "no line within {DEADLINE:?}");
        match stream.read(&mut byte) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            // The last descriptor of a terminal's other side has been closed.
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) && line.is_empty() => {
                return None;
            }
            Err(error) => panic!("reading a line: {error}"),
        }
    }
    Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
}

/// Everything up to the end of the stream.
pub fn rest(stream: &mut (impl Read + AsFd)) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        assert!(readable(stream.as_fd(), DEADLINE), "the stream did not end within {DEADLINE:?}");
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => break,
            Err(error) => panic!("reading to the end: {error}"),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits until `done` holds, looking again after every change in `directory`.
#[track_caller]
pub fn until(directory: &Path, done: impl Fn() -> bool) {
    assert!(changes(directory, DEADLINE, done), "nothing happened");
}

/// As [`until`]; false when time is up.
pub fn changes(directory: &Path, limit: Duration, done: impl Fn() -> bool) -> bool {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
    changes.add_watch(directory, AddWatchFlags::IN_ALL_EVENTS).expect("a watch");
    let end = Instant::now() + limit;
    while !done() {
        if !readable(&changes, end.saturating_duration_since(Instant::now())) {
            return false;
        }
        let _ = changes.read_events();
    }
    true
}

/// Starts `command` with a pipe as its standard output.
pub fn spawn_with_pipe(command: &mut Command) -> io::Result<(Child, std::io::PipeReader)> {
    let (reader, writer) = std::io::pipe()?;
    Mode::current().own(&writer);
    let child = command.stdout(writer).spawn()?;
    // The writer lives on in the command.
    command.stdout(Stdio::null());
    Ok((child, reader))
}
