//! The root filesystem that containerd describes as mounts instead of mounting it itself.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use containerd_shim_protos::types::mount::Mount;
use libcontainer::{
    image::{LoopDevice, Owners},
    program::unblocked,
};
use nix::mount::{MntFlags, MsFlags, umount2};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::{
    bundle::Bundle,
    children::{self, Child},
    error::{Doing, Fault, Result},
    memory,
};

mod call;
mod mapped;

use call::Call;

/// Where one of the mounts goes: `target` in what is mounted on `rootfs` already, whose links lead
/// nowhere else.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    rootfs: &'a Path,
    target: &'a str,
}

impl Place<'_> {
    /// What is to be seen there now.
    fn open(self) -> io::Result<OwnedFd> {
        let root = open(self.rootfs)?;
        if self.target.is_empty() {
            return Ok(root);
        }
        let path = CString::new(Path::new(self.target).as_os_str().as_bytes())?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
    }

    fn mount(self, source: Option<&Path>, kind: Option<&str>, call: &Call) -> io::Result<()> {
        let data = (!call.data.is_empty()).then_some(&*call.data);
        let here = self.open()?;
        in_dir(call.dir.as_deref(), || {
            nix::mount::mount(source, &name_of(&here), kind, call.flags, data)
        })
    }

    /// Takes away what is topmost there.
    fn detach(self) -> io::Result<()> {
        Ok(umount2(&name_of(&self.open()?), MntFlags::MNT_DETACH)?)
    }
}

