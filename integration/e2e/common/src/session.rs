//! A conversation with a running command, through pipes or a terminal.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::ioctl_fionread,
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{command, wait};

/// How long [`Session::resize`] waits before it tells the client again.
const AGAIN: Duration = Duration::from_millis(100);

/// A command that is being talked to. Dropping it kills the client.
pub struct Session {
    command: String,
    child: Child,
    input: Option<File>,
    output: File,
    heard: Vec<u8>,
    /// How much of `heard` earlier expectations have used up.
    used: usize,
}

impl Session {
    /// The command with pipes; standard output and standard error are heard as one.
    #[track_caller]
    pub fn pipes(mut command: Command) -> Self {
        let (output, theirs) = io::pipe().expect("a pipe");
        let errors = theirs.try_clone().expect("a pipe");
        command.stdin(Stdio::piped()).stdout(theirs).stderr(errors);
        let mut child = command.spawn().expect("the command can be executed");
        let input = child.stdin.take().map(|stdin| OwnedFd::from(stdin).into());
        Self::new(&command, child, input, OwnedFd::from(output).into())
    }

    /// The command on a new terminal of `rows` by `columns`.
    #[track_caller]
    pub fn terminal(mut command: Command, rows: u16, columns: u16) -> Self {
        let (master, slave) = pty(rows, columns).expect("a terminal");
        let theirs = || slave.try_clone().expect("another descriptor");
        command.stdin(theirs()).stdout(theirs()).stderr(theirs());
        let child = command.spawn().expect("the command can be executed");
        let input = master.try_clone().expect("another descriptor");
        Self::new(&command, child, Some(input.into()), master.into())
    }

    fn new(command: &Command, child: Child, input: Option<File>, output: File) -> Self {
        let command = command::words(command);
        Self { command, child, input, output, heard: Vec::new(), used: 0 }
    }

    /// Waits until `words` are heard, after those of earlier expectations.
    #[track_caller]
    pub fn expect(&mut self, words: &str) -> &mut Self {
        let deadline = Instant::now() + wait::PATIENCE;
        while !self.hears(words) {
            assert!(self.listen(deadline), "expected {words:?}: {self:?}");
        }
        self
    }

    fn hears(&mut self, words: &str) -> bool {
        let fresh = String::from_utf8_lossy(&self.heard[self.used..]).into_owned();
        let found = fresh.find(words);
        self.used += found.map_or(0, |at| at + words.len());
        found.is_some()
    }

    #[track_caller]
    pub fn send(&mut self, words: &str) -> &mut Self {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(words.as_bytes()).expect("the command reads");
        self
    }

    /// Types a sequence of keys at which the client leaves, until it has: each key when the last
    /// one was read, since what comes together may be taken for text (terminals only).
    #[track_caller]
    pub fn leave(&mut self, keys: &str) -> command::Output {
        let deadline = Instant::now() + wait::PATIENCE;
        for key in keys.chars().cycle() {
            while !self.ended() && !self.reads_keys() {
                assert!(Instant::now() < deadline, "does not leave: {self:?}");
                self.listen(Instant::now() + AGAIN);
            }
            if self.ended() {
                break;
            }
            self.send(key.encode_utf8(&mut [0; 4])).listen(Instant::now() + AGAIN);
        }
        self.end()
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Whether the client has the terminal give it every key (termios(3), "raw mode"), and has read
    /// those that were typed.
    fn reads_keys(&self) -> bool {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = ioctl_tiocgptpeer(&self.output, flags).expect("a terminal");
        let modes = tcgetattr(&theirs).expect("a terminal").local_modes;
        let unread = ioctl_fionread(&theirs).expect("a terminal");
        !modes.contains(LocalModes::ICANON) && unread == 0
    }

    /// Ends the input: the command reads end of file (pipes only).
    pub fn close_input(&mut self) -> &mut Self {
        self.input = None;
        self
    }

    /// Gives the terminal another size until `words` show that the container has noticed. The
    /// client, whose terminal it is not by session, is told again and again: it takes no notice
    /// before it has looked at the first size.
    #[track_caller]
    pub fn resize(&mut self, rows: u16, columns: u16, words: &str) -> &mut Self {
        tcsetwinsize(&self.output, size(rows, columns)).expect("a terminal");
        let deadline = Instant::now() + wait::PATIENCE;
        while !self.hears(words) {
            assert!(Instant::now() < deadline, "expected {words:?}: {self:?}");
            self.signal(Signal::WINCH).listen(Instant::now() + AGAIN);
        }
        self
    }

    /// Sends a signal to the client.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        kill_process(Pid::from_child(&self.child), signal).expect("the client runs");
        self
    }

    /// Waits for the end; all that was heard is in `stdout`.
    #[track_caller]
    pub fn end(&mut self) -> command::Output {
        let deadline = Instant::now() + wait::PATIENCE;
        while self.listen(deadline) {}
        let left = deadline.saturating_duration_since(Instant::now());
        let status = wait::exit(&mut self.child, left).expect("a child can be waited for");
        let status = status.and_then(|status| status.code());
        let (command, stdout) = (self.command.clone(), std::mem::take(&mut self.heard));
        command::Output { command, status, stdout, stderr: Vec::new() }
    }

    /// Hears a bit more; false at the end of the output or when the deadline has passed.
    fn listen(&mut self, deadline: Instant) -> bool {
        let mut buffer = [0; 4096];
        if !wait::readable(self.output.as_fd(), deadline) {
            return false;
        }
        // A terminal whose last user is gone answers EIO.
        let count = self.output.read(&mut buffer).unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n{}", self.command, command::text(&self.heard))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Fails only for a client that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pty(rows: u16, columns: u16) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    tcsetwinsize(&master, size(rows, columns))?;
    Ok((master, slave))
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
