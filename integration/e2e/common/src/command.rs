//! A command at once: started with all its input, waited for, and judged by what it said.

use std::{
    fmt,
    fs::File,
    io::{Read, Seek, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::wait;

/// What a command said and how it ended.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    pub command: String,
    /// The exit status; `None` for a command that a signal or the deadline ended.
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// A command that has been started and will be waited for; several run at once.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    stdout: File,
    stderr: File,
}

impl Running {
    #[track_caller]
    pub fn start(mut command: Command, input: &[u8]) -> Self {
        let (stdout, stderr) = (memory("stdout"), memory("stderr"));
        command.stdin(memory_with(input)).stdout(copy(&stdout)).stderr(copy(&stderr));
        let child = command.spawn().expect("the command can be executed");
        Self { command: words(&command), child, stdout, stderr }
    }

    /// The process of the client itself.
    pub fn client(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Waits for the end; a deadline that passes fails the test with what the command said so far.
    #[track_caller]
    pub fn end(mut self) -> Output {
        let status =
            wait::exit(&mut self.child, wait::PATIENCE).expect("a child can be waited for");
        let output = Output {
            command: self.command,
            status: status.and_then(|status| status.code()),
            stdout: contents(&mut self.stdout),
            stderr: contents(&mut self.stderr),
        };
        assert!(status.is_some(), "not within {:?}: {output:?}", wait::PATIENCE);
        output
    }
}

impl Output {
    /// Standard output of a command that has to succeed, without the last newline.
    #[track_caller]
    pub fn ok(&self) -> String {
        self.code(0).out()
    }

    /// Checks the exit status.
    #[track_caller]
    pub fn code(&self, expected: i32) -> &Self {
        assert_eq!(self.status, Some(expected), "{self:?}");
        self
    }

    /// Checks that the command failed and said `words`, in upper or lower case.
    #[track_caller]
    pub fn fails(&self, words: &str) -> &Self {
        assert!(self.status != Some(0), "{self:?}");
        let said = format!("{}{}", self.out(), self.err()).to_lowercase();
        assert!(said.contains(&words.to_lowercase()), "expected {words:?}: {self:?}");
        self
    }

    pub fn out(&self) -> String {
        text(&self.stdout)
    }

    pub fn err(&self) -> String {
        text(&self.stderr)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\nstatus {:?}\n{}\n{}", self.command, self.status, self.out(), self.err())
    }
}

/// A command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Text as it is compared: without the last newline, and with the newlines of a terminal unified.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n").trim_end_matches('\n').to_owned()
}

/// A file in memory takes any amount of output from a process that nobody reads from meanwhile.
fn memory(name: &str) -> File {
    memfd_create(name, MemfdFlags::CLOEXEC).expect("memory for output").into()
}

fn memory_with(input: &[u8]) -> Stdio {
    let mut file = memory("stdin");
    file.write_all(input).and_then(|()| file.rewind()).expect("memory for input");
    OwnedFd::from(file).into()
}

fn copy(file: &File) -> File {
    file.try_clone().expect("another descriptor")
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("memory can be read");
    bytes
}
