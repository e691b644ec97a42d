//! One more process in a running container.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{self as oci, LinuxNamespaceType};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{CWD, Mode, OFlags, openat},
};

use super::{Container, Process, Status, create::announce, init_process::InitProcess, not_running};
use crate::{
    cgroup,
    error::{Context, Error, Kind, Result},
    exe, explain,
    host::Host,
    join::Join,
    launch::{accompany, raise_rlimits, until_exec},
    plan::{self, Plan},
    process::Pinned,
    spawn::{self, Child, Refusal},
    sync::{self, ToChild},
};

/// How to run a process in a container; the names are those of `exec`'s flags.
#[derive(Debug)]
pub struct ExecOptions {
    /// Complete: what the caller did not say is taken from the container's own process already.
    pub process: oci::Process,
    /// A connected socket that receives the pty's master.
    pub console: Option<OwnedFd>,
    pub pid_file: Option<PathBuf>,
    /// Path of a listening socket that receives a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    pub preserve_fds: u32,
    pub listen_fds: u32,
    /// `[controller,…:]path` below the container's cgroup.
    pub cgroup: Vec<String>,
    pub ignore_paused: bool,
}

impl ExecOptions {
    /// `process` and nothing else.
    pub fn of(process: oci::Process) -> Self {
        Self {
            process,
            console: None,
            pid_file: None,
            pidfd_socket: None,
            preserve_fds: 0,
            listen_fds: 0,
            cgroup: Vec::new(),
            ignore_paused: false,
        }
    }
}

impl Container {
    /// Runs a process; it has executed its program when this returns. `ready` is called just before
    /// that.
    ///
    /// # Errors
    /// [`Kind::WrongState`] when the container is stopped or paused; [`Kind::Exec`] when the
    /// program cannot be executed.
    pub fn exec(
        &self,
        options: ExecOptions,
        ready: impl FnOnce() -> Result<()>,
    ) -> Result<(Process, Vec<String>)> {
        let init = self
            .init()
            .ok_or_else(|| Error::new(Kind::WrongState, "cannot exec in a stopped container"))?;
        match self.status() {
            Status::Paused if !options.ignore_paused => {
                return Err(Error::new(
                    Kind::WrongState,
                    "cannot exec in a paused container (use --ignore-paused to override)",
                ));
            }
            Status::Stopped => return Err(not_running()),
            _ => {}
        }
        let plan = self.plan_exec(&options)?;
        let child = self.launch_exec(&plan, &options, &init, ready)?;
        Ok((Process { pid: child.pid, pidfd: child.pidfd }, plan.warnings))
    }

    /// The container's own plan with another process: its namespaces' id maps, seccomp filter and
    /// personality hold for it as well.
    pub(super) fn plan_exec(&self, options: &ExecOptions) -> Result<Plan> {
        let mut spec = self.spec()?;
        spec.set_process(Some(options.process.clone()));
        // Its limits are not the process's to set.
        if let Some(linux) = spec.linux_mut() {
            linux.set_resources(None).set_cgroups_path(None).set_intel_rdt(None);
        }
        let plan_options = plan::Options {
            id: self.id().to_owned(),
            bundle: self.state.bundle.clone(),
            manager: cgroup::Manager::Disabled,
            rootless: self.state.rootless,
            no_pivot: false,
            no_new_keyring: !self.state.new_keyring,
            preserve_fds: options.preserve_fds + options.listen_fds,
            listen_fds: options.listen_fds,
            notify_dir: None,
        };
        Plan::new(&spec, &plan_options, &Host::probe()?).map_err(|mut faults| faults.swap_remove(0))
    }

