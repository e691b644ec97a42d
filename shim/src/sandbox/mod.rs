//! A pod without a container of its own: containerd's Sandbox API, version 1, for CRI with
//! `sandboxer = "shim"` (containerd, api/runtime/sandbox/v1/sandbox.proto).

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use containerd_shim_protos::sandbox_api::CreateSandboxRequest;
use tokio::sync::watch;

use crate::{
    bundle::Bundle,
    children::{Exit, lock},
    error::{Fault, Result},
};

mod config;
pub(crate) mod files;
pub(crate) mod namespaces;
mod service;
mod spec;

use config::Config;
use namespaces::Held;
pub(crate) use service::methods;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) created_at: SystemTime,
    bundle: Bundle,
    config: Config,
    /// Empty if nobody has made one for it.
    netns: String,
    now: Mutex<Now>,
    exit: watch::Sender<Option<Exit>>,
    /// Held by Start and Stop, which take their time.
    turns: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Now {
    Created,
    Ready(Held),
    Stopped(Exit),
}

impl Sandbox {
    /// Nothing is made yet.
    pub(crate) fn new(request: CreateSandboxRequest) -> Result<Self> {
        let none = Default::default();
        Ok(Self {
            config: Config::from_any(request.options.as_ref().unwrap_or(&none))?,
            bundle: Bundle::at(request.bundle_path.as_ref())?,
            netns: request.netns_path,
            id: request.sandbox_id,
            created_at: SystemTime::now(),
            now: Mutex::new(Now::Created),
            exit: watch::Sender::new(None),
            turns: tokio::sync::Mutex::default(),
        })
    }

    /// Makes what the containers share. Nothing of it is left when that fails.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when it was started before.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turns.lock().await;
        match &*lock(&self.now) {
            Now::Created => {}
            Now::Ready(_) => return Err(Fault::precondition("the sandbox is started already")),
            Now::Stopped(_) => return Err(Fault::precondition("the sandbox is stopped")),
        }
        let held = Held::make(&self.config.shared(&self.netns)).await?;
        files::make(&self.bundle, &self.config).inspect_err(|_| {
            // The first failure is the one to report.
            let _ = files::remove(&self.bundle);
        })?;
        let first = held.first.clone();
        *lock(&self.now) = Now::Ready(held);
        if let Some(first) = first {
            let sandbox = self.clone();
            tokio::spawn(async move { sandbox.ended(first.ended().await) });
        }
        Ok(())
    }

    /// Lets go of what the containers share; those that are left keep it. Once is enough.
    ///
    /// # Errors
    /// When something cannot be unmounted; it is stopped all the same.
    pub(crate) async fn stop(&self) -> Result<()> {
        let _turn = self.turns.lock().await;
        let first = match &*lock(&self.now) {
            Now::Ready(held) => held.first.clone(),
            Now::Created | Now::Stopped(_) => None,
        };
        match first {
            Some(first) => {
                first.signal(libc::SIGKILL).or_else(Fault::unless_gone)?;
                self.wait().await;
            }
            None => self.ended(Exit { status: 0, at: SystemTime::now() }),
        }
        files::remove(&self.bundle)
    }

    /// It is stopped, whoever did it.
    fn ended(&self, exit: Exit) {
        let mut now = lock(&self.now);
        if !matches!(*now, Now::Stopped(_)) {
            *now = Now::Stopped(exit);
            self.exit.send_replace(Some(exit));
        }
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await;
        // The sender is here: it cannot go away while this is called.
        ended.ok().and_then(|exit| *exit).unwrap_or(Exit { status: 255, at: self.created_at })
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(*lock(&self.now), Now::Ready(_))
    }

    fn exit(&self) -> Option<Exit> {
        match &*lock(&self.now) {
            Now::Stopped(exit) => Some(*exit),
            Now::Created | Now::Ready(_) => None,
        }
    }

    /// Of its first process, if its containers share a pid namespace; else 0.
    pub(crate) fn pid(&self) -> i32 {
        match &*lock(&self.now) {
            Now::Ready(held) => held.first.as_ref().map_or(0, |first| first.pid),
            Now::Created | Now::Stopped(_) => 0,
        }
    }

    /// # Errors
    /// FAILED_PRECONDITION when it is not running.
    fn shared(&self) -> Result<spec::Shared> {
        let now = lock(&self.now);
        let Now::Ready(held) = &*now else {
            return Err(Fault::precondition(format!("sandbox {:?} is not running", self.id)));
        };
        let kinds = ["net", "uts", "ipc", "pid", "user"];
        Ok(spec::Shared {
            namespaces: held.paths().map(|(name, path)| (name.to_owned(), path)).collect(),
            hosts: kinds.into_iter().filter(|kind| self.config.is_hosts(kind)).collect(),
            private_pids: self.config.has_private_pids(),
            files: files::list(&self.bundle, &self.config),
        })
    }

    /// Makes config.json of a container, in its bundle, that of a container of this pod.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when this is not running, or has no namespace that the container wants.
    pub(crate) fn adopt(&self, bundle: &Bundle) -> Result<()> {
        let shared = self.shared()?;
        let mut config = bundle.read_config()?;
        match shared.put_into(&mut config)? {
            true => bundle.write_config(&config),
            false => Ok(()),
        }
    }
}
