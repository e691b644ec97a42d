//! A container's terminal, shown on ours: bytes go both ways, sizes go inwards.
//!
//! ```text
//!   standard input ──▶ to_container ──▶ ┌────────┐
//!                                       │ master │ ⇄ the process's terminal
//!   standard output ◀── to_host ◀────── └────────┘
//! ```
//!
//! Each buffer is filled only when it is empty, so a reader that is slow slows the writer down.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use libcontainer::{Error, Kind, Result, error::Context};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, read, retry_on_intr, write},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    pty::{OpenptFlags, ioctl_tiocgptpeer},
    stdio::{stderr, stdin, stdout},
    termios::{
        OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
        tcsetwinsize,
    },
};

/// POSIX' PIPE_BUF: a pipe that poll(2) calls writable takes so many bytes without blocking.
const CHUNK: usize = 4096;

/// The two directions and what is on its way.
#[derive(Debug)]
pub(crate) struct Relay {
    master: OwnedFd,
    /// The other end, held open: a program that closes its terminal and opens it again (an init
    /// does) must not look like the end. A rootless user may have no right to it.
    _slave: Option<OwnedFd>,
    host: Option<HostTerminal>,
    to_container: Buffer,
    to_host: Buffer,
    /// The standard input has nothing more.
    input_ended: bool,
    /// Nobody reads the standard output any more.
    output_lost: bool,
    /// All slaves are closed, or the master is broken.
    hung_up: bool,
}

impl Relay {
    /// Takes the master from `socket`, where the container's process has sent it.
    pub(crate) fn receive(socket: &OwnedFd) -> Result<Self> {
        let master =
            receive_fd(socket).doing(|| "cannot receive the terminal")?.ok_or_else(|| {
                Error::new(Kind::Bug, "cannot receive the terminal: the process sent none")
            })?;
        prepare_master(&master).doing(|| "cannot set the container's terminal up")?;
        let host = HostTerminal::find().doing(|| "cannot set the terminal to raw mode")?;
        let slave = ioctl_tiocgptpeer(
            &master,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        );
        let relay = Self {
            master,
            _slave: slave.ok(),
            host,
            to_container: Buffer::default(),
            to_host: Buffer::default(),
            input_ended: false,
            output_lost: false,
            hung_up: false,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours.
    pub(crate) fn resize(&self) {
        // A terminal without a size is not worth dying for.
        if let Some(host) = &self.host
            && let Ok(size) = tcgetwinsize(&host.fd)
        {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for: each of these makes [`Relay::shuttle`] worth a call.
    pub(crate) fn interests(&self) -> Vec<PollFd<'_>> {
        let mut interests = Vec::with_capacity(3);
        let mut master = PollFlags::empty();
        master.set(PollFlags::OUT, !self.to_container.is_empty());
        master.set(PollFlags::IN, self.to_host.is_empty());
        // A hang-up is reported even when nothing is asked for.
        if !self.hung_up && !master.is_empty() {
            interests.push(PollFd::from_borrowed_fd(self.master.as_fd(), master));
        }
        if !self.input_ended && self.to_container.is_empty() {
            interests.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        if !self.to_host.is_empty() {
            interests.push(PollFd::from_borrowed_fd(stdout(), PollFlags::OUT));
        }
        interests
    }

    /// Moves what can be moved without waiting.
    pub(crate) fn shuttle(&mut self) {
        if !self.input_ended && self.to_container.is_empty() && ready(stdin(), PollFlags::IN) {
            self.input_ended = !self.to_container.fill(stdin());
        }
        if !self.to_container.is_empty() {
            self.to_container.empty(self.master.as_fd(), |_| ());
        }
        if self.to_host.is_empty() && !self.hung_up {
            self.hung_up = !self.to_host.fill(self.master.as_fd());
        }
        if !self.to_host.is_empty() && ready(stdout(), PollFlags::OUT) {
            self.show();
        }
    }

    /// Shows what is left after the end of the process. What a process wrote before it died can be
    /// read at once: read(2) on a master flushes the kernel's buffers before it says EAGAIN (other
    /// processes still hold the slave) or EIO (nobody does).
    pub(crate) fn drain(&mut self) {
        loop {
            while !self.to_host.is_empty() {
                // The caller may have set O_NONBLOCK on it.
                let _ = wait(stdout(), PollFlags::OUT, None);
                self.show();
            }
            if self.hung_up || !ready(self.master.as_fd(), PollFlags::IN) {
                break;
            }
            self.hung_up = !self.to_host.fill(self.master.as_fd());
            if self.to_host.is_empty() {
                break;
            }
        }
    }

    /// Writes to the standard output. When its reader has gone the bytes are dropped: a container
    /// must not stand still because nobody looks at it.
    fn show(&mut self) {
        let mut lost = self.output_lost;
        match lost {
            true => self.to_host.clear(),
            false => self.to_host.empty(stdout(), |_| lost = true),
        }
        self.output_lost = lost;
    }
}

/// Bytes on their way.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8; CHUNK]>,
    start: usize,
    end: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: Box::new([0; CHUNK]), start: 0, end: 0 }
    }
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Reads into an empty buffer; false at the end of file, or for a broken descriptor.
    fn fill(&mut self, from: BorrowedFd<'_>) -> bool {
        match retry_on_intr(|| read(from, self.bytes.as_mut_slice())) {
            Ok(0) => false,
            Ok(length) => {
                (self.start, self.end) = (0, length);
                true
            }
            Err(errno) => errno == Errno::AGAIN,
        }
    }

    /// Writes as much as `to` takes at once. On an error the bytes are dropped and `lost` is told.
    fn empty(&mut self, to: BorrowedFd<'_>, lost: impl FnOnce(Errno)) {
        match retry_on_intr(|| write(to, &self.bytes[self.start..self.end])) {
            Ok(length) => self.start += length,
            Err(Errno::AGAIN) => (),
            Err(errno) => {
                self.clear();
                lost(errno);
            }
        }
    }
}

/// Our own terminal in raw mode, and what it was before.
#[derive(Debug)]
struct HostTerminal {
    fd: OwnedFd,
    before: Termios,
}

impl HostTerminal {
    /// Whichever standard stream is a terminal; none if all are redirected.
    fn find() -> Result<Option<Self>, Errno> {
        let Some(fd) = [stdin(), stderr(), stdout()].into_iter().find(|fd| isatty(fd)) else {
            return Ok(None);
        };
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
        let before = tcgetattr(&fd)?;
        let mut raw = before.clone();
        raw.make_raw();
        // The container's terminal leaves line ends alone, so that redirected output has no
        // carriage returns (see `prepare_master`); adding them stays our terminal's work.
        raw.output_modes |= OutputModes::OPOST;
        tcsetattr(&fd, OptionalActions::Now, &raw)?;
        Ok(Some(Self { fd, before }))
    }
}

impl Drop for HostTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.fd, OptionalActions::Now, &self.before);
    }
}

