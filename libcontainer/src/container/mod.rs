//! A container: made from a bundle, found again by its id, and everything that can be said to it.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{self as spec, LinuxNamespaceType, LinuxResources, Spec};

use crate::{
    bundle,
    cgroup::{self, Cgroup, Hierarchies},
    error::{Context, Error, Kind, Result},
    explain, hooks,
    plan::{Hook, hooks::plan as plan_hooks},
    resctrl,
    step::Failure,
};

mod create;
mod delete;
mod exec;
mod init_process;
mod notify;
mod outcome;
mod state;
mod store;

pub use create::{CreateOptions, Created, Rootless, create};
pub use exec::ExecOptions;
pub use outcome::Process;
pub use state::{State, Status};

use init_process::InitProcess;
use store::{Entry, FIFO};

/// A container that exists under a state root.
#[derive(Debug)]
pub struct Container {
    entry: Entry,
    state: State,
}

impl Container {
    /// Finds a container again.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the words `container does not exist`; a damaged state file says so,
    /// and `delete --force` gets rid of it.
    pub fn load(root: &Path, id: &str) -> Result<Self> {
        let entry = Entry::find(root, id)?;
        let state = entry.read()?;
        Ok(Self { entry, state })
    }

    /// All containers under `root`, by id, and what is wrong with the others. A missing root holds
    /// none.
    ///
    /// # Errors
    /// When `root` cannot be read.
    pub fn list(root: &Path) -> Result<(Vec<Self>, Vec<Error>)> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for id in store::ids(root)? {
            match Self::load(root, &id) {
                Ok(container) => found.push(container),
                // Deleted in between.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => damaged.push(error),
            }
        }
        Ok((found, damaged))
    }

    pub fn id(&self) -> &str {
        &self.state.id
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its configuration as it was when it was created.
    ///
    /// # Errors
    /// When the copy beside the state is gone or damaged.
    pub fn spec(&self) -> Result<Spec> {
        let path = self.entry.path(store::CONFIG);
        bundle::parse(&std::fs::read(&path).doing(|| format!("cannot read {path:?}"))?)
    }

    /// What it is doing now; asked anew each time.
    pub fn status(&self) -> Status {
        let Some(_init) = self.init() else {
            let unborn = self.state.init_process_pid == 0 && self.entry.is_locked();
            return if unborn { Status::Creating } else { Status::Stopped };
        };
        if self.cgroup().frozen().unwrap_or(false) {
            return Status::Paused;
        }
        match self.entry.path(FIFO).exists() {
            true => Status::Created,
            false => Status::Running,
        }
    }

    /// The init process's pid in the caller's pid namespace; 0 when there is none.
    pub fn pid(&self) -> i32 {
        self.init().map_or(0, |init| init.pid)
    }

    /// Lets the process that `create` prepared run its program. With `notify_socket`, waits until
    /// it says READY=1 or ends (sd_notify(3)).
    ///
    /// # Errors
    /// [`Kind::WrongState`] unless it is created; [`Kind::Exec`] if the program cannot be executed;
    /// [`Kind::Hook`] if a startContainer or poststart hook fails, which ends and removes the
    /// container (runtime-spec, runtime.md "Lifecycle").
    pub fn start(&mut self, notify_socket: Option<&Path>) -> Result<()> {
        let _lock = self.entry.lock()?;
        match self.status() {
            Status::Created => {}
            Status::Stopped => {
                return Err(self.wrong_state("cannot start a container that has stopped"));
            }
            Status::Paused => return Err(self.wrong_state("cannot start a paused container")),
            _ => return Err(self.wrong_state("cannot start an already running container")),
        }
        let init = self.init().ok_or_else(not_running)?;
        let hooks = plan_hooks(self.spec()?.hooks().as_ref(), &mut Vec::new());
        let socket =
            notify_socket.map(|host| notify::Proxy::bind(&self.entry, host)).transpose()?;
        let waited_for = !hooks.start_container.is_empty() || !hooks.poststart.is_empty();
        let started = match self.entry.release(&init, waited_for)? {
            Some(failure) => Err(self.explain(&failure)),
            None => self.run_poststart(&hooks.poststart, init.pid),
        };
        started.inspect_err(|error| {
            if error.kind() == Kind::Hook {
                // The first failure is the one to report.
                let _ = self.destroy();
            }
        })?;
        socket.map_or(Ok(()), |socket| socket.forward(&init))
    }

    /// Sends a signal to the init process; with `all`, or when SIGKILL must reach processes that
    /// no pid namespace ends with it, to every process of the container. Returns a warning when those
    /// cannot be found (runc's rule: the init process gets its signal all the same).
    ///
    /// # Errors
    /// [`Kind::WrongState`] with the words `container not running`.
    pub fn kill(&self, signal: i32, all: bool) -> Result<Option<Error>> {
        let private = self.state.is_private(LinuxNamespaceType::Pid);
        let (cgroup, init) = (self.cgroup(), self.init());
        let many = all || (signal == libc::SIGKILL && !private && init.is_some());
        if many && !cgroup.is_missing() {
            return cgroup.kill(signal).map(|()| None);
        }
        let init = init.ok_or_else(not_running)?;
        init.signal(signal)?;
        // A frozen v1 process dies only after it is thawed.
        if signal == libc::SIGKILL && cgroup.frozen().unwrap_or(false) {
            cgroup.thaw()?;
        }
        let die_with_it = signal == libc::SIGKILL && private;
        Ok((many && !die_with_it).then(|| self.others_unknown()))
    }

    fn others_unknown(&self) -> Error {
        let what = format!("cannot find the other processes of container {:?}", self.id());
        Error::new(Kind::Unsupported, what).because("it has no cgroup")
    }

    /// Freezes every process.
    ///
    /// # Errors
    /// [`Kind::WrongState`] unless it is created or running.
    pub fn pause(&self) -> Result<()> {
        match self.status() {
            Status::Created | Status::Running => self.cgroup().freeze(),
            _ => Err(not_running()),
        }
    }

    /// Thaws every process.
    ///
    /// # Errors
    /// [`Kind::WrongState`] unless it is paused.
    pub fn resume(&self) -> Result<()> {
        match self.status() {
            Status::Paused => self.cgroup().thaw(),
            _ => Err(Error::new(Kind::WrongState, "container not paused")),
        }
    }

    /// Changes limits; what `resources` leaves out stays. Returns warnings.
    ///
    /// # Errors
    /// [`Kind::WrongState`] when it is stopped; whatever the kernel refuses.
    pub fn update(&mut self, resources: &LinuxResources) -> Result<Vec<String>> {
        let _lock = self.entry.lock()?;
        if self.status() == Status::Stopped {
            return Err(not_running());
        }
        let resources = self.with_check(resources);
        self.cgroup().update(&resources, &Hierarchies::probe()?)
    }

    /// memory.checkBeforeUpdate holds for every update until one says otherwise; the flags of
    /// `update` have no word for it.
    fn with_check(&self, resources: &LinuxResources) -> LinuxResources {
        let mut resources = resources.clone();
        if let Some(memory) = resources.memory_mut()
            && memory.check_before_update().is_none()
            && let Ok(spec) = self.spec()
        {
            let linux = spec.linux().as_ref();
            let created = linux.and_then(|linux| linux.resources().as_ref()?.memory().as_ref());
            let check = created.and_then(spec::LinuxMemory::check_before_update);
            memory.set_check_before_update(check);
        }
        resources
    }

    /// Writes lines to the schemata of its resctrl group; what they do not name stays.
    ///
    /// # Errors
    /// [`Kind::WrongState`] when it is stopped. [`Kind::Unsupported`] when it was created without
    /// linux.intelRdt: it is in nobody's group then, and a new one would not reach the processes
    /// that it has (opencontainers/runc#4827).
    pub fn update_schemata(&mut self, lines: &[&str]) -> Result<()> {
        let _lock = self.entry.lock()?;
        if self.status() == Status::Stopped {
            return Err(not_running());
        }
        if self.state.intel_rdt_path.as_os_str().is_empty() {
            let what = "cannot change schemata: the container was created without linux.intelRdt";
            return Err(Error::new(Kind::Unsupported, what));
        }
        lines.iter().try_for_each(|line| resctrl::check_line(line))?;
        resctrl::write_schemata(&self.state.intel_rdt_path, lines)
    }

    /// # Errors
    /// When a file of its cgroup cannot be read or understood.
    pub fn stats(&self) -> Result<cgroup::Stats> {
        let mut stats = self.cgroup().stats()?;
        let (group, monitoring) = (&self.state.intel_rdt_path, &self.state.intel_rdt_mon_path);
        if !group.as_os_str().is_empty() {
            stats.intel_rdt = resctrl::Stats::collect(group, monitoring.as_deref());
        }
        Ok(stats)
    }

    /// A group that somebody has removed takes nobody.
    fn enter_resctrl(&self, pid: i32) -> Result<()> {
        let (group, monitoring) = (&self.state.intel_rdt_path, &self.state.intel_rdt_mon_path);
        match !group.as_os_str().is_empty() && group.exists() {
            true => resctrl::enter(group, monitoring.as_deref(), pid),
            false => Ok(()),
        }
    }

    /// Its control group: processes, statistics, out-of-memory events.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.state.cgroup)
    }

    /// The words for a failure after `create`, whose plan is gone; config.json makes it again.
    fn explain(&self, failure: &Failure) -> Error {
        let plan = self.spec().and_then(|spec| {
            let process = spec.process().clone().ok_or_else(not_running)?;
            self.plan_exec(&ExecOptions::of(process))
        });
        plan.map_or_else(|error| error, |plan| explain::failure(&plan, failure))
    }

    fn init(&self) -> Option<InitProcess> {
        InitProcess::find(self.state.init_process_pid, self.state.init_process_start)
    }

    fn run_poststart(&self, hooks: &[Hook], pid: i32) -> Result<()> {
        hooks::run_all("poststart", hooks, &self.hook_state("running", pid), None)
    }

    /// Every one runs, whatever the others do.
    fn run_poststop(&self, hooks: &[Hook]) -> Vec<Error> {
        let state = self.hook_state("stopped", 0);
        let results = hooks
            .iter()
            .enumerate()
            .map(|(index, hook)| hooks::run_one("poststop", index, hook, &state, None));
        results.filter_map(Result::err).collect()
    }

    fn hook_state(&self, status: &str, pid: i32) -> Vec<u8> {
        let mut state = serde_json::json!({
            "ociVersion": self.state.oci_version,
            "id": self.state.id,
            "status": status,
            "bundle": self.state.bundle,
            "annotations": self.state.annotations,
        });
        if pid != 0 {
            state["pid"] = pid.into();
        }
        state.to_string().into_bytes()
    }

    fn wrong_state(&self, what: &'static str) -> Error {
        Error::new(Kind::WrongState, what).hint(format!(
            "it is {}; see `rtn state {}`",
            self.status().word(),
            self.id()
        ))
    }
}

fn not_running() -> Error {
    Error::new(Kind::WrongState, "container not running")
}

/// The manager's name in state.json is its serde form; kept here so that the two stay one.
pub type Manager = cgroup::Manager;

/// Where a relative path given on a command line starts.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).doing(|| format!("cannot resolve {path:?}"))
}
