//! The parent's side of a container's birth, in order; `init.rs` is the other side and `sync.rs`
//! the picture of both.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::process::{DumpableBehavior, Pid, PidfdGetfdFlags, pidfd_getfd};

use crate::{
    cgroup::{self, Cgroup},
    error::{Context, Error, Kind, Result},
    exe, explain, hooks, idmap,
    init::{self, Fds},
    namespaces::{NamespaceFd, enter_all},
    network::Transfer,
    plan::{Plan, Process, namespaces::kind_word},
    process::{Procfs, rlimits},
    seccomp, sources,
    spawn::{self, Child, Refusal},
    step::{Step, at},
    sync::{self, Channel, ToChild, ToParent},
};

/// What comes from outside the plan.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) fifo: Option<OwnedFd>,
    pub(crate) console: Option<OwnedFd>,
}

/// Makes the container process. When this returns it waits for the fifo, or runs its program if
/// there is none. `meanwhile` is called with its pid while it works by itself, and `ready` when
/// nothing else can go wrong before that. The network devices go back unless they are kept.
///
/// # Errors
/// Any failure on either side. Then nothing is left: no process, no cgroup; and nothing has moved.
pub(crate) fn launch(
    plan: &Plan,
    process: &Process,
    ends: Ends,
    meanwhile: impl FnOnce(i32) -> Result<()>,
    ready: impl FnOnce(i32) -> Result<()>,
) -> Result<(Child, Channel, Option<Transfer>)> {
    let (parent, child_end) = sync::pair().doing(|| "cannot make a socket pair")?;
    let fds = open_fds(plan, child_end, ends)?;
    let mut devices = Transfer::prepare(&plan.net_devices)?;
    let driver = cgroup::driver(&plan.cgroup.place);
    let into = driver.prepare()?;
    let child = match clone(plan, process, fds, into.as_ref().map(AsFd::as_fd)) {
        Ok(child) => child,
        Err(refusal) => {
            let _ = driver.remove(true);
            return Err(match refusal {
                Refusal::Error(error) => error,
                Refusal::Failure(failure) => explain::failure(plan, &failure),
            });
        }
    };
    let born = prepare(plan, process, &parent, &child).and_then(|()| {
        let entry = driver.create(&plan.cgroup.limits, Some(child.pid))?;
        enter_cgroup(&parent, &entry);
        exe::let_mount_go();
        meanwhile(child.pid)?;
        move_devices(plan, &parent, &child, devices.as_mut())?;
        accompany(plan, &parent, &child, (child.pid, "creating"))?;
        raise_rlimits(process, child.pid)?;
        ready(child.pid)?;
        parent.tell(ToChild::Go, &[]).doing(|| "cannot let the container process go")
    });
    match born {
        Ok(()) => Ok((child, parent, devices)),
        Err(error) => {
            child.end();
            let _ = driver.remove(true);
            Err(error)
        }
    }
}

/// Everything the child inherits, opened while nothing exists that would have to be cleaned up.
fn open_fds(plan: &Plan, sync: Channel, ends: Ends) -> Result<Fds> {
    let joined =
        plan.namespaces.joined.iter().map(NamespaceFd::open).collect::<Result<Vec<_>>>()?;
    joined.iter().try_for_each(|namespace| refuse_sysctls_of_host(plan, namespace))?;
    joined.iter().try_for_each(|namespace| refuse_devices_of_host(plan, namespace))?;
    let procfs = match plan.namespaces.joined(LinuxNamespaceType::Mount) {
        Some(_) => Procfs::by_handle().doing(|| "cannot open /proc")?,
        None => Procfs::by_path(),
    };
    if !plan.rootfs.path.is_dir() {
        let what = format!("invalid rootfs {:?}: no such directory", plan.rootfs.path);
        return Err(Error::config("root.path", what)
            .hint("root.path is relative to the bundle unless it is absolute"));
    }
    let mut fds = Fds {
        sync,
        procfs,
        fifo: ends.fifo,
        console: ends.console,
        joined,
        root_source: None,
        sources: Vec::new(),
    };
    sources::open(plan, &mut fds)?;
    Ok(fds)
}

/// What the plan cannot see: a namespace given by path may be the runtime's own, and then its
/// sysctls are the host's.
fn refuse_sysctls_of_host(plan: &Plan, namespace: &NamespaceFd) -> Result<()> {
    let sysctl = plan.sysctls.iter().find(|sysctl| sysctl.needs == Some(namespace.kind()));
    match sysctl {
        Some(sysctl) if namespace.is_own()? => {
            let what = format!(
                "sysctl {:?} not allowed in host {} namespace",
                sysctl.name,
                kind_word(namespace.kind())
            );
            Err(Error::config(format!("linux.sysctl[{:?}]", sysctl.name), what))
        }
        _ => Ok(()),
    }
}

/// A device cannot move from a network namespace to the same one.
fn refuse_devices_of_host(plan: &Plan, namespace: &NamespaceFd) -> Result<()> {
    let network = namespace.kind() == LinuxNamespaceType::Network;
    if plan.net_devices.is_empty() || !network || !namespace.is_own()? {
        return Ok(());
    }
    let what = "unable to move network devices without a private NET namespace";
    Err(Error::config("linux.netDevices", what)
        .hint("the path in linux.namespaces is that of the runtime's own network namespace"))
}

