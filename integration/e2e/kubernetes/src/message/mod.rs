//! The messages of the CRI, as far as the tests use them, with the numbers of
//! k8s.io/cri-api/pkg/apis/runtime/v1/api.proto. What is not here is skipped when it is read.
//!
//! They are written out, not generated: a generator would bring protoc into every build.

use prost::{Enumeration, Message};

mod call;
mod config;
mod state;

pub use call::*;
pub use config::*;
pub use state::*;

/// A question to the service `runtime.v1.RuntimeService`.
pub trait Request: Message + Default + 'static {
    const METHOD: &str;
    type Answer: Message + Default + 'static;
}

macro_rules! requests {
    ($($method:literal $request:ty => $answer:ty;)*) => {$(
        impl Request for $request {
            const METHOD: &str = $method;
            type Answer = $answer;
        }
    )*};
}

requests! {
    "RunPodSandbox" RunPodSandboxRequest => RunPodSandboxResponse;
    "StopPodSandbox" StopPodSandboxRequest => StopPodSandboxResponse;
    "RemovePodSandbox" RemovePodSandboxRequest => RemovePodSandboxResponse;
    "PodSandboxStatus" PodSandboxStatusRequest => PodSandboxStatusResponse;
    "ListPodSandbox" ListPodSandboxRequest => ListPodSandboxResponse;
    "CreateContainer" CreateContainerRequest => CreateContainerResponse;
    "StartContainer" StartContainerRequest => StartContainerResponse;
    "StopContainer" StopContainerRequest => StopContainerResponse;
    "RemoveContainer" RemoveContainerRequest => RemoveContainerResponse;
    "ListContainers" ListContainersRequest => ListContainersResponse;
    "ContainerStatus" ContainerStatusRequest => ContainerStatusResponse;
    "UpdateContainerResources" UpdateContainerResourcesRequest => UpdateContainerResourcesResponse;
    "ReopenContainerLog" ReopenContainerLogRequest => ReopenContainerLogResponse;
    "ExecSync" ExecSyncRequest => ExecSyncResponse;
    "Exec" ExecRequest => ExecResponse;
    "Attach" AttachRequest => AttachResponse;
    "ContainerStats" ContainerStatsRequest => ContainerStatsResponse;
    "ListPodSandboxStats" ListPodSandboxStatsRequest => ListPodSandboxStatsResponse;
    "Status" StatusRequest => StatusResponse;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum NamespaceMode {
    Pod = 0,
    Container = 1,
    Node = 2,
    Target = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum MountPropagation {
    Private = 0,
    HostToContainer = 1,
    Bidirectional = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum ProfileType {
    RuntimeDefault = 0,
    Unconfined = 1,
    Localhost = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum PodSandboxState {
    Ready = 0,
    NotReady = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum ContainerState {
    Created = 0,
    Running = 1,
    Exited = 2,
    Unknown = 3,
}
