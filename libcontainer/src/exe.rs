//! Keeps the container away from this program's file.
//!
//! A process that is about to become the container's program still is this program: whoever gets
//! at its /proc/PID/exe, or makes it execute /proc/self/exe, holds the host's file open and can
//! overwrite it later (CVE-2019-5736), or, by a bug of the kernel, poison its page cache. So what
//! runs inside is a private copy in memory that nobody can write to and that goes with its process.

use std::{
    ffi::{CString, OsString},
    os::{
        fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, openat},
    io::{Errno, FdFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    },
};

use crate::{
    error::{Context, Error, Result},
    sys::{
        mount::{MountAttr, mount_setattr},
        process::inherited,
    },
};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// The mount that the copy was made on, until [`let_mount_go`].
static MOUNT: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Executes a copy of this program in place of it, with the same arguments and environment; does
/// nothing in the copy. Call it first: everything done before is done again.
///
/// # Errors
/// When no copy can be made or executed; to go on without one would be unsafe.
pub fn run_from_copy() -> Result<()> {
    let exe = openat(CWD, c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "cannot open own executable")?;
    let own_tmpfs = is_on_own_tmpfs(&exe);
    if own_tmpfs {
        keep_mount(&exe);
    }
    if own_tmpfs || fcntl_get_seals(&exe) == Ok(SEALS) {
        return rustix::thread::set_name(c"rtn").doing(|| "cannot set own name");
    }
    let (copy, mount) = copy(&exe).doing(|| "cannot copy own executable into memory")?;
    drop(exe);
    execute(copy, mount)
}

/// Closes the mount that the copy was made on. The last one to do so waits for a grace period of
/// RCU, which takes as long as all the rest of a copy: call it after a clone, when the child works
/// and this process would wait for it.
pub(crate) fn let_mount_go() {
    drop(MOUNT.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The program before this one left the mount at the lowest number that was free, so it is the next
/// one below the first that is free now. No other descriptor is on that filesystem.
fn keep_mount(exe: &OwnedFd) {
    let Ok(own) = rustix::fs::fstat(exe) else { return };
    let is_mount = |number: &i32| {
        rustix::fs::stat(format!("/proc/self/fd/{number}")).is_ok_and(|is| is.st_dev == own.st_dev)
    };
    let Some(number) = (3..exe.as_raw_fd()).rev().find(is_mount) else { return };
    let mount = inherited(number);
    // Programs that this one executes are not to have it.
    if rustix::io::fcntl_setfd(&mount, FdFlags::CLOEXEC).is_ok() {
        *MOUNT.lock().unwrap_or_else(PoisonError::into_inner) = Some(mount);
    }
}

/// Only a copy is a file without a name on a read-only tmpfs.
fn is_on_own_tmpfs(exe: &OwnedFd) -> bool {
    let on_tmpfs = rustix::fs::fstatfs(exe).is_ok_and(|fs| fs.f_type == libc::TMPFS_MAGIC);
    let read_only = || {
        rustix::fs::fstatvfs(exe)
            .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    };
    let nameless = || rustix::fs::fstat(exe).is_ok_and(|stat| stat.st_nlink == 0);
    on_tmpfs && read_only() && nameless()
}

/// A tmpfs of one file with huge pages takes a quarter of the time of a memfd, page by page; but
/// only root may mount one, and not every kernel has huge pages there. The copy, and its mount.
fn copy(exe: &OwnedFd) -> Result<(OwnedFd, Option<OwnedFd>), Errno> {
    let size = rustix::fs::fstat(exe)?.st_size as u64;
    match on_own_tmpfs(exe, size) {
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            Ok((in_memfd(exe, size)?, None))
        }
        other => other.map(|(copy, mount)| (copy, Some(mount))),
    }
}

/// The file can be reached through its detached mount alone, which is read-only when the program
/// runs, and whose mount namespace nobody can enter to change that.
fn on_own_tmpfs(exe: &OwnedFd, size: u64) -> Result<(OwnedFd, OwnedFd), Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"huge", c"within_size")?;
    fsconfig_set_string(context.as_fd(), c"mode", c"0700")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(&mount, c".", flags, Mode::RWXU)?;
    // The size first: it decides about huge pages.
    rustix::fs::ftruncate(&file, size)?;
    fill(&file, exe, size)?;
    // A file that is open for writing cannot be executed (ETXTBSY).
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let readable = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    drop(file);
    let read_only = MountAttr { attr_set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(mount.as_fd(), false, &read_only)?;
    Ok((readable, mount))
}

fn in_memfd(exe: &OwnedFd, size: u64) -> Result<OwnedFd, Errno> {
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

fn execute(copy: OwnedFd, mount: Option<OwnedFd>) -> Result<()> {
    let doing = || "cannot keep the mount of own copy";
    let kept = mount.as_ref().map(rustix::io::dup).transpose().doing(doing)?;
    // It is the next program's.
    let _ = kept.map(IntoRawFd::into_raw_fd);
    let text = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let args: Vec<_> = std::env::args_os().map(text).collect();
    let env: Vec<_> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    let Err(errno) = nix::unistd::fexecve(copy.as_fd(), &args, &env);
    Err(Error::os("cannot execute own copy in memory", errno)
        .hint("is vm.memfd_noexec set to 2? the runtime runs from a private copy in memory"))
}
