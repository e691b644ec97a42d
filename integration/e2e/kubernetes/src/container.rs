//! Containers of pods.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e_common::{cgroup, host};
use e2e_containerd::image::IMAGE;

use crate::{Pod, call, cri::Status, daemon, message::*, pod, wait};

/// A container; its pod removes it.
#[derive(Debug)]
pub struct Container {
    id: String,
    log: PathBuf,
}

/// What a command in a container has said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub status: i32,
}

impl Said {
    /// The output of a command that has to succeed, without the last newline.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout.trim_end_matches('\n')
    }
}

/// A line of a container's log, or a part of one
/// (kubernetes/design-proposals-archive/node/kubelet-cri-logging.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub stream: String,
    /// There is more of this line.
    pub partial: bool,
    pub text: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ').skip(1);
        let (stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { stream: stream.to_owned(), partial: tag == "P", text: text.to_owned() })
    }
}

impl ContainerConfig {
    /// What it is allowed; each is there to be changed.
    pub fn security(&mut self) -> &mut LinuxContainerSecurityContext {
        self.linux.get_or_insert_default().security_context.get_or_insert_default()
    }

    pub fn resources(&mut self) -> &mut LinuxContainerResources {
        self.linux.get_or_insert_default().resources.get_or_insert_default()
    }
}

/// A container as kubelet has it for a pod of `pod`: in the pod's namespaces, under the default
/// filter of system calls.
fn config(pod: &PodSandboxConfig, words: &[&str]) -> ContainerConfig {
    let name = format!("c{}", pod::number());
    let mut config = ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.clone(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.to_owned() }),
        command: words.iter().map(ToString::to_string).collect(),
        log_path: format!("{name}.log"),
        ..Default::default()
    };
    config.resources().cpu_shares = 100;
    let security = config.security();
    security.namespace_options = pod.clone().namespaces().clone().into();
    security.seccomp = Some(SecurityProfile::default());
    config
}

impl Container {
    /// Creates it.
    ///
    /// # Errors
    /// What containerd refuses.
    pub fn create(
        pod: &Pod,
        words: &[&str],
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Result<Self, Status> {
        let mut config = config(pod.config(), words);
        change(&mut config);
        let log = pod.logs().join(&config.log_path);
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id().to_owned(),
            config: Some(config),
            sandbox_config: Some(pod.config().clone()),
        };
        Ok(Self { id: call(request)?.container_id, log })
    }

    /// # Errors
    /// What containerd refuses.
    pub fn start(&self) -> Result<(), Status> {
        call(StartContainerRequest { container_id: self.id.clone() }).map(drop)
    }

    /// Stops it, by force after so many seconds.
    ///
    /// # Errors
    /// What containerd refuses.
    pub fn stop(&self, timeout: i64) -> Result<(), Status> {
        call(StopContainerRequest { container_id: self.id.clone(), timeout }).map(drop)
    }

    /// # Errors
    /// What containerd refuses.
    pub fn remove(&self) -> Result<(), Status> {
        call(RemoveContainerRequest { container_id: self.id.clone() }).map(drop)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs a command in it to its end; after `timeout` seconds, unless that is 0, it is killed.
    ///
    /// # Errors
    /// What containerd refuses, and that the time is over.
    pub fn try_exec(&self, words: &[&str], timeout: i64) -> Result<Said, Status> {
        let cmd = words.iter().map(ToString::to_string).collect();
        let answer = call(ExecSyncRequest { container_id: self.id.clone(), cmd, timeout })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said {
            stdout: text(answer.stdout),
            stderr: text(answer.stderr),
            status: answer.exit_code,
        })
    }

    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Said {
        self.try_exec(words, 0).expect("it can be executed")
    }

    /// Its output of a shell's script that has to succeed.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        self.exec(&["sh", "-c", script]).ok().to_owned()
    }

    #[track_caller]
    fn told(&self) -> ContainerStatusResponse {
        let request = ContainerStatusRequest { container_id: self.id.clone(), verbose: true };
        call(request).expect("it is there")
    }

    #[track_caller]
    pub fn status(&self) -> ContainerStatus {
        self.told().status.expect("it has one")
    }

    /// What containerd says of it beyond the CRI, by JSON pointer: `/pid`.
    #[track_caller]
    pub fn info(&self, pointer: &str) -> serde_json::Value {
        let info: serde_json::Value =
            serde_json::from_str(&self.told().info["info"]).expect("JSON");
        info.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Its first process, as the host sees it. A start is over before the process has become the
    /// image's program: this waits for that.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let pid = self.info("/pid").as_u64().expect("a number") as u32;
        let program = format!("/proc/{pid}/exe");
        wait::until("it is the image's", || {
            let is_there = fs::read_link(&program).is_ok_and(|path| path.ends_with("bin/busybox"));
            (is_there || !host::is_alive(pid)).then_some(pid)
        })
    }

    /// Waits for its end, and gives its last status.
    #[track_caller]
    pub fn ended(&self) -> ContainerStatus {
        wait::until("it ends", || {
            Some(self.status()).filter(|status| status.state() == ContainerState::Exited)
        })
    }

    /// Its output, as far as it has been written.
    pub fn log(&self) -> Vec<Line> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(Line::parse).collect()
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// A file of its cgroup in the hierarchy of a v1 controller, or in that of v2.
    #[track_caller]
    pub fn limit(&self, controller: &str, v1: &str, v2: &str) -> String {
        let cgroups = host::cgroups(self.pid());
        let (root, path, file) = match cgroups.get(controller) {
            Some(path) => (Path::new(cgroup::MOUNT).join(controller), path, v1),
            None => (cgroup::MOUNT.into(), &cgroups[""], v2),
        };
        let file = root.join(path.trim_start_matches('/')).join(file);
        let value = fs::read_to_string(&file);
        value.unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim_end().to_owned()
    }

    pub fn bundle(&self) -> PathBuf {
        daemon::shared().bundles().join(&self.id)
    }
}
