//! Putting [`Write`]s into files, and explaining a refusal.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

use super::{
    Need, Place, Write,
    dir::{self, Dir},
};
use crate::error::{Error, Result};

/// The open directories of a cgroup, one for each hierarchy that has it.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    place: &'a Place,
    dirs: BTreeMap<PathBuf, Dir>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, dirs: BTreeMap::new() }
    }

    /// Opens every directory that exists; one that is missing is an error only without lenience.
    pub(super) fn open(place: &'a Place) -> Result<Self> {
        let mut tree = Self::new(place);
        for path in place.paths.values() {
            match Dir::open(path) {
                Ok(dir) => tree.add(dir),
                Err(cause) if place.lenient && dir::is_refusal(cause) => {}
                Err(Errno::NOENT) if place.lenient => {}
                Err(cause) => return Err(Error::os(format!("cannot open cgroup {path:?}"), cause)),
            }
        }
        Ok(tree)
    }

    pub(super) fn add(&mut self, dir: Dir) {
        self.dirs.insert(dir.path().to_owned(), dir);
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &Dir> {
        self.dirs.values()
    }

    pub(super) fn at(&self, path: &Path) -> Option<&Dir> {
        self.dirs.get(path)
    }

    /// The directory with the files of `controller`.
    pub(super) fn home(&self, controller: &str) -> Option<&Dir> {
        self.at(self.place.home(controller)?)
    }

    /// Writes all. Some limits only fit together with others (memory and memory+swap, quota and
    /// period and burst), and which order works depends on what is there; so what is refused as
    /// invalid is tried again as long as others make a difference.
    pub(super) fn apply(&self, writes: &[Write]) -> Result<()> {
        let mut files = Files { tree: self, last: None };
        let mut refused: Vec<&Write> = Vec::new();
        for write in writes {
            match files.put(write) {
                Err(Refusal::Invalid) => refused.push(write),
                Err(Refusal::Final(error)) => return Err(error),
                Ok(()) => {}
            }
        }
        while !refused.is_empty() {
            let before = refused.len();
            let mut failure = None;
            for write in std::mem::take(&mut refused) {
                match files.put(write) {
                    Err(Refusal::Invalid) => refused.push(write),
                    Err(Refusal::Final(error)) => failure = Some(error),
                    Ok(()) => {}
                }
            }
            match failure {
                Some(error) => return Err(error),
                None if refused.len() == before => {
                    return Err(self.explain(refused[0], Errno::INVAL));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// As [`Tree::apply`], and then `follow`; but what was changed before a refusal of either gets
    /// its old value back, as far as the files show one.
    pub(super) fn change(
        &self,
        writes: &[Write],
        follow: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let old: Vec<Write> = writes.iter().filter_map(|write| self.old_value(write)).collect();
        self.apply(writes).and_then(|()| follow()).inspect_err(|_| {
            // The refusal is what the caller has to know.
            let _ = self.apply(&old);
        })
    }

    /// What `files`, of a controller each, hold now: the first line, as it can be written. Without
    /// those that are missing or hold nothing.
    pub(super) fn values(&self, files: &[(&str, &str)]) -> Vec<Write> {
        let value = |(controller, file): &(&str, &str)| {
            let text = self.home(controller)?.read(file).ok()?;
            let line = text.lines().next().filter(|line| !line.is_empty())?;
            Some(Write::new(controller, file, line))
        };
        files.iter().filter_map(value).collect()
    }

    fn old_value(&self, write: &Write) -> Option<Write> {
        let value = self.home(&write.controller)?.read(&write.file).ok()?;
        let value = value.trim();
        // A file with several lines or keys takes them one at a time; cpu.max is one value of two.
        let single = !value.is_empty() && !value.contains(['\n', '=', ':']);
        single.then(|| Write { value: value.to_owned(), or: None, ..write.clone() })
    }

    fn explain(&self, write: &Write, cause: Errno) -> Error {
        let Write { controller, file, value, at, .. } = write;
        let Some(dir) = self.home(controller) else {
            let error = Error::os(
                format!("cannot set {controller} limit: container could not join or create cgroup"),
                cause,
            );
            return located(error, at).hint("a limit needs permission to make cgroups");
        };
        let path = dir.path().join(file);
        let error = located(Error::os(format!("cannot write {value:?} to {path:?}"), cause), at);
        match hint(dir, write, cause) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn located(error: Error, at: &Option<String>) -> Error {
    match at {
        Some(at) => error.at(at),
        None => error,
    }
}

enum Refusal {
    /// EINVAL: may be accepted after another value has changed.
    Invalid,
    Final(Error),
}

/// Keeps the last file open: device rules and throttles are many lines for one file.
struct Files<'a> {
    tree: &'a Tree<'a>,
    last: Option<(String, OwnedFd)>,
}

impl Files<'_> {
    fn put(&mut self, write: &Write) -> Result<(), Refusal> {
        let result = match (self.file(write, &write.file), &write.or) {
            (Err(Errno::NOENT), Some((file, value))) => {
                self.file(write, file).and_then(|fd| dir::write(fd, value))
            }
            (Err(errno), _) => Err(errno),
            (Ok(fd), _) => dir::write(fd, &write.value),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) if write.need == Need::IfPresent => Ok(()),
            Err(Errno::PERM | Errno::ACCESS | Errno::ROFS | Errno::NOENT)
                if write.need == Need::IfPermitted =>
            {
                Ok(())
            }
            // Device rules are commands in an order, not values that must fit together.
            Err(Errno::INVAL) if write.controller != "devices" => Err(Refusal::Invalid),
            Err(cause) => Err(Refusal::Final(self.tree.explain(write, cause))),
        }
    }

    fn file(&mut self, write: &Write, name: &str) -> Result<&OwnedFd, Errno> {
        if self.last.as_ref().is_none_or(|(open, _)| open != name) {
            let dir = self.tree.home(&write.controller).ok_or(Errno::ACCESS)?;
            self.last = Some((name.to_owned(), dir.open_file(name, OFlags::WRONLY)?));
        }
        self.last.as_ref().map(|(_, fd)| fd).ok_or(Errno::NOENT)
    }
}

/// What the user can do about a refusal; looks at the files that say why.
fn hint(dir: &Dir, write: &Write, cause: Errno) -> Option<String> {
    let file = write.file.as_str();
    match (file, cause) {
        (_, Errno::NOENT) => absent(dir, write),
        ("cpuset.cpus" | "cpuset.mems", _) => {
            let above = dir.parent().ok()?;
            let effective = file.replace("cpuset.", "cpuset.effective_");
            let offered = value(&above, &effective)
                .or_else(|| value(&above, &format!("{file}.effective")))?;
            Some(format!("the parent cgroup has {offered:?}"))
        }
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::BUSY) => {
            let usage = value(dir, "memory.usage_in_bytes")?;
            let peak = value(dir, "memory.max_usage_in_bytes")?;
            Some(format!("the limit is too low (current usage: {usage}, peak usage: {peak})"))
        }
        (_, Errno::NODEV) if write.controller == "blkio" || write.controller == "io" => {
            Some("there is no such block device, or it is a partition".to_owned())
        }
        ("cpu.rt_runtime_us" | "cpu.rt_period_us", Errno::INVAL) => {
            let runtime = value(&dir.parent().ok()?, "cpu.rt_runtime_us")?;
            Some(format!("the parent cgroup has {runtime} microseconds of realtime to give"))
        }
        ("devices.allow", Errno::PERM) => {
            Some("the parent cgroup does not have this device either".to_owned())
        }
        _ => None,
    }
}

/// Why a file does not exist.
fn absent(dir: &Dir, write: &Write) -> Option<String> {
    let Write { file, controller, .. } = write;
    if let Some(enabled) = value(dir, "cgroup.controllers")
        && controller != "cgroup"
        && !enabled.split(' ').any(|name| name == controller)
    {
        return Some(format!(
            "the {controller} controller is not enabled here, only {enabled:?}: a cgroup above \
             has processes of its own or lacks it"
        ));
    }
    match file.as_str() {
        "memory.memsw.limit_in_bytes" | "memory.swap.max" => {
            Some("this kernel does not account swap; it may need swapaccount=1".to_owned())
        }
        "blkio.weight" | "blkio.weight_device" | "io.bfq.weight" => {
            Some("weights need the BFQ I/O scheduler".to_owned())
        }
        _ if controller == "hugetlb" => {
            Some(format!("this kernel has huge pages of {}", page_sizes().join(", ")))
        }
        _ => None,
    }
}

fn value(dir: &Dir, file: &str) -> Option<String> {
    dir.read(file).ok().map(|text| text.trim().to_owned())
}

/// The sizes of huge pages, as the hugetlb files name them.
pub(super) fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut sizes: Vec<u64> = names
        .filter_map(|name| {
            name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    sizes.into_iter().map(page_size).collect()
}

/// hugetlb_cgroup.c, mem_fmt().
fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        1_048_576.. => format!("{}GB", kilobytes >> 20),
        1024.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_named_as_the_kernel_names_them() {
        assert_eq!([64, 2048, 1_048_576].map(page_size), ["64KB", "2MB", "1GB"]);
    }
}
