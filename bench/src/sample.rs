//! One timed run: spawn, wait in the kernel, read what the children cost.
//!
//! Nothing here polls: a pidfd becomes readable at the exit, so the clock stops when the kernel
//! says so and not at the next look.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use libcontainer::{Error, Kind, Result, error::Context};
use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid},
};

const DEADLINE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// What one run of a workload took. CPU time is that of the runtime and of every process below it
/// that somebody waited for, the container's included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Must exit with status 0.
    Run(Vec<OsString>),
    /// The process in the pid file, adopted by us when its parent ended, must end.
    Await(PathBuf),
}

/// The stages of one run, timed as one.
pub(crate) fn take(steps: &[Step]) -> Result<Sample> {
    let mut log = Log::new()?;
    let (before, clock) = (usage()?, Instant::now());
    for step in steps {
        match step {
            Step::Run(command) => run(command, &mut log)?,
            Step::Await(pid_file) => reap(pid_file)?,
        }
    }
    let wall = clock.elapsed();
    let after = usage()?;
    let passed = |end: i64, start: i64| Duration::from_micros((end - start).max(0) as u64);
    Ok(Sample {
        wall,
        user: passed(after.user_time().num_microseconds(), before.user_time().num_microseconds()),
        system: passed(
            after.system_time().num_microseconds(),
            before.system_time().num_microseconds(),
        ),
    })
}

/// Starts all commands, and then waits for the end of each.
pub(crate) fn all_at_once(steps: &[Step]) -> Result<()> {
    let mut log = Log::new()?;
    let mut started = Vec::new();
    for step in steps {
        if let Step::Run(command) = step {
            started.push((command, spawn(command, &log)?));
        }
    }
    // All are waited for, whatever the first of them says.
    let ends: Vec<_> =
        started.iter_mut().map(|(command, child)| end(command, child, &mut log)).collect();
    ends.into_iter().collect()
}

fn usage() -> Result<Usage> {
    getrusage(UsageWho::RUSAGE_CHILDREN).doing(|| "cannot read the children's resource usage")
}

fn run(command: &[OsString], log: &mut Log) -> Result<()> {
    let mut child = spawn(command, log)?;
    end(command, &mut child, log)
}

fn line(command: &[OsString]) -> String {
    command.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn spawn(command: &[OsString], log: &Log) -> Result<Child> {
    Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.writer()?)
        .spawn()
        .doing(|| format!("cannot run {}", line(command)))
}

fn end(command: &[OsString], child: &mut Child, log: &mut Log) -> Result<()> {
    if !await_exit(Pid::from_child(child))? {
        stop(child)?;
        return Err(failed(&line(command), "no end after 60 s", log));
    }
    let status = child.wait().doing(|| "cannot wait")?;
    if status.success() { Ok(()) } else { Err(failed(&line(command), &status.to_string(), log)) }
}

fn stop(child: &mut Child) -> Result<()> {
    child.kill().doing(|| "cannot kill a runtime that hangs")?;
    child.wait().map(|_| ()).doing(|| "cannot wait")
}

fn failed(line: &str, status: &str, log: &mut Log) -> Error {
    Error::new(
        Kind::Os,
        format!("cannot report a run that failed: {line}: {status}: {}", log.read().trim_end()),
    )
}

fn reap(pid_file: &Path) -> Result<()> {
    let pid = read_pid(pid_file)?;
    if !await_exit(pid)? {
        return Err(Error::new(
            Kind::Os,
            format!("cannot report a run that failed: {pid:?} still runs after 60 s"),
        ));
    }
    waitpid(Some(pid), WaitOptions::empty()).map(|_| ()).doing(|| format!("cannot reap {pid:?}"))
}

pub(crate) fn read_pid(file: &Path) -> Result<Pid> {
    let text = std::fs::read_to_string(file).doing(|| format!("cannot read {}", file.display()))?;
    text.trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::new(Kind::Os, format!("cannot use \"{text}\" in {}", file.display())))
}

/// Whether our child ended before the deadline; it is left as a zombie.
fn await_exit(pid: Pid) -> Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "cannot open a pidfd")?;
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&DEADLINE))
        .doing(|| "cannot poll a pidfd")?;
    Ok(ready == 1)
}

/// What the commands of one run said on standard error; only read when one failed.
struct Log(File);

impl Log {
    fn new() -> Result<Self> {
        let file =
            memfd_create("stderr", MemfdFlags::CLOEXEC).doing(|| "cannot make a memory file")?;
        Ok(Self(file.into()))
    }

    fn writer(&self) -> Result<File> {
        self.0.try_clone().doing(|| "cannot copy a file descriptor")
    }

    fn read(&mut self) -> String {
        let mut text = String::new();
        let read = self.0.seek(SeekFrom::Start(0)).and_then(|_| self.0.read_to_string(&mut text));
        read.map_or_else(|error| error.to_string(), |_| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Step {
        Step::Run(["/bin/sh", "-c", script].map(OsString::from).to_vec())
    }

    #[test]
    fn a_run_counts_the_processes_below_it() {
        let sample = take(&[shell("(i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done); true")])
            .expect("a run");
        assert!(sample.user + sample.system > Duration::ZERO);
        assert!(sample.wall > Duration::ZERO);
    }

    #[test]
    fn a_failed_run_is_an_error_with_what_it_said() {
        let text =
            take(&[shell("echo some reason >&2; exit 3")]).expect_err("a failure").to_string();
        assert!(text.contains("some reason") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(take(&[Step::Run(vec!["/no/such/program".into()])]).is_err());
    }
}
