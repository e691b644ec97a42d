//! The task service, versions 2 and 3: the same messages under two names.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{
        CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
        DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
        PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest,
        StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
        Status, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    events::task::{TaskExecAdded, TaskPaused, TaskResumed},
    shim::oci::ProcessDetails,
    shim_async::{Task, create_task},
};
use protobuf::{Message, MessageField, well_known_types::any::Any};
use tokio::sync::oneshot;
use ttrpc::r#async::{Service as Methods, TtrpcContext};

use crate::{
    error::{Code, Doing, Fault, Result},
    events::{exited_at, timestamp},
    log, metrics,
    pod::Pod,
    table::{State, Verb},
};

const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

#[derive(Debug)]
struct Service(Arc<Pod>);

/// Both versions, for a server.
pub(crate) fn methods(pod: &Arc<Pod>) -> HashMap<String, Methods> {
    let version = |name: &str| {
        let service = Arc::new(Service(pod.clone()));
        create_task(service).remove(V3).map(|methods| (name.to_owned(), methods))
    };
    [version(V2), version(V3)].into_iter().flatten().collect()
}

impl Service {
    async fn whole<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        whole(work(Self(self.0.clone()))).await
    }

    /// [`Self::whole`], of work that may leave this shim nothing to do: ends it then, if nobody waits
    /// for the answer. A containerd that was killed meanwhile may be back, and have found a container
    /// here, or one that was being made. It is told by the end of this shim, which it will have no
    /// other reason to ask for.
    async fn whole_or_end<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (answered, asker) = oneshot::channel::<()>();
        let (pod, work) = (self.0.clone(), work(Self(self.0.clone())));
        let done = whole(async move {
            let done = work.await;
            if answered.is_closed() && pod.is_empty() {
                pod.done.notify_one();
            }
            done
        });
        let done = done.await;
        drop(asker);
        done
    }

    async fn kill(&self, request: &KillRequest) -> Result<()> {
        let task = self.0.task(&request.id)?;
        let signal = request.signal.cast_signed();
        let killed = task.kill(&request.exec_id, signal, request.all).await;
        killed.map_err(|fault| match fault.code {
            // It ended while it was being asked for.
            Code::FAILED_PRECONDITION if fault.text.contains("not running") => {
                Fault::not_found("process already finished: not found")
            }
            _ => fault,
        })
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.0.task(id)?.pause().await?;
        let event = TaskPaused { container_id: id.to_owned(), ..Default::default() };
        self.0.common.events.publish("/tasks/paused", "TaskPaused", &event);
        Ok(())
    }

    async fn resume(&self, id: &str) -> Result<()> {
        self.0.task(id)?.resume().await?;
        let event = TaskResumed { container_id: id.to_owned(), ..Default::default() };
        self.0.common.events.publish("/tasks/resumed", "TaskResumed", &event);
        Ok(())
    }

    async fn update(&self, request: &UpdateTaskRequest) -> Result<()> {
        let task = self.0.task(&request.id)?;
        task.init.allows(Verb::Update)?;
        task.update(&request.resources.value).await
    }

    async fn create(&self, request: CreateTaskRequest) -> Result<CreateTaskResponse> {
        let pid = self.0.create(request).await?.init.pid().cast_unsigned();
        Ok(CreateTaskResponse { pid, ..Default::default() })
    }

    async fn start(&self, request: &StartRequest) -> Result<StartResponse> {
        let pid = self.0.task(&request.id)?.start(&request.exec_id).await?;
        Ok(StartResponse { pid: pid.cast_unsigned(), ..Default::default() })
    }

    fn exec(&self, request: &ExecProcessRequest) -> Result<()> {
        self.0.task(&request.id)?.add_exec(request)?;
        let event = TaskExecAdded {
            container_id: request.id.clone(),
            exec_id: request.exec_id.clone(),
            ..Default::default()
        };
        self.0.common.events.publish("/tasks/exec-added", "TaskExecAdded", &event);
        Ok(())
    }

    fn state(&self, request: &StateRequest) -> Result<StateResponse> {
        let task = self.0.task(&request.id)?;
        let process = task.process(&request.exec_id)?;
        let (names, exit) = (&process.names, process.exit());
        let status = match process.state() {
            State::Created => Status::CREATED,
            // It is frozen with its container.
            State::Running if task.init.state() == State::Paused => Status::PAUSED,
            State::Running if task.init.is_pausing() => Status::PAUSING,
            State::Running => Status::RUNNING,
            State::Paused => Status::PAUSED,
            State::Stopped | State::Deleted => Status::STOPPED,
        };
        Ok(StateResponse {
            id: if process.is_init() { task.id.clone() } else { process.exec_id.clone() },
            bundle: task.bundle.path().to_string_lossy().into_owned(),
            pid: process.pid().cast_unsigned(),
            status: status.into(),
            stdin: names.stdin.clone(),
            stdout: names.stdout.clone(),
            stderr: names.stderr.clone(),
            terminal: names.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: MessageField::some(exited_at(exit)),
            exec_id: process.exec_id.clone(),
            ..Default::default()
        })
    }

    fn pids(&self, id: &str) -> Result<PidsResponse> {
        let task = self.0.task(id)?;
        let execs = task.execs();
        let info = |pid: i32| {
            let exec = execs.iter().find(|exec| exec.pid() == pid)?;
            let details = ProcessDetails { exec_id: exec.exec_id.clone(), ..Default::default() };
            Some(Any {
                type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
                value: details.write_to_bytes().ok()?,
                ..Default::default()
            })
        };
        let mut pids = match task.container()?.cgroup().pids() {
            // systemd removes a cgroup with its last process.
            Err(_) if task.init.has_ended() => Vec::new(),
            pids => pids?,
        };
        if pids.is_empty() && task.init.has_ended() {
            // A containerd that comes back takes a shim whose container has no process for one that
            // it lost, and deletes it: nobody would hear how it ended.
            pids.push(task.init.pid());
        }
        let process = |pid: i32| ProcessInfo {
            pid: pid.cast_unsigned(),
            info: info(pid).into(),
            ..Default::default()
        };
        let processes = pids.into_iter().map(process).collect();
        Ok(PidsResponse { processes, ..Default::default() })
    }

    fn resize(&self, request: &ResizePtyRequest) -> Result<()> {
        let process = self.0.task(&request.id)?.process(&request.exec_id)?;
        process.allows(Verb::Resize)?;
        let resized = process.with_io(|io| io.resize(request.width, request.height));
        resized.unwrap_or(Ok(()))
    }

    fn close_io(&self, request: &CloseIORequest) -> Result<()> {
        let process = self.0.task(&request.id)?.process(&request.exec_id)?;
        if request.stdin {
            process.with_io(crate::io::Io::close_input);
        }
        Ok(())
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<DeleteResponse> {
        let deleted = self.0.delete(&request.id, &request.exec_id).await?;
        Ok(DeleteResponse {
            pid: deleted.pid.cast_unsigned(),
            exit_status: deleted.exit.map_or(0, |exit| exit.status),
            exited_at: MessageField::some(exited_at(deleted.exit)),
            ..Default::default()
        })
    }

    async fn wait(&self, request: &WaitRequest) -> Result<WaitResponse> {
        let exit = self.0.task(&request.id)?.process(&request.exec_id)?.wait().await?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn shutdown(&self, id: &str) -> Result<()> {
        let sandbox = self.0.sandbox(id).ok().filter(|_| !self.0.common.has_containers());
        let stopped = match &sandbox {
            Some(sandbox) => sandbox.stop().await,
            None => Ok(()),
        };
        if sandbox.is_some() || self.0.is_empty() {
            self.0.done.notify_one();
        }
        stopped
    }

    /// A containerd that was restarted asks so whether a pod's sandbox is there.
    fn connect(&self, id: &str) -> Result<ConnectResponse> {
        let task_pid = match self.0.sandbox(id) {
            Ok(sandbox) => sandbox.pid(),
            Err(_) => self.0.task(id)?.init.pid(),
        };
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: task_pid.cast_unsigned(),
            ..Default::default()
        })
    }
}

