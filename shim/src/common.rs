//! What the containers of a pod have in common.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use crate::{
    children::lock,
    error::{Code, Fault, Result},
    events::Events,
    sandbox::Sandbox,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) namespace: String,
    pub(crate) events: Events,
    pub(crate) sandbox: Mutex<Option<Arc<Sandbox>>>,
    /// The containers by their ids; one that is being made with what says that it is given up.
    containers: Mutex<BTreeMap<String, Option<watch::Sender<bool>>>>,
}

/// An id that is taken for a container that is being made: free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    common: &'a Common,
    id: &'a str,
    made: bool,
}

impl Common {
    pub(crate) fn new(namespace: &str, events: Events) -> Self {
        Self {
            namespace: namespace.to_owned(),
            events,
            sandbox: Mutex::default(),
            containers: Mutex::default(),
        }
    }

    /// That of the pod, if containerd's CRI has made it one.
    pub(crate) fn its_sandbox(&self) -> Option<Arc<Sandbox>> {
        lock(&self.sandbox).clone()
    }

    pub(crate) fn has_containers(&self) -> bool {
        !lock(&self.containers).is_empty()
    }

    /// Whether whoever asks is the only container, be it one that is being made.
    pub(crate) fn is_of_one(&self) -> bool {
        lock(&self.containers).len() == 1
    }

    /// # Errors
    /// ALREADY_EXISTS.
    pub(crate) fn reserve<'a>(
        &'a self,
        id: &'a str,
    ) -> Result<(Reservation<'a>, watch::Receiver<bool>)> {
        let mut containers = lock(&self.containers);
        if containers.contains_key(id) {
            let text = format!("container {id:?} already exists");
            return Err(Fault::new(Code::ALREADY_EXISTS, text));
        }
        let (give_up, given_up) = watch::channel(false);
        containers.insert(id.to_owned(), Some(give_up));
        Ok((Reservation { common: self, id, made: false }, given_up))
    }

    /// If a container is being made, stops that, and waits until nothing is left of it. A program that
    /// hangs would keep it, and this process with it, for ever.
    pub(crate) async fn give_up(&self, id: &str) {
        let unborn = lock(&self.containers).get(id).cloned().flatten();
        if let Some(unborn) = unborn {
            unborn.send_replace(true);
            unborn.closed().await;
        }
    }

    /// The container is gone.
    pub(crate) fn free(&self, id: &str) {
        lock(&self.containers).remove(id);
    }
}

impl Reservation<'_> {
    /// The container is there, and has the id until it is deleted.
    pub(crate) fn keep(mut self) {
        self.made = true;
        lock(&self.common.containers).insert(self.id.to_owned(), None);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.common.free(self.id);
        }
    }
}
