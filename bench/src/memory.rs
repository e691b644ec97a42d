//! Peak memory, in runs of their own that are not timed: the runtime starts in a fresh memory
//! cgroup and its container's cgroup lies below, so that the kernel counts every page of both, in
//! all their processes, page tables and kernel objects included. The kernel charges in batches, so
//! the figure is good to some 100 KiB.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use libcontainer::{Error, Kind, Result, error::Context};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::{
    bundle::Bundles,
    job::{Bench, Stage, Workload},
    runtime::Runtime,
    sample::{self, Step},
    stats, view,
};

const CGROUP: &str = "/sys/fs/cgroup";
const RUNS: usize = 5;

/// Median over some runs, in KiB; `None` where this view has no memory controller.
pub(crate) fn peak(
    bench: &Bench<'_>,
    workload: Workload,
    runtime: &Runtime,
    stage: Option<&Stage<'_>>,
) -> Result<Option<f64>> {
    let mut peaks = Vec::new();
    for _ in 0..RUNS {
        let Some(meter) = Meter::new(bench.bundles)? else { return Ok(None) };
        let steps = bench.steps(workload, runtime, stage, true)?;
        sample::take(&steps.into_iter().map(|step| meter.charge(step)).collect::<Vec<_>>())?;
        peaks.push(meter.read()?);
    }
    Ok(Some(stats::quantile(&peaks, 0.5)))
}

/// A cgroup of one name in every hierarchy of the view; removed when it is dropped.
struct Meter {
    directories: Vec<PathBuf>,
    memory: PathBuf,
    /// Writing "0" here moves the writer.
    door: PathBuf,
    peak_file: &'static str,
}

impl Meter {
    fn new(bundles: &Bundles) -> Result<Option<Self>> {
        let name = bundles.outer_cgroup();
        if view::is_v2() { Self::v2(Path::new(CGROUP).join(name)) } else { Self::v1(&name) }
    }

    /// The runtimes make the missing parents of a cgroup, but leave them: so they are made here.
    fn v1(name: &str) -> Result<Option<Self>> {
        if !Path::new(CGROUP).join("memory").exists() {
            return Ok(None);
        }
        let memory = Path::new(CGROUP).join("memory").join(name);
        let mut meter = Self {
            directories: Vec::new(),
            door: memory.join("tasks"),
            memory,
            peak_file: "memory.max_usage_in_bytes",
        };
        for hierarchy in fs::read_dir(CGROUP).doing(|| format!("cannot read {CGROUP}"))?.flatten() {
            if hierarchy.file_type().is_ok_and(|kind| kind.is_dir())
                && hierarchy.file_name() != "unified"
            {
                meter.add(hierarchy.path().join(name))?;
            }
        }
        Ok(Some(meter))
    }

    /// v2 allows no process in a cgroup that hands controllers down, so the runtime gets a child.
    fn v2(outer: PathBuf) -> Result<Option<Self>> {
        if !read(&Path::new(CGROUP).join("cgroup.controllers"))?.contains("memory") {
            return Ok(None);
        }
        write(&Path::new(CGROUP).join("cgroup.subtree_control"), "+memory")?;
        let inner = outer.join("runtime");
        let door = inner.join("cgroup.procs");
        let mut meter =
            Self { directories: Vec::new(), door, memory: outer.clone(), peak_file: "memory.peak" };
        meter.add(outer.clone())?;
        write(&outer.join("cgroup.subtree_control"), "+memory")?;
        meter.add(inner)?;
        Ok(Some(meter))
    }

    fn add(&mut self, directory: PathBuf) -> Result<()> {
        fs::create_dir(&directory).doing(|| format!("cannot make {}", directory.display()))?;
        self.directories.push(directory.clone());
        // An empty cpuset takes no process.
        for file in ["cpuset.cpus", "cpuset.mems"].map(|name| directory.join(name)) {
            let above =
                directory.parent().unwrap_or(&directory).join(file.file_name().unwrap_or_default());
            if file.exists() && above.exists() {
                write(&file, read(&above)?.trim_end())?;
            }
        }
        Ok(())
    }

    /// The same step, started inside: a shell moves itself and becomes the command.
    fn charge(&self, step: Step) -> Step {
        match step {
            Step::Run(command) => {
                let shell = ["/bin/sh", "-c", r#"echo 0 >"$0" && exec "$@""#].map(OsString::from);
                Step::Run(
                    shell.into_iter().chain([self.door.clone().into()]).chain(command).collect(),
                )
            }
            wait => wait,
        }
    }

    /// Processes that should have ended.
    fn processes(&self) -> Result<Vec<Pid>> {
        let text = read(&self.door)?;
        Ok(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect())
    }

    fn evict(&self) -> Result<()> {
        for pid in self.processes()? {
            kill_process(pid, Signal::KILL).doing(|| format!("cannot kill {pid:?}"))?;
            waitpid(Some(pid), WaitOptions::empty()).doing(|| format!("cannot reap {pid:?}"))?;
        }
        Ok(())
    }

    /// KiB.
    fn read(&self) -> Result<f64> {
        let text = read(&self.memory.join(self.peak_file))?;
        let bytes: f64 = text.trim().parse().map_err(|cause| {
            Error::new(Kind::Os, format!("cannot use \"{text}\"")).because(cause)
        })?;
        if !self.processes()?.is_empty() {
            return Err(Error::new(Kind::Os, "cannot report a run of which a process still runs"));
        }
        Ok(bytes / 1024.0)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Err(error) = self.evict() {
            eprintln!("bench: {error}");
        }
        for directory in self.directories.iter().rev() {
            if let Err(error) = fs::remove_dir(directory) {
                eprintln!("bench: cannot remove {}: {error}", directory.display());
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).doing(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).doing(|| format!("cannot write {}", path.display()))
}
