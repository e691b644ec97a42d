//! The containers that this shim serves, and what they share.

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
use tokio::sync::{Notify, watch};

use crate::{
    children::lock,
    error::{Code, Fault, Result},
    events::Events,
    log,
    sandbox::Sandbox,
    task::Task,
};

/// A pod; a container by itself is one, too.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    /// Of its first container, or of its sandbox.
    id: String,
    pub(crate) events: Events,
    sandbox: Mutex<Option<Arc<Sandbox>>>,
    tasks: Mutex<BTreeMap<String, Arc<Task>>>,
    /// Containers that are being made, and what says that they are given up.
    unborn: Mutex<BTreeMap<String, watch::Sender<bool>>>,
    /// There is nothing left to do.
    pub(crate) done: Notify,
}

/// Keeps an id for a container that is being made.
struct Reservation<'a> {
    pod: &'a Pod,
    id: &'a str,
}

impl Pod {
    pub(crate) fn new(namespace: &str, id: &str, events: Events) -> Self {
        Self {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            events,
            sandbox: Mutex::default(),
            tasks: Mutex::default(),
            unborn: Mutex::default(),
            done: Notify::new(),
        }
    }

    /// # Errors
    /// NOT_FOUND with the words of containerd's own shim.
    pub(crate) fn task(&self, id: &str) -> Result<Arc<Task>> {
        let task = lock(&self.tasks).get(id).cloned();
        task.ok_or_else(|| Fault::not_found(format!("container not created: {id:?}: not found")))
    }

    pub(crate) fn has_tasks(&self) -> bool {
        !lock(&self.tasks).is_empty() || !lock(&self.unborn).is_empty()
    }

    /// Whether whoever asks is its only container, be it one that is being made.
    pub(crate) fn is_of_one(&self) -> bool {
        lock(&self.tasks).len() + lock(&self.unborn).len() == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.has_tasks() && lock(&self.sandbox).is_none()
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
        let mut sandbox = lock(&self.sandbox);
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
        let sandbox = self.its_sandbox().filter(|sandbox| sandbox.id == id);
        sandbox.ok_or_else(|| Fault::not_found(format!("no sandbox {id:?}: not found")))
    }

    /// That of the pod, if containerd's CRI has made it one.
    pub(crate) fn its_sandbox(&self) -> Option<Arc<Sandbox>> {
        lock(&self.sandbox).clone()
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

    pub(crate) async fn create(self: &Arc<Self>, request: CreateTaskRequest) -> Result<Arc<Task>> {
        let (_reservation, given_up) = self.reserve(&request.id)?;
        let task = Arc::new(Task::create(self, &request, given_up).await?);
        lock(&self.tasks).insert(task.id.clone(), task.clone());
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
        self.events.publish("/tasks/create", "TaskCreate", &event);
        task.watch(self);
        Ok(task)
    }

    fn reserve<'a>(&'a self, id: &'a str) -> Result<(Reservation<'a>, watch::Receiver<bool>)> {
        let mut unborn = lock(&self.unborn);
        if lock(&self.tasks).contains_key(id) || unborn.contains_key(id) {
            let text = format!("container {id:?} already exists");
            return Err(Fault::new(Code::ALREADY_EXISTS, text));
        }
        let (give_up, given_up) = watch::channel(false);
        unborn.insert(id.to_owned(), give_up);
        Ok((Reservation { pod: self, id }, given_up))
    }

    /// If a container is being made, stops that, and waits until nothing is left of it. A program that
    /// hangs would keep it, and this process with it, for ever.
    pub(crate) async fn give_up(&self, id: &str) {
        let unborn = lock(&self.unborn).get(id).cloned();
        if let Some(unborn) = unborn {
            unborn.send_replace(true);
            unborn.closed().await;
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        lock(&self.tasks).remove(id);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.pod.unborn).remove(self.id);
    }
}
