//! The keeper of a private dockerd: starts it where it disturbs nobody, and leaves the host as it
//! was, even when the keeper's user is killed.
//!
//! * dockerd, its containerd and the shims live in a mount namespace of their own, in which /run is
//!   empty and writes to /etc and /opt go to a layer above them (dockerd writes /etc/docker/key.json
//!   and containerd makes /opt/containerd, whatever they are told), and in a network namespace of
//!   their own, in which the default bridge disturbs no one. Both vanish with the last process.
//! * They also live in a cgroup of their own, so that all of them can be killed at once, daemonised
//!   shims and frozen containers included.
//! * The keeper stops when its standard input closes, on SIGTERM and on SIGINT. When it is killed
//!   itself, dockerd gets SIGTERM from the kernel, and the next keeper sweeps up the rest.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::UnixStream,
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, FlockOperation, flock},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
        mount_change, move_mount, open_tree, unmount,
    },
    process::{Pid, PidfdFlags, Signal as Kill, kill_process, pidfd_open},
};

use e2e_common::{IMAGE, image, wait};

use crate::{
    cgroup::{Driver, Tree},
    cli,
};

/// How dockerd calls the runtime that is judged ("runc" is a reserved name).
pub const RUNTIME: &str = "judged";

/// The same behind a script, as dockerd itself puts one before a runtime with `runtimeArgs`.
pub const WRAPPED: &str = "wrapped";

const PREFIX: &str = "private-dockerd.";
/// An emulated machine takes minutes.
const START: Duration = Duration::from_secs(300);
const STOP: Duration = Duration::from_secs(100);

/// The files of one private daemon; all that is known of it is in its directory's name.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
    tree: Tree,
}

impl Place {
    /// The place at `directory`, as the keeper printed it.
    pub fn at(directory: PathBuf) -> Self {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { directory, tree: Tree::new(name) }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What `docker -H unix://…` connects to.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A file for a test: its users and the daemon see it, and it is removed with the place.
    pub fn file(&self, name: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{name}.{number}"))
    }

    /// A tmpfs that only the daemon sees.
    pub fn private(&self) -> PathBuf {
        self.directory.join("private")
    }

    /// What dockerd is told as `--exec-root`: state of the runtime is below it.
    pub fn exec_root(&self) -> PathBuf {
        self.private().join("exec")
    }
}

/// Runs a private dockerd with `runtime` as its default runtime, its messages going to `log`, until
/// the user of this process goes away. Prints dockerd's process id and the directory of the
/// [`Place`] when it is ready.
///
/// # Errors
/// When the daemon cannot be started, ends by itself, or something cannot be cleaned up.
pub fn keep(runtime: &Path, log: &Path) -> io::Result<()> {
    let end = end_of_user()?;
    let (place, _lock) = settle()?;
    let served = serve(&place, runtime, log, &end);
    let cleaned = clean(&place);
    served.and(cleaned)
}

/// Makes a place, and first cleans up the places of keepers that were killed: their locks are free.
fn settle() -> io::Result<(Place, File)> {
    let parent = std::env::temp_dir();
    // One keeper at a time, or one would sweep what another has made and not yet locked.
    let turn = File::open(&parent)?;
    flock(&turn, FlockOperation::LockExclusive)?;
    for entry in fs::read_dir(&parent)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            sweep(&Place::at(entry.path()))?;
        }
    }
    let place = Place::at(parent.join(format!("{PREFIX}{}", std::process::id())));
    DirBuilder::new().mode(0o700).create(&place.directory)?;
    let lock = File::open(&place.directory)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok((place, lock))
}

fn sweep(place: &Place) -> io::Result<()> {
    let lock = File::open(&place.directory)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => clean(place),
        Err(Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn import(place: &Place) -> io::Result<()> {
    let mut import = cli::command(&place.socket());
    import.args(["import", "-", IMAGE]);
    image::import(&place.private(), import)
}

fn serve(place: &Place, runtime: &Path, log: &Path, end: &SignalFd) -> io::Result<()> {
    furnish(place)?;
    let outside = place.tree.enter()?;
    let started = start(place, runtime, log);
    outside.leave()?;
    let mut dockerd = started?;
    let pidfd = pidfd_open(Pid::from_child(&dockerd), PidfdFlags::empty())?;
    let served = connect(place, &pidfd)
        .and_then(|()| import(place))
        .and_then(|()| announce(place, &dockerd))
        .and_then(|()| until_end(end, &pidfd));
    let stopped = stop(&mut dockerd);
    served.and(stopped).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{error}; dockerd's messages are in {}", log.display()),
        )
    })
}

