//! Runs hooks: the container's state on stdin, what they say kept for the error.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::MemfdFlags,
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    error::{Error, Kind},
    plan::Hook,
    program::unblocked,
    step::{Cause, Detail},
};

/// How a hook ended that did not succeed. It crosses from the child as a number: an errno as it
/// is, and below 0 what no errno can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    NotStarted(i32),
    Exited(i32),
    Signalled(i32),
    TimedOut,
    /// The container process has ended meanwhile, and the hook was killed.
    Alone,
}

const SIGNALLED: i32 = -1000;
const TIMED_OUT: i32 = -2000;
const ALONE: i32 = -2001;

impl Ending {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::NotStarted(errno) => errno,
            Self::Exited(status) => -status,
            Self::Signalled(signal) => SIGNALLED - signal,
            Self::TimedOut => TIMED_OUT,
            Self::Alone => ALONE,
        }
    }

    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            TIMED_OUT => Self::TimedOut,
            ALONE => Self::Alone,
            code if code < SIGNALLED => Self::Signalled(SIGNALLED - code),
            code if code < 0 => Self::Exited(-code),
            errno => Self::NotStarted(errno),
        }
    }
}

/// A hook's failure, and the end of what it printed.
#[derive(Debug)]
pub(crate) struct HookFailure {
    ending: Ending,
    output: Vec<u8>,
}

impl From<HookFailure> for Cause {
    fn from(failure: HookFailure) -> Self {
        Self { errno: failure.ending.code(), detail: Detail::new(&failure.output) }
    }
}

impl HookFailure {
    fn from_io(error: &std::io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Self { ending: Ending::NotStarted(errno), output: Vec::new() }
    }
}

impl From<std::io::Error> for HookFailure {
    fn from(error: std::io::Error) -> Self {
        Self::from_io(&error)
    }
}

impl From<Errno> for HookFailure {
    fn from(errno: Errno) -> Self {
        Self::from_io(&errno.into())
    }
}

/// Runs all of `hooks` of config.json's `field`, in order; the first failure ends it. So does the end
/// of `process`: one that is being made is waited for by nobody else, and who kills it means all this.
pub(crate) fn run_all(
    field: &str,
    hooks: &[Hook],
    state: &[u8],
    process: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let mut hooks = hooks.iter().enumerate();
    hooks.try_for_each(|(index, hook)| run_one(field, index, hook, state, process))
}

/// Runs the one hook at `hooks.<field>[index]`, as [`run_all`].
pub(crate) fn run_one(
    field: &str,
    index: usize,
    hook: &Hook,
    state: &[u8],
    process: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    run_beside(hook, state, process).map_err(|failure| {
        let cause = Cause::from(failure);
        explain(field, index, hook, Ending::from_code(cause.errno), &cause.detail.text())
    })
}

/// The error for a hook that failed here or in the child.
pub(crate) fn explain(
    field: &str,
    index: usize,
    hook: &Hook,
    ending: Ending,
    output: &str,
) -> Error {
    let path = hook.path.to_string_lossy();
    let error = Error::new(Kind::Hook, format!("error running {field} hook #{index} {path:?}"))
        .at(format!("hooks.{field}[{index}]"));
    let said = if output.is_empty() { String::new() } else { format!(": {output}") };
    match ending {
        Ending::NotStarted(errno) => error.because(std::io::Error::from_raw_os_error(errno)),
        Ending::Exited(status) => error.because(format!("exit status {status}{said}")),
        Ending::Signalled(signal) => error.because(format!("killed by signal {signal}{said}")),
        Ending::Alone => error.because(format!(
            "the container process has ended meanwhile, and the hook was killed{said}"
        )),
        Ending::TimedOut => {
            let seconds = hook.timeout.unwrap_or_default();
            error
                .because(format!("timed out after {seconds} s{said}"))
                .hint("the hook was killed; its time limit is its field \"timeout\"")
        }
    }
}

/// Runs one hook to its end or its timeout. stdin and output are files in memory: neither side
/// can block on the other.
pub(crate) fn run(hook: &Hook, state: &[u8]) -> Result<(), HookFailure> {
    run_beside(hook, state, None)
}