fn prepare_master(master: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfl(master, fcntl_getfl(master)? | OFlags::NONBLOCK)?;
    let mut modes = tcgetattr(master)?;
    modes.output_modes -= OutputModes::ONLCR;
    tcsetattr(master, OptionalActions::Now, &modes)
}

/// Whether `fd` has one of `events`, or an end or error that a call will tell about, now.
fn ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    wait(fd, events, Some(&now)).is_ok_and(|count| count > 0)
}

fn wait(fd: BorrowedFd<'_>, events: PollFlags, limit: Option<&Timespec>) -> Result<usize, Errno> {
    let mut one = [PollFd::from_borrowed_fd(fd, events)];
    retry_on_intr(|| poll(&mut one, limit))
}

/// One descriptor from a console socket.
fn receive_fd(socket: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // The bytes beside it are its name.
    let mut name = [0; 64];
    let mut data = [IoSliceMut::new(&mut name)];
    retry_on_intr(|| recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
    }

    #[test]
    fn a_buffer_passes_everything_on_however_little_is_taken_at_once() {
        let ((source, input), (output, sink)) = (pipe(), pipe());
        // Leaves room for one chunk of several.
        while write(&sink, &[0; CHUNK]).is_ok() {}
        let sent: Vec<u8> = (0..=255).cycle().take(3 * CHUNK / 2).collect();
        write(&input, &sent).unwrap();
        drop(input);
        let (mut buffer, mut got, mut space) = (Buffer::default(), Vec::new(), [0; CHUNK]);
        while buffer.fill(source.as_fd()) {
            while !buffer.is_empty() {
                buffer.empty(sink.as_fd(), |errno| panic!("{errno}"));
                let length = read(&output, &mut space).unwrap();
                got.extend_from_slice(&space[..length]);
            }
        }
        while let Ok(length @ 1..) = read(&output, &mut space) {
            got.extend_from_slice(&space[..length]);
        }
        assert!(got.ends_with(&sent));
    }

    #[test]
    fn nothing_to_read_is_not_the_end() {
        let (source, input) = pipe();
        let mut buffer = Buffer::default();
        assert!(buffer.fill(source.as_fd()) && buffer.is_empty());
        drop(input);
        assert!(!buffer.fill(source.as_fd()));
    }

    #[test]
    fn a_reader_that_has_gone_is_told_once() {
        let (source, input) = pipe();
        write(&input, b"x").unwrap();
        let mut buffer = Buffer::default();
        assert!(buffer.fill(source.as_fd()));
        drop(source);
        let mut told = 0;
        buffer.empty(input.as_fd(), |errno| told += i32::from(errno == Errno::PIPE));
        assert_eq!((told, buffer.is_empty()), (1, true));
    }
}
