//! `start`: finds the shim of the container's pod, or makes it, and prints its address.

use std::{
    io::{PipeWriter, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use rustix::thread::{CoreSchedulingScope, create_core_scheduling_cookie, gettid};

use crate::{
    address::{self, Claim, SCHEME},
    bootstrap::Request,
    bundle::{Bundle, Config},
    cgroup,
    error::{Doing, Fault, Result},
    flags::Flags,
};

/// containerd takes everything that is printed for the answer, so nothing else may be.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    if flags.id.is_empty() || flags.namespace.is_empty() {
        return Err(Fault::invalid("start needs the flags -id and -namespace"));
    }
    let request = Request::read(flags)?;
    let bundle = Bundle::at(&flags.bundle)?;
    let config = match bundle.is_sandbox() {
        // Nobody else tells `delete` what the pod's containers are made with.
        true => bundle.write_options(&request.options).map(|()| Config::default())?,
        false => bundle.config()?,
    };
    let group = config.group(&flags.id);
    let socket = address::path(&request.socket_dir, &flags.address, &flags.namespace, group);
    let started = match address::claim(&socket)? {
        Claim::Free(listener) => {
            let started = spawn(flags, &request, &bundle, &socket, listener.into());
            Some(started.inspect_err(|_| drop(std::fs::remove_file(&socket)))?)
        }
        Claim::Taken => None,
    };
    bundle.write_address(&format!("{SCHEME}{}", socket.display()))?;
    let answer = request.answer(&socket)?;
    let mut stdout = std::io::stdout();
    // Else it would be written at the end, after the shim has been told that it was, heard or not.
    stdout.write_all(&answer).and_then(|()| stdout.flush()).doing(|| "cannot answer")?;
    started.map_or(Ok(()), |mut shim| shim.write_all(&[0]).doing(|| "cannot let the shim be"))
}

/// glibc's tunables, for a process that lives long and mostly waits: whatever is free at the end of
/// the heap goes back to the kernel, and nothing is kept in caches that would stand in the way.
pub(crate) const THRIFT: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.malloc.trim_threshold=8192:\
     glibc.malloc.top_pad=4096:glibc.malloc.mmap_threshold=16384",
);

/// Where the shim finds the address of containerd's ttrpc socket.
pub(crate) const EVENTS: &str = "TTRPC_ADDRESS";
/// Whatever it is set to.
const CORES: &str = "SCHED_CORE";

/// This program again, as the shim. The listening socket is its standard input, and its standard
/// output a pipe from here: one that comes to its end with nothing in it means that this process was
/// killed before containerd had its answer, and nobody will ever ask the shim for anything.
fn spawn(
    flags: &Flags,
    request: &Request,
    bundle: &Bundle,
    socket: &Path,
    listener: OwnedFd,
) -> Result<PipeWriter> {
    let program = std::env::current_exe().doing(|| "cannot find own program")?;
    let mut command = Command::new(program);
    command.args(["-namespace", &flags.namespace, "-id", &flags.id, "-address", &flags.address]);
    command.arg("-socket").arg(socket);
    if request.debug {
        command.arg("-debug");
    }
    command.current_dir(bundle.path()).process_group(0).env(THRIFT.0, THRIFT.1);
    if !request.ttrpc_address.is_empty() {
        command.env(EVENTS, &request.ttrpc_address);
    }
    let (theirs, ours) = std::io::pipe().doing(|| "cannot make a pipe")?;
    command.stdin(listener).stdout(theirs).stderr(Stdio::null());
    take_cores()?;
    let mut child = command.spawn().doing(|| "cannot start the shim")?;
    place(child.id(), &request.options.shim_cgroup).map(|()| ours).inspect_err(|_| {
        let _ = child.kill();
    })
}

/// With containerd's `sched_core` no thread of another pod, or of the host, runs on a core beside one of
/// this pod's (admin-guide/hw-vuln/core-scheduling.rst, Linux 5.14). What the caller starts inherits it.
fn take_cores() -> Result<()> {
    if std::env::var_os(CORES).is_none_or(|value| value.is_empty()) {
        return Ok(());
    }
    let made = create_core_scheduling_cookie(gettid(), CoreSchedulingScope::Thread);
    made.doing(|| format!("cannot have cores to itself ({CORES})"))
}

/// Where its memory counts, and how soon it is killed for lack of it: just before containerd, long
/// after every container.
fn place(shim: u32, shim_cgroup: &str) -> Result<()> {
    if !shim_cgroup.is_empty() {
        cgroup::enter(shim_cgroup, shim)?;
    }
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    let score = std::fs::read_to_string(format!("/proc/{parent}/oom_score_adj"));
    let score: i32 = score.ok().and_then(|score| score.trim().parse().ok()).unwrap_or(0);
    let path = format!("/proc/{shim}/oom_score_adj");
    match std::fs::write(&path, (score + 1).min(1000).to_string()) {
        // Without CAP_SYS_RESOURCE a score cannot be lowered below what it was raised to before.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        other => other.doing(|| format!("cannot write {path:?}")),
    }
}
