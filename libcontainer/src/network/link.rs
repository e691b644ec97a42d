//! Network devices, as far as moving one is concerned.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::netlink::{Request, Socket, attribute, number};

/// `struct ifinfomsg`: family, type, index, flags, which flags are meant.
const FIXED: usize = 16;
const UP: u32 = libc::IFF_UP as u32;

/// A device as its network namespace has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) up: bool,
    /// Index of the bridge or bond that it is a port of.
    pub(super) master: Option<u32>,
}

impl Link {
    fn read(body: &[u8]) -> Option<Self> {
        let name = attribute(body, FIXED, libc::IFLA_IFNAME)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        let master = attribute(body, FIXED, libc::IFLA_MASTER);
        Some(Self {
            index: number(body, 4)?,
            name: String::from_utf8_lossy(name).into_owned(),
            up: number(body, 8)? & UP != 0,
            master: master.and_then(|value| number(value, 0)),
        })
    }
}

/// ENODEV without a device of this name.
pub(super) fn find(socket: &mut Socket, name: &str) -> Result<Link, Errno> {
    let request = about(libc::RTM_GETLINK, 0).attribute(libc::IFLA_IFNAME, &c_string(name));
    let answers = socket.ask(request)?;
    answers.iter().find_map(|body| Link::read(body)).ok_or(Errno::NODEV)
}

pub(super) fn all(socket: &mut Socket) -> Result<Vec<Link>, Errno> {
    let answers = socket.dump(about(libc::RTM_GETLINK, 0))?;
    Ok(answers.iter().filter_map(|body| Link::read(body)).collect())
}

pub(super) fn set_up(socket: &mut Socket, index: u32) -> Result<(), Errno> {
    socket.ask(Request::new(libc::RTM_SETLINK, &fixed(index, UP))).map(drop)
}

pub(super) fn set_master(socket: &mut Socket, index: u32, master: u32) -> Result<(), Errno> {
    let request = about(libc::RTM_SETLINK, index);
    socket.ask(request.attribute(libc::IFLA_MASTER, &master.to_ne_bytes())).map(drop)
}

/// Moves a device to another network namespace and renames it in one message, so that it is never
/// there under a name that nobody asked for. The kernel takes it down for that, and its addresses
/// and routes from it.
pub(super) fn depart(
    socket: &mut Socket,
    index: u32,
    to: impl AsFd,
    name: &str,
) -> Result<(), Errno> {
    let to: BorrowedFd<'_> = to.as_fd();
    let request = about(libc::RTM_SETLINK, index)
        .attribute(libc::IFLA_NET_NS_FD, &to.as_raw_fd().to_ne_bytes())
        .attribute(libc::IFLA_IFNAME, &c_string(name));
    socket.ask(request).map(drop)
}

fn about(kind: u16, index: u32) -> Request {
    Request::new(kind, &fixed(index, 0))
}

/// `flags` are set; no other is touched.
fn fixed(index: u32, flags: u32) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&flags.to_ne_bytes());
    fixed
}

fn c_string(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}
