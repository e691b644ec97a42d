//! The kernel's out-of-memory killer in a container's cgroup. Whoever looks at an exit must know of
//! it already, so it is looked for twice: when the kernel announces it, and before any exit is told.

use std::{os::fd::AsFd, sync::Mutex};

use libcontainer::cgroup::{Cgroup, Oom, OomWatch};

use crate::{children::lock, log, ready};

/// The status of a process that SIGKILL has ended.
const KILLED: u32 = 128 + libc::SIGKILL as u32;

/// A watch over one container; without a memory controller there is nothing to see.
#[derive(Debug)]
pub(crate) struct Watch(Mutex<Option<OomWatch>>);

impl Watch {
    pub(crate) fn over(cgroup: &Cgroup) -> Self {
        let watch = cgroup.oom();
        if let Err(error) = &watch {
            log::warning(&format!("cannot watch for a lack of memory: {error}"));
        }
        Self(Mutex::new(watch.ok()))
    }

    /// Whether it struck since the last look, when a process has ended with `status`.
    ///
    /// systemd removes the cgroup with the last process: then a process that was killed, while the
    /// killer struck below the same parent, was killed by it.
    pub(crate) fn struck(&self, status: u32) -> bool {
        match self.look() {
            Some(Oom::Happened(_)) => true,
            Some(Oom::Nothing) => false,
            Some(Oom::Gone) | None => {
                let nearby = |watch: &OomWatch| watch.struck_nearby();
                status == KILLED && lock(&self.0).as_ref().is_some_and(nearby)
            }
        }
    }

    /// Told before somebody else kills: that is not to be taken for the killer's.
    pub(crate) fn is_to_be_killed(&self) {
        if let Some(watch) = lock(&self.0).as_mut() {
            watch.forget_nearby();
        }
    }

    fn look(&self) -> Option<Oom> {
        lock(&self.0).as_mut()?.look().ok()
    }

    /// Calls `struck` each time, until the cgroup is gone.
    pub(crate) async fn each(&self, struck: impl Fn()) {
        let fd = match &*lock(&self.0) {
            Some(watch) => watch.as_fd().try_clone_to_owned(),
            None => return,
        };
        let Ok(Ok(fd)) = fd.map(ready::for_reading) else {
            return;
        };
        while let Ok(mut ready) = fd.readable().await {
            ready.clear_ready();
            match self.look() {
                Some(Oom::Happened(_)) => struck(),
                Some(Oom::Nothing) => {}
                Some(Oom::Gone) | None => return,
            }
        }
    }
}
