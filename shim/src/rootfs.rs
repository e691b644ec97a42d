//! The root filesystem that containerd describes as mounts instead of mounting it itself.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
};

use containerd_shim_protos::types::mount::Mount;
use nix::mount::{MntFlags, MsFlags, umount2};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::error::{Code, Doing, Fault, Result};

/// mount(2) takes a page of options, with the zero at its end.
const PAGE: usize = 4096;

/// The flags that are words in options: those that they set, or clear.
const FLAGS: [(&str, bool, MsFlags); 22] = [
    ("async", false, MsFlags::MS_SYNCHRONOUS),
    ("atime", false, MsFlags::MS_NOATIME),
    ("bind", true, MsFlags::MS_BIND),
    ("dev", false, MsFlags::MS_NODEV),
    ("diratime", false, MsFlags::MS_NODIRATIME),
    ("dirsync", true, MsFlags::MS_DIRSYNC),
    ("exec", false, MsFlags::MS_NOEXEC),
    ("mand", true, MsFlags::MS_MANDLOCK),
    ("noatime", true, MsFlags::MS_NOATIME),
    ("nodev", true, MsFlags::MS_NODEV),
    ("nodiratime", true, MsFlags::MS_NODIRATIME),
    ("noexec", true, MsFlags::MS_NOEXEC),
    ("nomand", false, MsFlags::MS_MANDLOCK),
    ("nosuid", true, MsFlags::MS_NOSUID),
    ("rbind", true, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("relatime", true, MsFlags::MS_RELATIME),
    ("remount", true, MsFlags::MS_REMOUNT),
    ("ro", true, MsFlags::MS_RDONLY),
    ("rw", false, MsFlags::MS_RDONLY),
    ("strictatime", true, MsFlags::MS_STRICTATIME),
    ("suid", false, MsFlags::MS_NOSUID),
    ("sync", true, MsFlags::MS_SYNCHRONOUS),
];

/// A mount as the kernel takes it.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    flags: MsFlags,
    data: String,
    /// To be the working directory: paths in `data` start there.
    dir: Option<PathBuf>,
}

/// Mounts all of them on `rootfs`, each below or over the one before. What was mounted when one
/// fails is gone again.
pub(crate) fn mount(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    if mounts.is_empty() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(rootfs);
    made.doing(|| format!("cannot make {rootfs:?}"))?;
    mounts.iter().try_for_each(|mount| mount_one(mount, rootfs)).inspect_err(|_| {
        // The first failure is the one to report.
        let _ = unmount(rootfs);
    })
}

/// Takes away whatever is mounted on `rootfs`.
pub(crate) fn unmount(rootfs: &Path) -> Result<()> {
    loop {
        match umount2(rootfs, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point, or not there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(errno) => {
                let errno = std::io::Error::from(errno);
                return Err(errno).doing(|| format!("cannot unmount {rootfs:?}"));
            }
        }
    }
}

fn mount_one(mount: &Mount, rootfs: &Path) -> Result<()> {
    let call = Call::of(mount)?;
    let doing =
        || format!("cannot mount rootfs ({} {:?} on {rootfs:?})", mount.type_, mount.source);
    let bind = call.flags.contains(MsFlags::MS_BIND);
    let kind = (!mount.type_.is_empty() && !bind).then_some(&*mount.type_);
    let data = (!call.data.is_empty()).then_some(&*call.data);
    on(rootfs, &mount.target, |target| {
        in_dir(call.dir.as_deref(), || {
            nix::mount::mount(Some(&*mount.source), target, kind, call.flags, data)
        })
    })
    .doing(doing)?;
    if !bind || (call.flags & !(MsFlags::MS_BIND | MsFlags::MS_REC)).is_empty() {
        return Ok(());
    }
    // The kernel heeds no other flag while it binds.
    let again = call.flags | MsFlags::MS_REMOUNT;
    on(rootfs, &mount.target, |target| {
        Ok(nix::mount::mount(None::<&str>, target, None::<&str>, again, None::<&str>)?)
    })
    .doing(doing)
}

/// Calls `what` with a name for `target`, a path in what is mounted on `rootfs` already, whose links
/// lead nowhere else.
fn on(rootfs: &Path, target: &str, what: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let root = open(rootfs)?;
    let target = if target.is_empty() { root } else { inside(&root, target)? };
    what(&PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd())))
}