    fn launch_exec(
        &self,
        plan: &Plan,
        options: &ExecOptions,
        init: &InitProcess,
        ready: impl FnOnce() -> Result<()>,
    ) -> Result<Child> {
        let process = plan.process()?;
        if process.terminal.is_some() != options.console.is_some() {
            return Err(Error::new(
                Kind::InvalidConfig,
                "cannot allocate tty without a console socket",
            ));
        }
        let (parent, child_end) = sync::pair().doing(|| "cannot make a socket pair")?;
        let mut entry = self.cgroup().entry(&options.cgroup)?;
        let join = Join {
            sync: child_end,
            console: options.console.as_ref(),
            tasks: std::mem::take(&mut entry.tasks),
            init: init.pidfd.as_fd(),
            namespaces: self.state.private_flags(),
            root: self.foreign_root(init)?,
            moved: None,
        };
        let child = self.spawn(plan, join, entry.into.as_ref(), (init.pid, &options.cgroup))?;
        exe::let_mount_go();
        let started = accompany(plan, &parent, &child, (init.pid, "running")).and_then(|()| {
            raise_rlimits(process, child.pid)?;
            self.enter_resctrl(child.pid)?;
            ready()?;
            // While it can still be taken back: a caller that cannot be told has no program.
            announce(&child, options.pid_file.as_deref(), options.pidfd_socket.as_deref())?;
            parent.tell(ToChild::Go, &[]).doing(|| "cannot let the process go")?;
            until_exec(plan, &parent).inspect_err(|_| forget(options.pid_file.as_deref()))
        });
        started.inspect_err(|_| child.end())?;
        Ok(child)
    }

    /// The joiner and its child, on the initial CPUs of process.execCPUAffinity.
    fn spawn(
        &self,
        plan: &Plan,
        mut join: Join<'_>,
        into: Option<&OwnedFd>,
        (init, sub): (i32, &[String]),
    ) -> Result<Child> {
        let process = plan.process()?;
        let initial = process.exec_cpu_affinity.initial.as_ref();
        let pinned = initial.map(Pinned::to).transpose();
        let _pinned = pinned.map_err(|errno| explain::cpu_affinity("initial", errno.into()))?;
        let attempt = |join: &Join<'_>, into| self.attempt(plan, process, join, into, (init, sub));
        let child = match attempt(&join, into) {
            // The container moved its init further down and handed controllers on, so that its own
            // cgroup takes no process any more (cgroups(7), "no internal processes").
            Err(Refusal::Error(error)) if error.errno() == Some(libc::EBUSY) => {
                attempt(&join, self.cgroup().entry_beside(init)?.into.as_ref())
            }
            Err(Refusal::Error(error)) if error.kind() == Kind::Denied && self.state.rootless => {
                // A user may not cross from a session into what systemd delegated beside it; systemd
                // may. On v1 as at create: see `Plan::cgroup_optional`.
                if join.tasks.is_empty() {
                    let made = eventfd(0, EventfdFlags::CLOEXEC).doing(|| "cannot make an eventfd");
                    join.moved = Some(made?);
                }
                attempt(&join, None)
            }
            other => other,
        };
        child.map_err(|refusal| match refusal {
            Refusal::Error(error) => error,
            Refusal::Failure(failure) => explain::failure(plan, &failure),
        })
    }

    /// With a cgroup it is born in, or is on its way by itself or by systemd.
    fn attempt(
        &self,
        plan: &Plan,
        process: &plan::Process,
        join: &Join<'_>,
        into: Option<&OwnedFd>,
        (init, sub): (i32, &[String]),
    ) -> Result<Child, Refusal> {
        let adopt = |joiner| {
            let Some(moved) = &join.moved else { return Ok(()) };
            self.cgroup().adopt(joiner, sub, init)?;
            rustix::io::write(moved, &1_u64.to_ne_bytes()).doing(|| "cannot go on").map(drop)
        };
        let (into, run) = (into.map(AsFd::as_fd), || join.run(plan, process));
        spawn::by_joiner(0, into, |tell| join.enter(process, tell), run, adopt)
    }

    /// A container without a mount namespace lives in a chroot, which setns(2) does not enter.
    fn foreign_root(&self, init: &InitProcess) -> Result<Option<OwnedFd>> {
        if self.state.is_private(LinuxNamespaceType::Mount) {
            return Ok(None);
        }
        let path = format!("/proc/{}/root", init.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, Path::new(&path), flags, Mode::empty())
            .doing(|| format!("cannot open {path}"))
            .map(Some)
    }
}

/// Callers take a pid file's existence for success.
fn forget(pid_file: Option<&Path>) {
    if let Some(path) = pid_file {
        let _ = std::fs::remove_file(path);
    }
}
