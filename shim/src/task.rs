//! A container and its processes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, ExecProcessRequest},
    events::task::{TaskDelete, TaskExecStarted, TaskExit, TaskOOM, TaskStart},
};
use libcontainer::container::Container;
use protobuf::{MessageField, well_known_types::any::Any};
use tokio::sync::watch;

use crate::{
    birth::{clean_up, make, owner, unless, unmount},
    bundle::{Bundle, Config},
    children::{Exit, lock},
    common::Common,
    error::{Code, Fault, Result},
    events::{exited_at, timestamp},
    io::{self, Names},
    log, oom,
    options::Options,
    process::Process,
    runtime::Runtime,
    stage::{Stage, open_terminal},
    table::{State, Verb},
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    common: Arc<Common>,
    pub(crate) bundle: Bundle,
    pub(crate) init: Arc<Process>,
    runtime: Runtime,
    config: Config,
    oom: oom::Watch,
    execs: Mutex<BTreeMap<String, Arc<Process>>>,
}

/// What Delete answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deleted {
    pub(crate) pid: i32,
    /// `None` if it never ran.
    pub(crate) exit: Option<Exit>,
}

impl Task {
    /// Mounts its root, opens its streams, and has the runtime make it. Nothing of it is left when
    /// any of these fails.
    pub(crate) async fn create(
        common: &Arc<Common>,
        request: &CreateTaskRequest,
        given_up: watch::Receiver<bool>,
    ) -> Result<Self> {
        if !request.checkpoint.is_empty() {
            let text = "cannot create a container from a checkpoint: rtn has no restore";
            return Err(Fault::new(Code::UNIMPLEMENTED, text));
        }
        check_id(&request.id)?;
        let none = Any::new();
        let options = Options::from_any(request.options.as_ref().unwrap_or(&none))?;
        let mut runtime = Runtime::new(options, &common.namespace);
        unless(given_up.clone(), runtime.check()).await?;
        let bundle = Bundle::at(request.bundle.as_ref())?;
        if let Some(sandbox) = common.its_sandbox() {
            sandbox.adopt(&bundle)?;
        }
        let config = bundle.config()?;
        runtime.options.systemd_cgroup |= config.is_unit();
        bundle.write_options(&runtime.options)?;
        let names = Names {
            terminal: request.terminal,
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
        };
        let init = Arc::new(Process::new("", names, Vec::new()));
        let made = unless(given_up.clone(), make(common, &runtime, &bundle, request, &init)).await;
        let container = match made {
            Ok(container) => container,
            Err(fault) => {
                clean_up(common, &runtime, &bundle, &request.id).await;
                return Err(fault);
            }
        };
        Ok(Self {
            id: request.id.clone(),
            common: common.clone(),
            oom: oom::Watch::over(&container.cgroup()),
            execs: Mutex::default(),
            bundle,
            init,
            runtime,
            config,
        })
    }

    /// Begins to wait for what happens to it by itself.
    pub(crate) fn watch(self: &Arc<Self>) {
        let task = self.clone();
        tokio::spawn(async move { task.oom.each(|| task.publish_oom()).await });
        self.await_end(&self.init);
    }

    fn await_end(self: &Arc<Self>, process: &Arc<Process>) {
        let Some(child) = process.child() else { return };
        let (task, process) = (self.clone(), process.clone());
        tokio::spawn(async move {
            let exit = child.ended().await;
            // Who starts it publishes that first.
            let _turn = process.turns.lock().await;
            process.ended(exit);
            if process.is_init() {
                task.end_others().await;
            }
            if task.oom.struck(exit.status) {
                task.publish_oom();
            }
            task.publish_exit(&process, exit);
            process.tell(exit);
        });
    }

    /// After its first process no other one is to live, and the first one's end is to be the last
    /// that is told.
    async fn end_others(&self) {
        if !self.config.has_own_pids() {
            let killed = self.kill_all(libc::SIGKILL).await;
            killed.unwrap_or_else(|fault| log::warning(&format!("{}: {fault}", self.id)));
        }
        let execs: Vec<_> = lock(&self.execs).values().cloned().collect();
        for exec in execs {
            // One that is about to start has its turn.
            let starting = exec.turns.lock().await;
            let alive = exec.is_alive();
            drop(starting);
            if alive {
                // The others may not have been found. This one is known, and may have ended just now.
                let _ = exec.signal(libc::SIGKILL);
                let _ = exec.wait().await;
            }
        }
    }

