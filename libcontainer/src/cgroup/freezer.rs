//! Stopping every process of a cgroup at once (freezer-subsystem.rst for v1, cgroup.freeze of
//! cgroup-v2.rst).

use std::time::Duration;

use rustix::io::Errno;

use super::{dir::Dir, wait::Deadline};
use crate::error::{Error, Kind, Result};

/// A process in an uninterruptible sleep is only stopped after it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a v1 cgroup may be FREEZING before it is thawed and frozen again.
const STUCK: Duration = Duration::from_millis(50);

/// A cgroup that can be frozen, of either version.
#[derive(Debug)]
pub(super) enum Freezer {
    V1(Dir),
    V2(Dir),
}

impl Freezer {
    /// Whether it was told to be frozen, itself.
    pub(super) fn frozen(&self) -> Result<bool> {
        match self {
            Self::V1(dir) => v1_frozen(dir),
            Self::V2(dir) => match dir.read("cgroup.freeze") {
                // The root cgroup cannot be frozen, and has no such file.
                Err(Errno::NOENT) => Ok(false),
                result => result
                    .map(|text| text.trim() == "1")
                    .map_err(|cause| dir.failed("read", "cgroup.freeze", cause)),
            },
        }
    }

    /// Returns when every process has stopped. After a failure they all run.
    pub(super) fn freeze(&self) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        let result = match self {
            Self::V1(dir) => v1_freeze(dir, deadline),
            Self::V2(dir) => v2_freeze(dir, deadline),
        };
        result.inspect_err(|_| {
            // The first failure is the one to report.
            let _ = self.thaw();
        })
    }

    pub(super) fn thaw(&self) -> Result<()> {
        let (dir, file, value) = match self {
            Self::V1(dir) => (dir, "freezer.state", "THAWED"),
            Self::V2(dir) => (dir, "cgroup.freeze", "0"),
        };
        match dir.write(file, value) {
            // It went with its last process: systemd does not wait to be asked.
            Err(Errno::NOENT | Errno::NODEV) if Dir::open(dir.path()).is_err() => Ok(()),
            result => result.map_err(|cause| dir.failed("write", file, cause)),
        }
    }
}

fn v1_frozen(dir: &Dir) -> Result<bool> {
    let read = |file| dir.read(file).map_err(|cause| dir.failed("read", file, cause));
    match read("freezer.state")?.trim() {
        "THAWED" => Ok(false),
        "FROZEN" => Ok(true),
        // FREEZING is also what the ancestors' wish shows as.
        _ => Ok(read("freezer.self_freezing")?.trim() == "1"),
    }
}

/// No event tells when FREEZING has become FROZEN. A process that forks at the wrong moment keeps
/// the cgroup in FREEZING for ever; the way out is to thaw and try again (known since Linux 3.3).
fn v1_freeze(dir: &Dir, deadline: Deadline) -> Result<()> {
    let mut step = Duration::from_micros(20);
    let mut waited = Duration::ZERO;
    while !deadline.passed() {
        let write = |state| dir.write("freezer.state", state);
        write("FROZEN").map_err(|cause| dir.failed("write", "freezer.state", cause))?;
        let state = dir
            .read("freezer.state")
            .map_err(|cause| dir.failed("read", "freezer.state", cause))?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        if waited > STUCK {
            write("THAWED").map_err(|cause| dir.failed("write", "freezer.state", cause))?;
            waited = Duration::ZERO;
        }
        deadline.pause(step);
        waited += step;
        step = (step * 2).min(Duration::from_millis(5));
    }
    Err(timed_out(dir))
}

fn v2_freeze(dir: &Dir, deadline: Deadline) -> Result<()> {
    dir.write("cgroup.freeze", "1").map_err(|cause| dir.failed("write", "cgroup.freeze", cause))?;
    match deadline.event(dir, "frozen", 1) {
        Ok(true) => Ok(()),
        Ok(false) => Err(timed_out(dir)),
        Err(cause) => Err(dir.failed("read", "cgroup.events", cause)),
    }
}

fn timed_out(dir: &Dir) -> Error {
    Error::new(Kind::Os, format!("unable to freeze {:?}: timed out", dir.path()))
        .hint("a process of the container is in an uninterruptible sleep; see /proc/PID/stack")
}
