//! The driver whose directories systemd makes: it starts the unit with the container's process in
//! it, then fills the files as the other driver does.

use std::{cell::Cell, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

use super::{
    manager::{Manager, end},
    properties::Property,
    unit::Unit,
};
use crate::{
    cgroup::{Cgroup, Driver, Entry, Limits, Place, apply::Tree, fs::Cgroupfs},
    error::{Kind, Result},
};

/// Files that systemd writes whenever a property of the unit changes, whatever it is, and for which
/// it has no word, or in some versions none, or another unit (cgroup_context_apply()).
const REWRITTEN: [(&str, &str); 8] = [
    ("cpu", "cpu.max"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("io", "io.weight"),
    ("io", "io.bfq.weight"),
    ("memory", "memory.oom.group"),
    ("memory", "memory.zswap.max"),
    ("memory", "memory.zswap.writeback"),
];

#[derive(Debug)]
pub(in crate::cgroup) struct Systemd<'a> {
    unit: &'a Unit,
    place: &'a Place,
    files: Cgroupfs<'a>,
    /// While a creation lasts, whether the unit is ours: one of its name may be somebody else's.
    creation: Cell<Option<Started>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    No,
    Yes,
}

impl<'a> Systemd<'a> {
    pub(in crate::cgroup) fn new(unit: &'a Unit, place: &'a Place) -> Self {
        Self { unit, place, files: Cgroupfs::inside_unit(place), creation: Cell::new(None) }
    }

    fn start(&self, pid: Option<i32>, properties: &[Property]) -> Result<()> {
        self.creation.set(Some(Started::No));
        Manager::of(self.unit)?.start(pid, properties)?;
        self.creation.set(Some(Started::Yes));
        Ok(())
    }

    /// A scope takes its cgroup along. systemd forgets it before it hears of anything else, and would
    /// look for a file of its name if it were asked about it.
    fn has_ended(&self) -> bool {
        let gone = |path: &Path| matches!(access(path, Access::EXISTS), Err(Errno::NOENT));
        !self.unit.is_slice() && self.place.unified().is_some_and(gone)
    }

    /// On v1 systemd takes all devices away and gives them back one by one, whatever property it is
    /// that changes: nobody may be looking for /dev/null then.
    fn unseen(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let cgroup = Cgroup::open(self.place);
        if !self.place.paths().contains_key("devices") || cgroup.frozen()? {
            return work();
        }
        match cgroup.freeze() {
            Err(error) if error.kind() != Kind::Unsupported => return Err(error),
            _ => {}
        }
        let result = work();
        let thawed = cgroup.thaw();
        result.and(thawed)
    }

    /// Does what follows the start of the unit, which a failure ends.
    fn or_stop<T>(&self, init: Option<i32>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work().inspect_err(|_| {
            end(init);
            // The failure that is told is the first.
            let _ = Manager::of(self.unit).and_then(|mut manager| manager.stop());
        })
    }
}

impl Driver for Systemd<'_> {
    /// A scope begins with a process, so there is nothing yet; a slice is there to be entered.
    fn prepare(&self) -> Result<Option<OwnedFd>> {
        if !self.unit.is_slice() {
            return self.files.check_above().map(|()| None);
        }
        self.start(None, &[])?;
        self.or_stop(None, || self.files.prepare())
    }

    fn create(&self, limits: &Limits, init: Option<i32>) -> Result<Entry> {
        if !self.unit.is_slice() {
            self.start(init, &limits.properties)?;
        }
        let entry = self.or_stop(init, || {
            if self.unit.is_slice() {
                Manager::of(self.unit)?.set(&limits.properties)?;
            }
            self.files.create(limits, init)
        })?;
        self.creation.set(None);
        Ok(entry)
    }

    fn open(&self) -> Result<Entry> {
        self.files.open()
    }

    fn adopt(&self, pid: i32, below: &Path) -> Result<()> {
        Manager::of(self.unit)?.attach(below, pid)
    }

    fn apply(&self, limits: &Limits) -> Result<()> {
        if limits.properties.is_empty() {
            return self.files.apply(limits);
        }
        let tree = Tree::open(self.place)?;
        // One that is not there changes nothing.
        let mut manager = Manager::of(self.unit)?;
        tree.change(&limits.writes, || {
            let mut kept = tree.values(&REWRITTEN);
            self.unseen(|| manager.set(&limits.properties))?;
            let rewritten = tree.values(&REWRITTEN);
            kept.retain(|value| !rewritten.contains(value));
            tree.apply(&[kept.as_slice(), &limits.writes].concat())
        })
    }

    fn remove(&self, complete: bool) -> Result<()> {
        if self.creation.get() == Some(Started::No) {
            return Ok(());
        }
        // systemd may yet hear of a unit whose maker was killed.
        if complete && self.has_ended() {
            return self.files.remove(complete);
        }
        // The unit ends by itself when its last process has ended; asked for, it has ended when
        // this returns, and its name is free.
        let stopped = Manager::of(self.unit).and_then(|mut manager| manager.stop());
        let removed = self.files.remove(complete);
        stopped.and(removed)
    }
}
