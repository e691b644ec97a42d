//! `probe try`: one system call by name, so that a seccomp filter or a missing capability shows.

use std::io;

use nix::{
    sched::{CloneFlags, unshare},
    sys::{personality, socket, stat},
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

pub(crate) fn make(call: &str, arguments: &[&str]) -> io::Result<()> {
    let number = |index: usize| -> io::Result<i64> {
        let text = arguments.get(index).ok_or_else(|| usage("an argument is missing"))?;
        parse(text).ok_or_else(|| usage("not a number"))
    };
    let path = |index: usize| arguments.get(index).copied().ok_or_else(|| usage("no path"));
    match call {
        "personality" => {
            personality::set(personality::Persona::from_bits_retain(number(0)? as i32))?;
        }
        "socket" => drop(open_socket(number(0)?)?),
        "unshare" => unshare(CloneFlags::from_bits_retain(number(0)? as i32))?,
        "uname" => drop(nix::sys::utsname::uname()?),
        "getcwd" => drop(nix::unistd::getcwd()?),
        "getpriority" => drop(rustix::process::getpriority_process(None)?),
        "setpriority" => rustix::process::setpriority_process(None, number(0)? as i32)?,
        "truncate" => nix::unistd::truncate(path(0)?, number(1)?)?,
        "mkdir" => nix::unistd::mkdir(path(0)?, stat::Mode::S_IRWXU)?,
        "chmod" => std::fs::set_permissions(path(0)?, mode(number(1)?))?,
        "chown" => std::os::unix::fs::chown(path(0)?, Some(number(1)? as u32), None)?,
        "mknod" => mknod(path(0)?, number(1)?, number(2)?)?,
        "open" => drop(std::fs::File::open(path(0)?)?),
        "open-write" => drop(std::fs::File::options().write(true).open(path(0)?)?),
        "openat2" => {
            rustix::fs::openat2(CWD, path(0)?, OFlags::PATH, Mode::empty(), ResolveFlags::empty())?;
        }
        "mount-tmpfs" => nix::mount::mount(
            Some("tmpfs"),
            path(0)?,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )?,
        "umount" => nix::mount::umount(path(0)?)?,
        "chroot" => nix::unistd::chroot(path(0)?)?,
        "sethostname" => nix::unistd::sethostname(path(0)?)?,
        "setuid" => nix::unistd::setuid((number(0)? as u32).into())?,
        "kill" => {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(number(0)? as i32), None)?;
        }
        _ => return Err(usage("no such call")),
    }
    Ok(())
}

fn usage(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn parse(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn mode(bits: i64) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits as u32)
}

/// A datagram socket of the address family with this number.
fn open_socket(family: i64) -> io::Result<std::os::fd::OwnedFd> {
    let family = socket::AddressFamily::from_i32(family as i32).ok_or_else(|| usage("family"))?;
    Ok(socket::socket(family, socket::SockType::Datagram, socket::SockFlag::empty(), None)?)
}

/// A character device.
fn mknod(path: &str, major: i64, minor: i64) -> io::Result<()> {
    let device = stat::makedev(major as u64, minor as u64);
    Ok(stat::mknod(path, stat::SFlag::S_IFCHR, stat::Mode::S_IRWXU, device)?)
}
