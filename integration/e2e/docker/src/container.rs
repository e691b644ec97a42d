//! A container of the shared daemon that does not outlive its test.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::{Session, cgroup, cli, daemon, docker, host, wait};

/// The image that every daemon has.
pub const IMAGE: &str = "box";

/// The command of a container that only has to be there.
pub const IDLE: &[&str] = &["sleep", "1000"];

/// `docker run --rm FLAGS IMAGE COMMAND` in the foreground, to its end.
#[track_caller]
pub fn run(flags: &[&str], command: &[&str]) -> cli::Output {
    feed(flags, command, b"")
}

/// As [`run`], with `input` on standard input.
#[track_caller]
pub fn feed(flags: &[&str], command: &[&str], input: &[u8]) -> cli::Output {
    let container = Container::named();
    cli::feed(&container.line(&["run", "--rm"], flags, command), input)
}

/// A container by its name; dropping it removes it by force, with its anonymous volumes.
#[derive(Debug)]
pub struct Container {
    name: String,
}

impl Container {
    /// A name that no other container has; there is no container of it yet.
    pub fn named() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Not hexadecimal: docker takes a name that it does not know for the beginning of an id.
        Self { name: format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// `docker run -d`, and waits until `command` is what runs there.
    #[track_caller]
    pub fn start(flags: &[&str], command: &[&str]) -> Self {
        let container = Self::named();
        container.docker(&["run", "-d"], flags, command).ok();
        container.executed(command);
        container
    }

    /// `docker run` without `--rm` in the foreground, to its end.
    #[track_caller]
    pub fn ran(flags: &[&str], command: &[&str]) -> (Self, cli::Output) {
        let container = Self::named();
        let output = container.docker(&["run"], flags, command);
        (container, output)
    }

    /// `docker create`.
    #[track_caller]
    pub fn created(flags: &[&str], command: &[&str]) -> Self {
        let container = Self::named();
        container.docker(&["create"], flags, command).ok();
        container
    }

    /// `docker run FLAGS` in the foreground on pipes, to be talked to.
    #[track_caller]
    pub fn talk(flags: &[&str], command: &[&str]) -> (Self, Session) {
        let container = Self::named();
        let session = Session::pipes(&container.line(&["run", "-i"], flags, command));
        (container, session)
    }

    /// `docker VERB --name … FLAGS IMAGE COMMAND`.
    #[track_caller]
    pub fn docker(&self, verb: &[&str], flags: &[&str], command: &[&str]) -> cli::Output {
        docker(&self.line(verb, flags, command))
    }

    /// The arguments for [`Container::docker`].
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

    /// `docker exec FLAGS … COMMAND`.
    #[track_caller]
    pub fn exec(&self, flags: &[&str], command: &[&str]) -> cli::Output {
        docker(&[&["exec"], flags, &[&self.name], command].concat())
    }

    /// One value of `docker inspect`, by JSON pointer: `/State/Status`.
    #[track_caller]
    pub fn inspect(&self, pointer: &str) -> Value {
        let found = docker(&["inspect", &self.name]).ok();
        let found: Value = serde_json::from_str(&found).expect("inspect prints JSON");
        found.pointer(&format!("/0{pointer}")).cloned().unwrap_or_default()
    }

    /// `docker inspect` does not find it any more.
    pub fn is_gone(&self) -> bool {
        docker(&["inspect", &self.name]).status != Some(0)
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

    /// `docker wait`: the exit status.
    #[track_caller]
    pub fn wait(&self) -> String {
        docker(&["wait", &self.name]).ok()
    }

    /// The container's directory in the hierarchy of a controller.
    #[track_caller]
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        let tree = daemon::shared().place().tree();
        cgroup::directory(controller, &tree.of_container(&self.id()))
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

    /// docker start returns before the process has become the command: waits until it has.
    #[track_caller]
    pub fn executed(&self, command: &[&str]) {
        let pid = self.pid();
        wait::until(&format!("{command:?} runs as {pid}"), || {
            assert!(
                host::is_alive(pid),
                "{command:?} has ended: {:?}",
                docker(&["logs", &self.name])
            );
            // With --init, docker-init and its own arguments stand before.
            let line = host::command_line(pid);
            let from = line.len().saturating_sub(command.len());
            (line[from..] == *command).then_some(())
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // For one that was run with --rm there is nothing left to remove.
        let _ = std::panic::catch_unwind(|| docker(&["rm", "-f", "-v", &self.name]));
    }
}