/// Mounts all of them on `rootfs`, each below or over the one before. What was mounted when one
/// fails is for [`unmount`].
pub(crate) async fn mount(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    if mounts.is_empty() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(rootfs);
    made.doing(|| format!("cannot make {rootfs:?}"))?;
    for mount in mounts {
        match helper(&mount.type_) {
            Some(program) => by_helper(program, mount, rootfs).await?,
            None => mount_one(mount, rootfs)?,
        }
    }
    Ok(())
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

/// The same by another process, for whoever has others to serve meanwhile: with an overlay goes a
/// sync of all that its containers wrote, on a disk that may be slow.
pub(crate) async fn unmount_aside(bundle: &Bundle) -> Result<()> {
    let gone = match spawn_unmount(bundle) {
        Ok(child) => child.ended().await.status == 0,
        Err(_) => false,
    };
    // Then this one tells why, or does it.
    if gone { Ok(()) } else { unmount(&bundle.rootfs()) }
}

fn spawn_unmount(bundle: &Bundle) -> Result<Child> {
    let program = std::env::current_exe().doing(|| "cannot find own program")?;
    let mut command = Command::new(program);
    command.arg("unmount").current_dir(bundle.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    children::spawn(&mut command, &[])
}

fn mount_one(mount: &Mount, rootfs: &Path) -> Result<()> {
    let doing =
        || format!("cannot mount rootfs ({} {:?} on {rootfs:?})", mount.type_, mount.source);
    let call = Call::of(mount)?;
    let place = Place { rootfs, target: &mount.target };
    let owners = call.maps.as_ref().map(|(uids, gids)| Owners::new(uids, gids)).transpose()?;
    match &owners {
        Some(owners) if mount.type_ == "overlay" => mapped::overlay(place, &call, owners),
        Some(owners) => {
            plain(place, mount, &call).and_then(|()| mapped::again(place, &call, owners))
        }
        None => plain(place, mount, &call),
    }
    .doing(doing)
}

fn plain(place: Place<'_>, mount: &Mount, call: &Call) -> io::Result<()> {
    let bind = call.flags.contains(MsFlags::MS_BIND);
    let kind = (!mount.type_.is_empty() && !bind).then_some(&*mount.type_);
    let source = Path::new(&mount.source);
    let read_only = call.flags.contains(MsFlags::MS_RDONLY);
    let device = call.from_file.then(|| LoopDevice::of(source, read_only, call.direct));
    let device = device.transpose().map_err(io::Error::other)?;
    place.mount(Some(device.as_ref().map_or(source, LoopDevice::path)), kind, call)?;
    if !bind || (call.flags & !(MsFlags::MS_BIND | MsFlags::MS_REC)).is_empty() {
        return Ok(());
    }
    // The kernel heeds no other flag while it binds.
    place.mount(None, None, &Call::new(call.flags | MsFlags::MS_REMOUNT, ""))
}

/// Programs that mount what the kernel does not by itself, by the beginning of the type
/// (containerd, core/mount/mount_linux.go).
fn helper(kind: &str) -> Option<(&'static str, &str)> {
    let programs = [("fuse3.", "mount.fuse3"), ("fuse.", "mount.fuse")];
    programs.iter().find_map(|(prefix, program)| Some((*program, kind.strip_prefix(prefix)?)))
}

/// It may take its time, or for ever, and leave a program behind that goes on to say things.
async fn by_helper((program, kind): (&str, &str), mount: &Mount, rootfs: &Path) -> Result<()> {
    let said = memory::file(c"mount", b"")?;
    let stderr = said.try_clone().doing(|| "cannot duplicate a file in memory")?;
    let mut command = Command::new(program);
    command.arg(&mount.source).arg(rootfs.join(&mount.target));
    command.args(mount.options.iter().flat_map(|option| ["-o", option])).args(["-t", kind]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    match children::spawn(unblocked(&mut command), &[])?.run().await.status {
        0 => Ok(()),
        _ => {
            let said = memory::text(said);
            Err(Fault::unknown(format!("{program} cannot mount the rootfs: {}", said.trim())))
        }
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

/// A path for calls that take no descriptor.
fn name_of(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory for a root, and beside it whatever a test wants. Nothing without the rights to
    /// mount.
    fn place(name: &str) -> Option<PathBuf> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounting takes root");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("rootfs.{}.{name}", std::process::id()));
        std::fs::create_dir_all(dir.join("rootfs")).unwrap();
        Some(dir)
    }

    fn mount_of(kind: &str, source: &Path, options: &[String]) -> Mount {
        let source = source.display().to_string();
        Mount { type_: kind.into(), source, options: options.to_vec(), ..Default::default() }
    }

    fn mounts_below(dir: &Path) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let dir = dir.display().to_string();
        let lines = mounts
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|on| on.starts_with(&dir)));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_file_is_a_device_as_long_as_it_is_mounted() {
        let Some(dir) = place("loop") else { return };
        let (image, rootfs) = (dir.join("image"), dir.join("rootfs"));
        std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output();
        if !made.is_ok_and(|made| made.status.success()) || !Path::new("/dev/loop-control").exists()
        {
            println!("skipped: no mkfs.ext4, or no loop devices");
            return std::fs::remove_dir_all(dir).unwrap();
        }
        let options = ["loop", "ro"].map(str::to_owned);
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(mount(&[mount_of("ext4", &image, &options)], &rootfs)).unwrap();
        assert!(rootfs.join("lost+found").exists());
        let line = mounts_below(&dir).remove(0);
        let device = line.split('/').nth(2).and_then(|rest| rest.split(' ').next()).unwrap();
        let backing = PathBuf::from(format!("/sys/block/{device}/loop/backing_file"));
        let is_backed = || {
            std::fs::read_to_string(&backing)
                .is_ok_and(|path| path.contains(&*image.to_string_lossy()))
        };
        assert!(is_backed(), "{line}");
        unmount(&rootfs).unwrap();
        assert!(!is_backed(), "{line}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_the_kernel_does_not_mount_is_a_programs() {
        assert_eq!(helper("fuse3.fuse-overlayfs"), Some(("mount.fuse3", "fuse-overlayfs")));
        assert_eq!(helper("fuse.sshfs"), Some(("mount.fuse", "sshfs")));
        assert_eq!(helper("overlay"), None);
    }
}
