//! The containers that this shim serves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use containerd_shim_protos::{
    api::CreateTaskRequest,
    events::task::{TaskCreate, TaskIO},
    sandbox_api::CreateSandboxRequest,
};
use protobuf::MessageField;
use tokio::sync::Notify;

use crate::{
    children::lock,
    common::Common,
    error::{Code, Fault, Result},
    events::Events,
    log,
    sandbox::Sandbox,
    task::{Deleted, Task},
};

/// A pod; a container by itself is one, too.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Of its first container, or of its sandbox.
    id: String,
    pub(crate) common: Arc<Common>,
    tasks: Mutex<BTreeMap<String, Arc<Task>>>,
    /// There is nothing left to do.
    pub(crate) done: Notify,
}

impl Pod {
    pub(crate) fn new(namespace: &str, id: &str, events: Events) -> Self {
        Self {
            id: id.to_owned(),
            common: Arc::new(Common::new(namespace, events)),
            tasks: Mutex::default(),
            done: Notify::new(),
        }
    }

    /// # Errors
    /// NOT_FOUND with the words of containerd's own shim.
    pub(crate) fn task(&self, id: &str) -> Result<Arc<Task>> {
        let task = lock(&self.tasks).get(id).cloned();
        task.ok_or_else(|| Fault::not_found(format!("container not created: {id:?}: not found")))
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.common.has_containers() && self.common.its_sandbox().is_none()
    }

    /// Whether this shim was started for the container or sandbox `id`.
    pub(crate) fn is_of(&self, id: &str) -> bool {
        self.id == id
    }

    /// # Errors
    /// ALREADY_EXISTS; INVALID_ARGUMENT for what the shim of another pod should be asked.
    pub(crate) fn create_sandbox(&self, request: CreateSandboxRequest) -> Result<()> {
        let id = request.sandbox_id.clone();
        if !self.is_of(&id) {
            return Err(Fault::invalid(format!(
                "this is the shim of {:?}, not of {id:?}",
                self.id
            )));
        }
        let mut sandbox = lock(&self.common.sandbox);
        if sandbox.is_some() {
            let text = format!("sandbox {id:?} already exists");
            return Err(Fault::new(Code::ALREADY_EXISTS, text));
        }
        *sandbox = Some(Arc::new(Sandbox::new(request)?));
        Ok(())
    }

    /// # Errors
    /// NOT_FOUND.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let sandbox = self.common.its_sandbox().filter(|sandbox| sandbox.id == id);
        sandbox.ok_or_else(|| Fault::not_found(format!("no sandbox {id:?}: not found")))
    }

    /// Every process of every container that is left. Their ends are told as any other's.
    pub(crate) async fn kill_everybody(&self) {
        let tasks: Vec<_> = lock(&self.tasks).values().cloned().collect();
        for task in tasks {
            // One that has ended cannot be killed.
            if let Err(fault) = task.kill("", libc::SIGKILL, true).await {
                log::debug(|| format!("kill {}: {fault}", task.id));
            }
        }
    }

    pub(crate) async fn create(&self, request: CreateTaskRequest) -> Result<Arc<Task>> {
        let (reservation, given_up) = self.common.reserve(&request.id)?;
        let task = Arc::new(Task::create(&self.common, &request, given_up).await?);
        lock(&self.tasks).insert(task.id.clone(), task.clone());
        reservation.keep();
        let io = TaskIO {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            ..Default::default()
        };
        let event = TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: MessageField::some(io),
            checkpoint: request.checkpoint,
            pid: task.init.pid().cast_unsigned(),
            ..Default::default()
        };
        self.common.events.publish("/tasks/create", "TaskCreate", &event);
        task.watch();
        Ok(task)
    }

    /// Removes a process of a container that has ended or never begun; with its first one the
    /// container, be it one that is still being made.
    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> Result<Deleted> {
        if exec_id.is_empty() {
            self.common.give_up(id).await;
        }
        let deleted = self.task(id)?.delete(exec_id).await?;
        if exec_id.is_empty() {
            lock(&self.tasks).remove(id);
            self.common.free(id);
        }
        Ok(deleted)
    }
}
