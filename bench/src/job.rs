//! What is measured: the workloads, as the commands of each runtime.

use std::{cell::Cell, ffi::OsStr, path::PathBuf};

use clap::ValueEnum;
use libcontainer::{Result, error::Context};
use rustix::process::{Pid, Signal, kill_process, set_child_subreaper};

use crate::{
    bundle::{Bundles, Settings, prefix},
    runtime::{Interface, Runtime},
    sample::{self, Sample, Step},
    view,
};

/// An argument of a command line.
pub(crate) type Arg<'a> = &'a dyn AsRef<OsStr>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// `run true` with the bundle of `rtn spec`
    Run,
    /// `run true` with Docker's settings, its seccomp profile among them
    Docker,
    /// create, start, wait for the end, delete
    Create,
    /// `exec true` in a running container
    Exec,
    /// `state` of a running container
    State,
}

impl Workload {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Run => "run true (rtn spec)",
            Self::Docker => "run true (Docker's settings)",
            Self::Create => "create + start + delete",
            Self::Exec => "exec true",
            Self::State => "state",
        }
    }

    fn settings(self) -> Settings {
        match self {
            Self::Run | Self::Create => Settings::Default,
            Self::Docker => Settings::Docker,
            Self::Exec | Self::State => Settings::Sleep,
        }
    }
}

/// The workloads of `--only`, or all of them.
pub(crate) fn selected(only: &[Workload]) -> Vec<Workload> {
    let all = Workload::value_variants();
    if only.is_empty() { all.to_vec() } else { only.to_vec() }
}

/// A container whose creator has ended becomes our child: its exit is ours to see, and the CPU
/// time that it took counts.
pub(crate) fn adopt_orphans() -> Result<()> {
    set_child_subreaper(Some(rustix::process::getpid())).doing(|| "cannot become a subreaper")
}

/// The running container that `exec` and `state` need; killed and deleted when it is dropped.
pub(crate) struct Stage<'a> {
    bench: &'a Bench<'a>,
    runtime: &'a Runtime,
    id: String,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.bench.strike(self) {
            eprintln!("bench: {error}");
        }
    }
}

