//! A container that does not outlive its test.

use std::{
    fs,
    marker::PhantomData,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::{Engine, Output, Session, cgroup, host, wait};

/// The image that every engine has.
pub const IMAGE: &str = "box";

/// The command of a container that only has to be there.
pub const IDLE: &[&str] = &["sleep", "1000"];

/// A container by its name; dropping it removes it by force, with its anonymous volumes.
#[derive(Debug)]
pub struct Container<E: Engine> {
    name: String,
    engine: PhantomData<E>,
}

impl<E: Engine> Container<E> {
    /// A name that no other container has; there is no container of it yet.
    pub fn named() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Not hexadecimal: a name that is not known is taken for the beginning of an id.
        let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { name, engine: PhantomData }
    }

    /// `run -d`, and waits until `command` is what runs there.
    #[track_caller]
    pub fn start(flags: &[&str], command: &[&str]) -> Self {
        let container = Self::named();
        container.call(&["run", "-d"], flags, command).ok();
        container.executed(command);
        container
    }

    /// `run` without `--rm` in the foreground, to its end.
    #[track_caller]
    pub fn ran(flags: &[&str], command: &[&str]) -> (Self, Output) {
        let container = Self::named();
        let output = container.call(&["run"], flags, command);
        (container, output)
    }

    /// `run --rm FLAGS IMAGE COMMAND` in the foreground, to its end, with `input` to read.
    #[track_caller]
    pub fn feed(flags: &[&str], command: &[&str], input: &[u8]) -> Output {
        let container = Self::named();
        E::feed(&container.line(&["run", "--rm"], flags, command), input)
    }

    /// `create`.
    #[track_caller]
    pub fn created(flags: &[&str], command: &[&str]) -> Self {
        let container = Self::named();
        container.call(&["create"], flags, command).ok();
        container
    }

    /// `run FLAGS` in the foreground on pipes, to be talked to.
    #[track_caller]
    pub fn talk(flags: &[&str], command: &[&str]) -> (Self, Session) {
        let container = Self::named();
        let session = E::pipes(&container.line(&["run", "-i"], flags, command));
        (container, session)
    }

    /// The client's `VERB --name … FLAGS IMAGE COMMAND`.
    #[track_caller]
    pub fn call(&self, verb: &[&str], flags: &[&str], command: &[&str]) -> Output {
        E::call(&self.line(verb, flags, command))
    }

    /// The arguments for [`Container::call`].
    pub fn line<'a>(
        &'a self,
        verb: &[&'a str],
        flags: &[&'a str],
        command: &[&'a str],
    ) -> Vec<&'a str> {
        [verb, &["--name", &self.name], flags, &[IMAGE], command].concat()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `exec FLAGS … COMMAND`.
    #[track_caller]
    pub fn exec(&self, flags: &[&str], command: &[&str]) -> Output {
        E::call(&[&["exec"], flags, &[&self.name], command].concat())
    }

    /// One value of `inspect`, by JSON pointer: `/State/Status`.
    #[track_caller]
    pub fn inspect(&self, pointer: &str) -> Value {
        let found = E::call(&["inspect", &self.name]).ok();
        let found: Value = serde_json::from_str(&found).expect("inspect prints JSON");
        found.pointer(&format!("/0{pointer}")).cloned().unwrap_or_default()
    }

    /// `inspect` does not find it any more.
    pub fn is_gone(&self) -> bool {
        E::call(&["inspect", &self.name]).status != Some(0)
    }

    pub fn id(&self) -> String {
        self.inspect("/Id").as_str().unwrap_or_default().to_owned()
    }

    pub fn status(&self) -> String {
        self.inspect("/State/Status").as_str().unwrap_or_default().to_owned()
    }

    /// The first process of the container, as the host sees it; 0 when it does not run.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.inspect("/State/Pid").as_u64().unwrap_or_default() as u32
    }

    /// `wait`: the exit status.
    #[track_caller]
    pub fn wait(&self) -> String {
        E::call(&["wait", &self.name]).ok()
    }

    /// The container's directory in the hierarchy of a controller.
    #[track_caller]
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        E::cgroup(self, controller)
    }

    /// A file of the container's cgroup: "memory/memory.limit_in_bytes", or "unified/memory.max".
    #[track_caller]
    pub fn limit(&self, file: &str) -> String {
        let (controller, name) = file.split_once('/').expect("controller/file");
        let path = self.cgroup(controller).join(name);
        let value = fs::read_to_string(&path);
        value.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim_end().to_owned()
    }

    /// All its processes, as the host sees them.
    #[track_caller]
    pub fn processes(&self) -> Vec<u32> {
        cgroup::processes(&self.cgroup("pids"))
    }

    /// Waits for the process in the container that runs exactly `command`.
    #[track_caller]
    pub fn process(&self, command: &[&str]) -> u32 {
        let is_it = |pid: &u32| host::command_line(*pid) == command;
        wait::until(&format!("{command:?} runs"), || self.processes().into_iter().find(is_it))
    }

    /// `start` returns before the process has become the command: waits until it has.
    #[track_caller]
    pub fn executed(&self, command: &[&str]) {
        let pid = self.pid();
        wait::until(&format!("{command:?} runs as {pid}"), || {
            assert!(
                host::is_alive(pid),
                "{command:?} has ended: {:?}",
                E::call(&["logs", &self.name])
            );
            // With --init, the init of --init and its own arguments stand before.
            let line = host::command_line(pid);
            let from = line.len().saturating_sub(command.len());
            (line[from..] == *command).then_some(())
        });
    }
}

impl<E: Engine> Drop for Container<E> {
    fn drop(&mut self) {
        // For one that was run with --rm there is nothing left to remove.
        let _ = std::panic::catch_unwind(|| E::call(&[E::REMOVE, &[&self.name]].concat()));
    }
}
