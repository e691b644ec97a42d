//! The cgroup of a container that exists.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use rustix::io::Errno;

use super::{
    Entry, Hierarchies, Limits, OomWatch, Place, Stats, Write,
    dir::Dir,
    driver,
    freezer::Freezer,
    oom,
    plan::{Values, convert},
    stats, systemd, v2,
    wait::Deadline,
    write::Sink,
};
use crate::{
    error::{Context, Error, Kind, Result},
    spec, sys,
};

/// How long to go on killing what forks faster than it is killed, where nothing can be frozen.
const HUNT: Duration = Duration::from_secs(2);

/// The cgroup of a container, as its state remembers it.
#[derive(Clone, Debug)]
pub struct Cgroup {
    place: Place,
}

impl Cgroup {
    /// Looks at nothing yet.
    pub fn open(place: &Place) -> Self {
        Self { place: place.clone() }
    }

    pub fn exists(&self) -> bool {
        self.main().is_ok()
    }

    /// Whether there never was one, so that nothing tells which processes are the container's. From one
    /// that was removed all of them are gone.
    pub(crate) fn is_missing(&self) -> bool {
        let Place { paths, lenient, unit, .. } = &self.place;
        (paths.is_empty() || (*lenient && unit.is_none())) && !self.exists()
    }

