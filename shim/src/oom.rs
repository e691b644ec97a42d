//! The kernel's out-of-memory killer in a container's cgroup. Whoever looks at an exit must know of
//! it already, so it is looked for twice: when the kernel announces it, and before any exit is told.

use std::{os::fd::AsFd, sync::Mutex};

use libcontainer::cgroup::{Cgroup, Oom, OomWatch};

use crate::{children::lock, log, ready};

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

    /// Whether it struck since the last look.
    pub(crate) fn struck(&self) -> bool {
        matches!(self.look(), Some(Oom::Happened(_)))
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
