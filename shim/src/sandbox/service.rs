//! The methods of containerd.runtime.sandbox.v1.Sandbox.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use containerd_shim_protos::{
    sandbox_api::{
        CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
        PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
        SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse,
        StartSandboxRequest, StartSandboxResponse, StopSandboxRequest, StopSandboxResponse,
        WaitSandboxRequest, WaitSandboxResponse,
    },
    sandbox_async::{Sandbox as Methods, create_sandbox},
    types::platform::Platform,
};
use libcontainer::cgroup::{Cgroup, Hierarchies, Place};
use protobuf::MessageField;
use ttrpc::r#async::{Service as Registered, TtrpcContext};

use super::Sandbox;
use crate::{
    error::{Code, Fault, Result},
    events::timestamp,
    metrics,
    pod::Pod,
    service::{Answer, answer, whole},
};

#[derive(Debug)]
struct Service(Arc<Pod>);

/// For a server.
pub(crate) fn methods(pod: &Arc<Pod>) -> HashMap<String, Registered> {
    create_sandbox(Arc::new(Service(pod.clone())))
}

impl Service {
    async fn start(&self, id: &str) -> Result<StartSandboxResponse> {
        let sandbox = self.0.sandbox(id)?;
        let starting = sandbox.clone();
        whole(async move { starting.start().await }).await?;
        Ok(StartSandboxResponse {
            pid: sandbox.pid().cast_unsigned(),
            created_at: MessageField::some(timestamp(sandbox.created_at)),
            spec: MessageField::some(sandbox.spec()?),
            ..Default::default()
        })
    }

    async fn stop(&self, id: &str) -> Result<()> {
        let (pod, sandbox) = (self.0.clone(), self.0.sandbox(id)?);
        whole(async move {
            pod.kill_everybody().await;
            sandbox.stop().await
        })
        .await
    }

    async fn shutdown(&self, id: &str) -> Result<()> {
        let sandbox = match self.0.sandbox(id) {
            Ok(sandbox) => Some(sandbox),
            // It could not be created, and this process was started for nothing.
            Err(fault) if fault.code == Code::NOT_FOUND && !self.0.is_of(id) => return Err(fault),
            Err(_) => None,
        };
        if self.0.common.has_containers() {
            return Err(Fault::precondition(format!("sandbox {id:?} has containers")));
        }
        if let Some(sandbox) = sandbox {
            whole(async move { sandbox.stop().await }).await?;
        }
        self.0.done.notify_one();
        Ok(())
    }

    fn status(&self, request: &SandboxStatusRequest) -> Result<SandboxStatusResponse> {
        let sandbox = self.0.sandbox(&request.sandbox_id)?;
        let state = if sandbox.is_ready() { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" };
        let mut response = SandboxStatusResponse {
            sandbox_id: sandbox.id.clone(),
            pid: sandbox.pid().cast_unsigned(),
            state: state.to_owned(),
            created_at: MessageField::some(timestamp(sandbox.created_at)),
            exited_at: sandbox.exit().map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        };
        if request.verbose {
            response.info.insert("info".to_owned(), info(&sandbox));
        }
        Ok(response)
    }

    fn metrics(&self, id: &str) -> Result<SandboxMetricsResponse> {
        let sandbox = self.0.sandbox(id)?;
        let path = &sandbox.config.cgroup_parent;
        if path.as_os_str().is_empty() {
            return Err(Fault::not_found("the sandbox has no cgroup of its own: not found"));
        }
        let cgroup = Cgroup::open(&Place::at(path, &Hierarchies::probe()?));
        let mut response = SandboxMetricsResponse::new();
        let metric = response.metrics.mut_or_insert_default();
        metric.timestamp = MessageField::some(timestamp(SystemTime::now()));
        metric.id = sandbox.id.clone();
        metric.data = MessageField::some(metrics::of_cgroup(&cgroup)?);
        Ok(response)
    }
}

/// For whoever looks closely, as JSON: `crictl inspectp`.
fn info(sandbox: &Sandbox) -> String {
    let shared = sandbox.shared().unwrap_or_default();
    let info = serde_json::json!({
        "pid": sandbox.pid(),
        "shimPid": std::process::id(),
        "namespaces": shared.namespaces,
        "files": shared.files.iter().map(|(target, path)| (*target, path)).collect::<HashMap<_, _>>(),
    });
    info.to_string()
}

/// GOARCH.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[async_trait]
impl Methods for Service {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> Answer<CreateSandboxResponse> {
        let id = request.sandbox_id.clone();
        let created = self.0.create_sandbox(request).map(|()| Default::default());
        answer("create sandbox", &id, created)
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> Answer<StartSandboxResponse> {
        answer("start sandbox", &request.sandbox_id, self.start(&request.sandbox_id).await)
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        request: PlatformRequest,
    ) -> Answer<PlatformResponse> {
        let platform = self.0.sandbox(&request.sandbox_id).map(|_| Platform {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture().to_owned(),
            ..Default::default()
        });
        let platform = platform.map(|platform| PlatformResponse {
            platform: MessageField::some(platform),
            ..Default::default()
        });
        answer("platform of sandbox", &request.sandbox_id, platform)
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: StopSandboxRequest,
    ) -> Answer<StopSandboxResponse> {
        let stopped = self.stop(&request.sandbox_id).await.map(|()| Default::default());
        answer("stop sandbox", &request.sandbox_id, stopped)
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: WaitSandboxRequest,
    ) -> Answer<WaitSandboxResponse> {
        let exit = match self.0.sandbox(&request.sandbox_id) {
            Ok(sandbox) => Ok(sandbox.wait().await),
            Err(fault) => Err(fault),
        };
        let exit = exit.map(|exit| WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        });
        answer("wait for sandbox", &request.sandbox_id, exit)
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> Answer<SandboxStatusResponse> {
        answer("status of sandbox", &request.sandbox_id, self.status(&request))
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, request: PingRequest) -> Answer<PingResponse> {
        let there = self.0.sandbox(&request.sandbox_id).map(|_| Default::default());
        answer("ping sandbox", &request.sandbox_id, there)
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> Answer<ShutdownSandboxResponse> {
        let shut = self.shutdown(&request.sandbox_id).await.map(|()| Default::default());
        answer("shutdown sandbox", &request.sandbox_id, shut)
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> Answer<SandboxMetricsResponse> {
        answer("metrics of sandbox", &request.sandbox_id, self.metrics(&request.sandbox_id))
    }
}