    /// The directories that exist: a rootless container may lack some of its place's.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let paths = self.place.paths.iter().filter(|(_, path)| Dir::open(path).is_ok());
        paths.map(|(controller, path)| (controller.clone(), path.clone())).collect()
    }

    /// Every process, those in sub-cgroups too, in no order.
    ///
    /// # Errors
    /// When the container has no cgroup, or it cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let dir = self.main()?;
        let pids = dir.pids_below();
        let pids = pids.map_err(|cause| dir.failed("read the processes of", "", cause))?;
        Ok(pids.into_iter().collect())
    }

    /// Whether this cgroup was frozen. Without a freezer it cannot have been.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn frozen(&self) -> Result<bool> {
        match self.freezer() {
            Ok(freezer) => freezer.frozen(),
            Err(error) if error.kind() == Kind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stops every process, and returns when they have stopped.
    ///
    /// # Errors
    /// When there is no freezer, or a process does not stop in 10 seconds; they all run then.
    pub fn freeze(&self) -> Result<()> {
        self.freezer()?.freeze()
    }

    /// # Errors
    /// When there is no freezer, or the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        self.freezer()?.thaw()
    }

    /// Sends `signal` to every process; none escapes by forking. After SIGKILL the cgroup is
    /// thawed, because a process that is frozen does not die (v1).
    ///
    /// # Errors
    /// When the container has no cgroup, or processes remain that may not be signalled.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let fatal = signal == libc::SIGKILL;
        if fatal && self.kill_unified()? {
            // Hybrid: whoever entered only v1 hierarchies, and what the v1 freezer holds.
            if !self.place.v1().is_empty() {
                self.signal_all(signal)?;
                let _ = self.thaw();
            }
            return Ok(());
        }
        let mut froze = false;
        if !self.frozen()? {
            // Without a freezer, or with a process that will not stop, killing has to do.
            froze = self.freeze().is_ok();
        }
        let result = match froze || !fatal {
            true => self.signal_all(signal),
            false => self.hunt(),
        };
        if froze || fatal {
            // A cgroup that cannot be thawed has no freezer, or is gone with its processes.
            let _ = self.thaw();
        }
        result
    }

    /// # Errors
    /// When a file of the cgroup cannot be read or understood.
    pub fn stats(&self) -> Result<Stats> {
        stats::collect(&self.place)
    }

    /// Sets the limits that `resources` has; all others stay. Returns warnings.
    ///
    /// # Errors
    /// A value that is wrong, or that the kernel refuses: then the old values are back.
    pub fn update(
        &self,
        resources: &spec::LinuxResources,
        host: &Hierarchies,
    ) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let mut sink = Sink::new(false, &mut faults);
        convert(resources, host, &Values::Current(self.current()), &mut sink);
        let (mut writes, warnings): (Vec<Write>, _) = (sink.writes, sink.warnings);
        if let Some(fault) = faults.into_iter().next() {
            return Err(fault);
        }
        let mut properties = Vec::new();
        if self.place.unit.is_some() {
            systemd::round_quota(resources, &mut writes);
            properties = systemd::from_writes(&writes);
        }
        driver(&self.place).apply(&Limits { writes, properties, ..Limits::default() })?;
        Ok(warnings)
    }

    /// Starts watching for the out-of-memory killer.
    ///
    /// # Errors
    /// When the container has no memory cgroup.
    pub fn oom(&self) -> Result<OomWatch> {
        match self.memory()? {
            (dir, true) => OomWatch::v1(dir),
            (dir, false) => OomWatch::v2(&dir),
        }
    }

    /// How many processes the out-of-memory killer took so far.
    ///
    /// # Errors
    /// When the container has no memory cgroup.
    pub fn oom_kills(&self) -> Result<u64> {
        match self.memory()? {
            (dir, true) => oom::v1_kills(&dir),
            (dir, false) => oom::v2_kills(&dir),
        }
    }

    /// The doors for another process. `sub` are the values of `--cgroup`: `path` below the
    /// container's cgroup, or `controller[,controller…]:path` for v1.
    ///
    /// # Errors
    /// A path that is not below the container's cgroup, an unknown controller, a missing directory.
    pub fn entry(&self, sub: &[String]) -> Result<Entry> {
        driver(&self.place_below(sub)?).open()
    }

    /// Moves a process of the caller's into the cgroup, or into `sub` below it as for
    /// [`Cgroup::entry`], with its manager's help; beside process `init` as [`Cgroup::entry_beside`]
    /// has it, if the cgroup takes no process.
    ///
    /// # Errors
    /// When the manager is none that helps, or refuses.
    pub fn adopt(&self, pid: i32, sub: &[String], init: i32) -> Result<()> {
        let target = match sub.is_empty() && self.hands_on() {
            true => self.place_beside(init)?,
            false => self.place_below(sub)?,
        };
        let below = match (target.unified(), self.place.unified()) {
            (Some(target), Some(own)) => target.strip_prefix(own).unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        driver(&self.place).adopt(pid, below)
    }

    /// Nothing tells of that through systemd, whose user manager says only that it was denied.
    fn hands_on(&self) -> bool {
        let control = self.place.unified().map(|own| own.join("cgroup.subtree_control"));
        let text = control.and_then(|file| fs::read_to_string(file).ok());
        text.is_some_and(|text| !text.trim().is_empty())
    }

    fn place_below(&self, sub: &[String]) -> Result<Place> {
        let mut place = self.place.clone();
        for (controller, path) in sub_paths(sub)? {
            below(&mut place, controller, path)?;
            // Somebody asks for it.
            place.lenient = false;
        }
        Ok(place)
    }

    /// The doors of the v2 cgroup where `pid` is. A container that has moved its init into a
    /// sub-cgroup and enabled controllers lets nobody into its own cgroup any more (EBUSY,
    /// cgroup-v2.rst, "No Internal Process Constraint").
    ///
    /// # Errors
    /// When that cgroup is not below the container's.
    pub fn entry_beside(&self, pid: i32) -> Result<Entry> {
        driver(&self.place_beside(pid)?).open()
    }

    fn place_beside(&self, pid: i32) -> Result<Place> {
        let file = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&file).doing(|| format!("cannot read {file:?}"))?;
        let inside = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let mut place = self.place.clone();
        let Some(unified) = self.place.unified() else { return Ok(place) };
        let root = Hierarchies::probe()?.unified.map(|unified| unified.mount).unwrap_or_default();
        let found = root.join(inside.trim_start_matches('/'));
        if !found.starts_with(unified) {
            return Err(Error::new(
                Kind::WrongState,
                format!(
                    "cannot join the cgroup of process {pid}: {found:?} is not below {unified:?}"
                ),
            ));
        }
        place.paths.insert(String::new(), found);
        Ok(place)
    }

    /// Removes the directories; see [`super::Driver::remove`].
    ///
    /// # Errors
    /// All directories that remain, and why.
    pub fn remove(&self, complete: bool) -> Result<()> {
        driver(&self.place).remove(complete)
    }

    /// The directory that says which processes the container has.
    fn main(&self) -> Result<Dir> {
        let paths = &self.place.paths;
        let preferred = paths.get("devices").into_iter().chain(paths.values().rev());
        for path in preferred {
            match Dir::open(path) {
                Ok(dir) => return Ok(dir),
                Err(Errno::NOENT | Errno::ACCESS) => {}
                Err(cause) => return Err(Error::os(format!("cannot open cgroup {path:?}"), cause)),
            }
        }
        Err(Error::new(Kind::Unsupported, "container's cgroup does not exist"))
    }

    fn freezer(&self) -> Result<Freezer> {
        match self.controller("freezer")? {
            (dir, true) => Ok(Freezer::V1(dir)),
            (dir, false) => Ok(Freezer::V2(dir)),
        }
    }

    fn memory(&self) -> Result<(Dir, bool)> {
        self.controller("memory")
    }

    /// The directory with a controller's files, and whether it is a v1 one.
    fn controller(&self, name: &str) -> Result<(Dir, bool)> {
        let missing =
            || Error::new(Kind::Unsupported, format!("this container has no {name} cgroup"));
        let path = self.place.home(name).ok_or_else(missing)?;
        match Dir::open(path) {
            Ok(dir) => Ok((dir, self.place.paths.contains_key(name))),
            Err(Errno::NOENT) => Err(missing()),
            Err(cause) => Err(Error::os(format!("cannot open cgroup {path:?}"), cause)),
        }
    }

    /// cgroup.kill (Linux 5.14), which no fork outruns. False where it does not exist.
    fn kill_unified(&self) -> Result<bool> {
        let Some(Ok(dir)) = self.place.unified().map(Dir::open) else { return Ok(false) };
        match dir.write("cgroup.kill", "1") {
            Ok(()) => Ok(true),
            // It went with its last process, or the kernel is too old.
            Err(Errno::NOENT | Errno::NODEV) => Ok(Dir::open(dir.path()).is_err()),
            Err(cause) => Err(dir.failed("write", "cgroup.kill", cause)),
        }
    }

    fn signal_all(&self, signal: i32) -> Result<()> {
        for pid in self.pids()? {
            match sys::signal::kill(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(cause) => {
                    return Err(Error::os(format!("cannot signal process {pid}"), cause));
                }
            }
        }
        Ok(())
    }

    /// Kills until nobody is left: without a freezer a process can fork while it is looked for.
    fn hunt(&self) -> Result<()> {
        let deadline = Deadline::after(HUNT);
        loop {
            self.signal_all(libc::SIGKILL)?;
            let pids = self.pids()?;
            let waited = deadline.exit(&pids).doing(|| "cannot wait for killed processes")?;
            if !waited || deadline.passed() {
                return Ok(());
            }
        }
    }

    fn current(&self) -> v2::Current {
        let home = |name: &str| {
            let (dir, v1) = self.controller(name).ok()?;
            (!v1).then_some(dir)
        };
        let read = |dir: &Option<Dir>, file: &str| dir.as_ref()?.read(file).ok();
        let (cpu, memory) = (home("cpu"), home("memory"));
        let limit = read(&cpu, "cpu.max").unwrap_or_default();
        let mut words = limit.split_ascii_whitespace();
        let number = |file| read(&memory, file)?.trim().parse().ok();
        let unlimited = read(&memory, "memory.max").is_some_and(|text| text.trim() == "max");
        v2::Current {
            quota: words.next().map(str::to_owned),
            period: words.next().and_then(|word| word.parse().ok()),
            memory: if unlimited { Some(-1) } else { number("memory.max") },
            usage: number("memory.current").and_then(|usage: i64| usage.try_into().ok()),
            idle: read(&cpu, "cpu.idle").is_some_and(|text| text.trim() == "1"),
        }
    }
}

