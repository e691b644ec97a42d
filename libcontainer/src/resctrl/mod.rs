//! Groups of the resctrl file system, for linux.intelRdt: a share of the caches and of the memory
//! bandwidth, and their measurement.
//!
//! Every path comes from the plan or from state.json; nothing here looks for the file system.

mod schema;
mod stats;

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

pub use stats::Stats;

use crate::{
    error::{Context, Error, Kind, Result},
    plan::{IntelRdt, Origin},
};

const SCHEMATA: &str = "schemata";

/// A group that a container is being put into. Dropped before [`Group::keep`] it removes what it
/// made.
#[derive(Debug)]
pub struct Group<'a> {
    plan: &'a IntelRdt,
    made: Vec<&'a Path>,
}

impl<'a> Group<'a> {
    /// The group as it is planned, without the container.
    ///
    /// # Errors
    /// A closID that does not exist, or exists with another schema; whatever the kernel refuses.
    pub fn make(plan: &'a IntelRdt) -> Result<Self> {
        let mut group = Self { plan, made: Vec::new() };
        group.make_directory()?;
        if !plan.schemata.is_empty() {
            let lines: Vec<_> = plan.schemata.iter().map(|schema| schema.line.as_str()).collect();
            write_schemata(&plan.path, &lines).map_err(|error| error.at(AT))?;
        }
        if let Some(path) = &plan.monitoring {
            fs::create_dir(path).map_err(|cause| {
                refused(format!("cannot make the monitoring group {path:?}"), cause, &plan.path)
                    .at("linux.intelRdt.enableMonitoring")
            })?;
            group.made.push(path);
        }
        Ok(group)
    }

    /// Puts a process into it; its future children follow.
    ///
    /// # Errors
    /// As [`enter`].
    pub fn enter(&self, pid: i32) -> Result<()> {
        enter(&self.plan.path, self.plan.monitoring.as_deref(), pid).map_err(|error| error.at(AT))
    }

    /// From now on it ends with `delete`.
    pub fn keep(mut self) {
        self.made.clear();
    }

    fn make_directory(&mut self) -> Result<()> {
        let IntelRdt { path, origin, .. } = self.plan;
        if *origin == Origin::Existing {
            return match path.is_dir() {
                true => self.compare(),
                false => Err(Error::config(
                    "linux.intelRdt.closID",
                    format!("cannot use the resctrl group {path:?}: it does not exist"),
                )
                .hint("without a schema, a closID names a group that exists")),
            };
        }
        match fs::create_dir(path) {
            Ok(()) => self.made.push(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return if *origin == Origin::Shared { self.compare() } else { Ok(()) };
            }
            Err(cause) => {
                let what = format!("cannot make the resctrl group {path:?}");
                return Err(refused(what, cause, path).at(AT));
            }
        }
        Ok(())
    }

    /// Who shares a group must not change it (config-linux.md, "If closID directory … exists").
    fn compare(&self) -> Result<()> {
        let mut asked = self.plan.schemata.iter().filter(|schema| schema.compared).peekable();
        if asked.peek().is_none() {
            return Ok(());
        }
        let file = self.plan.path.join(SCHEMATA);
        let has = fs::read_to_string(&file).doing(|| format!("cannot read {file:?}"))?;
        match asked.find(|schema| !schema::is_in(&schema.line, &has)) {
            None => Ok(()),
            Some(other) => {
                let what = format!(
                    "cannot share the resctrl group {:?}: it does not have {:?}",
                    self.plan.path, other.line
                );
                Err(Error::config(&*other.at, what).hint(format!("{file:?} has {has:?}")))
            }
        }
    }
}

impl Drop for Group<'_> {
    /// The caller has a failure to tell already.
    fn drop(&mut self) {
        self.made.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
}

const AT: &str = "linux.intelRdt";

/// Puts a process into a group, and into a monitoring group below it, in this order: the kernel
/// measures a task only in its own group.
///
/// # Errors
/// The kernel's refusal: ESRCH for a process that has ended.
pub fn enter(group: &Path, monitoring: Option<&Path>, pid: i32) -> Result<()> {
    for directory in [Some(group), monitoring].into_iter().flatten() {
        write(&directory.join("tasks"), &pid.to_string()).map_err(|cause| {
            let what = format!("cannot put process {pid} into the resctrl group {directory:?}");
            refused(what, cause, group)
        })?;
    }
    Ok(())
}

/// All lines at once: the kernel takes all or none. What a line does not name stays.
///
/// # Errors
/// The kernel's refusal, with what it says in info/last_cmd_status.
pub fn write_schemata(group: &Path, lines: &[&str]) -> Result<()> {
    let text = lines.join("\n") + "\n";
    write(&group.join(SCHEMATA), &text).map_err(|cause| {
        refused(format!("cannot write {lines:?} to {:?}", group.join(SCHEMATA)), cause, group)
    })
}

/// Removes a group; its processes, of which there are none, would be in the default group then. One
/// that is gone is fine.
///
/// # Errors
/// The kernel's refusal.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing(|| format!("cannot remove the resctrl group {directory:?}")),
    }
}

/// Nothing is made: a file that is missing is the kernel's to make.
fn write(file: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).custom_flags(libc::O_NOFOLLOW).open(file)?;
    file.write_all(text.as_bytes())
}

/// The kernel says more than an errno in info/last_cmd_status.
fn refused(what: String, cause: io::Error, group: &Path) -> Error {
    let full = cause.kind() == io::ErrorKind::StorageFull;
    let missing = cause.kind() == io::ErrorKind::NotFound;
    let error = Error::os(what, cause);
    let status = fs::read_to_string(root(group).join("info/last_cmd_status"));
    match status.as_deref().map(str::trim) {
        Ok(status) if !matches!(status, "" | "ok") => {
            error.hint(format!("the kernel says: {status}"))
        }
        _ if full => error.hint("see info/*/num_closids and info/*/num_rmids there"),
        _ if missing => error.hint("the processor lacks what this file is for"),
        _ => error,
    }
}

/// The top of the file system: the default group is there itself, all others are one below.
fn root(group: &Path) -> PathBuf {
    match group.parent() {
        Some(parent) if !group.join("info").is_dir() => parent.to_owned(),
        _ => group.to_owned(),
    }
}

/// A schema of `update`, checked as in config.json.
///
/// # Errors
/// [`Kind::InvalidConfig`].
pub(crate) fn check_line(line: &str) -> Result<()> {
    match line.contains('\n') || !line.contains(':') {
        true => Err(Error::new(Kind::InvalidConfig, format!("invalid schema {line:?}"))
            .hint("it is one line like \"L3:0=f;1=f0\"")),
        false => Ok(()),
    }
}
