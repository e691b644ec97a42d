//! From a bundle to a container that waits for `start`, or runs.

use std::{
    fs,
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{
    Container, Process, State, init_process,
    notify::{self, Proxy},
    store::Entry,
};
use crate::{
    bundle::Bundle,
    cgroup::Manager,
    error::{Context, Error, Kind, Result},
    host::Host,
    launch::{self, Ends},
    network::Transfer,
    plan::{self, Plan, check_id},
    resctrl::Group,
    spawn::Child,
    sync::Channel,
};

/// Whether the machine's root is at work, where the caller knows better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    True,
    False,
    #[default]
    Auto,
}

/// How to make a container; the names are those of `create`'s flags.
#[derive(Debug)]
pub struct CreateOptions {
    pub id: String,
    pub bundle: Bundle,
    /// Directory under which the container's state is kept.
    pub root: PathBuf,
    pub manager: Manager,
    pub rootless: Rootless,
    /// A connected socket that receives the pty's master.
    pub console: Option<OwnedFd>,
    pub pid_file: Option<PathBuf>,
    /// Path of a listening socket that receives a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
    /// Descriptors from 3 on that the caller was activated with (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The caller's NOTIFY_SOCKET.
    pub notify_socket: Option<PathBuf>,
    /// Run the program at once, as `run` does, instead of waiting for `start`.
    pub start: bool,
}

/// What [`create`] made.
#[derive(Debug)]
pub struct Created {
    pub container: Container,
    pub process: Process,
    pub warnings: Vec<String>,
}

/// Makes a container from a bundle. `ready` is called just before the process begins to wait for
/// `start`, or to run.
///
/// # Errors
/// [`Kind::InvalidConfig`] before anything exists; anything else after everything is gone again.
pub fn create(options: CreateOptions, ready: impl FnOnce() -> Result<()>) -> Result<Created> {
    check_id(&options.id)?;
    let host = Host::probe()?;
    let root = super::absolute(&options.root)?;
    let plan = plan(&options, &host, &root)?;
    check_terminal(&plan, &options)?;
    let (entry, _lock) = Entry::make(&root, &options.id)?;
    let made = make(plan, options, &entry, host.rootless(), ready);
    let (state, process, warnings) = made.inspect_err(|_| drop(entry.remove()))?;
    Ok(Created { container: Container { entry, state }, process, warnings })
}

fn plan(options: &CreateOptions, host: &Host, root: &Path) -> Result<Plan> {
    let bundle = &options.bundle;
    let notify_dir =
        options.notify_socket.as_ref().map(|_| root.join(&options.id).join(notify::DIR));
    let options = plan::Options {
        id: options.id.clone(),
        bundle: bundle.dir.clone(),
        manager: options.manager,
        rootless: match options.rootless {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => host.rootless(),
        },
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserve_fds: options.preserve_fds + options.listen_fds,
        listen_fds: options.listen_fds,
        notify_dir,
    };
    let mut plan = Plan::new(&bundle.spec, &options, host).map_err(first_of)?;
    plan.warnings.extend(bundle.warnings.iter().cloned());
    Ok(plan)
}

/// One line for the caller; the validator tells the rest.
fn first_of(mut faults: Vec<Error>) -> Error {
    let more = faults.len() - 1;
    let first = faults.swap_remove(0);
    match (more, first.hint_text()) {
        (0, _) => first,
        (_, Some(hint)) => {
            let hint = format!("{hint} ({more} more faults: `rtn plan` names them all)");
            first.hint(hint)
        }
        (_, None) => first.hint(format!("{more} more faults: `rtn plan` names them all")),
    }
}

fn check_terminal(plan: &Plan, options: &CreateOptions) -> Result<()> {
    let terminal = plan.process()?.terminal.is_some();
    match (terminal, options.console.is_some()) {
        (true, false) => Err(Error::config(
            "process.terminal",
            "cannot allocate tty if the runtime will detach without setting console socket",
        )),
        (false, true) => Err(Error::config(
            "process.terminal",
            "cannot use console socket if the runtime will not detach or allocate tty",
        )),
        _ => Ok(()),
    }
}

