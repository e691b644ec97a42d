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
    fs::{self, DirBuilder, File},
    io::{self, BufRead, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
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

use e2e_common::{IMAGE, host, image, wait};

use crate::{
    cgroup::Driver,
    place::{PREFIX, Place},
    runtime::Way,
};

/// What the user may say on the keeper's standard input, a line each: dockerd is to end in order, or
/// at once, or to come back. The answer is that of the start. Containers go on (`--live-restore`).
pub(crate) const DOWN: &str = "down";
pub(crate) const KILL: &str = "kill";
pub(crate) const UP: &str = "up";

/// An emulated machine takes minutes.
const START: Duration = Duration::from_secs(300);
const STOP: Duration = Duration::from_secs(100);

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
    DirBuilder::new().mode(0o700).create(place.directory())?;
    let lock = File::open(place.directory())?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok((place, lock))
}

fn sweep(place: &Place) -> io::Result<()> {
    let lock = File::open(place.directory())?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => clean(place),
        Err(Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn import(place: &Place) -> io::Result<()> {
    let mut import = place.client();
    import.args(["import", "-", IMAGE]);
    image::import(&place.private(), import)
}

fn serve(place: &Place, runtime: &Path, log: &Path, end: &SignalFd) -> io::Result<()> {
    furnish(place)?;
    File::create(log)?;
    let mut dockerd = up(place, runtime, log)?;
    let served = import(place)
        .and_then(|()| announce(place, &dockerd))
        .and_then(|()| obey(place, runtime, log, end, &mut dockerd));
    let stopped = down(&mut dockerd, Kill::TERM);
    served.and(stopped).map_err(|error| explained(error, log))
}

fn explained(error: io::Error, log: &Path) -> io::Error {
    let log = log.display();
    io::Error::new(error.kind(), format!("{error}; dockerd's messages are in {log}"))
}

/// Does what the user says, until the user is done.
fn obey(
    place: &Place,
    runtime: &Path,
    log: &Path,
    end: &SignalFd,
    dockerd: &mut Child,
) -> io::Result<()> {
    loop {
        match next_word(end, dockerd)?.as_str() {
            DOWN => down(dockerd, Kill::TERM)?,
            KILL => kill(place, dockerd)?,
            UP => *dockerd = up(place, runtime, log)?,
            _ => return Ok(()),
        }
        announce(place, dockerd)?;
    }
}

/// Starts dockerd in its cgroup, and waits until it listens.
fn up(place: &Place, runtime: &Path, log: &Path) -> io::Result<Child> {
    let outside = place.tree().enter()?;
    let started = start(place, runtime, log);
    outside.leave()?;
    let mut dockerd = started.map_err(|error| explained(error, log))?;
    let pidfd = pidfd_open(Pid::from_child(&dockerd), PidfdFlags::empty())?;
    match connect(place, &pidfd) {
        Ok(()) => Ok(dockerd),
        Err(error) => {
            let _ = down(&mut dockerd, Kill::TERM);
            Err(explained(error, log))
        }
    }
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
    let messages = File::options().append(true).create(true).open(log)?;
    // setpriv(1) sets what Command cannot without unsafe code.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "dockerd"]);
    Way::chosen().tell(&mut command, &private, runtime)?;
    command
        .arg("--data-root")
        .arg(private.join("data"))
        .arg("--exec-root")
        .arg(place.exec_root())
        .arg("--pidfile")
        .arg(private.join("dockerd.pid"))
        .arg("-H")
        .arg(format!("unix://{}", place.socket().display()))
        .args(["--live-restore", "--iptables=false", "--ip6tables=false"])
        // Seconds for containers that ignore SIGTERM, when a test was killed.
        .args(["--shutdown-timeout", "1"])
        // BuildKit in it does not know of runtimes.
        .env("DOCKER_BUILDKIT_RUNC_COMMAND", std::path::absolute(runtime)?)
        .arg("--exec-opt")
        .arg(format!("native.cgroupdriver={}", Driver::chosen().word()))
        .arg("--cgroup-parent")
        .arg(place.tree().parent())
        // A group of its own: Ctrl-C is for the keeper, who stops dockerd in order.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(messages.try_clone()?)
        .stderr(messages)
        .spawn()
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
    writeln!(out, "{} {}", dockerd.id(), place.directory().display())?;
    out.flush()
}

/// SIGTERM and SIGINT as something to poll. Children get an empty signal mask from std.
fn end_of_user() -> io::Result<SignalFd> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?)
}

/// A line of the user, or nothing when the user is done. Fails when dockerd ends by itself.
fn next_word(signals: &SignalFd, dockerd: &mut Child) -> io::Result<String> {
    // One that was told to end is none to look at.
    let pidfd = match dockerd.try_wait()? {
        None => Some(pidfd_open(Pid::from_child(dockerd), PidfdFlags::empty())?),
        Some(_) => None,
    };
    let stdin = io::stdin();
    let mut fds = vec![
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
    ];
    fds.extend(pidfd.as_ref().map(|pidfd| PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)));
    poll(&mut fds, None)?;
    if fds.get(2).is_some_and(|dockerd| !dockerd.revents().is_empty()) {
        return Err(io::Error::other("dockerd ended by itself"));
    }
    let mut line = String::new();
    if fds[1].revents().is_empty() {
        stdin.lock().read_line(&mut line)?;
    }
    Ok(line.trim_end().to_owned())
}

/// Its containerd gets SIGKILL from the kernel, and a dockerd that came too soon would take that one
/// for alive and wait for it in vain. To dockerd 20.10 it is alive until it is reaped, too.
fn kill(place: &Place, dockerd: &mut Child) -> io::Result<()> {
    let is_containerd = |pid: &u32| host::proc(*pid, "comm").trim_end() == "containerd";
    let pids = place.tree().processes().into_iter().filter(is_containerd);
    let pids = pids.filter_map(|pid| Pid::from_raw(pid.cast_signed()));
    let theirs: Vec<_> = pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect();
    down(dockerd, Kill::KILL)?;
    let deadline = Instant::now() + STOP;
    match theirs.iter().all(|pidfd| wait::readable(pidfd.as_fd(), deadline)) {
        true => fs::remove_file(place.exec_root().join("containerd/containerd.pid")),
        false => Err(io::Error::new(io::ErrorKind::TimedOut, "containerd outlives dockerd")),
    }
}

fn down(dockerd: &mut Child, signal: Kill) -> io::Result<()> {
    if dockerd.try_wait()?.is_none() {
        kill_process(Pid::from_child(dockerd), signal)?;
    }
    match wait::exit(dockerd, STOP)? {
        Some(_) => Ok(()),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "dockerd had to be killed")),
    }
}

/// Removes all that is left of the daemon at `place`.
fn clean(place: &Place) -> io::Result<()> {
    place.tree().kill(STOP)?;
    place.tree().remove()?;
    match unmount(place.private(), UnmountFlags::DETACH) {
        // Not mounted here: a keeper that was killed, or that failed before.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    fs::remove_dir_all(place.directory())
}

fn check(command: &mut Command) -> io::Result<()> {
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("{command:?}: {status}"))),
    }
}
