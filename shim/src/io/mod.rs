//! The standard streams of a process: between pipes or a terminal on its side and what containerd
//! named on the other.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, OFlags, fchown, openat},
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
};

mod console;
mod logger;
mod relay;
mod sink;
mod target;

pub(crate) use console::Console;
use logger::Logger;
use sink::Sink;
use target::Target;

use crate::{
    error::{Doing, Fault, Result},
    runtime::Streams,
};

/// How long the rest of an output may take after its process has ended.
const PATIENCE: Duration = Duration::from_secs(10);

type Output = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What containerd named: paths of fifos, URIs, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) terminal: bool,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Whose streams they are, for a logger and for the pipes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The streams of one process while it runs.
pub(crate) struct Io {
    /// The writing end of the fifo for the standard input: as long as it is open, a client that goes
    /// away does not end the input.
    input_held: Option<OwnedFd>,
    input: Option<AbortHandle>,
    outputs: Vec<JoinHandle<()>>,
    /// Outputs that wait for [`Io::begin`].
    prepared: Vec<Output>,
    /// Becomes true when the process has ended: what is in the pipes then is all there is.
    ended: watch::Sender<bool>,
    terminal: Option<Arc<OwnedFd>>,
    logger: Option<Logger>,
}

impl Io {
    fn new() -> Self {
        Self {
            input_held: None,
            input: None,
            outputs: Vec::new(),
            prepared: Vec::new(),
            ended: watch::Sender::new(false),
            terminal: None,
            logger: None,
        }
    }

    /// Opens everything for a process without a terminal; the second is its side.
    ///
    /// # Errors
    /// What cannot be opened, and a logger that does not start.
    pub(crate) async fn pipes(names: &Names, owner: Owner<'_>) -> Result<(Self, Streams)> {
        let mut io = Self::new();
        let stdin = io.input(&names.stdin, owner)?;
        let [stdout, stderr] = match Target::parse(&names.stdout)? {
            Target::Logger(program) => {
                let (logger, streams) = Logger::start(&program, owner).await?;
                io.logger = Some(logger);
                streams.map(Some)
            }
            stdout => {
                let stderr = Target::parse(&names.stderr)?;
                [io.output(stdout, owner)?, io.output(stderr, owner)?]
            }
        };
        Ok((io, Streams([stdin, stdout, stderr])))
    }

    /// A pipe from the fifo `name`.
    fn input(&mut self, name: &str, owner: Owner<'_>) -> Result<Option<OwnedFd>> {
        if name.is_empty() {
            return Ok(None);
        }
        let fifo = self.input_fifo(name)?;
        let (theirs, ours) = pipe(owner)?;
        nonblocking(&ours)?;
        let input = relay::input(fifo, ours, relay::splice)?;
        self.input = Some(tokio::spawn(input).abort_handle());
        Ok(Some(theirs))
    }

    /// Opened for reading first, since nobody can open the other end without waiting before that.
    fn input_fifo(&mut self, name: &str) -> Result<OwnedFd> {
        let open = |flags| {
            let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
            openat(CWD, name, flags, Mode::empty()).doing(|| format!("cannot open stdin {name:?}"))
        };
        let fifo = open(OFlags::RDONLY)?;
        self.input_held = Some(open(OFlags::WRONLY)?);
        Ok(fifo)
    }

    /// A pipe to `target`.
    fn output(&mut self, target: Target, owner: Owner<'_>) -> Result<Option<OwnedFd>> {
        let Some(sink) = Sink::open(target)? else { return Ok(None) };
        let (ours, theirs) = pipe(owner)?;
        nonblocking(&ours)?;
        let output = relay::output(ours, sink, self.ended.subscribe())?;
        self.prepared.push(Box::pin(output));
        Ok(Some(theirs))
    }

    /// The process is there. What was written before, by a runtime that failed, is not for its reader.
    pub(crate) fn begin(&mut self) {
        self.outputs.extend(self.prepared.drain(..).map(tokio::spawn));
    }

    /// Everything for a process whose terminal is `master`.
    ///
    /// # Errors
    /// As [`Io::pipes`].
    pub(crate) async fn terminal(names: &Names, owner: Owner<'_>, master: OwnedFd) -> Result<Self> {
        let mut io = Self::new();
        nonblocking(&master)?;
        let sink = match Target::parse(&names.stdout)? {
            Target::Logger(program) => {
                let (logger, [stdout, _]) = Logger::start(&program, owner).await?;
                io.logger = Some(logger);
                nonblocking(&stdout)?;
                Some(Sink::pipe(stdout)?)
            }
            target => Sink::open(target)?,
        };
        let dup = || master.try_clone().doing(|| "cannot duplicate a terminal");
        // Without anybody to read it a terminal would fill up and stop who writes to it.
        let sink = sink.map_or_else(Sink::null, Ok)?;
        let output = relay::output(dup()?, sink, io.ended.subscribe())?;
        io.outputs.push(tokio::spawn(output));
        if !names.stdin.is_empty() {
            let fifo = io.input_fifo(&names.stdin)?;
            let input = relay::input(fifo, dup()?, relay::copy)?;
            io.input = Some(tokio::spawn(input).abort_handle());
        }
        io.terminal = Some(Arc::new(master));
        Ok(io)
    }

    /// Lets the standard input end when its writers are gone.
    pub(crate) fn close_input(&mut self) {
        self.input_held = None;
    }

    /// The size of the terminal, in characters.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        let Some(master) = &self.terminal else { return Ok(()) };
        let number = |value: u32| {
            u16::try_from(value)
                .map_err(|_| Fault::invalid(format!("a terminal {value} wide or high")))
        };
        let size = rustix::termios::Winsize {
            ws_col: number(width)?,
            ws_row: number(height)?,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(master.as_fd(), size)
            .doing(|| "cannot set the size of the terminal")
    }

    /// Waits until everything that the process has written is where it belongs, but not for ever: a
    /// reader may be gone for good.
    pub(crate) async fn finish(mut self) {
        self.ended.send_replace(true);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for mut output in std::mem::take(&mut self.outputs) {
            if tokio::time::timeout_at(deadline, &mut output).await.is_err() {
                output.abort();
            }
        }
        self.terminal = None;
        if let Some(logger) = self.logger.take() {
            logger.finish(deadline).await;
        }
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io").field("outputs", &self.outputs.len()).finish_non_exhaustive()
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.input.iter().for_each(AbortHandle::abort);
        self.outputs.iter().for_each(JoinHandle::abort);
    }
}

/// The reading end and the writing end.
fn pipe(owner: Owner<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).doing(|| "cannot make a pipe")?;
    if (owner.uid, owner.gid) != (0, 0) {
        let [uid, gid] = [owner.uid, owner.gid];
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        // Both ends are one inode.
        fchown(&read, Some(uid), Some(gid)).doing(|| "cannot give away a pipe")?;
    }
    Ok((read, write))
}

/// Of this end alone: the two ends of a pipe are two open files.
fn nonblocking(fd: &OwnedFd) -> Result<()> {
    let doing = || "cannot make a descriptor nonblocking";
    let flags = rustix::fs::fcntl_getfl(fd).doing(doing)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).doing(doing)
}

/// Where the console socket of a process is while its runtime runs.
pub(crate) fn console(bundle: &Path, exec_id: &str) -> Result<Console> {
    Console::listen(bundle, exec_id)
}