    async fn kill_all(&self, signal: i32) -> Result<()> {
        let words = ["kill", "--all", &self.id, &signal.to_string()];
        self.runtime.command(&words, self.bundle.path()).await
    }

    /// Sends a signal to a process, or with `all` to every one of the container.
    pub(crate) async fn kill(&self, exec_id: &str, signal: i32, all: bool) -> Result<()> {
        let process = self.process(exec_id)?;
        process.allows(Verb::Kill)?;
        if signal == libc::SIGKILL {
            self.oom.is_to_be_killed();
        }
        // A frozen process has to be thawed to die, and others have to be found to die with it.
        let frozen_or_many = || !self.config.has_own_pids() || self.is_frozen();
        match process.is_init() && (all || (signal == libc::SIGKILL && frozen_or_many())) {
            // With its last process a cgroup can go while it is looked for.
            true => self.kill_all(signal).await.or_else(|fault| match process.has_ended() {
                true => process.signal(signal),
                false => Err(fault),
            }),
            false => process.signal(signal),
        }
    }

    /// By whomever: anybody who may can write to its cgroup.
    fn is_frozen(&self) -> bool {
        let frozen = |container: Container| container.cgroup().frozen().unwrap_or(false);
        self.init.state() == State::Paused || self.container().is_ok_and(frozen)
    }

