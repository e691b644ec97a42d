//! The runtime: `rtn` as a program for what makes processes or may wait, libcontainer for the rest.
//!
//! A process that runs an executor must not clone itself, and its one thread must not wait for one
//! container while others ask; a static program starts in less than a millisecond. To read a state
//! or a statistic, or to send a signal, no program is needed.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use libcontainer::{container::Container, exe::Sealed, program::unblocked};
use serde::Deserialize;

use crate::{
    children::{self, Birth, Child},
    error::{Code, Doing, Fault, Result},
    memory,
    options::Options,
};

/// Where rtn keeps the states of containers unless options say otherwise: apart from runc's, whose
/// files it could not read.
const ROOT: &str = "/run/containerd/rtn";
const NAME: &str = "rtn";
/// Names rtn's parent, with which it is to die: a container that is being made when its shim is killed
/// would be ready after containerd has cleaned up, or, for a hook that hangs, keep that from ending.
const DIES_WITH: &str = "RTN_DIES_WITH";

/// The runtime of a container.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) options: Options,
    pub(crate) root: PathBuf,
}

/// Standard streams; `None` is /dev/null.
#[derive(Debug, Default)]
pub(crate) struct Streams(pub(crate) [Option<OwnedFd>; 3]);

/// A line of the runtime's log in its JSON form.
#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
    #[serde(default)]
    kind: String,
}

/// What to say to the runtime.
struct Call<'a> {
    args: Vec<&'a Path>,
    dir: &'a Path,
    streams: Streams,
    /// Another descriptor for it, beside that of the log.
    extra: Option<OwnedFd>,
    /// Whether it will have a process inside the container.
    goes_inside: bool,
}

impl Runtime {
    pub(crate) fn new(options: Options, namespace: &str) -> Self {
        let root = if options.root.is_empty() { ROOT } else { &options.root };
        Self { root: Path::new(root).join(namespace), options }
    }

    /// Finds a container that it has made.
    pub(crate) fn container(&self, id: &str) -> Result<Container> {
        Ok(Container::load(&self.root, id)?)
    }

    /// BinaryName, or the rtn that was installed together with this program, or the one in PATH.
    pub(crate) fn program(&self) -> PathBuf {
        if !self.options.binary_name.is_empty() {
            return PathBuf::from(&self.options.binary_name);
        }
        let beside = std::env::current_exe().ok().map(|shim| shim.with_file_name(NAME));
        beside.filter(|path| path.exists()).unwrap_or_else(|| NAME.into())
    }

    /// # Errors
    /// FAILED_PRECONDITION when the options name a runtime that is not rtn, whose containers this
    /// program could not manage.
    pub(crate) async fn check(&self) -> Result<()> {
        if self.options.binary_name.is_empty() {
            return Ok(());
        }
        let program = self.program();
        let said = memory::file(c"version", b"")?;
        let stdout = said.try_clone().doing(|| "cannot duplicate a file in memory")?;
        let mut command = Command::new(&program);
        command.arg("--version").stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        // Somebody's script may take its time.
        children::spawn(unblocked(&mut command), &[])?.run().await;
        match memory::text(said).starts_with("rtn version ") {
            true => Ok(()),
            false => Err(Fault::precondition(format!(
                "the runtime {program:?} is not rtn, which is all that this shim can manage; \
                 leave BinaryName empty, or use another shim for it"
            ))),
        }
    }

    /// Makes the container and returns its first process.
    pub(crate) async fn create(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        console: Option<&Path>,
        streams: Streams,
    ) -> Result<Child> {
        let mut args: Vec<&Path> = ["create", "--bundle"].map(Path::new).into();
        args.push(bundle);
        args.extend([Path::new("--pid-file"), pid_file]);
        args.extend(console.iter().flat_map(|path| [Path::new("--console-socket"), path]));
        let switches = [
            (self.options.no_pivot_root, "--no-pivot"),
            (self.options.no_new_keyring, "--no-new-keyring"),
        ];
        args.extend(switches.iter().filter(|(on, _)| *on).map(|(_, flag)| Path::new(flag)));
        args.push(Path::new(id));
        let call = Call { args, dir: bundle, streams, extra: None, goes_inside: true };
        let _birth = self.call(call).await?;
        Child::adopt(read_pid(pid_file)?)
    }

    /// Runs a process in the container, and returns it when it has executed its program.
    /// `process` is JSON (runtime-spec, config.md "Process").
    pub(crate) async fn exec(
        &self,
        id: &str,
        process: &[u8],
        bundle: &Path,
        pid_file: &Path,
        console: Option<&Path>,
        streams: Streams,
    ) -> Result<Child> {
        let memory = memory::file(c"process", process)?;
        let mut args: Vec<&Path> =
            ["exec", "--detach", "--process", "/proc/self/fd/4", "--pid-file"]
                .map(Path::new)
                .into();
        args.push(pid_file);
        args.extend(console.iter().flat_map(|path| [Path::new("--console-socket"), path]));
        args.push(Path::new(id));
        let call = Call { args, dir: bundle, streams, extra: Some(memory), goes_inside: true };
        let _birth = self.call(call).await?;
        let pid = read_pid(pid_file);
        let _ = std::fs::remove_file(pid_file);
        Child::adopt(pid?)
    }

