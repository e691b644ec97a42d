//! A root filesystem as a handle.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, openat, openat2, statx},
    io::Errno,
};

/// The directory that every path of the container is resolved in.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// Modes of what the runtime makes as a mount point.
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o755);

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
        let mount = |handle: &OwnedFd| {
            let stat = statx(handle, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
            Ok::<_, Errno>(stat.stx_mnt_id)
        };
        Ok(mount(handle)? == mount(&self.find(Path::new("/proc"))?)?)
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

    /// A handle of the directory `path`, which is made with its parents where it is missing.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags, ResolveFlags::empty()) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let (mut handle, mut made) = (self.find(Path::new("/"))?, PathBuf::new());
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            made.push(name);
            handle = match self.open(&made, flags, ResolveFlags::empty()) {
                Err(Errno::NOENT) => make_directory(handle.as_fd(), name)?,
                other => other?,
            };
        }
        Ok(handle)
    }

    /// A handle of the file `path`, links followed; it is made empty where it is missing.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.find(path) {
            Err(Errno::NOENT) => self.own_file(path),
            other => other,
        }
    }

    /// The same, but a link as the last component is refused (ELOOP): for what the runtime itself
    /// puts there, whatever the image says (CVE-2026-88264).
    pub(crate) fn own_file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match openat(&parent, name, flags | OFlags::EXCL, FILE) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let handle = openat(
            &parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        match rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) {
            rustix::fs::FileType::Symlink => Err(Errno::LOOP),
            _ => Ok(handle),
        }
    }

    /// The directory that holds `path`, made where it is missing, and the name in it.
    pub(crate) fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        Ok((self.directory(path.parent().unwrap_or(path))?, name))
    }
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name, DIRECTORY) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
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
    fn a_dangling_link_on_the_way_is_refused() {
        let (dir, root) = scratch("dangling");
        symlink("/nowhere", dir.join("root/link")).unwrap();
        assert!(root.directory(Path::new("/link/x")).is_err());
        assert!(!dir.join("root/nowhere").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
