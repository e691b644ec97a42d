//! The way of a process into a container that exists: the joiner enters its namespaces, and the
//! process that it clones there becomes the program. The process is visible to the container from
//! its first moment, so that by then nothing of the host is in its reach: the joiner has changed
//! root, written what goes to the host's /proc, and closed what leads out; and the process is not
//! dumpable (CVE-2016-9962).

use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::{
    fs::Mode,
    io::Errno,
    process::{DumpableBehavior, Signal},
};

use crate::{
    cgroup,
    init::{become_process, set_labels},
    namespaces,
    plan::{Plan, Process},
    process::{self, Procfs},
    rootfs::Root,
    step::{Failure, Step, at},
    sync::{Channel, ToParent},
    sys,
};

/// What the joiner and its child inherit.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    pub(crate) sync: Channel,
    pub(crate) console: Option<&'a OwnedFd>,
    /// cgroup v1.
    pub(crate) tasks: Vec<OwnedFd>,
    /// The container's init.
    pub(crate) init: BorrowedFd<'a>,
    /// CLONE_NEW* of the namespaces to enter.
    pub(crate) namespaces: u64,
    /// Set if the root does not come with a mount namespace.
    pub(crate) root: Option<OwnedFd>,
    /// Read before anything else, where somebody has to move the joiner into the cgroup: an eventfd.
    pub(crate) moved: Option<OwnedFd>,
}

impl Join<'_> {
    /// The joiner; `tell` is its channel. The labels for the next execve are inherited by a clone.
    pub(crate) fn enter(&self, process: &Process, tell: BorrowedFd<'_>) -> Result<(), Failure> {
        at(Step::Cgroup, self.wait_until_moved())?;
        // Of a process that is not dumpable the file is the machine's root's, and an ordinary user
        // may not write it.
        at(Step::OomScoreAdj, process::weigh_for_oom(process.oom_score_adj))?;
        at(Step::Sync, rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
        at(Step::Cgroup, cgroup::enter(&self.tasks))?;
        at(Step::CpuAffinity, process::set_final_cpus(&process.exec_cpu_affinity))?;
        set_labels(process, &Procfs::by_path())?;
        at(Step::Join, namespaces::setns(self.init, self.namespaces))?;
        at(Step::Pivot, self.change_root())?;
        let console = self.console.map(AsFd::as_fd);
        let kept: Vec<_> = [self.sync.as_fd(), tell].into_iter().chain(console).collect();
        at(Step::Stdio, sys::process::close_from_except(3 + process.preserve_fds, &kept))
    }

    /// The process; never returns.
    pub(crate) fn run(&self, plan: &Plan, process: &Process) {
        let Err(failure) = self.become_program(plan, process);
        let _ = self.sync.report(ToParent::Failed(failure), None);
    }

    fn become_program(&self, plan: &Plan, process: &Process) -> Result<Infallible, Failure> {
        at(Step::Sync, namespaces::start_child())?;
        if self.namespaces & LinuxNamespaceType::User as u64 != 0 {
            at(Step::Root, namespaces::become_root(&plan.namespaces))?;
        }
        if plan.new_keyring {
            at(Step::Keyring, process::join_keyring(&plan.id))?;
        }
        at(Step::Session, rustix::process::setsid())?;
        at(Step::Console, self.open_console(process))?;
        rustix::process::umask(Mode::from_raw_mode(process.umask));
        let seccomp = plan.seccomp.as_ref();
        let program = become_process(process, seccomp, &self.sync, None)?;
        at(Step::Sync, self.sync.report(ToParent::Ready, None))?;
        at(Step::Sync, self.sync.expect_go())?;
        at(Step::Exec, process::replace(&program.path, process, program.home.as_deref()))
    }

    /// Only this process still has the ids of the user for whom it is moved.
    fn wait_until_moved(&self) -> Result<(), Errno> {
        let Some(moved) = &self.moved else { return Ok(()) };
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::io::read(moved, &mut [0; 8]).map(drop)
    }

    fn change_root(&self) -> Result<(), Errno> {
        let Some(root) = &self.root else { return Ok(()) };
        rustix::process::fchdir(root)?;
        rustix::process::chroot(c".")
    }

    fn open_console(&self, process: &Process) -> Result<(), Errno> {
        let (Some(terminal), Some(console)) = (process.terminal, self.console) else {
            return Ok(());
        };
        let root = Root::open_host("/".as_ref())?;
        process::open_terminal(&root, terminal, console.as_fd()).map(drop)
    }
}