/// The namespaces and mounts in which the daemon disturbs nobody.
fn furnish(place: &Place) -> io::Result<()> {
    nix::sched::unshare(
        nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_NEWNET,
    )?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    // Shared, as systemd makes every mount: what a runtime mounts carelessly, dockerd then has too.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::SHARED)?;
    let private = place.private();
    fs::create_dir(&private)?;
    mount("private", &private, "tmpfs", MountFlags::empty(), None)?;
    let kept = of_systemd()?;
    mount("private", "/run", "tmpfs", MountFlags::empty(), None)?;
    for (tree, path) in kept {
        fs::create_dir(path)?;
        move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    cover(&private, "etc")?;
    cover(&private, "opt")?;
    check(Command::new("busybox").args(["ip", "link", "set", "lo", "up"]))
}

/// What the systemd driver talks to, taken out of /run.
fn of_systemd() -> io::Result<Vec<(OwnedFd, &'static str)>> {
    if Driver::chosen() == Driver::Cgroupfs {
        return Ok(Vec::new());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let take = |path| Ok((open_tree(CWD, path, flags)?, path));
    ["/run/systemd", "/run/dbus"].into_iter().map(take).collect()
}

/// Lets writes to `/<name>` go to a layer that is gone with the daemon.
fn cover(private: &Path, name: &str) -> io::Result<()> {
    let lower = Path::new("/").join(name);
    let (upper, work) = (private.join(name), private.join(format!("{name}.work")));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}\0",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options =
        std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).map_err(io::Error::other)?;
    Ok(mount("overlay", &lower, "overlay", MountFlags::empty(), Some(options))?)
}

fn start(place: &Place, runtime: &Path, log: &Path) -> io::Result<Child> {
    let private = place.private();
    let runtime = std::path::absolute(runtime)?;
    let wrapper = wrap(&private, &runtime)?;
    let messages = File::create(log)?;
    // setpriv(1) sets what Command cannot without unsafe code.
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "dockerd"])
        .arg("--data-root")
        .arg(private.join("data"))
        .arg("--exec-root")
        .arg(place.exec_root())
        .arg("--pidfile")
        .arg(private.join("dockerd.pid"))
        .arg("-H")
        .arg(format!("unix://{}", place.socket().display()))
        .arg("--add-runtime")
        .arg(format!("{RUNTIME}={}", runtime.display()))
        .arg("--add-runtime")
        .arg(format!("{WRAPPED}={}", wrapper.display()))
        .args(["--default-runtime", RUNTIME, "--iptables=false", "--ip6tables=false"])
        // Seconds for containers that ignore SIGTERM, when a test was killed.
        .args(["--shutdown-timeout", "1"])
        // BuildKit in it does not know of runtimes.
        .env("DOCKER_BUILDKIT_RUNC_COMMAND", &runtime)
        .arg("--exec-opt")
        .arg(format!("native.cgroupdriver={}", Driver::chosen().word()))
        .arg("--cgroup-parent")
        .arg(place.tree.parent())
        // A group of its own: Ctrl-C is for the keeper, who stops dockerd in order.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(messages.try_clone()?)
        .stderr(messages)
        .spawn()
}

/// The script of moby's `daemon/runtime_unix.go`, which does not exec either.
fn wrap(private: &Path, runtime: &Path) -> io::Result<PathBuf> {
    let script = private.join(WRAPPED);
    fs::write(&script, format!("#!/bin/sh\n{} --debug $@\n", runtime.display()))?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    Ok(script)
}

/// Waits until dockerd accepts connections.
fn connect(place: &Place, dockerd: &OwnedFd) -> io::Result<()> {
    let deadline = Instant::now() + START;
    while UnixStream::connect(place.socket()).is_err() {
        if wait::readable(dockerd.as_fd(), Instant::now() + Duration::from_millis(20)) {
            return Err(io::Error::other("dockerd ended while starting"));
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "dockerd does not listen"));
        }
    }
    Ok(())
}

fn announce(place: &Place, dockerd: &Child) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} {}", dockerd.id(), place.directory.display())?;
    out.flush()
}

/// SIGTERM and SIGINT as something to poll. Children get an empty signal mask from std.
fn end_of_user() -> io::Result<SignalFd> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?)
}

/// Returns when the user is done, fails when dockerd ends first.
fn until_end(signals: &SignalFd, dockerd: &OwnedFd) -> io::Result<()> {
    let stdin = io::stdin();
    let mut fds = [
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(dockerd.as_fd(), PollFlags::IN),
    ];
    poll(&mut fds, None)?;
    match fds[2].revents().is_empty() {
        true => Ok(()),
        false => Err(io::Error::other("dockerd ended by itself")),
    }
}

fn stop(dockerd: &mut Child) -> io::Result<()> {
    if dockerd.try_wait()?.is_none() {
        kill_process(Pid::from_child(dockerd), Kill::TERM)?;
    }
    match wait::exit(dockerd, STOP)? {
        Some(_) => Ok(()),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "dockerd had to be killed")),
    }
}

/// Removes all that is left of the daemon at `place`.
fn clean(place: &Place) -> io::Result<()> {
    place.tree.kill(STOP)?;
    place.tree.remove()?;
    match unmount(place.private(), UnmountFlags::DETACH) {
        // Not mounted here: a keeper that was killed, or that failed before.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    fs::remove_dir_all(&place.directory)
}

fn check(command: &mut Command) -> io::Result<()> {
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("{command:?}: {status}"))),
    }
}