fn run_beside(
    hook: &Hook,
    state: &[u8],
    process: Option<BorrowedFd<'_>>,
) -> Result<(), HookFailure> {
    let mut stdin = memory_file()?;
    stdin.write_all(state)?;
    stdin.seek(SeekFrom::Start(0))?;
    let mut output = memory_file()?;
    let mut child = unblocked(&mut command(hook, stdin, &output)?).spawn()?;
    let ending = match wait(&mut child, hook.timeout, process)? {
        Ended::Hook(status) if status.success() => return Ok(()),
        Ended::Hook(status) => ending(status),
        Ended::Time => Ending::TimedOut,
        Ended::Process => Ending::Alone,
    };
    let mut text = Vec::new();
    output.seek(SeekFrom::Start(0))?;
    output.read_to_end(&mut text)?;
    Err(HookFailure { ending, output: text })
}

fn memory_file() -> Result<File, Errno> {
    rustix::fs::memfd_create(c"hook", MemfdFlags::CLOEXEC).map(File::from)
}

fn command(hook: &Hook, stdin: File, output: &File) -> Result<Command, HookFailure> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let text = |text: &crate::plan::Text| OsStr::from_bytes(text.to_bytes()).to_owned();
    let mut command = Command::new(text(&hook.path));
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(text(name)).args(args.iter().map(text));
    }
    if let Some(env) = &hook.env {
        command.env_clear();
        for variable in env {
            let mut parts = variable.to_bytes().splitn(2, |byte| *byte == b'=');
            let (name, value) = (parts.next(), parts.next());
            command.env(
                OsStr::from_bytes(name.unwrap_or_default()),
                OsStr::from_bytes(value.unwrap_or_default()),
            );
        }
    }
    command.stdin(stdin).stdout(output.try_clone()?).stderr(output.try_clone()?);
    Ok(command)
}

/// What ended first.
enum Ended {
    Hook(ExitStatus),
    Time,
    Process,
}

/// Unless it is the hook that ends, it is killed.
fn wait(
    child: &mut Child,
    timeout: Option<u32>,
    process: Option<BorrowedFd<'_>>,
) -> Result<Ended, HookFailure> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let fds = [Some(pidfd.as_fd()), process];
    let mut fds: Vec<_> =
        fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let in_time = ready_before(&mut fds, deadline)?;
    if !fds[0].revents().is_empty() {
        return Ok(Ended::Hook(child.wait()?));
    }
    child.kill()?;
    child.wait()?;
    Ok(if in_time { Ended::Process } else { Ended::Time })
}

fn ready_before(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<bool, Errno> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| rustix::event::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(fds, left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    match status.signal() {
        Some(signal) => Ending::Signalled(signal),
        None => Ending::Exited(status.code().unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u32>) -> Hook {
        let json = serde_json::json!({
            "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": timeout}]
        });
        let hooks = serde_json::from_value(json).unwrap();
        crate::plan::hooks::plan(Some(&hooks), &mut Vec::new()).poststop.remove(0)
    }

    #[test]
    fn the_state_arrives_on_stdin() {
        assert!(run(&hook("test \"$(cat)\" = state", None), b"state").is_ok());
    }

    #[test]
    fn a_failure_brings_status_and_last_words() {
        let failure = run(&hook("echo out; echo err >&2; exit 3", None), b"").unwrap_err();
        assert_eq!(failure.ending, Ending::Exited(3));
        assert_eq!(failure.output, b"out\nerr\n");
    }

    /// `rtn run` blocks all of them, and a shim some.
    #[test]
    fn no_signal_is_blocked() {
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        let script = "grep -q '^SigBlk:\t0*$' /proc/self/status && sleep 0 & wait $!";
        assert!(run(&hook(script, Some(60)), b"").is_ok());
    }

    #[test]
    fn a_hook_that_hangs_is_killed() {
        let failure = run(&hook("exec sleep 1000", Some(1)), b"").unwrap_err();
        assert_eq!(failure.ending, Ending::TimedOut);
    }

    #[test]
    fn endings_cross_as_numbers() {
        for ending in [
            Ending::NotStarted(2),
            Ending::Exited(255),
            Ending::Signalled(64),
            Ending::TimedOut,
            Ending::Alone,
        ] {
            assert_eq!(Ending::from_code(ending.code()), ending);
        }
    }
}
