//! The processes of which this one is the parent: the containers', which are handed to it as the
//! child subreaper when the runtime that made them ends, and the programs that it runs itself.
//!
//! Each one that matters has a pidfd and is reaped through it, and through nothing else. So no exit
//! can be missed, whatever else happens, nor attributed to another process that got the same pid: a
//! pid stays taken until it is reaped here. All others are orphans from inside containers; SIGCHLD
//! is the occasion to sweep them away.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use libcontainer::container::Process;
use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
};
use rustix::{
    event::PollFlags,
    io::{DupFlags, dup2, dup3},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    error::{Doing, Fault, Result},
    ready::{self, Watched},
    start::THRIFT,
};

/// The pids that have a [`Child`].
static KNOWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// The runtimes at work that will leave a process whose pid is not known yet; `None` is one whose own
/// pid is not known either.
static BIRTHS: Mutex<Vec<Option<i32>>> = Mutex::new(Vec::new());
/// Descriptors 3, 4 and 5, kept for [`spawn`].
static DOORS: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

const DOOR: i32 = 3;

/// How a process ended, and when that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit status, or 128 + the signal that ended it.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

impl Exit {
    fn now(status: i32) -> Self {
        Self { status: status.cast_unsigned(), at: SystemTime::now() }
    }
}

/// A child that is waited for.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pidfd: Watched,
    reaped: AtomicBool,
}

impl Child {
    /// Takes charge of a child by its pid, dead or alive.
    pub(crate) fn adopt(pid: i32) -> Result<Self> {
        let doing = || format!("cannot watch process {pid}");
        let raw = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).doing(doing)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).doing(doing)?;
        let pidfd = ready::for_reading(pidfd).doing(doing)?;
        lock(&KNOWN).insert(pid);
        Ok(Self { pid, pidfd, reaped: AtomicBool::new(false) })
    }

    /// Waits for its end and reaps it. Only once.
    pub(crate) async fn ended(&self) -> Exit {
        loop {
            let ready = self.pidfd.readable().await;
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            let exit = match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
                Ok(WaitStatus::Exited(_, status)) => Exit::now(status),
                Ok(WaitStatus::Signaled(_, signal, _)) => Exit::now(128 + signal as i32),
                Ok(_) | Err(Errno::EINTR) => {
                    let _ = ready.map(|mut ready| ready.clear_ready());
                    continue;
                }
                // Not a child: nobody will ever know.
                Err(_) => Exit::now(255),
            };
            self.release();
            return exit;
        }
    }

    /// The same for a program that is of use to nobody but the caller: who gives up waiting kills it.
    pub(crate) async fn run(self) -> Exit {
        Errand(self).0.ended().await
    }

    /// Does not wait.
    pub(crate) fn has_ended(&self) -> bool {
        !ready::now(&self.pidfd, PollFlags::IN).is_empty()
    }

    /// Its pid may be another's from now on.
    fn release(&self) {
        if !self.reaped.swap(true, Ordering::Relaxed) {
            lock(&KNOWN).remove(&self.pid);
            sweep();
        }
    }

    /// Sends it a signal, and nobody else.
    ///
    /// # Errors
    /// NOT_FOUND when it has ended, with the words for which containerd looks.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        let pidfd = self.pidfd.get_ref().try_clone().doing(|| "cannot duplicate a pidfd")?;
        let process = Process { pid: self.pid, pidfd };
        process.signal(signal).map_err(|error| match error.errno() {
            Some(libc::ESRCH) => Fault::not_found("process already finished: not found"),
            _ => error.into(),
        })
    }
}

impl Drop for Child {
    /// One that nobody waited for is an orphan like others.
    fn drop(&mut self) {
        self.release();
    }
}

/// A program that somebody waits for.
struct Errand(Child);

impl Drop for Errand {
    fn drop(&mut self) {
        if !self.0.reaped.load(Ordering::Relaxed) {
            // It may have ended just now.
            let _ = self.0.signal(libc::SIGKILL);
        }
    }
}

/// Lives from the start of a runtime until the process is known that it made: that is not swept away.
#[derive(Debug)]
pub(crate) struct Birth(Option<i32>);

impl Birth {
    /// Before anything else is waited for. `None` is a runtime that another program runs: it may end
    /// long before that.
    pub(crate) fn by(runtime: Option<&Child>) -> Self {
        let runtime = runtime.map(|child| child.pid);
        lock(&BIRTHS).push(runtime);
        Self(runtime)
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        let mut births = lock(&BIRTHS);
        let over = births.iter().position(|runtime| *runtime == self.0);
        over.map(|over| births.swap_remove(over));
        drop(births);
        sweep();
    }
}

/// Reaps dead children that nobody waits for.
pub(crate) fn sweep() {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let pid = match waitid(Id::All, look) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            _ => return,
        };
        // Whoever waits for it sweeps again when it is reaped.
        if lock(&KNOWN).contains(&pid.as_raw()) || may_be_newborn() {
            return;
        }
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    }
}

/// Whether a child that was found dead just now may be what a runtime has made. It is not, as long as
/// they all live: what they make is their own child until they end.
fn may_be_newborn() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let lives =
        |pid| waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), look) == Ok(WaitStatus::StillAlive);
    !lock(&BIRTHS).iter().all(|runtime| runtime.is_some_and(lives))
}

/// Takes the descriptors from 3 on, which a child may be given. Before any other is opened.
pub(crate) fn reserve_doors() -> Result<()> {
    let numbers = DOOR..DOOR + 3;
    for number in numbers.clone() {
        // Whatever was inherited there belongs to nobody. Mostly there is nothing.
        let _ = nix::unistd::close(number);
    }
    // The lowest number that is free is the one that open(2) takes.
    let open = |_| std::fs::File::open("/dev/null").map(OwnedFd::from);
    let doors: std::io::Result<Vec<_>> = numbers.map(open).collect();
    *lock(&DOORS) = doors.doing(|| "cannot open \"/dev/null\"")?;
    Ok(())
}

/// Starts a program, with those of `fds` that are there as its descriptors 3, 4, 5.
///
/// Nothing else is started in between: there is one thread, and this does not wait.
pub(crate) fn spawn(command: &mut Command, fds: &[Option<BorrowedFd<'_>>]) -> Result<Child> {
    let program = command.get_program().to_owned();
    let doing = || format!("cannot run {program:?}");
    let mut doors = lock(&DOORS);
    let null = std::fs::File::open("/dev/null").doing(doing)?;
    command.env_remove(THRIFT.0);
    for (fd, door) in fds.iter().zip(doors.iter_mut()) {
        if let Some(fd) = fd {
            dup2(fd, door).doing(doing)?;
        }
    }
    let child = command.spawn();
    for door in doors.iter_mut().take(fds.len()) {
        dup3(&null, door, DupFlags::CLOEXEC).doing(doing)?;
    }
    let child = child.doing(doing)?;
    Child::adopt(child.id().cast_signed())
}

/// With one thread and no panic that is caught, a lock is neither contended nor poisoned.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
