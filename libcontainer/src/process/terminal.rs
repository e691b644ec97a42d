//! The pty of a process with a terminal, allocated from the container's own devpts.

use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, OFlags, ResolveFlags, fstat, fstatfs, major, minor},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    pty::OpenptFlags,
    termios::{Winsize, tcsetwinsize},
};

use crate::{plan::process::Terminal, rootfs::Root};

/// Allocates a pty, sends its master to `console`, makes the slave this session's terminal and
/// standard streams; returns the slave.
pub(crate) fn open(
    root: &Root,
    terminal: Terminal,
    console: BorrowedFd<'_>,
) -> Result<OwnedFd, Errno> {
    let master = master(root)?;
    rustix::pty::unlockpt(&master)?;
    // By the master and not by its name: the container could have another file there
    // (CVE-2025-52565).
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if terminal.rows != 0 || terminal.columns != 0 {
        let size =
            Winsize { ws_row: terminal.rows, ws_col: terminal.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size)?;
    }
    send(console, &master)?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    rustix::stdio::dup2_stdin(&slave)?;
    rustix::stdio::dup2_stdout(&slave)?;
    rustix::stdio::dup2_stderr(&slave)?;
    Ok(slave)
}

fn master(root: &Root) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let open = |path: &str| root.open(Path::new(path), flags, ResolveFlags::empty());
    let master = match open("/dev/pts/ptmx") {
        Err(Errno::NOENT) => open("/dev/ptmx")?,
        other => other?,
    };
    let stat = fstat(&master)?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
        && fstatfs(&master)?.f_type == DEVPTS_SUPER_MAGIC;
    if is_ptmx { Ok(master) } else { Err(Errno::NODEV) }
}

/// statfs(2).
const DEVPTS_SUPER_MAGIC: libc::__fsword_t = 0x1cd1;

/// The message of a console socket: the master's name, with the master beside it.
fn send(console: BorrowedFd<'_>, master: &OwnedFd) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [IoSlice::new(b"/dev/ptmx")];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(console, &data, &mut control, SendFlags::NOSIGNAL)
    })
    .map(drop)
}
