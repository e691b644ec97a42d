//! What a command left: exit status and texts, with assertions that show all of it when they fail.

use std::{
    fs::File,
    io::{Read, Seek},
    process::Stdio,
};

use rustix::fs::{MemfdFlags, memfd_create};

/// The end of a command.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code, or 128 + signal.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(
            self.status == 0,
            "the command failed with status {}: {}",
            self.status,
            self.said()
        );
        &self.stdout
    }

    /// The standard error of a command that must have failed by itself, not by a signal.
    #[track_caller]
    pub fn fails(&self) -> &str {
        let (status, said) = (self.status, self.said());
        assert!(status != 0, "the command should have failed; it said: {said:.200}");
        assert!(!(129..=192).contains(&status), "killed by signal {}: {said:.200}", status - 128);
        assert!(!self.stderr.trim().is_empty(), "failed with status {status}, but without a word");
        &self.stderr
    }

    /// [`Output::fails`], with these words in the message.
    #[track_caller]
    pub fn fails_with(&self, words: &str) -> &str {
        let message = self.fails();
        assert!(message.contains(words), "no {words:?} in: {message}");
        message
    }

    /// What it complains of, which not every program writes to standard error.
    fn said(&self) -> &str {
        let said = [&self.stderr, &self.stdout].into_iter().find(|text| !text.trim().is_empty());
        said.map_or("not a word", |text| text.trim())
    }

    /// Whether it failed with one line, and a hint perhaps on the next.
    ///
    /// # Errors
    /// What there is instead.
    pub fn one_line(&self) -> Result<(), String> {
        let is_hint = |line: &&str| line.trim_start().starts_with("hint:");
        match self.stderr.lines().filter(|line| !is_hint(line)).count() {
            1 if self.status != 0 => Ok(()),
            count => Err(format!("{count} lines, status {}", self.status)),
        }
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// A file without a name to write output to.
    pub fn sink() -> File {
        memfd_create("output", MemfdFlags::CLOEXEC).expect("a memory file").into()
    }

    pub fn dup(file: &File) -> Stdio {
        file.try_clone().expect("a descriptor").into()
    }

    pub fn text(mut file: &File) -> String {
        let mut bytes = Vec::new();
        file.rewind().expect("a memory file can be rewound");
        file.read_to_end(&mut bytes).expect("a memory file can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
