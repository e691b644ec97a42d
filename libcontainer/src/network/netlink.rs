//! Requests to the kernel's routing subsystem (netlink(7), rtnetlink(7)).
//!
//! One socket belongs to the network namespace in which it was opened, wherever its owner goes.

use std::os::fd::OwnedFd;

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};

/// `struct nlmsghdr`: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// `struct rtattr`: length, type.
const ATTRIBUTE: usize = 4;
/// Attributes and messages begin at multiples of this.
const ALIGNMENT: usize = 4;
/// The kernel's answers to a dump are at most 32 KiB each (net/netlink/af_netlink.c).
const LARGEST_ANSWER: usize = 64 << 10;

/// What is asked, or told.
#[derive(Clone, Debug)]
pub(super) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// `kind` is RTM_*; `fixed` the struct that belongs to it.
    pub(super) fn new(kind: u16, fixed: &[u8]) -> Self {
        Self { kind, flags: 0, body: fixed.to_vec() }
    }

    /// NLM_F_*.
    #[must_use]
    pub(super) fn flags(mut self, flags: i32) -> Self {
        self.flags |= flags as u16;
        self
    }

    #[must_use]
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.body.extend(((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(aligned(self.body.len()), 0);
        self
    }

    fn bytes(&self, sequence: u32) -> Vec<u8> {
        let flags = self.flags | libc::NLM_F_REQUEST as u16;
        let length = (HEADER + self.body.len()) as u32;
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// A socket of NETLINK_ROUTE.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// In the network namespace of this thread.
    pub(super) fn open() -> Result<Self, Errno> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Asks for one object, or for a change; what comes before the acknowledgement.
    pub(super) fn ask(&mut self, request: Request) -> Result<Vec<Vec<u8>>, Errno> {
        self.exchange(&request.flags(libc::NLM_F_ACK))
    }

    /// Asks for all objects of a kind. What changes while it is told is told anew.
    pub(super) fn dump(&mut self, request: Request) -> Result<Vec<Vec<u8>>, Errno> {
        let request = request.flags(libc::NLM_F_DUMP);
        rustix::io::retry_on_intr(|| self.exchange(&request))
    }

    fn exchange(&mut self, request: &Request) -> Result<Vec<Vec<u8>>, Errno> {
        self.sequence += 1;
        rustix::net::send(&self.fd, &request.bytes(self.sequence), SendFlags::empty())?;
        let mut buffer = vec![0; LARGEST_ANSWER];
        let (mut answers, mut interrupted) = (Vec::new(), false);
        loop {
            let receive = || rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC);
            let (_, length) = rustix::io::retry_on_intr(receive)?;
            let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            for message in messages(datagram).filter(|message| message.sequence == self.sequence) {
                interrupted |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        message.status()?;
                        return if interrupted { Err(Errno::INTR) } else { Ok(answers) };
                    }
                    _ => answers.push(message.body.to_vec()),
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// An error message begins with a negative errno, or 0.
    fn status(&self) -> Result<(), Errno> {
        match number(self.body, 0) {
            Some(0) | None => Ok(()),
            Some(negative) => Err(Errno::from_raw_os_error((negative as i32).wrapping_neg())),
        }
    }
}

fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(datagram, 0)? as usize;
        let body = datagram.get(HEADER..length)?;
        let kind = short(datagram, 4)?;
        let message =
            Message { kind, flags: short(datagram, 6)?, sequence: number(datagram, 8)?, body };
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes after a struct of `fixed` bytes: type and value.
pub(super) fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    /// Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    const TYPE: u16 = 0x3fff;
    let mut rest = body.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let value = rest.get(ATTRIBUTE..length)?;
        let kind = short(rest, 2)? & TYPE;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of one attribute.
pub(super) fn attribute(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    attributes(body, fixed).find(|(other, _)| *other == kind).map(|(_, value)| value)
}

/// The 32 bits at `offset`, in the order of this machine, as all of netlink is.
pub(super) fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn short(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back_as_it_was_written() {
        let request = Request::new(libc::RTM_NEWLINK, &[7; 16])
            .attribute(libc::IFLA_IFNAME, b"eth0\0")
            .attribute(libc::IFLA_MTU, &1500u32.to_ne_bytes());
        let mut datagram = request.bytes(9);
        datagram.extend(Request::new(libc::NLMSG_DONE as u16, &[0; 4]).bytes(9));
        let read: Vec<_> = messages(&datagram).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].sequence), (libc::RTM_NEWLINK, 9));
        assert_eq!(attribute(read[0].body, 16, libc::IFLA_IFNAME), Some(&b"eth0\0"[..]));
        let mtu = attribute(read[0].body, 16, libc::IFLA_MTU);
        assert_eq!(mtu.and_then(|value| number(value, 0)), Some(1500));
        assert_eq!(read[1].status(), Ok(()));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let datagram = Request::new(libc::RTM_NEWLINK, &[0; 16]).bytes(1);
        for length in [0, 15, 33, u32::MAX] {
            let mut lying = datagram.clone();
            lying[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&lying).count(), 0, "{length}");
        }
        for length in [0u16, 3, 9, u16::MAX] {
            let mut body = length.to_ne_bytes().to_vec();
            body.extend([1, 0, 0, 0, 0, 0]);
            assert_eq!(attributes(&body, 0).count(), 0, "{length}");
        }
    }

    #[test]
    fn the_kernel_answers_and_refuses() {
        let mut socket = Socket::open().unwrap();
        let name = |name: &[u8]| {
            Request::new(libc::RTM_GETLINK, &[0; 16]).attribute(libc::IFLA_IFNAME, name)
        };
        assert_eq!(socket.ask(name(b"lo\0")).unwrap().len(), 1);
        assert_eq!(socket.ask(name(b"rtn-missing\0")).unwrap_err(), Errno::NODEV);
        let links = socket.dump(Request::new(libc::RTM_GETLINK, &[0; 16])).unwrap();
        assert!(links.iter().any(|link| attribute(link, 16, libc::IFLA_IFNAME) == Some(b"lo\0")));
    }
}