impl Call {
    fn of(mount: &Mount) -> Result<Self> {
        let mut flags = MsFlags::empty();
        let mut data = Vec::new();
        if mount.type_ == "bind" {
            flags |= MsFlags::MS_BIND;
        }
        for option in &mount.options {
            match FLAGS.iter().find(|(word, ..)| word == option) {
                Some((_, true, flag)) => flags |= *flag,
                Some((_, false, flag)) => flags &= !*flag,
                None if option == "defaults" => {}
                None if option.starts_with("uidmap=") || option.starts_with("gidmap=") => {
                    let what = "this shim cannot mount an id-mapped rootfs";
                    return Err(Fault::new(Code::UNIMPLEMENTED, what));
                }
                None => data.push(option.as_str()),
            }
        }
        let mut call = Self { flags, data: data.join(","), dir: None };
        if call.data.len() >= PAGE && mount.type_ == "overlay" {
            call.shorten();
        }
        match call.data.len() < PAGE {
            true => Ok(call),
            false => Err(Fault::invalid("the options of the rootfs mount are longer than a page")),
        }
    }

    /// Makes the lower directories relative to the one in which they all are.
    fn shorten(&mut self) {
        const LOWER: &str = "lowerdir=";
        let options: Vec<String> = self.data.split(',').map(str::to_owned).collect();
        let Some(lower) = options.iter().find_map(|option| option.strip_prefix(LOWER)) else {
            return;
        };
        let dirs: Vec<&Path> = lower.split(':').map(Path::new).collect();
        let all = |dir: &&Path| dirs.iter().all(|lower| lower.starts_with(dir) && lower != dir);
        let Some(common) = dirs[0].ancestors().find(all).map(Path::to_owned) else { return };
        let relative = dirs.iter().filter_map(|dir| dir.strip_prefix(&common).ok());
        let relative: Vec<_> = relative.map(|dir| dir.to_string_lossy()).collect();
        let shortened = format!("{LOWER}{}", relative.join(":"));
        let replaced = options.iter().map(|option| match option.starts_with(LOWER) {
            true => shortened.clone(),
            false => option.clone(),
        });
        self.data = replaced.collect::<Vec<_>>().join(",");
        self.dir = Some(common);
    }
}

/// Does something in a working directory. There is one thread, so nobody else notices.
fn in_dir(dir: Option<&Path>, what: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    let Some(dir) = dir else { return Ok(what()?) };
    let before = open(Path::new("."))?;
    std::env::set_current_dir(dir)?;
    let done = what();
    rustix::process::fchdir(before)?;
    Ok(done?)
}

fn open(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn inside(root: &OwnedFd, path: &str) -> Result<OwnedFd, rustix::io::Errno> {
    let path = CString::new(Path::new(path).as_os_str().as_bytes());
    let path = path.map_err(|_| rustix::io::Errno::INVAL)?;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount { type_: kind.into(), options, ..Default::default() }
    }

    #[test]
    fn words_are_flags_and_the_rest_is_data() {
        let call = Call::of(&mount("overlay", &["ro", "nosuid", "suid", "index=off"])).unwrap();
        assert_eq!((call.flags, &*call.data), (MsFlags::MS_RDONLY, "index=off"));
        let call = Call::of(&mount("bind", &["rbind", "ro"])).unwrap();
        assert_eq!(call.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
    }

    #[test]
    fn many_layers_fit_into_a_page() {
        let base = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let dirs: Vec<_> = (1000..1100).map(|number| format!("{base}/{number}/fs")).collect();
        let lower = format!("lowerdir={}", dirs.join(":"));
        let upper = format!("upperdir={base}/1/fs");
        let call = Call::of(&mount("overlay", &[&lower, &upper])).unwrap();
        assert_eq!(call.dir.as_deref(), Some(Path::new(base)));
        assert!(call.data.starts_with("lowerdir=1000/fs:1001/fs:") && call.data.contains(&upper));
    }

    #[test]
    fn too_much_is_refused() {
        let long = "x".repeat(PAGE);
        assert!(
            Call::of(&mount("tmpfs", &[&long])).unwrap_err().text.contains("longer than a page")
        );
        let mapped = Call::of(&mount("overlay", &["uidmap=0:1000:1"])).unwrap_err();
        assert_eq!(mapped.code, Code::UNIMPLEMENTED);
    }
}