fn make(
    plan: Plan,
    mut options: CreateOptions,
    entry: &Entry,
    rootless: bool,
    ready: impl FnOnce() -> Result<()>,
) -> Result<(State, Process, Vec<String>)> {
    let mut state = State::new(&plan, rootless);
    // From here on `delete` knows what there may be to remove, wherever this process dies.
    entry.write(&state)?;
    let proxy = notify_proxy(&options, entry)?;
    let fifo = if options.start { None } else { Some(entry.make_fifo()?) };
    let ends = Ends { fifo, console: options.console.take() };
    let group = plan.intel_rdt.as_ref().map(Group::make).transpose()?;
    // Files take time, and the child has mounts to make meanwhile.
    let meanwhile = |pid| {
        entry.write_config(&options.bundle.raw)?;
        let start = init_process::stat(pid).map_or(0, |stat| stat.start);
        state.set_init(&plan, pid, start);
        entry.draft(&state)
    };
    let record = |pid| {
        group.as_ref().map_or(Ok(()), |group| group.enter(pid))?;
        entry.publish()?;
        ready()
    };
    let launched = launch::launch(&plan, plan.process()?, ends, meanwhile, record);
    let container = Container { entry: entry.clone(), state };
    let finished = launched.and_then(|(child, channel, devices)| {
        let done = finish(&plan, &options, &container, proxy.as_ref(), (&child, &channel));
        done.inspect_err(|_| {
            child.end();
            let _ = container.cgroup().remove(true);
        })?;
        devices.into_iter().for_each(Transfer::keep);
        group.into_iter().for_each(Group::keep);
        Ok(child)
    });
    // runtime-spec, runtime.md "Lifecycle": where a hook failed, the rest of the life is still
    // lived.
    let child = finished.inspect_err(|error| {
        if error.kind() == Kind::Hook {
            drop(container.run_poststop(&plan.hooks.poststop));
        }
    })?;
    Ok((container.state, Process { pid: child.pid, pidfd: child.pidfd }, plan.warnings))
}

/// The process is there: tells the caller of it and, if it is to run its program at once, does what
/// `start` does.
fn finish(
    plan: &Plan,
    options: &CreateOptions,
    container: &Container,
    proxy: Option<&Proxy>,
    (child, channel): (&Child, &Channel),
) -> Result<()> {
    if options.start {
        launch::until_exec(plan, channel)?;
    }
    announce(child, options.pid_file.as_deref(), options.pidfd_socket.as_deref())?;
    if !options.start {
        return Ok(());
    }
    container.run_poststart(&plan.hooks.poststart, child.pid)?;
    match (proxy, container.init()) {
        (Some(proxy), Some(init)) => proxy.forward(&init),
        _ => Ok(()),
    }
}

/// The directory is made by create, because it is mounted then; the socket in it is bound by
/// whoever starts the container.
fn notify_proxy(options: &CreateOptions, entry: &Entry) -> Result<Option<Proxy>> {
    let Some(host) = &options.notify_socket else { return Ok(None) };
    let dir = entry.path(notify::DIR);
    fs::create_dir(&dir).doing(|| format!("cannot make {dir:?}"))?;
    if options.start { Proxy::bind(entry, host).map(Some) } else { Ok(None) }
}

/// Tells the caller about the process, in the ways that it asked for. The pid file comes last and
/// whole: callers take its existence for success.
pub(super) fn announce(
    child: &Child,
    pid_file: Option<&Path>,
    pidfd_socket: Option<&Path>,
) -> Result<()> {
    if let Some(path) = pidfd_socket {
        let socket = UnixStream::connect(path).doing(|| format!("cannot connect to {path:?}"))?;
        send_fd(socket.as_fd(), child.pidfd.as_fd())
            .doing(|| format!("cannot send a pidfd to {path:?}"))?;
    }
    if let Some(path) = pid_file {
        write_pid_file(path, child.pid).doing(|| format!("cannot write {path:?}"))?;
    }
    Ok(())
}

fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [IoSlice::new(b"pidfd")];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL).map(drop)
}

fn write_pid_file(path: &Path, pid: i32) -> std::io::Result<()> {
    let name = path.file_name().ok_or(std::io::ErrorKind::IsADirectory)?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    fs::write(&new, pid.to_string())?;
    fs::rename(&new, path)
}
