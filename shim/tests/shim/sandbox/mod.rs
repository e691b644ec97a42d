//! The shim as the sandbox of a pod: what it holds, its life, its containers.

use std::{fs, ops::Deref, os::unix::fs::MetadataExt, process::Command};

use containerd_shim_protos::{
    sandbox_api::{
        CreateSandboxRequest, SandboxStatusRequest, SandboxStatusResponse, ShutdownSandboxRequest,
        StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
    },
    sandbox_sync::SandboxClient,
    ttrpc,
};
use protobuf::well_known_types::any::Any;
use serde_json::Value;

use crate::common::{Bundle, Shim, patience};

mod containers;
mod end;
mod holds;
mod life;
mod user;

/// A shim that was started for a sandbox.
struct Pod {
    shim: Shim,
}

impl Deref for Pod {
    type Target = Shim;

    fn deref(&self) -> &Shim {
        &self.shim
    }
}

impl Pod {
    fn start() -> Self {
        let bundle = Bundle::of_sandbox();
        let options = bundle.options();
        let shim = Shim::start_in(bundle, Some(&options));
        // Before it answers it has not said yet what it does with signals.
        shim.is_well();
        Self { shim }
    }

    fn client(&self) -> SandboxClient {
        SandboxClient::new(self.connect())
    }

    fn request(&self, config: &[u8]) -> CreateSandboxRequest {
        let options = Any {
            type_url: "runtime.v1.PodSandboxConfig".into(),
            value: config.to_vec(),
            ..Default::default()
        };
        CreateSandboxRequest {
            sandbox_id: "pod".into(),
            bundle_path: self.bundle.to_string_lossy().into_owned(),
            options: Some(options).into(),
            ..Default::default()
        }
    }

    fn create_sandbox(&self, config: &[u8]) -> ttrpc::Result<()> {
        self.client().create_sandbox(patience(), &self.request(config)).map(drop)
    }

    fn start_sandbox(&self) -> ttrpc::Result<StartSandboxResponse> {
        let request = StartSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
        self.client().start_sandbox(patience(), &request)
    }

    /// A pod that runs, and what it says of itself.
    fn with(config: &[u8]) -> (Self, StartSandboxResponse) {
        let pod = Self::start();
        pod.create_sandbox(config).expect("a sandbox");
        let started = pod.start_sandbox().expect("it starts");
        (pod, started)
    }

    fn stop(&self) -> ttrpc::Result<()> {
        let request = StopSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
        self.client().stop_sandbox(patience(), &request).map(drop)
    }

    fn shut_down(&self) -> ttrpc::Result<()> {
        let request = ShutdownSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
        self.client().shutdown_sandbox(patience(), &request).map(drop)
    }

    fn status(&self) -> SandboxStatusResponse {
        let request =
            SandboxStatusRequest { sandbox_id: "pod".into(), verbose: true, ..Default::default() };
        self.client().sandbox_status(patience(), &request).expect("a status")
    }
}

/// A field of a protobuf message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
    [&[number << 3 | 2, length.expect("it is short")], content].concat()
}

/// Whose namespace it is: NamespaceMode of the CRI.
const POD: u8 = 0;
const CONTAINER: u8 = 1;
const NODE: u8 = 2;

/// PodSandboxConfig with these modes for the network, pid and ipc namespaces.
fn config(network: u8, pid: u8, ipc: u8, more: &[Vec<u8>]) -> Vec<u8> {
    let namespaces = field(1, &[0x08, network, 0x10, pid, 0x18, ipc]);
    let linux = [field(2, &namespaces), more.concat()].concat();
    [field(2, b"pod-name"), field(8, &linux)].concat()
}

fn sysctl(name: &str, value: &str) -> Vec<u8> {
    field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn spec(started: &StartSandboxResponse) -> Value {
    assert!(started.spec.type_url.ends_with("opencontainers/runtime-spec/1/Spec"));
    serde_json::from_slice(&started.spec.value).expect("a specification")
}

/// Of the kinds that it has, by their names in config.json.
fn namespace(spec: &Value, kind: &str) -> Option<String> {
    let namespaces = spec["linux"]["namespaces"].as_array().expect("namespaces");
    let found = namespaces.iter().find(|namespace| namespace["type"] == kind)?;
    found["path"].as_str().map(str::to_owned)
}

/// Equal for two files of one namespace.
fn inode(path: &str) -> u64 {
    fs::metadata(path).expect("a namespace").ino()
}

/// What a program says in one of the namespaces.
fn inside(option: &str, program: &[&str]) -> String {
    let output = Command::new("nsenter").arg(option).args(program).output().expect("nsenter");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
