//! Containers of the tests.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use e2e_common::cgroup;

use crate::{
    ctr::{self, Output, Running, ctr},
    daemon,
    image::IMAGE,
    wait,
};

const IDLE: &[&str] = &["sleep", "10000"];

/// A container with its task; both are removed with this.
#[derive(Debug)]
pub struct Container(String);

/// A name that no other test has.
pub fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `ctr run --rm FLAGS IMAGE NAME WORDS`, to its end.
#[track_caller]
pub fn run(flags: &[&str], words: &[&str]) -> Output {
    let name = name("run");
    ctr(&line(&["--rm"], flags, &name, words))
}

fn line<'a>(
    first: &[&'a str],
    flags: &[&'a str],
    name: &'a str,
    words: &[&'a str],
) -> Vec<&'a str> {
    let runtime = ["--runtime", daemon::shared().runtime()];
    [&["run"], first, &runtime, shares(), flags, &[IMAGE, name], words].concat()
}

/// Begins to make the container `name`, which sleeps: `ctr run -d FLAGS IMAGE NAME sleep 10000`.
pub fn begin(name: &str, flags: &[&str]) -> Running {
    let mut command = daemon::shared().client();
    command.args(line(&["-d"], flags, name, IDLE));
    Running::start(command, b"")
}

/// Removes the container `name`, of which there may be anything or nothing.
#[track_caller]
pub fn remove(name: &str) {
    // It may have none, or be gone.
    ctr(&["task", "rm", "--force", name]);
    wait::until("the name is free", || {
        let output = ctr(&["container", "rm", name]);
        let free = output.status == Some(0) || output.err().contains("not found");
        // What is being made when its maker dies has a task a moment later.
        (free || ctr(&["task", "rm", "--force", name]).status.is_none()).then_some(())
    });
    // `ctr` makes it before the container, and may not get further.
    ctr(&["snapshots", "rm", name]);
}

/// `ctr` sets a weight of the processor unless it is told not to, where there may be none to set.
pub fn shares() -> &'static [&'static str] {
    match cgroup::has("cpu") {
        true => &[],
        false => &["--cpu-shares", "0"],
    }
}

impl Container {
    /// One that sleeps, with nobody attached.
    #[track_caller]
    pub fn idle() -> Self {
        Self::start(&[], IDLE)
    }

    /// `ctr run -d FLAGS IMAGE NAME WORDS`.
    #[track_caller]
    pub fn start(flags: &[&str], words: &[&str]) -> Self {
        let container = Self(name("c"));
        ctr(&line(&["-d"], flags, &container.0, words)).code(0);
        container
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// `ctr task exec FLAGS NAME WORDS`.
    #[track_caller]
    pub fn exec(&self, flags: &[&str], words: &[&str]) -> Output {
        self.exec_with(flags, words, b"")
    }

    #[track_caller]
    pub fn exec_with(&self, flags: &[&str], words: &[&str], input: &[u8]) -> Output {
        let id = name("e");
        let line = [&["task", "exec", "--exec-id", &id], flags, &[self.name()], words].concat();
        ctr::feed(&line, input)
    }

    /// `ctr task VERB FLAGS NAME`.
    #[track_caller]
    pub fn task(&self, verb: &str, flags: &[&str]) -> Output {
        ctr(&[&["task", verb], flags, &[self.name()]].concat())
    }

    /// The line of `ctr task ls`: its pid and its status.
    #[track_caller]
    pub fn listed(&self) -> Option<(u32, String)> {
        let listed = ctr(&["task", "ls"]).ok();
        listed.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == self.0).then_some(())?;
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        })
    }

    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.listed().expect("it has a task").0
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.listed().expect("it has a task").1
    }

    /// Waits until `ctr task ls` says so.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        wait::until(status, || self.listed().filter(|(_, now)| now == status));
    }

    /// The process id of its shim.
    #[track_caller]
    pub fn shim(&self) -> u32 {
        let parent = e2e_common::host::status(self.pid(), "PPid");
        parent.parse().expect("its parent is the shim")
    }

    pub fn bundle(&self) -> PathBuf {
        daemon::shared().bundles().join(&self.0)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What a test did already is refused; what cannot be removed fails the list `rest`.
        if self.listed().is_some_and(|(_, status)| status == "PAUSED") {
            self.task("resume", &[]);
        }
        self.task("kill", &["-s", "KILL"]);
        wait::until("it stops", || {
            self.listed().is_none_or(|(_, status)| status == "STOPPED").then_some(())
        });
        self.task("rm", &[]);
        ctr(&["container", "rm", &self.0]);
    }
}
