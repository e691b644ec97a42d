//! The driver that makes the directories itself.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat},
    io::Errno,
};

use super::{
    Driver, Entry, Limits, Need, Place, Write,
    apply::Tree,
    devices::{Devices, program},
    dir::{Dir, is_refusal, value_of},
    remove,
    wait::Deadline,
};
use crate::error::{Error, Kind, Result};

/// To make a directory whose parent comes and goes.
const ATTEMPTS: u32 = 3;

/// Files of a v2 cgroup that its owner may write (cgroup-v2.rst, "Delegation").
const DELEGATED: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

#[derive(Debug)]
pub(super) struct Cgroupfs<'a> {
    place: &'a Place,
    /// Directories that this driver made, parents first.
    made: RefCell<Vec<PathBuf>>,
    /// Between the start of a creation and its success the rest of the place may be somebody
    /// else's: only what was made is ours.
    unfinished: Cell<bool>,
    /// Somebody else makes the directories, with the container's process in them.
    shared: bool,
}

/// A directory and whether it has just been made.
struct Made {
    dir: Dir,
    fresh: bool,
}

impl<'a> Cgroupfs<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, made: RefCell::default(), unfinished: Cell::new(false), shared: false }
    }

    /// The files of a unit that systemd has started.
    pub(super) fn inside_unit(place: &'a Place) -> Self {
        Self { shared: true, ..Self::new(place) }
    }

    /// A cgroup that is going to be made is frozen at once if one above it is.
    pub(super) fn check_above(&self) -> Result<()> {
        let above = self.place.unified().and_then(Path::parent);
        match above.map(Dir::open) {
            Some(Ok(dir)) => check_events(&dir),
            _ => Ok(()),
        }
    }

    fn or_unwind<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work().inspect_err(|_| self.unwind())
    }

    /// Removes what was made. What cannot be removed is not empty, so it is used by others by now.
    fn unwind(&self) {
        for path in self.made.borrow_mut().drain(..).rev() {
            if self.place.unified() == Some(&path)
                && let Ok(dir) = Dir::open(&path)
            {
                let _ = dir.write("cgroup.kill", "1");
                let _ = Deadline::after(remove::PATIENCE).event(&dir, "populated", 0);
            }
            let _ = remove::rmdir(&path);
        }
    }

    /// Makes `path` and what is missing above it; `None` if that is refused and may be. A cgroup
    /// that was there must be nobody's.
    fn make(&self, path: &Path) -> Result<Option<Made>> {
        let fail = |cause| Error::os(format!("cannot create cgroup {path:?}"), cause);
        let fresh = match self.mkdir(path) {
            Err(cause) if self.place.lenient && is_refusal(cause) => return Ok(None),
            result => result.map_err(fail)?,
        };
        let dir = Dir::open(path).map_err(fail)?;
        if !fresh && !self.shared {
            check_empty(&dir)?;
        }
        Ok(Some(Made { dir, fresh }))
    }

    /// Whether `path` is new.
    fn mkdir(&self, path: &Path) -> Result<bool, Errno> {
        // Again: whoever made the directory above may be taking it away, after a failure.
        for _ in 0..ATTEMPTS {
            match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    self.made.borrow_mut().push(path.to_owned());
                    return Ok(true);
                }
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::NOENT | Errno::NODEV) => {
                    self.mkdir(path.parent().ok_or(Errno::NOENT)?)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::NOENT)
    }

    fn prepare_unified(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let Some(Made { dir, .. }) = self.make(path)? else { return Ok(None) };
        check_type(&dir)?;
        check_events(&dir)?;
        Ok(Some(door(path)?))
    }

    fn make_tree(&self, limits: &Limits) -> Result<Tree<'a>> {
        let mut tree = Tree::new(self.place);
        for (path, controllers) in self.place.v1() {
            let Some(Made { dir, fresh }) = self.make(path)? else { continue };
            if controllers.contains(&"cpuset") {
                fill_cpuset(&dir, fresh, &limits.writes)
                    .map_err(|cause| dir.failed("fill the cpuset", "", cause))?;
            }
            if controllers.contains(&"freezer") {
                check_freezer(&dir)?;
            }
            tree.add(dir);
        }
        match self.place.unified().map(Dir::open) {
            Some(Ok(dir)) => tree.add(dir),
            // Refused when it was prepared.
            Some(Err(_)) if self.place.lenient => {}
            Some(Err(cause)) => return Err(Error::os("cannot open the v2 cgroup", cause)),
            None => {}
        }
        Ok(tree)
    }

    fn limit(&self, limits: &Limits) -> Result<Entry> {
        let tree = self.make_tree(limits)?;
        let unified = self.place.unified().and_then(|path| tree.at(path));
        if let Some(dir) = unified {
            enable(dir.path(), &limits.controllers);
            await_files(dir, limits);
        }
        tree.apply(&limits.writes)?;
        if let (Some(devices), Some(dir)) = (&limits.devices, unified) {
            attach(devices, dir)?;
        }
        if let (Some(owner), Some(dir)) = (limits.owner, unified) {
            delegate(dir, owner)?;
        }
        self.doors(&tree)
    }

    fn doors(&self, tree: &Tree<'_>) -> Result<Entry> {
        let mut entry = Entry::default();
        for dir in tree.dirs() {
            if Some(dir.path()) == self.place.unified() {
                entry.into = Some(door(dir.path())?);
                continue;
            }
            match dir.open_file("tasks", OFlags::WRONLY) {
                Ok(tasks) => entry.tasks.push(tasks),
                Err(cause) if self.place.lenient && is_refusal(cause) => {}
                Err(cause) => return Err(dir.failed("open", "tasks", cause)),
            }
        }
        Ok(entry)
    }
}

