//! An open cgroup directory. Its files are opened relative to it, by names without a slash, so
//! that no name from config.json leads out of it.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, openat},
    io::Errno,
};

use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn parent(&self) -> Result<Self, Errno> {
        self.path.parent().ok_or(Errno::NOENT).and_then(Self::open)
    }

    pub(super) fn open_file(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if file.contains('/') {
            return Err(Errno::INVAL);
        }
        openat(&self.fd, file, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
    }

    pub(super) fn exists(&self, file: &str) -> bool {
        self.open_file(file, OFlags::PATH).is_ok()
    }

    pub(super) fn read(&self, file: &str) -> Result<String, Errno> {
        read_all(&self.open_file(file, OFlags::RDONLY)?)
    }

    /// As [`Dir::read`]; a file that this kernel does not have is `None`.
    pub(super) fn read_if_present(&self, file: &str) -> Result<Option<String>, Errno> {
        match self.read(file) {
            // ENOTSUP: the file is there, what it shows is switched off (psi=0).
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            result => result.map(Some),
        }
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        write(&self.open_file(file, OFlags::WRONLY)?, value)
    }

    /// The processes of this cgroup alone. Those of another pid namespace have no number here.
    pub(super) fn pids(&self) -> Result<Vec<i32>, Errno> {
        let text = match self.read("cgroup.procs") {
            // A threaded v2 cgroup has only threads.
            Err(Errno::OPNOTSUPP) => self.read("cgroup.threads"),
            result => result,
        }?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
    }

    /// The processes of this cgroup and of those below it.
    pub(super) fn pids_below(&self) -> Result<BTreeSet<i32>, Errno> {
        // A sub-cgroup may be removed while it is being read.
        let gone = |cause: &Errno| matches!(*cause, Errno::NOENT | Errno::NODEV);
        let mut pids: BTreeSet<i32> = match self.pids() {
            Err(cause) if gone(&cause) => return Ok(BTreeSet::new()),
            result => result?.into_iter().collect(),
        };
        for child in self.children()? {
            match Self::open(&child) {
                Err(cause) if gone(&cause) => {}
                child => pids.append(&mut child?.pids_below()?),
            }
        }
        Ok(pids)
    }

    /// The sub-cgroups.
    pub(super) fn children(&self) -> Result<Vec<PathBuf>, Errno> {
        let mut children = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type() == FileType::Directory && name != "." && name != ".." {
                children.push(self.path.join(name));
            }
        }
        Ok(children)
    }

    /// An error about this directory or one of its files.
    pub(super) fn failed(&self, verb: &str, file: &str, cause: Errno) -> Error {
        let path = if file.is_empty() { self.path.clone() } else { self.path.join(file) };
        Error::os(format!("cannot {verb} {path:?}"), cause)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Permission errors in the loose sense: a read-only mount is one for whoever cannot remount it.
pub(super) fn is_refusal(cause: Errno) -> bool {
    matches!(cause, Errno::PERM | Errno::ACCESS | Errno::ROFS)
}

/// A file anywhere.
pub(super) fn read_path(path: impl rustix::path::Arg) -> Result<String, Errno> {
    read_all(openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// To the end, without the size of the file, which the kernel does not know.
pub(super) fn read_all(fd: impl AsFd) -> Result<String, Errno> {
    let mut text = Vec::with_capacity(4096);
    loop {
        if text.len() == text.capacity() {
            text.reserve(text.capacity());
        }
        let room = rustix::buffer::spare_capacity(&mut text);
        match rustix::io::read(&fd, room) {
            Ok(0) => return String::from_utf8(text).map_err(|_| Errno::ILSEQ),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// In one call: each write(2) to a cgroup file is a command of its own.
pub(super) fn write(fd: impl AsFd, value: &str) -> Result<(), Errno> {
    loop {
        match rustix::io::write(&fd, value.as_bytes()) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| ()),
        }
    }
}

/// The number behind `key` in lines of `key number`.
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    pairs(text).find_map(|(name, value)| (name == key).then_some(value))
}

/// Lines of `key number`; others are skipped.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_no_file_of_the_directory() {
        let dir = Dir::open(Path::new("/proc/self")).expect("open");
        assert_eq!(dir.read("../version").err(), Some(Errno::INVAL));
        assert!(dir.exists("status") && !dir.exists("no-such-file"));
    }

    #[test]
    fn long_files_are_read_whole() {
        let dir = Dir::open(Path::new("/proc")).expect("open");
        let text = dir.read("kallsyms").expect("read");
        assert!(text.len() > 4096 && text.ends_with('\n'));
    }

    #[test]
    fn keys_are_whole_words() {
        let text = "oom 3\noom_kill 2\nbroken\n";
        assert_eq!((value_of(text, "oom_kill"), value_of(text, "kill")), (Some(2), None));
    }
}
