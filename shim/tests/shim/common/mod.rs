//! The shim that is judged, from its start to its last answer.

use std::{os::fd::OwnedFd, path::PathBuf, process::Output};

use containerd_shim_protos::{
    Client, TaskClient,
    api::{CreateTaskRequest, CreateTaskResponse, ShutdownRequest, StateRequest},
    bootstrap_api::BootstrapResult,
    shim::oci::Options,
    ttrpc::{self, Code, context},
};
use protobuf::{Message, well_known_types::any::Any};
use rustix::process::{Signal, pidfd_send_signal};

pub(crate) mod bundle;
pub(crate) mod host;

pub(crate) use bundle::{Bundle, answer};
pub(crate) use host::needs_root;

/// The process that was started with a bundle; killed with this.
pub(crate) struct Shim {
    pub(crate) bundle: Bundle,
    pub(crate) socket: PathBuf,
    pub(crate) pid: u32,
    pub(crate) process: OwnedFd,
}

impl Shim {
    /// For a container.
    pub(crate) fn start() -> Self {
        Self::start_in(Bundle::of_container(), None)
    }

    pub(crate) fn start_in(bundle: Bundle, options: Option<&Options>) -> Self {
        let started = bundle.start(options);
        Self::that_said(&started, bundle)
    }

    /// The one of which `start` tells.
    pub(crate) fn that_said(started: &Output, bundle: Bundle) -> Self {
        let socket = socket(&answer(started));
        // What has printed the answer is gone; its child names the socket.
        let name = socket.display().to_string();
        let is_it = |pid: &u32| host::proc(*pid, "cmdline").contains(&name);
        let pid = host::pids().find(is_it).expect("its process");
        Self::of(bundle, socket, pid)
    }

    pub(crate) fn of(bundle: Bundle, socket: PathBuf, pid: u32) -> Self {
        let process = host::pidfd(pid).expect("it lives");
        Self { bundle, socket, pid, process }
    }

    pub(crate) fn connect(&self) -> Client {
        let address = format!("unix://{}", self.socket.display());
        Client::connect(&address).expect("it listens")
    }

    pub(crate) fn tasks(&self) -> TaskClient {
        TaskClient::new(self.connect())
    }

    /// It answers, and knows of no container.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        let request = StateRequest { id: "c1".into(), ..Default::default() };
        assert_eq!(code(self.tasks().state(patience(), &request)), Code::NOT_FOUND);
    }

    /// Makes the container of its bundle.
    pub(crate) fn create(&self, request: CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        let bundle = self.bundle.to_string_lossy().into_owned();
        let request = CreateTaskRequest { id: "c1".into(), bundle, ..request };
        self.tasks().create(patience(), &request)
    }

    /// Asks it to, as containerd does after the last container.
    #[track_caller]
    pub(crate) fn ends_when_asked(&self) {
        self.tasks().shutdown(patience(), &ShutdownRequest::new()).expect("nothing keeps it");
        assert!(self.ends());
    }

    /// Kills it, and waits for its end.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        assert!(self.ends());
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.process, signal).expect("it is there");
    }

    pub(crate) fn ends(&self) -> bool {
        host::ends(&self.process)
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // It may have ended, and may have unmounted what there was.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let shm = self.bundle.join("shm");
        let _ = rustix::mount::unmount(&shm, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Where it said that it listens.
fn socket(started: &BootstrapResult) -> PathBuf {
    started.address.strip_prefix("unix://").expect("a socket's address").into()
}

pub(crate) fn patience() -> context::Context {
    context::with_duration(host::PATIENCE)
}

#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> (Code, String) {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message),
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> Code {
    refusal(answer).0
}

/// With a reason that has `words` in it.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: ttrpc::Result<T>, code: Code, words: &str) {
    let (said, text) = refusal(answer);
    assert!(said == code && text.contains(words), "{said:?}: {text}");
}

/// As it goes over the socket: length, stream, type, flags.
pub(crate) fn frame(method: &str, request: &impl Message) -> Vec<u8> {
    let request = ttrpc::Request {
        service: "containerd.task.v3.Task".to_owned(),
        method: method.to_owned(),
        payload: request.write_to_bytes().expect("a message"),
        ..Default::default()
    };
    let request = request.write_to_bytes().expect("a message");
    let length = u32::try_from(request.len()).expect("it is short");
    [&length.to_be_bytes()[..], &[0, 0, 0, 1, 1, 0], &request].concat()
}

/// Options as `start` and `Create` take them.
pub(crate) fn packed(options: &Options) -> Any {
    Any {
        type_url: "containerd.runc.v1.Options".into(),
        value: options.write_to_bytes().expect("a message"),
        ..Default::default()
    }
}