/// `--cgroup` values as controller and path; no controller is all of them.
fn sub_paths(values: &[String]) -> Result<Vec<(Option<&str>, &str)>> {
    let invalid = |text: String| Err(Error::new(Kind::InvalidConfig, text));
    let mut paths: Vec<(Option<&str>, &str)> = Vec::new();
    for value in values {
        let Some((controllers, path)) = value.split_once(':') else {
            if values.len() > 1 {
                return invalid(format!(
                    "invalid --cgroup argument: {value} (missing <controller>: prefix)"
                ));
            }
            paths.push((None, value));
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return invalid(format!(
                    "invalid --cgroup argument (empty <controller> prefix): {value}"
                ));
            }
            if paths.iter().any(|(known, _)| *known == Some(controller)) {
                return invalid(format!(
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                ));
            }
            paths.push((Some(controller), path));
        }
    }
    Ok(paths)
}

/// Moves `place`, or one controller of it, to the sub-cgroup `path`.
fn below(place: &mut Place, controller: Option<&str>, path: &str) -> Result<()> {
    // Compared by components: a sibling whose name begins alike is not below.
    let mut depth = 0;
    let inside = Path::new(path).components().all(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            _ => 0,
        };
        depth >= 0
    });
    if !inside {
        return Err(Error::new(Kind::InvalidConfig, format!("{path} is not a sub cgroup path")));
    }
    let sub = Path::new(path.trim_start_matches('/'));
    let move_down = |directory: &mut PathBuf| {
        for part in sub.components() {
            match part {
                Component::ParentDir => {
                    directory.pop();
                }
                Component::Normal(name) => directory.push(name),
                _ => {}
            }
        }
    };
    match controller {
        None => place.paths.values_mut().for_each(move_down),
        Some(name) => place.paths.get_mut(name).map(move_down).ok_or_else(|| {
            Error::new(Kind::InvalidConfig, format!("unknown controller {name} in SubCgroupPaths"))
        })?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let paths = [("cpu", "/sys/fs/cgroup/cpu/c"), ("pids", "/sys/fs/cgroup/pids/c")];
        Place {
            paths: paths.map(|(name, path)| (name.to_owned(), path.into())).into(),
            ..Place::default()
        }
    }

    fn moved(values: &[&str]) -> Result<Vec<String>, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut place = place();
        let steps = sub_paths(&values).map_err(|error| error.to_string())?;
        for (controller, path) in steps {
            below(&mut place, controller, path).map_err(|error| error.to_string())?;
        }
        Ok(place.paths.values().map(|path| path.display().to_string()).collect())
    }

    #[test]
    fn one_path_is_for_all_controllers() {
        let all = moved(&["a/b"]).expect("path");
        assert_eq!(all, ["/sys/fs/cgroup/cpu/c/a/b", "/sys/fs/cgroup/pids/c/a/b"]);
        assert_eq!(moved(&["/"]).expect("path"), moved(&[]).expect("none"));
        assert_eq!(moved(&["a/../b"]).expect("path")[0], "/sys/fs/cgroup/cpu/c/b");
    }

    #[test]
    fn controllers_can_go_apart() {
        let apart = moved(&["cpu:a", "pids:/b"]).expect("paths");
        assert_eq!(apart, ["/sys/fs/cgroup/cpu/c/a", "/sys/fs/cgroup/pids/c/b"]);
        let both = moved(&["cpu,pids:a"]).expect("paths");
        assert_eq!(both, ["/sys/fs/cgroup/cpu/c/a", "/sys/fs/cgroup/pids/c/a"]);
    }

    /// runc before 1.5.2 and crun before 1.29 let a prefix of the name pass.
    #[test]
    fn nothing_leads_out() {
        for out in ["..", "../c2", "a/../../c", "/../x", "a/../../c/d"] {
            assert_eq!(moved(&[out]), Err(format!("{out} is not a sub cgroup path")));
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert!(moved(&["a", "b"]).is_err_and(|text| text.contains("missing <controller>")));
        assert!(moved(&[":a"]).is_err_and(|text| text.contains("empty <controller>")));
        assert!(moved(&["cpu:a", "cpu:b"]).is_err_and(|text| text.contains("multiple times")));
        assert!(moved(&["io:a"]).is_err_and(|text| text.contains("unknown controller io")));
    }
}
