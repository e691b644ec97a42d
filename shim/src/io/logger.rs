//! Programs that take the output of a process: `binary://` and `binary-v2://`
//! (containerd, core/runtime/v2/README.md "Logging").

use std::{
    os::fd::{AsFd, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};

use libcontainer::program::unblocked;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Owner, nonblocking, pipe, target::Program};
use crate::{
    children::{self, Child},
    error::{Code, Doing, Fault, Result},
    ready,
};

/// How long a logger may take to become ready; containerd's own figure.
const READY: Duration = Duration::from_secs(10);
/// How long a logger may take to obey SIGTERM.
const TERM: Duration = Duration::from_secs(2);

/// A running logger. It reads from the process itself; nothing passes through here.
#[derive(Debug)]
pub(super) struct Logger(Child);

impl Logger {
    /// Starts it, and waits until it is ready. The second are the process's stdout and stderr.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when it does not become ready in time; FAILED_PRECONDITION when one of the
    /// second kind ends without a word.
    pub(super) async fn start(program: &Program, owner: Owner<'_>) -> Result<(Self, [OwnedFd; 2])> {
        let (stdout, stdout_of_process) = pipe(owner)?;
        let (stderr, stderr_of_process) = pipe(owner)?;
        let (ready, tell) = pipe_with(PipeFlags::CLOEXEC).doing(|| "cannot make a pipe")?;
        let mut command = Command::new(&program.path);
        command.args(&program.args);
        command.env("CONTAINER_ID", owner.id).env("CONTAINER_NAMESPACE", owner.namespace);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let fds = [stdout.as_fd(), stderr.as_fd(), tell.as_fd()].map(Some);
        let logger = Self(children::spawn(unblocked(&mut command), &fds)?);
        drop((stdout, stderr, tell));
        match answer(ready, program).await {
            Ok(()) => Ok((logger, [stdout_of_process, stderr_of_process])),
            Err(fault) => {
                drop((stdout_of_process, stderr_of_process));
                logger.finish(Instant::now()).await;
                Err(fault)
            }
        }
    }

    /// Waits until it has read everything and ends, until `deadline`; then makes it end.
    pub(super) async fn finish(self, deadline: Instant) {
        if timeout_at(deadline, self.0.ended()).await.is_ok() {
            return;
        }
        // It may have ended just now.
        let _ = self.0.signal(libc::SIGTERM);
        if timeout(TERM, self.0.ended()).await.is_err() {
            let _ = self.0.signal(libc::SIGKILL);
            self.0.ended().await;
        }
    }
}

/// A logger of the first kind closes the descriptor when it is ready, or writes to it; one of the
/// second kind writes, so that its end is not mistaken for that.
async fn answer(ready: OwnedFd, program: &Program) -> Result<()> {
    let doing = || format!("cannot wait for logger {:?}", program.path);
    nonblocking(&ready)?;
    let ready = ready::for_reading(ready).doing(doing)?;
    let waited = timeout(READY, ready.readable()).await;
    let late = |_| {
        let what = format!("the logger {:?} is not ready after {READY:?}", program.path);
        Fault::new(Code::DEADLINE_EXCEEDED, what)
    };
    drop(waited.map_err(late)?.doing(doing)?);
    let mut byte = [0];
    match rustix::io::read(ready.get_ref(), &mut byte).doing(doing)? {
        0 if program.answers => Err(Fault::precondition(format!(
            "the logger {:?} has ended, or closed descriptor 5, before it was ready",
            program.path
        ))),
        _ => Ok(()),
    }
}
