//! A root filesystem as a handle.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, mkdirat, openat,
        openat2, readlinkat, statx,
    },
    io::Errno,
};

/// The directory that every path of the container is resolved in.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// Modes of what the runtime makes as a mount point.
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o755);

/// The kernel's own limits for the links on a path (path_resolution(7)) and its names.
const LINKS: usize = 40;
const NAMES: usize = 4096;

/// openat2(2) gives EAGAIN when a rename anywhere raced with a `..`; it is rare and passes.
const RETRIES: usize = 128;

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Root {
    /// The host's directory `path`; as an absolute path of the host it may contain links.
    pub(crate) fn open_host(path: &Path) -> Result<Self, Errno> {
        openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Self)
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// A handle (O_PATH) of what is at `path`, links followed inside the root.
    pub(crate) fn find(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH, ResolveFlags::empty())
    }

    /// The same, refusing links anywhere on the way (ELOOP).
    pub(crate) fn find_without_links(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH, ResolveFlags::NO_SYMLINKS)
    }

    /// The same, but a link at the end is found itself.
    pub(crate) fn find_last(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty())
    }

    /// Whether `handle` is in the mount that is the container's /proc.
    pub(crate) fn holds_as_proc(&self, handle: &OwnedFd) -> Result<bool, Errno> {
        Ok(place(handle)?.0 == place(&self.find(Path::new("/proc"))?)?.0)
    }

    /// Whether `handle` is the root itself.
    pub(crate) fn is(&self, handle: &OwnedFd) -> Result<bool, Errno> {
        Ok(place(handle)? == place(&self.0)?)
    }

    pub(crate) fn open(
        &self,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let path = relative(path);
        let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..RETRIES {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// A handle of the directory `path`, which is made with its parents where it is missing; of
    /// links that point nowhere, what they point to is made.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags, ResolveFlags::empty()) {
            Err(Errno::NOENT) => self.make(path, FileType::Directory),
            other => other,
        }
    }

    /// A handle of the file `path`, links followed; it is made empty where it is missing.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.find(path) {
            Err(Errno::NOENT) => self.make(path, FileType::RegularFile),
            other => other,
        }
    }

    /// Makes what is missing of `path`. Each name is looked up by itself, from the root: a link
    /// that is exchanged meanwhile leads elsewhere in the root, but never out of it.
    fn make(&self, path: &Path, kind: FileType) -> Result<OwnedFd, Errno> {
        let (mut here, mut links) = (PathBuf::from("/"), 0);
        let mut ahead = names(path);
        let mut handle = self.find(&here)?;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                handle = self.find_last(&here)?;
                continue;
            }
            here.push(&name);
            let found = match self.find_last(&here) {
                Err(Errno::NOENT) if ahead.is_empty() && kind != FileType::Directory => {
                    make_file(handle.as_fd(), &name)?
                }
                Err(Errno::NOENT) => make_directory(handle.as_fd(), &name)?,
                other => other?,
            };
            if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
                handle = found;
                continue;
            }
            links += 1;
            let target = readlinkat(&found, c"", Vec::new())?;
            let target = Path::new(OsStr::from_bytes(target.to_bytes()));
            ahead.extend(names(target));
            if links > LINKS || ahead.len() > NAMES {
                return Err(Errno::LOOP);
            }
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            handle = self.find_last(&here)?;
        }
        Ok(handle)
    }

    /// A handle of the file `path`; a link as the last component is refused (ELOOP): for what the
    /// runtime itself puts there, whatever the image says (CVE-2026-88264).
    pub(crate) fn own_file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        let handle = make_file(parent.as_fd(), name)?;
        match FileType::from_raw_mode(fstat(&handle)?.st_mode) {
            FileType::Symlink => Err(Errno::LOOP),
            _ => Ok(handle),
        }
    }

    /// The directory that holds `path`, made where it is missing, and the name in it.
    pub(crate) fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        Ok((self.directory(path.parent().unwrap_or(path))?, name))
    }
}

/// Mount and inode (STATX_MNT_ID, Linux 5.8).
fn place(handle: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = statx(handle, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO)?;
    Ok((stat.stx_mnt_id, stat.stx_ino))
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name, DIRECTORY) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// What is at `name`, made as an empty file where nothing is.
fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(parent, name, flags | OFlags::EXCL, FILE) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// The names of `path`, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn scratch(name: &str) -> (PathBuf, Root) {
        let dir = std::env::temp_dir().join(format!("rtn-root-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("root")).unwrap();
        fs::create_dir_all(dir.join("host")).unwrap();
        let root = Root::open_host(&dir.join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn links_stay_inside() {
        let (dir, root) = scratch("links");
        symlink("/host", dir.join("root/absolute")).unwrap();
        symlink("../../host", dir.join("root/relative")).unwrap();
        fs::create_dir(dir.join("root/host")).unwrap();
        root.file(Path::new("/absolute/a")).unwrap();
        root.directory(Path::new("/relative/b/c")).unwrap();
        assert!(dir.join("root/host/a").is_file() && dir.join("root/host/b/c").is_dir());
        assert_eq!(fs::read_dir(dir.join("host")).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_own_file_is_never_a_link() {
        let (dir, root) = scratch("own");
        symlink("/target", dir.join("root/console")).unwrap();
        assert_eq!(root.own_file(Path::new("/console")).unwrap_err(), Errno::LOOP);
        assert!(!dir.join("root/target").exists());
        root.own_file(Path::new("/dev/console")).unwrap();
        root.own_file(Path::new("/dev/console")).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_a_link_points_to_is_made_inside() {
        let (dir, root) = scratch("dangling");
        symlink("/nowhere", dir.join("root/link")).unwrap();
        symlink("../../../up/deep", dir.join("root/relative")).unwrap();
        symlink("link/file", dir.join("root/chain")).unwrap();
        root.directory(Path::new("/link/x")).unwrap();
        root.directory(Path::new("/relative")).unwrap();
        root.file(Path::new("/chain")).unwrap();
        root.file(Path::new("/link/../sibling")).unwrap();
        for made in ["nowhere/x", "up/deep", "nowhere/file", "sibling"] {
            assert!(dir.join("root").join(made).exists(), "{made}");
        }
        let mut outside: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        outside.sort();
        assert_eq!(outside, ["host", "root"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_without_end_are_refused() {
        let (dir, root) = scratch("endless");
        symlink("loop/x", dir.join("root/loop")).unwrap();
        symlink("b", dir.join("root/a")).unwrap();
        symlink("a", dir.join("root/b")).unwrap();
        assert_eq!(root.directory(Path::new("/loop")).unwrap_err(), Errno::LOOP);
        assert_eq!(root.file(Path::new("/a/c")).unwrap_err(), Errno::LOOP);
        assert_eq!(root.make(Path::new("/a"), FileType::Directory).unwrap_err(), Errno::LOOP);
        fs::remove_dir_all(dir).unwrap();
    }
}
