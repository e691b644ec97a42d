//! Taking directories away, when the last process has left them.

use std::{path::Path, time::Duration};

use rustix::{
    fs::{AtFlags, CWD, unlinkat},
    io::Errno,
};

use super::{
    dir::{Dir, is_refusal, value_of},
    wait::Deadline,
};
use crate::error::{Error, Result};

/// How long processes that were killed may take to leave.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at a v1 cgroup whose last process is on its way out.
const STEP: Duration = Duration::from_millis(1);

/// Removes every one that can be removed.
pub(super) fn all<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    let deadline = Deadline::after(PATIENCE);
    let failed = paths.filter_map(|path| {
        let cause = remove_tree(path, deadline).err()?;
        Some(Error::os(format!("cannot remove cgroup {path:?}"), cause))
    });
    gather(failed.collect())
}

/// One error that names them all.
fn gather(mut failed: Vec<Error>) -> Result<()> {
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        _ => {
            let lines: Vec<String> = failed.iter().map(Error::to_string).collect();
            Err(Error::new(failed[0].kind(), lines.join("; ")))
        }
    }
}

pub(super) fn rmdir(path: &Path) -> Result<(), Errno> {
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        // A read-only mount refuses before it looks whether there is anything to remove.
        Err(cause) if is_refusal(cause) && Dir::open(path).is_err_and(|e| e == Errno::NOENT) => {
            Ok(())
        }
        result => result,
    }
}

/// Sub-cgroups first; waits for the processes that are leaving.
fn remove_tree(path: &Path, deadline: Deadline) -> Result<(), Errno> {
    loop {
        let refused = match rmdir(path) {
            Err(Errno::BUSY) => Errno::BUSY,
            result => return result,
        };
        let dir = match Dir::open(path) {
            Err(Errno::NOENT) => return Ok(()),
            result => result?,
        };
        for child in dir.children()? {
            remove_tree(&child, deadline)?;
        }
        if deadline.passed() {
            return Err(refused);
        }
        match left(&dir, deadline) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// Waits for a process to leave. v2 tells; on v1 the exit of each process does, which is not yet
/// the moment in which the kernel lets go of the cgroup.
fn left(dir: &Dir, deadline: Deadline) -> Result<(), Errno> {
    let events = dir.read_if_present("cgroup.events")?;
    if events.is_some_and(|text| value_of(&text, "populated") == Some(1)) {
        return deadline.event(dir, "populated", 0).map(|_| ());
    }
    if !deadline.exit(&dir.pids()?)? {
        deadline.pause(STEP);
    }
    Ok(())
}
