//! From one process two: the clone of a container process, directly or by a joiner.
//!
//! A joiner is needed where the child must be born inside a namespace that this process cannot
//! leave again or must not be seen in. It joins, clones with CLONE_PARENT, so that the new process
//! is a child of this one, hands over its pidfd, and exits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};

use crate::{
    error::{Context, Error, Kind, Result},
    step::{Failure, Step},
    sync::{self, ToParent},
    sys::{
        clone::{Cloned, clone3, clone3_alone},
        process::exit_now,
    },
};

/// A child that has begun.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

impl Child {
    /// Kills and reaps a child that is not wanted any more.
    pub(crate) fn end(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// What may go wrong: a refused call here, or a step of the joiner.
#[derive(Debug)]
pub(crate) enum Refusal {
    Error(Error),
    Failure(Failure),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Clones; `child` is the child's life.
pub(crate) fn directly(
    flags: u64,
    into: Option<BorrowedFd<'_>>,
    child: impl FnOnce(),
) -> Result<Child> {
    match clone3(flags, into).map_err(explain)? {
        Cloned::Parent { pid, pidfd } => Ok(Child { pid, pidfd }),
        Cloned::Child => {
            child();
            exit_now(1)
        }
    }
}

/// Clones from inside the namespaces that `join` enters. The joiner has a channel of its own, which
/// `join` is given to keep: the child may be faster to speak on the other than the joiner is to
/// announce it. `place` is told the joiner's pid, and may end all this.
pub(crate) fn by_joiner(
    flags: u64,
    into: Option<BorrowedFd<'_>>,
    join: impl FnOnce(BorrowedFd<'_>) -> Result<(), Failure>,
    child: impl FnOnce(),
    place: impl FnOnce(i32) -> Result<()>,
) -> Result<Child, Refusal> {
    let (hear, tell) = sync::pair().doing(|| "cannot make a socket pair")?;
    let joiner = directly(0, into, || {
        let failure = match join(tell.as_fd()).and_then(|()| clone_for_parent(flags)) {
            Ok(Cloned::Child) => {
                // Or the parent would not notice if the joiner died now.
                drop(tell);
                return child();
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                let told = tell.report(ToParent::Cloned(pid), Some(pidfd.as_fd()));
                exit_now(told.is_err().into())
            }
            Err(failure) => failure,
        };
        let _ = tell.report(ToParent::Failed(failure), None);
        exit_now(1)
    })?;
    place(joiner.pid).inspect_err(|_| joiner.end())?;
    // Only the joiner's copy is left, so that its death is the end of the channel.
    let answer = hear.next();
    let gone = waitid(WaitId::PidFd(joiner.pidfd.as_fd()), WaitIdOptions::EXITED);
    gone.doing(|| "cannot wait for the joiner")?;
    match answer.doing(|| "cannot hear from the joiner")? {
        Some((ToParent::Cloned(pid), Some(pidfd))) => Ok(Child { pid, pidfd }),
        Some((ToParent::Failed(failure), _)) => Err(Refusal::Failure(failure)),
        _ => Err(Error::new(Kind::Os, "cannot join namespaces: the joiner was killed").into()),
    }
}

fn clone_for_parent(flags: u64) -> Result<Cloned, Failure> {
    clone3_alone(flags | libc::CLONE_PARENT as u64, None)
        .map_err(|errno| Failure::new(Step::Unshare, errno))
}

fn explain(errno: Errno) -> Error {
    let error = Error::os("cannot clone the container process", errno);
    match errno {
        Errno::INVAL => error.hint("a namespace kind that this kernel lacks? see /proc/self/ns"),
        Errno::NOSPC | Errno::USERS => {
            error.hint("see the limits in /proc/sys/user/max_*_namespaces")
        }
        Errno::PERM => error.hint("making namespaces needs root, or a user namespace"),
        _ => error,
    }
}