#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) bundles: &'a Bundles,
    v2: bool,
    next: Cell<usize>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(bundles: &'a Bundles) -> Self {
        Self { bundles, v2: view::is_v2(), next: Cell::new(0) }
    }

    /// Starts what has to run before `workload` can: nothing for most.
    pub(crate) fn stage(
        &'a self,
        workload: Workload,
        runtime: &'a Runtime,
    ) -> Result<Option<Stage<'a>>> {
        if workload.settings() != Settings::Sleep {
            return Ok(None);
        }
        let id = self.id();
        let steps = match runtime.interface {
            Interface::Oci => self.oci_stage(runtime, &id),
            Interface::Floor => self.floor_create(runtime, &id, &id, Settings::Sleep),
        };
        sample::take(&steps)?;
        Ok(Some(Stage { bench: self, runtime, id }))
    }

    /// One run of `workload`; with `below`, its container's cgroup is the nested one.
    pub(crate) fn steps(
        &self,
        workload: Workload,
        runtime: &Runtime,
        stage: Option<&Stage<'_>>,
        below: bool,
    ) -> Result<Vec<Step>> {
        let id = stage.map_or_else(|| self.id(), |stage| stage.id.clone());
        match runtime.interface {
            Interface::Oci => Ok(self.oci(workload, runtime, &id, below)),
            Interface::Floor => self.floor(workload, runtime, &id, below),
        }
    }

    pub(crate) fn sample(
        &self,
        workload: Workload,
        runtime: &Runtime,
        stage: Option<&Stage<'_>>,
    ) -> Result<Sample> {
        sample::take(&self.steps(workload, runtime, stage, false)?)
    }

    fn strike(&self, stage: &Stage<'_>) -> Result<()> {
        let pid = self.pid(&stage.id)?;
        kill_process(pid, Signal::KILL).doing(|| format!("cannot kill {}", stage.id))?;
        let (file, runtime) = (self.pid_file(&stage.id), stage.runtime);
        let delete = match runtime.interface {
            Interface::Oci => self.oci_command(runtime, &[&"delete", &stage.id]),
            Interface::Floor => self.floor_delete(runtime, &stage.id, &stage.id),
        };
        sample::take(&[Step::Await(file), delete]).map(|_| ())
    }

    // --- the command line of runc ---

    fn oci(&self, workload: Workload, runtime: &Runtime, id: &str, below: bool) -> Vec<Step> {
        let bundle = self.bundles.bundle(workload.settings(), below);
        let command = |args: &[Arg<'_>]| self.oci_command(runtime, args);
        match workload {
            Workload::Run | Workload::Docker => vec![command(&[&"run", &"--bundle", &bundle, &id])],
            Workload::Create => {
                let pid_file = self.pid_file(id);
                vec![
                    command(&[&"create", &"--bundle", &bundle, &"--pid-file", &pid_file, &id]),
                    command(&[&"start", &id]),
                    Step::Await(pid_file),
                    command(&[&"delete", &id]),
                ]
            }
            Workload::Exec => vec![command(&[&"exec", &id, &"true"])],
            Workload::State => vec![command(&[&"state", &id])],
        }
    }

    fn oci_stage(&self, runtime: &Runtime, id: &str) -> Vec<Step> {
        let (bundle, pid_file) = (self.bundles.bundle(Settings::Sleep, false), self.pid_file(id));
        vec![self.oci_command(
            runtime,
            &[&"run", &"--detach", &"--bundle", &bundle, &"--pid-file", &pid_file, &id],
        )]
    }

    pub(crate) fn oci_command(&self, runtime: &Runtime, args: &[Arg<'_>]) -> Step {
        let root = self.bundles.state_root(runtime);
        let mut all: Vec<Arg<'_>> = vec![&"--root", &root];
        all.extend(args);
        Step::Run(runtime.command(&all))
    }

    // --- the command line of the floor ---

    fn floor(
        &self,
        workload: Workload,
        runtime: &Runtime,
        id: &str,
        below: bool,
    ) -> Result<Vec<Step>> {
        let nested = self.bundles.nested_cgroup();
        let cgroup = if below { nested.as_str() } else { id };
        let (rootfs, filter) = (self.bundles.rootfs(), self.bundles.filter());
        let one = |verb, args: &[Arg<'_>]| Ok(vec![self.floor_command(runtime, verb, args)]);
        match workload {
            Workload::Run => one("run", &[&rootfs, &cgroup, &"true"]),
            Workload::Docker => one("run", &[&"--docker", &filter, &rootfs, &cgroup, &"true"]),
            Workload::Create => {
                let mut steps = self.floor_create(runtime, id, cgroup, Settings::Default);
                steps.extend([
                    Step::Await(self.pid_file(id)),
                    self.floor_delete(runtime, id, cgroup),
                ]);
                Ok(steps)
            }
            Workload::Exec => {
                one("exec", &[&self.pid(id)?.as_raw_nonzero().to_string(), &id, &"true"])
            }
            Workload::State => one("state", &[&self.bundles.some_file()]),
        }
    }

    fn floor_create(
        &self,
        runtime: &Runtime,
        id: &str,
        cgroup: &str,
        settings: Settings,
    ) -> Vec<Step> {
        let (fifo, pid_file, rootfs) = (self.fifo(id), self.pid_file(id), self.bundles.rootfs());
        let mut create: Vec<Arg<'_>> =
            vec![&"--fifo", &fifo, &"--pid-file", &pid_file, &rootfs, &cgroup];
        create.extend(settings.args().iter().map(|arg| arg as Arg<'_>));
        vec![
            self.floor_command(runtime, "create", &create),
            self.floor_command(runtime, "start", &[&fifo]),
        ]
    }

    fn floor_delete(&self, runtime: &Runtime, id: &str, cgroup: &str) -> Step {
        self.floor_command(runtime, "delete", &[&self.fifo(id), &cgroup])
    }

    fn floor_command(&self, runtime: &Runtime, verb: &str, args: &[Arg<'_>]) -> Step {
        let mut all: Vec<Arg<'_>> = vec![&verb];
        if self.v2 {
            all.push(&"--v2");
        }
        if self.bundles.cgroup_namespace && !args.iter().any(|arg| arg.as_ref() == "--docker") {
            all.push(&"--cgroupns");
        }
        all.extend(args);
        Step::Run(runtime.command(&all))
    }

    // --- names ---

    pub(crate) fn id(&self) -> String {
        self.next.set(self.next.get() + 1);
        format!("{}{}", prefix(), self.next.get())
    }

    pub(crate) fn pid_file(&self, id: &str) -> PathBuf {
        self.bundles.directory.join(format!("{id}.pid"))
    }

    fn fifo(&self, id: &str) -> PathBuf {
        self.bundles.directory.join(format!("{id}.fifo"))
    }

    fn pid(&self, id: &str) -> Result<Pid> {
        sample::read_pid(&self.pid_file(id))
    }
}