    /// A verb that may take its time: a hook, a program on a slow disk, a cgroup that does not freeze
    /// or does not get empty. This process has other containers to serve.
    pub(crate) async fn command(&self, words: &[&str], bundle: &Path) -> Result<()> {
        let args = words.iter().map(Path::new).collect();
        let streams = Streams::default();
        let call = Call { args, dir: bundle, streams, extra: None, goes_inside: false };
        self.call(call).await.map(drop)
    }

    /// Changes limits, for which systemd may have to be asked, and the kernel to reclaim memory.
    pub(crate) async fn update(&self, id: &str, resources: &[u8], bundle: &Path) -> Result<()> {
        let extra = Some(memory::file(c"resources", resources)?);
        let args = ["update", "--resources", "/proc/self/fd/4", id].map(Path::new).into();
        let streams = Streams::default();
        let call = Call { args, dir: bundle, streams, extra, goes_inside: false };
        self.call(call).await.map(drop)
    }

    /// Removes a container, whatever state it is in, where there is nobody else to serve.
    pub(crate) fn delete_now(&self, id: &str) -> Result<()> {
        let mut command = Command::new(self.program());
        command.arg("--root").arg(&self.root).args(["delete", "--force", id]);
        let output = command.output().doing(|| "cannot run the runtime")?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Fault::unknown(String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// Runs it to its end. What it has made is safe as long as the answer is kept.
    async fn call(&self, call: Call<'_>) -> Result<Birth> {
        let log = memory::file(c"log", b"")?;
        let program = self.program();
        let sealed = call.goes_inside.then(|| Sealed::new(&program).ok()).flatten();
        let mut command = command(&program, sealed.as_ref());
        command.arg("--root").arg(&self.root);
        command.args(["--log", "/proc/self/fd/3", "--log-format", "json"]);
        if self.options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        if call.goes_inside {
            command.env(DIES_WITH, std::process::id().to_string());
        }
        command.args(&call.args).current_dir(call.dir).env_remove("NOTIFY_SOCKET");
        let [stdin, stdout, stderr] =
            call.streams.0.map(|fd| fd.map_or_else(Stdio::null, Stdio::from));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        // BinaryName may be a script, which has children of its own and goes on after the runtime.
        let is_runtime = self.options.binary_name.is_empty();
        if !is_runtime {
            unblocked(&mut command);
        }
        let fds = [Some(&log), call.extra.as_ref(), sealed.as_ref().map(|sealed| &sealed.mount)];
        let child = children::spawn(&mut command, &fds.map(|fd| fd.map(AsFd::as_fd)))?;
        // The container's ends of pipes are its own now: with ours open no reader would see an end.
        drop(command);
        let birth = Birth::by(Some(&child).filter(|_| is_runtime));
        match child.run().await.status {
            0 => Ok(birth),
            status => Err(last_words(log, status)),
        }
    }
}

/// What goes inside would start itself a second time from where the container cannot write to it.
/// The mount is its descriptor 5.
fn command(program: &Path, sealed: Option<&Sealed>) -> Command {
    let Some(sealed) = sealed else { return Command::new(program) };
    let mut command = Command::new(Path::new("/proc/self/fd/5").join(&sealed.name));
    command.arg0(program);
    command
}

/// What the runtime gave as its reason.
fn last_words(log: OwnedFd, status: u32) -> Fault {
    let text = memory::text(log);
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    match lines.find(|line| line.level == "error") {
        Some(line) => Fault::new(code(&line.kind), line.msg),
        None => Fault::unknown(format!("the runtime ended with status {status}")),
    }
}

/// The kinds of libcontainer's errors, as rtn writes them.
fn code(kind: &str) -> Code {
    match kind {
        "invalidConfig" => Code::INVALID_ARGUMENT,
        "notFound" => Code::NOT_FOUND,
        "exists" => Code::ALREADY_EXISTS,
        "wrongState" => Code::FAILED_PRECONDITION,
        "unsupported" => Code::UNIMPLEMENTED,
        "denied" => Code::PERMISSION_DENIED,
        _ => Code::UNKNOWN,
    }
}

fn read_pid(path: &Path) -> Result<i32> {
    let text = std::fs::read_to_string(path).doing(|| format!("cannot read {path:?}"))?;
    text.trim().parse().map_err(|_| Fault::unknown(format!("no pid in {path:?}: {text:?}")))
}