impl Driver for Cgroupfs<'_> {
    fn prepare(&self) -> Result<Option<OwnedFd>> {
        self.unfinished.set(true);
        match self.place.unified() {
            Some(path) => self.or_unwind(|| self.prepare_unified(path)),
            None => Ok(None),
        }
    }

    fn create(&self, limits: &Limits, _init: Option<i32>) -> Result<Entry> {
        self.unfinished.set(true);
        let entry = self.or_unwind(|| self.limit(limits))?;
        self.unfinished.set(false);
        Ok(entry)
    }

    fn open(&self) -> Result<Entry> {
        self.doors(&Tree::open(self.place)?)
    }

    fn adopt(&self, pid: i32, _below: &Path) -> Result<()> {
        let what = format!("cannot move process {pid} into the container's cgroup");
        Err(Error::new(Kind::Denied, what)
            .hint("the caller may not write cgroup.procs of a cgroup above both"))
    }

    fn apply(&self, limits: &Limits) -> Result<()> {
        Tree::open(self.place)?.change(&limits.writes, || Ok(()))
    }

    fn remove(&self, _complete: bool) -> Result<()> {
        if self.unfinished.get() {
            self.unwind();
            return Ok(());
        }
        // The v2 directory first: it tells when the last process has left.
        remove::all(self.place.unified().into_iter().chain(self.place.v1().into_keys()))
    }
}

fn door(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|cause| Error::os(format!("cannot open cgroup {path:?}"), cause))
}

fn check_empty(dir: &Dir) -> Result<()> {
    let pids = dir.pids_below().map_err(|cause| dir.failed("read the processes of", "", cause))?;
    if pids.is_empty() {
        return Ok(());
    }
    let path = dir.path();
    Err(Error::new(
        Kind::WrongState,
        format!(
            "cannot use cgroup {path:?}: container's cgroup is not empty: {} process(es) found",
            pids.len()
        ),
    )
    .hint(
        "another container uses it, or processes of an earlier one are left; see its cgroup.procs",
    ))
}

fn frozen(dir: &Dir) -> Error {
    let path = dir.path();
    Error::new(
        Kind::WrongState,
        format!("cannot use cgroup {path:?}: container's cgroup unexpectedly frozen"),
    )
    .hint("thaw it, or the cgroup above it that is frozen")
}

/// A frozen cgroup would stop the first process that enters, and its creator would wait for ever.
fn check_freezer(dir: &Dir) -> Result<()> {
    match dir.read("freezer.state") {
        Ok(state) if state.trim() != "THAWED" => Err(frozen(dir)),
        // The root cgroup has no such file.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(dir.failed("read", "freezer.state", cause)),
    }
}

