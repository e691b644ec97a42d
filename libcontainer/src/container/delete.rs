//! The end of a container, from whatever point it got to.

use std::path::Path;

use super::{Container, Status, store::Entry};
use crate::{
    error::{Error, Kind, Result},
    hooks,
    plan::hooks::plan as plan_hooks,
};

/// SIGKILL works at once unless the kernel itself is stuck (a hung network filesystem).
const KILL_LIMIT_MS: i64 = 10_000;

impl Container {
    /// Removes a stopped or created container: its processes, cgroup and state. With `force`, a
    /// running one, too. What a poststop hook did wrong is returned and does not stop the rest.
    ///
    /// # Errors
    /// [`Kind::WrongState`] `… that is not stopped` without `force`; what could not be removed.
    pub fn delete(self, force: bool) -> Result<Vec<Error>> {
        let _lock = self.entry.lock()?;
        // Somebody else may have been faster while this waited for the lock.
        let this = Self { state: self.entry.read()?, entry: self.entry };
        let status = this.status();
        if !force && !matches!(status, Status::Stopped | Status::Created) {
            let what = format!(
                "cannot delete container {:?} that is not stopped: {}",
                this.id(),
                status.word()
            );
            let hint = format!("`rtn delete --force {}` kills it first", this.id());
            return Err(Error::new(Kind::WrongState, what).hint(hint));
        }
        this.end_processes()?;
        this.cgroup().remove()?;
        let hooks = plan_hooks(
            this.spec().ok().and_then(|spec| spec.hooks().clone()).as_ref(),
            &mut Vec::new(),
        );
        let state = this.hook_state("stopped", 0);
        this.entry.remove()?;
        let failures = hooks
            .poststop
            .iter()
            .enumerate()
            .filter_map(|(index, hook)| hooks::run_one("poststop", index, hook, &state).err());
        Ok(failures.collect())
    }

    /// Removes what is left of a container whose state cannot be read: `delete --force` must be
    /// able to free the id.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what could not be removed.
    pub fn discard(root: &Path, id: &str) -> Result<()> {
        Entry::find(root, id)?.remove()
    }

    fn end_processes(&self) -> Result<()> {
        let cgroup = self.cgroup();
        if let Some(init) = self.init() {
            init.signal(libc::SIGKILL).or_else(ended)?;
            cgroup.kill(libc::SIGKILL)?;
            if !init.ends_within(KILL_LIMIT_MS) {
                return Err(Error::new(Kind::Os, "container init still running").hint(
                    "it does not die of SIGKILL: see its state in /proc and the kernel's log",
                ));
            }
        } else if self.state.init_process_pid != 0 {
            // Processes that no private pid namespace ended with init.
            cgroup.kill(libc::SIGKILL)?;
        }
        Ok(())
    }
}

fn ended(error: Error) -> Result<()> {
    if error.kind() == Kind::WrongState { Ok(()) } else { Err(error) }
}
