//! Keeps the container away from this program's file.
//!
//! A process that is about to become the container's program still is this program: whoever gets
//! at its /proc/PID/exe, or makes it execute /proc/self/exe, holds the file open and can overwrite
//! it later (CVE-2019-5736). So what runs inside was executed from an overlay that has no upper
//! directory: nothing on that filesystem can be written to, and unlike a read-only bind mount no
//! capability and no mount namespace can change this, for a mount option is not what forbids it.
//! Its pages are those of the host's file, so that nothing is copied.
//!
//! Where no overlay can be mounted (by an unprivileged user, or on a program that is itself on two
//! overlays) the program runs from a sealed copy in memory.

use std::{
    ffi::{CStr, CString, OsString},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::fcntl::AtFlags as ExecFlags;
use rustix::{
    fs::{
        Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags,
        StatxAttributes, StatxFlags, fcntl_add_seals, fcntl_get_seals, openat, statx,
    },
    io::{Errno, FdFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    },
};

use crate::{
    error::{Context, Error, Result},
    sys::process::inherited,
};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// An overlay without an upper directory wants two lower ones that lie apart. What is in this one
/// is of no use below the program's name, and every host has it.
const OTHER_LOWER: &str = "/dev";

/// How a program was executed whose path (AT_EXECFN) begins with a descriptor: by execveat(2), or by
/// one who does as [`Sealed`] says.
const BY_DESCRIPTOR: [&str; 2] = ["/dev/fd/", "/proc/self/fd/"];

/// The overlay that this program was executed from, until [`let_mount_go`].
static MOUNT: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// A program where nobody can write to it, for who starts it: executed as `/proc/self/fd/N/NAME`,
/// with `N` the number of the mount in the new process, it finds nothing left to do in
/// [`run_sealed`] and has started once instead of twice. It closes the mount itself.
#[derive(Debug)]
pub struct Sealed {
    pub mount: OwnedFd,
    pub name: OsString,
}

impl Sealed {
    /// # Errors
    /// When there is no such file, or no overlay can be mounted on its directory: start it by its
    /// path, then.
    pub fn new(program: &Path) -> Result<Self, Errno> {
        let (Some(directory), Some(name)) = (program.parent(), program.file_name()) else {
            return Err(Errno::NOENT);
        };
        let mount = overlay(&open_directory(directory)?)?;
        rustix::fs::accessat(&mount, name, Access::EXEC_OK, AtFlags::empty())?;
        Ok(Self { mount, name: name.to_owned() })
    }
}

/// Executes this program again from where nobody can write to it, with the same arguments and
/// environment; does nothing when that was done. Call it first: everything done before is done
/// again.
///
/// # Errors
/// When it can be executed neither from an overlay nor from memory; to go on would be unsafe.
pub fn run_sealed() -> Result<()> {
    let exe = openat(CWD, c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "cannot open own executable")?;
    let by = descriptor(rustix::param::linux_execfn());
    if by.is_some_and(|number| is_on_own_overlay(&exe, number))
        || fcntl_get_seals(&exe) == Ok(SEALS)
    {
        return rustix::thread::set_name(c"rtn").doing(|| "cannot set own name");
    }
    let (args, env) = (args(), env());
    if by.is_none() {
        // Whatever is in its way, there is another one.
        let _ = execute_on_overlay(&exe, &args, &env);
    }
    let copy = in_memfd(&exe).doing(|| "cannot copy own executable into memory")?;
    drop(exe);
    let Err(errno) = nix::unistd::fexecve(copy.as_fd(), &args, &env);
    Err(Error::os("cannot execute own copy in memory", errno)
        .hint("is vm.memfd_noexec set to 2? the runtime runs from a private copy in memory"))
}

/// Closes the mount of the overlay. The last one to do so waits for a grace period of RCU: call it
/// after a clone, when the child works and this process would wait for it.
pub(crate) fn let_mount_go() {
    drop(MOUNT.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Whether [`execute_on_overlay`] executed this program, by the descriptor `number`; then its mount
/// is kept for [`let_mount_go`]. The kernel tells the number, and nobody else executes a program
/// relative to the root of a read-only overlay.
fn is_on_own_overlay(exe: &OwnedFd, number: RawFd) -> bool {
    // Since Linux 5.8.
    let mount_of = |path: &str| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        let told = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let is_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        told.then_some((found.stx_mnt_id, is_root))
    };
    let own = mount_of("/proc/self/exe");
    let kept = mount_of(&format!("/proc/self/fd/{number}"));
    let is_its_root = own.zip(kept).is_some_and(|(own, kept)| kept == (own.0, true));
    if !(is_its_root && is_on_read_only_overlay(exe)) {
        return false;
    }
    let mount = inherited(number);
    // Programs that this one executes are not to have it.
    let kept = rustix::io::fcntl_setfd(&mount, FdFlags::CLOEXEC);
    *MOUNT.lock().unwrap_or_else(PoisonError::into_inner) = Some(mount);
    kept.is_ok()
}

/// The number in `/dev/fd/NUMBER/NAME`.
fn descriptor(execfn: &CStr) -> Option<RawFd> {
    let path = execfn.to_str().ok()?;
    let rest = BY_DESCRIPTOR.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let (number, _) = rest.split_once('/')?;
    number.parse().ok().filter(|number| *number > 2)
}

fn is_on_read_only_overlay(exe: &OwnedFd) -> bool {
    rustix::fs::fstatfs(exe).is_ok_and(|fs| fs.f_type == libc::OVERLAYFS_SUPER_MAGIC)
        && rustix::fs::fstatvfs(exe).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns only when it fails.
fn execute_on_overlay(exe: &OwnedFd, args: &[CString], env: &[CString]) -> Result<(), Errno> {
    let (directory, name) = place(exe)?;
    let overlay = overlay(&directory)?;
    // The next program closes it. A number above 2 is free of any meaning.
    let kept = rustix::io::fcntl_dupfd_cloexec(&overlay, 3)?;
    rustix::io::fcntl_setfd(&kept, FdFlags::empty())?;
    let failed = nix::unistd::execveat(&kept, &name, args, env, ExecFlags::empty());
    failed.map(drop).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// The directory of this program and its name there; an error when another file has that name now.
fn place(exe: &OwnedFd) -> Result<(OwnedFd, CString), Errno> {
    let path = PathBuf::from(OsString::from_vec(
        rustix::fs::readlink(c"/proc/self/exe", Vec::new())?.into_bytes(),
    ));
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    let directory = open_directory(directory)?;
    let named = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let own = rustix::fs::fstat(exe)?;
    let same = (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino);
    let name = CString::new(name.as_bytes()).ok().filter(|_| same);
    Ok((directory, name.ok_or(Errno::NOENT)?))
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A detached read-only overlay with the contents of `directory`.
fn overlay(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // A path could have a colon in it.
    let lower = format!("/proc/self/fd/{}:{OTHER_LOWER}", directory.as_raw_fd());
    fsconfig_set_string(context.as_fd(), c"lowerdir", lower)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn in_memfd(exe: &OwnedFd) -> Result<OwnedFd, Errno> {
    let size = rustix::fs::fstat(exe)?.st_size as u64;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3 wants to be told that the file will be executed; before that it refuses the word.
    let memory = match rustix::fs::memfd_create(c"rtn", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"rtn", flags)?,
        other => other?,
    };
    fill(&memory, exe, size)?;
    fcntl_add_seals(&memory, SEALS)?;
    Ok(memory)
}

fn fill(file: &OwnedFd, exe: &OwnedFd, size: u64) -> Result<(), Errno> {
    let mut offset = 0;
    while offset < size {
        let left = (size - offset) as usize;
        if rustix::fs::sendfile(file, exe, Some(&mut offset), left)? == 0 {
            return Err(Errno::IO);
        }
    }
    Ok(())
}

fn args() -> Vec<CString> {
    std::env::args_os().map(text).collect()
}

fn env() -> Vec<CString> {
    let assignment = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        text(name)
    };
    std::env::vars_os().map(assignment).collect()
}

fn text(text: OsString) -> CString {
    CString::new(text.into_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_below_a_descriptor_names_one() {
        assert_eq!(descriptor(c"/dev/fd/5/rtn"), Some(5));
        assert_eq!(descriptor(c"/proc/self/fd/17/rtn"), Some(17));
        // A memfd has no name below it; 0, 1 and 2 are the caller's streams.
        for path in [c"/dev/fd/5", c"/dev/fd/2/rtn", c"/dev/fd/x/rtn", c"/usr/bin/rtn", c"rtn"] {
            assert_eq!(descriptor(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_sealed_program_cannot_be_written_to_and_still_runs() {
        let own = std::env::current_exe().expect("a path");
        let Ok(sealed) = Sealed::new(&own) else {
            assert!(!rustix::process::geteuid().is_root(), "root may mount an overlay");
            return;
        };
        let writable = openat(&sealed.mount, &sealed.name, OFlags::WRONLY, Mode::empty());
        assert_eq!(writable.map(drop), Err(Errno::ROFS));
        assert_eq!(rustix::io::fcntl_setfd(&sealed.mount, FdFlags::empty()), Ok(()));
        let path = Path::new("/proc/self/fd")
            .join(sealed.mount.as_raw_fd().to_string())
            .join(&sealed.name);
        let listed = std::process::Command::new(path).arg("--list").output().expect("it runs");
        assert!(listed.status.success(), "{listed:?}");
    }

    #[test]
    fn a_program_that_is_not_there_is_not_sealed() {
        assert_eq!(Sealed::new(Path::new("/bin/no-such-program")).err(), Some(Errno::NOENT));
        assert_eq!(Sealed::new(Path::new("rtn")).err(), Some(Errno::NOENT));
    }
}