/// Work that is finished whatever becomes of who asked for it: ttrpc drops a handler when its client's
/// time is over, and what is left halfway could never be taken up again.
pub(crate) async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.doing(|| "cannot finish a request")?
}

/// Every answer goes out as ttrpc has it; one that is a refusal is logged for who looks for it.
pub(crate) fn answer<T>(what: &str, id: &str, result: Result<T>) -> ttrpc::Result<T> {
    result.map_err(|fault| {
        log::debug(|| format!("{what} {id}: {fault}"));
        fault.into()
    })
}

fn empty(_: ()) -> Empty {
    Empty::new()
}

pub(crate) type Answer<T> = ttrpc::Result<T>;

#[async_trait]
impl Task for Service {
    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> Answer<StateResponse> {
        answer("state", &request.id, self.state(&request))
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> Answer<CreateTaskResponse> {
        let id = request.id.clone();
        let created = self.whole_or_end(|this| async move { this.create(request).await });
        answer("create", &id, created.await)
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> Answer<StartResponse> {
        let id = request.id.clone();
        answer("start", &id, self.whole(|this| async move { this.start(&request).await }).await)
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Answer<DeleteResponse> {
        let id = request.id.clone();
        let deleted = self.whole_or_end(|this| async move { this.delete(&request).await });
        answer("delete", &id, deleted.await)
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Answer<PidsResponse> {
        answer("pids", &request.id, self.pids(&request.id))
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Answer<Empty> {
        let id = request.id.clone();
        let done = self.whole(|this| async move { this.pause(&request.id).await }).await;
        answer("pause", &id, done.map(empty))
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Answer<Empty> {
        let id = request.id.clone();
        let done = self.whole(|this| async move { this.resume(&request.id).await }).await;
        answer("resume", &id, done.map(empty))
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Answer<Empty> {
        let id = request.id.clone();
        let done = self.whole(|this| async move { this.kill(&request).await }).await;
        answer("kill", &id, done.map(empty))
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Answer<Empty> {
        answer("exec", &request.id, self.exec(&request).map(empty))
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Answer<Empty> {
        answer("resize", &request.id, self.resize(&request).map(empty))
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Answer<Empty> {
        answer("close io of", &request.id, self.close_io(&request).map(empty))
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Answer<Empty> {
        let id = request.id.clone();
        let done = self.whole(|this| async move { this.update(&request).await }).await;
        answer("update", &id, done.map(empty))
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Answer<WaitResponse> {
        answer("wait for", &request.id, self.wait(&request).await)
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Answer<StatsResponse> {
        let task = self.0.task(&request.id);
        let stats = task.and_then(|task| metrics::collect(&task.container()?));
        let stats = stats
            .map(|stats| StatsResponse { stats: MessageField::some(stats), ..Default::default() });
        answer("stats of", &request.id, stats)
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Answer<ConnectResponse> {
        answer("connect to", &request.id, self.connect(&request.id))
    }

    /// Of the process of the pod, which goes on as long as there is a container in it. For a sandbox
    /// that containerd has forgotten this is all that it says.
    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> Answer<Empty> {
        let id = request.id.clone();
        let stopped = self.whole(|this| async move { this.shutdown(&request.id).await }).await;
        answer("shutdown", &id, stopped.map(empty))
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: containerd_shim_protos::api::CheckpointTaskRequest,
    ) -> Answer<Empty> {
        let refused = self.0.task(&request.id).and_then(|_| {
            Err(Fault::new(Code::UNIMPLEMENTED, "cannot checkpoint: rtn has no checkpoint"))
        });
        answer("checkpoint", &request.id, refused)
    }
}
