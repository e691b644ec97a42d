//! The first process of a pod's pid namespace, without which the namespace could not be entered. It
//! waits, owns nothing and can do nothing: the others in the pod see it, and are not to find
//! anything of the host in it.

use std::{
    convert::Infallible,
    ffi::CStr,
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

use nix::mount::{MntFlags, MsFlags, umount2};
use rustix::{
    fs::{CWD, Gid, Mode, OFlags, Uid, openat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount,
    },
    process::Signal,
};

use crate::{
    error::{Context, Error, Result},
    sys::{
        clone::{Cloned, clone3},
        process,
    },
};

/// The user and group as which Kubernetes' own pause program runs.
const NOBODY: u32 = 65535;
const PROGRAM: &CStr = c"pause";

/// Starts it in a new pid namespace, as a child of this process's parent. It ends with that one.
pub(super) fn start() -> Result<i32> {
    let doing = || "cannot start the first process of the pod";
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(doing)?;
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_PARENT;
    match clone3(flags as u64, None).doing(doing)? {
        Cloned::Child => {
            let Err(errno) = become_pause(&theirs);
            let _ = rustix::io::write(&theirs, &errno.raw_os_error().to_ne_bytes());
            process::exit_now(1)
        }
        Cloned::Parent { pid, .. } => {
            drop(theirs);
            let mut errno = [0; 4];
            // Its end of the pipe is closed by execve(2).
            match rustix::io::read(&ours, &mut errno).doing(doing)? {
                0 => Ok(pid),
                _ => Err(Error::os(
                    doing(),
                    std::io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
                )),
            }
        }
    }
}

fn become_pause(report: &OwnedFd) -> std::result::Result<Infallible, Errno> {
    process::default_signals();
    // Its children are those whose parents have ended; nobody asks how they end (wait(2), NOTES).
    process::ignore_signal(libc::SIGCHLD);
    let none = nix::sys::signal::SigSet::empty();
    none.thread_set_mask().map_err(to_errno)?;
    enter_root()?;
    rustix::process::setsid()?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // A change of ids would undo it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    process::close_from_except(0, &[report.as_fd()])?;
    let args = [PROGRAM];
    match nix::unistd::execve(c"/pause", &args, &[] as &[&CStr]) {
        Err(errno) => Err(to_errno(errno)),
        Ok(never) => match never {},
    }
}

/// A filesystem in memory with one file, and nothing else.
fn enter_root() -> std::result::Result<(), Errno> {
    let none: Option<&str> = None;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    nix::mount::mount(none, "/", none, private, none).map_err(to_errno)?;
    let root = root()?;
    move_mount(&root, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(c".", c".")?;
    umount2(".", MntFlags::MNT_DETACH).map_err(to_errno)?;
    rustix::process::chdir(c"/")
}

fn root() -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"mode", c"0755")?;
    fsconfig_set_string(context.as_fd(), c"size", c"4k")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&root, PROGRAM, flags, Mode::from_raw_mode(0o555))?;
    let written = std::fs::File::from(file).write_all(&program());
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(root)
}

/// An executable for x86-64 that calls pause(2) for ever (elf(5)).
///
/// Of all programs it takes the least memory, and no file of the host is what runs in the pod, where
/// it could be overwritten through /proc/1/exe (CVE-2019-5736).
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADER: u16 = 64;
    const SEGMENT: u16 = 56;
    const PAUSE: u32 = libc::SYS_pause as u32;
    let start = u64::from(HEADER + 2 * SEGMENT);
    let mut code = vec![0xb8]; // mov eax, PAUSE
    code.extend(PAUSE.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xeb, 0xf7]); // jmp to the first instruction
    let size = start + code.len() as u64;

    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 62].map(u16::to_le_bytes).concat()); // an executable, for x86-64
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + start, u64::from(HEADER), 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([HEADER, SEGMENT, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    // PT_LOAD, to be read and executed: the whole file.
    file.extend([1u32, 5].map(u32::to_le_bytes).concat());
    file.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    // PT_GNU_STACK, to be read and written.
    file.extend([0x6474_e551u32, 6].map(u32::to_le_bytes).concat());
    file.extend([0u64, 0, 0, 0, 0, 16].map(u64::to_le_bytes).concat());
    file.extend(code);
    file
}

fn to_errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the kernel: it is executed, waits, and ends by a signal only.
    #[test]
    fn the_program_waits_until_it_is_killed() {
        use std::os::unix::{fs::PermissionsExt, process::ExitStatusExt};
        let path = std::env::temp_dir().join(format!("pause-{}", std::process::id()));
        std::fs::write(&path, program()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        std::fs::remove_file(&path).unwrap();
        let memory = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).unwrap();
        let pages: u64 = memory.split(' ').next().unwrap().parse().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(pages < 64, "{memory}");
    }
}