/// As [`check_freezer`], on v2.
fn check_events(dir: &Dir) -> Result<()> {
    match dir.read("cgroup.events") {
        Ok(text) if value_of(&text, "frozen") == Some(1) => Err(frozen(dir)),
        // The root cgroup has no such file.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(dir.failed("read", "cgroup.events", cause)),
    }
}

/// A cgroup below a threaded one can only hold threads (cgroup-v2.rst, "Threads").
fn check_type(dir: &Dir) -> Result<()> {
    match dir.read("cgroup.type") {
        Ok(kind) if kind.trim() != "domain" && kind.trim() != "domain threaded" => {
            let (path, kind) = (dir.path(), kind.trim());
            Err(Error::new(Kind::WrongState, format!("cannot enter cgroup {path:?}: it is {kind}"))
                .hint("a cgroup above it is threaded; use another cgroupsPath"))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(dir.failed("read", "cgroup.type", cause)),
    }
}

/// A fresh v1 cpuset has neither CPUs nor memory nodes and lets nobody in (ENOSPC). What the
/// container does not ask for itself, it gets from above, where the same may be missing.
fn fill_cpuset(dir: &Dir, fresh: bool, writes: &[Write]) -> Result<(), Errno> {
    let parent = dir.parent()?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let offered = inherited(&parent, file)?;
        let asked = writes.iter().any(|write| write.file == file);
        if !asked && (fresh || dir.read(file)?.trim().is_empty()) {
            dir.write(file, &offered)?;
        }
    }
    Ok(())
}

/// The value of `file`, filled from above if it is empty. Ends at the root, which has everything.
fn inherited(dir: &Dir, file: &str) -> Result<String, Errno> {
    let own = dir.read(file)?.trim().to_owned();
    if !own.is_empty() {
        return Ok(own);
    }
    let offered = inherited(&dir.parent()?, file)?;
    dir.write(file, &offered)?;
    Ok(offered)
}

/// Hands `wanted` controllers down to the v2 cgroup `path`, from as far above as necessary. What
/// cannot be enabled is missed only by a limit that needs it, whose own failure says more.
fn enable(path: &Path, wanted: &[String]) {
    let Ok(dir) = Dir::open(path) else { return };
    let Ok(enabled) = dir.read("cgroup.controllers") else { return };
    let has = |name: &str| enabled.split_ascii_whitespace().any(|enabled| enabled == name);
    let missing: Vec<String> = wanted.iter().filter(|name| !has(name)).cloned().collect();
    let (false, Ok(parent)) = (missing.is_empty(), dir.parent()) else { return };
    enable(parent.path(), &missing);
    let line: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if parent.write("cgroup.subtree_control", &line.join(" ")).is_err() {
        for name in &line {
            let _ = parent.write("cgroup.subtree_control", name);
        }
    }
}

/// cgroup.controllers names a controller from the moment on that somebody begins to enable it above,
/// maybe for the neighbour that is made at the same time; its files are there when that is done. Any
/// write to a cgroup.subtree_control, of nothing as well, waits for it (cgroup_mutex).
fn await_files(dir: &Dir, limits: &Limits) {
    let mut wanted =
        limits.writes.iter().filter(|write| limits.controllers.contains(&write.controller));
    if !wanted.all(|write| dir.exists(&write.file)) {
        let _ = dir.write("cgroup.subtree_control", "\n");
    }
}

fn attach(devices: &Devices, dir: &Dir) -> Result<()> {
    match program::attach(&devices.program, dir.as_fd()) {
        Err(cause) if is_refusal(cause) && devices.need == Need::IfPermitted => Ok(()),
        result => result.map_err(|cause| {
            dir.failed("attach the device rules to cgroup", "", cause).at("linux.resources.devices")
        }),
    }
}

/// Gives the v2 cgroup and its management files to `owner`, who is root in the container.
fn delegate(dir: &Dir, owner: u32) -> Result<()> {
    let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    let files = listed.lines().chain(DELEGATED).collect::<BTreeSet<_>>();
    let uid = Some(rustix::fs::Uid::from_raw(owner));
    let give = |file: &str, flags| match rustix::fs::chownat(dir, file, uid, None, flags) {
        // The list names what this kernel could have.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(dir.failed("change the owner of", file, cause)),
    };
    give("", AtFlags::EMPTY_PATH)?;
    files.into_iter().try_for_each(|file| give(file, AtFlags::SYMLINK_NOFOLLOW))
}
