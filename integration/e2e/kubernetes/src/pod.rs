//! Pods, as kubelet makes them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use e2e_common::cgroup;
use e2e_containerd::daemon::systemctl;

use crate::{
    Container, call,
    cri::{Code, Status},
    daemon,
    message::*,
};

/// A pod; it is removed with this, and so are its containers.
#[derive(Debug)]
pub struct Pod {
    id: String,
    config: PodSandboxConfig,
}

/// A number that no other pod or container has.
pub(crate) fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A pod in the network of the host and in its own of everything else but pids, of which each
/// container has its own.
pub fn config() -> PodSandboxConfig {
    let name = format!("pod{}", number());
    let namespaces = NamespaceOption {
        network: NamespaceMode::Node as i32,
        pid: NamespaceMode::Container as i32,
        ..Default::default()
    };
    let security = LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces),
        seccomp: Some(SecurityProfile::default()),
        ..Default::default()
    };
    let parent = match daemon::is_systemd() {
        true => format!("/{}/{}-{name}.slice", daemon::cgroups(), daemon::name()),
        false => format!("/{}/{name}", daemon::cgroups()),
    };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            uid: name.clone(),
            namespace: "tests".to_owned(),
            attempt: 0,
            name: name.clone(),
        }),
        log_directory: daemon::shared().directory().join("pods").join(&name).display().to_string(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: parent,
            security_context: Some(security),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl PodSandboxConfig {
    /// Its namespaces; each is there to be changed.
    pub fn namespaces(&mut self) -> &mut NamespaceOption {
        let security = self.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default()
    }
}

impl Pod {
    /// A pod as [`config`] makes it.
    #[track_caller]
    pub fn run() -> Self {
        Self::with(|_| {})
    }

    /// One whose configuration `change` has changed.
    #[track_caller]
    pub fn with(change: impl FnOnce(&mut PodSandboxConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::of(config, daemon::HANDLER).expect("the pod runs")
    }

    /// One of a runtime handler.
    ///
    /// # Errors
    /// That containerd refuses it.
    pub fn of(config: PodSandboxConfig, handler: &str) -> Result<Self, Status> {
        fs::create_dir_all(&config.log_directory).expect("a directory for logs");
        let asked = Some(config.clone());
        let request = RunPodSandboxRequest { config: asked, runtime_handler: handler.to_owned() };
        Ok(Self { id: call(request)?.pod_sandbox_id, config })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn config(&self) -> &PodSandboxConfig {
        &self.config
    }

    pub fn logs(&self) -> PathBuf {
        self.config.log_directory.clone().into()
    }

    /// A container that runs `words`.
    #[track_caller]
    pub fn start(&self, words: &[&str]) -> Container {
        self.start_with(words, |_| {})
    }

    /// One whose configuration `change` has changed.
    #[track_caller]
    pub fn start_with(
        &self,
        words: &[&str],
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Container {
        let container = Container::create(self, words, change).expect("it can be created");
        container.start().expect("it starts");
        container
    }

    /// One that sleeps.
    #[track_caller]
    pub fn idle(&self) -> Container {
        self.start(&["sleep", "10000"])
    }

    #[track_caller]
    pub fn status(&self) -> PodSandboxStatus {
        self.told().status.expect("it has one")
    }

    #[track_caller]
    fn told(&self) -> PodSandboxStatusResponse {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: true };
        call(request).expect("it is there")
    }

    /// What containerd says of it beyond the CRI, by JSON pointer: `/pid`.
    #[track_caller]
    pub fn info(&self, pointer: &str) -> serde_json::Value {
        let info = &self.told().info["info"];
        let info: serde_json::Value = serde_json::from_str(info).expect("JSON");
        info.pointer(pointer).cloned().unwrap_or_default()
    }

    /// The first process of the pod's own.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.info("/pid").as_u64().expect("a number") as u32
    }

    /// # Errors
    /// What containerd refuses.
    pub fn stop(&self) -> Result<(), Status> {
        call(StopPodSandboxRequest { pod_sandbox_id: self.id.clone() }).map(drop)
    }

    /// # Errors
    /// What containerd refuses.
    pub fn remove(&self) -> Result<(), Status> {
        call(RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() }).map(drop)
    }

    pub fn bundle(&self) -> PathBuf {
        daemon::shared().bundles().join(&self.id)
    }

    /// The pod's own cgroup, below the root of each hierarchy.
    pub fn cgroup(&self) -> &Path {
        let parent = self.config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str());
        Path::new(parent.unwrap_or_default().trim_start_matches('/'))
    }

    /// What kubelet does when a pod is gone. A cgroup that is in use stays, and fails the list `rest`.
    fn remove_cgroup(&self) {
        if daemon::is_systemd() {
            let slice = self.cgroup().file_name().and_then(|name| name.to_str());
            systemctl(&["stop", slice.unwrap_or_default()]);
        }
        for root in cgroup::roots() {
            let _ = fs::remove_dir(root.join(self.cgroup()));
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // What cannot be removed fails the list `rest`.
        let removed = self.stop().and_then(|()| self.remove());
        if let Err(error) = removed
            && error.code() != Code::NotFound
        {
            eprintln!("{}: {error}", self.id);
        }
        self.remove_cgroup();
    }
}