    /// Freezes it.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.freeze(Verb::Pause, "pause").await
    }

    /// Thaws it.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.freeze(Verb::Resume, "resume").await
    }

    async fn freeze(&self, verb: Verb, word: &str) -> Result<()> {
        let _turn = self.init.turns.lock().await;
        self.init.allows(verb)?;
        self.init.set_pausing(verb == Verb::Pause);
        let done = self.runtime.command(&[word, &self.id], self.bundle.path()).await;
        self.init.set_pausing(false);
        done.and_then(|()| self.init.did(verb))
    }

    /// Changes its limits. `resources` is JSON (runtime-spec, config-linux.md "resources").
    pub(crate) async fn update(&self, resources: &[u8]) -> Result<()> {
        self.runtime.update(&self.id, resources, self.bundle.path()).await
    }

    /// # Errors
    /// NOT_FOUND.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        let exec = lock(&self.execs).get(exec_id).cloned();
        exec.ok_or_else(|| Fault::not_found(format!("process does not exist {exec_id}: not found")))
    }

    /// All but the first.
    pub(crate) fn execs(&self) -> Vec<Arc<Process>> {
        lock(&self.execs).values().cloned().collect()
    }

    /// It as the library knows it.
    pub(crate) fn container(&self) -> Result<Container> {
        self.runtime.container(&self.id)
    }

    /// Notes a process that is to run in it.
    ///
    /// # Errors
    /// ALREADY_EXISTS; FAILED_PRECONDITION when no process can run in it now.
    pub(crate) fn add_exec(&self, request: &ExecProcessRequest) -> Result<()> {
        check_id(&request.exec_id)?;
        if lock(&self.execs).contains_key(&request.exec_id) {
            let text = format!("id {}: already exists", request.exec_id);
            return Err(Fault::new(Code::ALREADY_EXISTS, text));
        }
        self.init.allows(Verb::Exec)?;
        let invalid = |error| Fault::invalid(format!("cannot read the process to run: {error}"));
        let mut spec: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&request.spec.value).map_err(invalid)?;
        spec.insert("terminal".to_owned(), request.terminal.into());
        let names = Names {
            terminal: request.terminal,
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
        };
        let spec = serde_json::Value::Object(spec).to_string().into_bytes();
        let exec = Arc::new(Process::new(&request.exec_id, names, spec));
        lock(&self.execs).insert(request.exec_id.clone(), exec);
        Ok(())
    }

    /// Starts its first process, or the one that [`add_exec`](Self::add_exec) noted.
    pub(crate) async fn start(self: &Arc<Self>, exec_id: &str) -> Result<i32> {
        let process = self.process(exec_id)?;
        let _turn = process.turns.lock().await;
        process.allows(Verb::Start)?;
        match process.is_init() {
            true => self.start_init(&process).await,
            false => {
                let started = self.start_exec(&process).await;
                started.inspect_err(|fault| process.give_up(fault.clone()))
            }
        }
    }

    async fn start_init(&self, process: &Process) -> Result<i32> {
        let started = self.runtime.command(&["start", &self.id], self.bundle.path()).await;
        started.map_err(|fault| fault.while_doing("OCI runtime start failed"))?;
        process.did(Verb::Start)?;
        let pid = process.pid();
        let event = TaskStart {
            container_id: self.id.clone(),
            pid: pid.cast_unsigned(),
            ..Default::default()
        };
        self.common.events.publish("/tasks/start", "TaskStart", &event);
        Ok(pid)
    }

    async fn start_exec(self: &Arc<Self>, process: &Arc<Process>) -> Result<i32> {
        self.init.allows(Verb::Exec)?;
        let made = self.make_exec(process).await;
        made.map_err(|fault| fault.while_doing("OCI runtime exec failed"))?;
        process.did(Verb::Start)?;
        let pid = process.pid();
        let event = TaskExecStarted {
            container_id: self.id.clone(),
            exec_id: process.exec_id.clone(),
            pid: pid.cast_unsigned(),
            ..Default::default()
        };
        self.common.events.publish("/tasks/exec-started", "TaskExecStarted", &event);
        self.await_end(process);
        Ok(pid)
    }

    async fn make_exec(&self, process: &Process) -> Result<()> {
        let owner = owner(&self.common, &self.runtime, &self.id);
        let stage = Stage::set(&self.bundle, process, owner).await?;
        let pid_file = self.bundle.exec_pid_file(&process.exec_id);
        let Stage { console, io, streams } = stage;
        let name = console.as_ref().map(io::Console::name);
        let bundle = self.bundle.path();
        let child = self.runtime.exec(&self.id, &process.spec, bundle, &pid_file, name, streams);
        let child = child.await?;
        let opened = open_terminal(io, console, process, owner).await;
        let io = opened.inspect_err(|_| {
            // Nobody will hear of it.
            let _ = child.signal(libc::SIGKILL);
        })?;
        process.made(Arc::new(child), io);
        Ok(())
    }

    /// Removes a process that has ended or never begun; with its first one the container.
    pub(crate) async fn delete(&self, exec_id: &str) -> Result<Deleted> {
        let process = self.process(exec_id)?;
        let mut turn = process.turns.lock().await;
        process.allows(Verb::Delete)?;
        if process.is_init() && process.state() == State::Created {
            // It has a process, which waits for Start.
            process.signal(libc::SIGKILL).or_else(Fault::unless_gone)?;
            drop(turn);
            process.wait().await?;
            turn = process.turns.lock().await;
        }
        if process.is_init() {
            self.remove().await?;
        }
        process.did(Verb::Delete)?;
        if let Some(io) = process.take_io() {
            io.finish().await;
        }
        drop(turn);
        let deleted = Deleted { pid: process.pid(), exit: process.exit() };
        match process.is_init() {
            true => self.publish_delete(deleted),
            false => drop(lock(&self.execs).remove(exec_id)),
        }
        let others = if process.is_init() { self.execs() } else { Vec::new() };
        others.iter().chain([&process]).for_each(|process| process.deleted());
        Ok(deleted)
    }

    /// The container and its root.
    async fn remove(&self) -> Result<()> {
        match self.runtime.command(&["delete", &self.id], self.bundle.path()).await {
            Err(fault) if fault.code != Code::NOT_FOUND => return Err(fault),
            _ => {}
        }
        unmount(&self.common, &self.bundle).await
    }

    fn publish_oom(&self) {
        let event = TaskOOM { container_id: self.id.clone(), ..Default::default() };
        self.common.events.publish("/tasks/oom", "TaskOOM", &event);
    }

    fn publish_exit(&self, process: &Process, exit: Exit) {
        let id = if process.is_init() { &self.id } else { &process.exec_id };
        let event = TaskExit {
            container_id: self.id.clone(),
            id: id.clone(),
            pid: process.pid().cast_unsigned(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        };
        self.common.events.publish("/tasks/exit", "TaskExit", &event);
    }

    fn publish_delete(&self, deleted: Deleted) {
        let event = TaskDelete {
            container_id: self.id.clone(),
            pid: deleted.pid.cast_unsigned(),
            exit_status: deleted.exit.map_or(0, |exit| exit.status),
            exited_at: MessageField::some(exited_at(deleted.exit)),
            ..Default::default()
        };
        self.common.events.publish("/tasks/delete", "TaskDelete", &event);
    }
}

/// Ids become names of files; containerd sees to it that they can, another client may not.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    match id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(plain) {
        true => Ok(()),
        false => Err(Fault::invalid(format!("invalid id {id:?}"))),
    }
}