fn clone(
    plan: &Plan,
    process: &Process,
    mut fds: Fds,
    into: Option<BorrowedFd<'_>>,
) -> std::result::Result<Child, Refusal> {
    let flags = plan.namespaces.clone_flags();
    if !plan.namespaces.needs_joiner() {
        let attempt = |into| spawn::directly(flags, into, || init::run(plan, process, &fds));
        return match attempt(into) {
            // Nobody asked for a cgroup that an ordinary user may not enter.
            Err(error)
                if into.is_some() && plan.cgroup_optional && error.kind() == Kind::Denied =>
            {
                Ok(attempt(None)?)
            }
            other => Ok(other?),
        };
    }
    let joined = std::mem::take(&mut fds.joined);
    let join = |_: BorrowedFd<'_>| {
        // Before the first namespace: its other processes may have all rights in it, but not over
        // memory that belongs to this user namespace.
        let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        at(Step::Join, hidden.and_then(|()| enter_all(&joined)))
    };
    spawn::by_joiner(flags, into, join, || init::run(plan, process, &fds), |_| Ok(()))
}

/// What only the parent may write about the child.
fn prepare(plan: &Plan, process: &Process, parent: &Channel, child: &Child) -> Result<()> {
    set_oom_score_adj(process, child.pid)?;
    if let Some(user) = &plan.namespaces.user {
        idmap::write(user, child.pid)?;
        parent.tell(ToChild::Mapped, &[]).doing(|| "cannot talk to the container process")?;
    }
    Ok(())
}

/// proc_pid_oom_score_adj(5).
fn set_oom_score_adj(process: &Process, pid: i32) -> Result<()> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    std::fs::write(&path, score.to_string()).map_err(|cause| explain::oom_score_adj(score, cause))
}

fn enter_cgroup(parent: &Channel, entry: &cgroup::Entry) {
    let tasks: Vec<_> = entry.tasks.iter().map(AsFd::as_fd).collect();
    // A child that died says why on the channel; that is better than this EPIPE.
    let _ = parent.tell(ToChild::Cgroup, &tasks);
}

/// For a process in a user namespace; see [`Process::rlimits_by_parent`].
pub(crate) fn raise_rlimits(process: &Process, pid: i32) -> Result<()> {
    let limits = process.rlimits.iter().filter(|_| process.rlimits_by_parent).enumerate();
    for (index, limit) in limits {
        rlimits::set(Pid::from_raw(pid), limit)
            .map_err(|errno| explain::rlimit(process, index, errno.into()))?;
    }
    Ok(())
}

/// Moves linux.netDevices once the child is in its network namespace.
fn move_devices(
    plan: &Plan,
    parent: &Channel,
    child: &Child,
    devices: Option<&mut Transfer>,
) -> Result<()> {
    let Some(devices) = devices else { return Ok(()) };
    match parent.next().doing(|| "cannot hear from the container process")? {
        Some((ToParent::MoveDevices, _)) => {}
        other => return Err(out_of_turn(plan, child, other)),
    }
    devices.carry_out(child.pidfd.as_fd())?;
    parent.tell(ToChild::DevicesMoved, &[]).doing(|| "cannot talk to the container process")
}

/// Answers the child until it is ready. `init` is the container's own process, which for an exec is
/// another one, and `status` what the container is doing.
pub(crate) fn accompany(
    plan: &Plan,
    parent: &Channel,
    child: &Child,
    (init, status): (i32, &str),
) -> Result<()> {
    loop {
        match parent.next().doing(|| "cannot hear from the container process")? {
            Some((ToParent::RunHooks, _)) => {
                let state = plan.hook_state("creating", child.pid);
                let process = Some(child.pidfd.as_fd());
                hooks::run_all("prestart", &plan.hooks.prestart, &state, process)?;
                hooks::run_all("createRuntime", &plan.hooks.create_runtime, &state, process)?;
                let told = parent.tell(ToChild::HooksDone, &[]);
                told.doing(|| "cannot talk to the container process")?;
            }
            Some((ToParent::Listener(number), _)) => {
                hand_over_listener(plan, child, (init, status), number)?
            }
            Some((ToParent::Ready, _)) => return Ok(()),
            other => return Err(out_of_turn(plan, child, other)),
        }
    }
}

/// What the child says when it cannot go on, if it still says anything.
fn out_of_turn(plan: &Plan, child: &Child, message: Option<(ToParent, Option<OwnedFd>)>) -> Error {
    match message {
        Some((ToParent::Failed(failure), _)) => explain::failure(plan, &failure),
        Some((message, _)) => Error::new(Kind::Bug, format!("unexpected message {message:?}")),
        None => explain::death(child, &Cgroup::open(&plan.cgroup.place)),
    }
}

/// runtime-spec, config-linux.md "The Container Process State".
fn hand_over_listener(
    plan: &Plan,
    child: &Child,
    (init, status): (i32, &str),
    number: i32,
) -> Result<()> {
    let Some(seccomp) = &plan.seccomp else { return Ok(()) };
    let Some(path) = &seccomp.listener_path else { return Ok(()) };
    let listener = pidfd_getfd(&child.pidfd, number, PidfdGetfdFlags::empty())
        .doing(|| "cannot take over the seccomp listener")?;
    let state = serde_json::json!({
        "ociVersion": plan.oci_version,
        "fds": ["seccompFd"],
        "pid": child.pid,
        "metadata": seccomp.listener_metadata,
        "state": {
            "ociVersion": plan.oci_version,
            "id": plan.id,
            "status": status,
            "pid": init,
            "bundle": plan.bundle,
            "annotations": plan.annotations,
        },
    });
    seccomp::notify::send(path, state.to_string().as_bytes(), listener.as_fd())
}

/// After `Go` a process without a fifo runs its program: the end of the channel says that it does.
pub(crate) fn until_exec(plan: &Plan, parent: &Channel) -> Result<()> {
    match parent.next().doing(|| "cannot hear from the container process")? {
        None => Ok(()),
        Some((ToParent::Failed(failure), _)) => Err(explain::failure(plan, &failure)),
        Some((message, _)) => Err(Error::new(Kind::Bug, format!("unexpected message {message:?}"))),
    }
}
