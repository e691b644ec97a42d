//! The directory that containerd makes before it calls for a shim, and the calls.

use std::{
    fs,
    io::Write,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use containerd_shim_protos::{
    api::DeleteResponse,
    bootstrap_api::{BootstrapParams, Extension},
    shim::oci::Options,
};
use protobuf::Message;

use super::packed;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-rtn-v2");

/// Removed with this. The shim's sockets and the containers' states are in it, too.
pub(crate) struct Bundle {
    directory: PathBuf,
    id: &'static str,
}

impl Bundle {
    /// Of the container `c1`.
    pub(crate) fn of_container() -> Self {
        let bundle = Self::new("c1");
        let config = "{\"ociVersion\": \"1.2.0\", \"annotations\": {}}";
        fs::write(bundle.join("config.json"), config).expect("config.json");
        bundle
    }

    /// Of the sandbox `pod`: without a config.json.
    pub(crate) fn of_sandbox() -> Self {
        Self::new("pod")
    }

    fn new(id: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("shim.{}.{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a bundle");
        Self { directory, id }
    }

    /// Where sockets belong.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.join("s")
    }

    /// What containers are made with.
    pub(crate) fn options(&self) -> Options {
        let root = self.join("states").to_string_lossy().into_owned();
        Options { root, ..Default::default() }
    }

    /// The program with `action`, and with `input` to read.
    pub(crate) fn call(&self, action: &str, input: &[u8]) -> Output {
        call(&mut self.command(action), input)
    }

    pub(crate) fn command(&self, action: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["-namespace", "tests", "-id", self.id]);
        command.args(["-address", "/nowhere/c.sock", action]);
        command.current_dir(self).env_remove("TTRPC_ADDRESS").env_remove("MAX_SHIM_VERSION");
        command
    }

    /// `start` in the form of containerd 2.3, which says where sockets belong.
    pub(crate) fn start(&self, options: Option<&Options>) -> Output {
        let params = self.params(options).write_to_bytes();
        self.call("start", &params.expect("a message"))
    }

    pub(crate) fn params(&self, options: Option<&Options>) -> BootstrapParams {
        let extension =
            |options| Extension { value: Some(packed(options)).into(), ..Default::default() };
        BootstrapParams {
            instance_id: self.id.into(),
            namespace: "tests".into(),
            socket_dir: Some(self.sockets().to_string_lossy().into_owned()),
            extensions: options.map(extension).into_iter().collect(),
            ..Default::default()
        }
    }

    /// `delete`, which containerd calls for a shim that is dead.
    #[track_caller]
    pub(crate) fn delete(&self) -> DeleteResponse {
        answer(&self.call("delete", b""))
    }

    /// What is mounted on it, in it, or from it.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
        // Its layers are among the options.
        let separators = [' ', ',', '=', ':'];
        let inside = |word: &str| Path::new(word).starts_with(self);
        let names_it = |line: &&str| line.split(separators).any(inside);
        mounts.lines().filter(names_it).map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn has_no_mount(&self) {
        assert_eq!(self.mounts(), Vec::<String>::new());
    }
}

impl Deref for Bundle {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.directory
    }
}

impl AsRef<Path> for Bundle {
    fn as_ref(&self) -> &Path {
        self
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A test that fails may leave something mounted.
        let _ = fs::remove_dir_all(self);
    }
}

/// Runs `command` with `input` to read.
pub(crate) fn call(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the shim can be executed");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// What a call that succeeds has printed, and nothing else.
#[track_caller]
pub(crate) fn answer<T: Message>(output: &Output) -> T {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    T::parse_from_bytes(&output.stdout).expect("an answer")
}
