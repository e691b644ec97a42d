//! The end of a container, from whatever point it got to.

use std::path::Path;

use super::{
    Container, Status,
    store::{CONFIG, Entry},
};
use oci_spec::runtime::LinuxNamespaceType;

use crate::{
    bundle,
    cgroup::{self, Cgroup, Hierarchies},
    error::{Error, Kind, Result},
    plan::hooks::plan as plan_hooks,
    resctrl,
};

/// SIGKILL works at once unless the kernel itself is stuck (a hung network filesystem).
const KILL_LIMIT_MS: i64 = 10_000;

impl Container {
    /// Removes a stopped or created container: its processes, cgroup and state. With `force`, a
    /// running one, too. What a poststop hook did wrong is returned and does not stop the rest; so is
    /// that processes may be left, which nothing tells from others.
    ///
    /// # Errors
    /// [`Kind::WrongState`] `… that is not stopped` without `force`; what could not be removed.
    pub fn delete(self, force: bool) -> Result<Vec<Error>> {
        // Whoever makes or starts it has the lock as long as hooks like, and gives up when it dies.
        if force && let Some(init) = self.init().or_else(|| self.entry.unborn()) {
            init.signal(libc::SIGKILL).or_else(ended)?;
        }
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
        this.destroy()
    }

    /// The end of the lifecycle, for who holds the lock; returns what [`Container::delete`] does.
    pub(super) fn destroy(&self) -> Result<Vec<Error>> {
        let left = self.end_processes()?;
        self.cgroup().remove(self.state.init_process_pid != 0)?;
        self.leave_resctrl()?;
        let hooks = self.spec().ok().and_then(|spec| spec.hooks().clone());
        let hooks = plan_hooks(hooks.as_ref(), &mut Vec::new());
        self.entry.remove()?;
        Ok(left.into_iter().chain(self.run_poststop(&hooks.poststop)).collect())
    }

    /// Removes what is left of a container whose state is missing or damaged: `delete --force` must
    /// be able to free the id. Its cgroup is where its configuration would have it.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what could not be removed.
    pub fn discard(root: &Path, id: &str) -> Result<()> {
        let entry = Entry::find(root, id)?;
        let _lock = entry.lock()?;
        let spec = std::fs::read(entry.path(CONFIG)).ok().and_then(|raw| bundle::parse(&raw).ok());
        let linux = spec.as_ref().and_then(|spec| spec.linux().as_ref());
        let cgroups_path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let uid = rustix::process::geteuid().as_raw();
        let request = cgroup::Request {
            id,
            cgroups_path,
            resources: None,
            devices: &[],
            manager: cgroup::Manager::by(cgroups_path),
            annotations: None,
            uid,
            rootless: uid != 0,
            owner: None,
        };
        let place = cgroup::plan(&request, &Hierarchies::probe()?, &mut Vec::new()).place;
        let cgroup = Cgroup::open(&place);
        if cgroup.exists() {
            cgroup.kill(libc::SIGKILL)?;
            cgroup.remove(false)?;
        }
        entry.remove()
    }

    /// The container's own groups end with it; what it shared stays.
    fn leave_resctrl(&self) -> Result<()> {
        let own = Some(&self.state.intel_rdt_path).filter(|_| self.state.intel_rdt_own);
        let monitoring = self.state.intel_rdt_mon_path.iter();
        monitoring.chain(own).try_for_each(|group| resctrl::remove(group))
    }

    /// Returns a warning about processes that may be left.
    fn end_processes(&self) -> Result<Option<Error>> {
        let cgroup = self.cgroup();
        if let Some(init) = self.init() {
            init.signal(libc::SIGKILL).or_else(ended)?;
            if cgroup.frozen().unwrap_or(false) {
                cgroup.thaw()?;
            }
            if !init.ends_within(KILL_LIMIT_MS) {
                return Err(Error::new(Kind::Os, "container init still running").hint(
                    "it does not die of SIGKILL: see its state in /proc and the kernel's log",
                ));
            }
        }
        // A pid namespace of its own ended with its init; other processes have to be found.
        let private = self.state.is_private(LinuxNamespaceType::Pid);
        if private || self.state.init_process_pid == 0 {
            return Ok(None);
        }
        if cgroup.exists() {
            cgroup.kill(libc::SIGKILL)?;
        }
        Ok(cgroup.is_missing().then(|| self.others_unknown()))
    }
}

fn ended(error: Error) -> Result<()> {
    if error.kind() == Kind::WrongState { Ok(()) } else { Err(error) }
}
