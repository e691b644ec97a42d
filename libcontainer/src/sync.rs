//! What parent and child say to each other while a container is made. Both sides are here.
//!
//! ```text
//!   parent (launch.rs)                                child (init.rs)
//!      │ writes id maps, oom_score_adj                    │
//!      ├── Mapped ───────────────────────────────────────▶│ (new user namespace only)
//!      │ makes the cgroup, writes limits                  │ joins and makes namespaces
//!      ├── Cgroup + descriptors of the `tasks` files ────▶│ enters
//!      │◀──────────────────────────────── MoveDevices ────┤ (linux.netDevices only)
//!      ├── DevicesMoved ─────────────────────────────────▶│ builds the root filesystem
//!      │◀─────────────────────────────────── RunHooks ────┤ (prestart or createRuntime only)
//!      ├── HooksDone ────────────────────────────────────▶│ pivots, becomes the user
//!      │◀──────────────────── Listener: its number ───────┤ (seccomp notify only)
//!      │◀────────────────────────────────────── Ready ────┤
//!      │ rlimits in a user namespace, state.json          │
//!      ├── Go ───────────────────────────────────────────▶│ execve, which closes the socket;
//!      │                                                  │ after create the fifo comes before
//!      │◀──────────────────────────────────── Failed ─────┤ at any point, then it exits
//! ```
//!
//! One message is one datagram of a SOCK_SEQPACKET pair; end of file means that the other side
//! died.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    },
};

use crate::step::Failure;

/// Parent to child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ToChild {
    Mapped = 1,
    Cgroup,
    DevicesMoved,
    HooksDone,
    Go,
}

/// Child to parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToParent {
    /// The child is in its network namespace.
    MoveDevices,
    RunHooks,
    /// The seccomp listener, by its number in the child: the filter that is in force by then may
    /// forbid sendmsg(2), or ask the very agent that waits for the listener about it.
    Listener(i32),
    Ready,
    Failed(Failure),
    /// The joiner made the container process, whose pid this is; its pidfd comes along.
    Cloned(i32),
}

/// The parent's limit of descriptors in one message: cgroup hierarchies, of which Linux has 14.
const MAX_FDS: usize = 32;

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// Makes the pair: the parent's end, the child's end.
pub(crate) fn pair() -> Result<(Channel, Channel), Errno> {
    let (parent, child) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((Channel(parent), Channel(child)))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// To the child, with descriptors.
    pub(crate) fn tell(&self, message: ToChild, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.send(&[message as u8], fds)
    }

    /// Waits for exactly `expected` from the parent; returns the descriptors that came along.
    ///
    /// # Errors
    /// EPIPE when the parent died or spoke out of turn.
    pub(crate) fn expect(&self, expected: ToChild) -> Result<Vec<OwnedFd>, Errno> {
        let mut byte = [0; 1];
        let (length, fds) = self.receive(&mut byte)?;
        if length == 1 && byte[0] == expected as u8 { Ok(fds) } else { Err(Errno::PIPE) }
    }

    /// Waits for `Go` with nothing but read(2), which every seccomp profile allows.
    pub(crate) fn expect_go(&self) -> Result<(), Errno> {
        let mut byte = [0; 1];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut byte))? {
            1 if byte[0] == ToChild::Go as u8 => Ok(()),
            _ => Err(Errno::PIPE),
        }
    }

    /// To the parent, with at most one descriptor. Without one it is a plain write(2), which every
    /// seccomp profile allows.
    pub(crate) fn report(
        &self,
        message: ToParent,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let frame = encode(&message);
        match fd {
            Some(fd) => self.send(&frame, &[fd]),
            None => rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &frame)).map(drop),
        }
    }

    /// The child's next message; `None` when its end is closed: it died, or became the program.
    pub(crate) fn next(&self) -> Result<Option<(ToParent, Option<OwnedFd>)>, Errno> {
        let mut frame = [0; 1 + Failure::SIZE];
        let (length, mut fds) = match self.receive(&mut frame) {
            Err(Errno::CONNRESET) => return Ok(None),
            other => other?,
        };
        if length == 0 {
            return Ok(None);
        }
        let message = decode(&frame).ok_or(Errno::PROTO)?;
        Ok(Some((message, fds.pop())))
    }

    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOBIG);
        }
        let data = [IoSlice::new(bytes)];
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &data, &mut control, SendFlags::NOSIGNAL)
        })
        .map(drop)
    }

    fn receive(&self, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(bytes)];
        let length = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.0, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?
        .bytes;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        Ok((length, fds.flatten().collect()))
    }
}

/// A tag and what goes with it.
type Frame = [u8; 1 + Failure::SIZE];

fn encode(message: &ToParent) -> Frame {
    let mut frame = [0; 1 + Failure::SIZE];
    frame[0] = match message {
        ToParent::RunHooks => 1,
        ToParent::Listener(number) => {
            frame[1..5].copy_from_slice(&number.to_ne_bytes());
            2
        }
        ToParent::Ready => 3,
        ToParent::Failed(failure) => {
            frame[1..].copy_from_slice(&failure.to_bytes());
            4
        }
        ToParent::Cloned(pid) => {
            frame[1..5].copy_from_slice(&pid.to_ne_bytes());
            5
        }
        ToParent::MoveDevices => 6,
    };
    frame
}

fn decode(frame: &Frame) -> Option<ToParent> {
    let (tag, body) = frame.split_first()?;
    match tag {
        1 => Some(ToParent::RunHooks),
        2 => body.first_chunk().map(|number| ToParent::Listener(i32::from_ne_bytes(*number))),
        3 => Some(ToParent::Ready),
        4 => Failure::from_bytes(body.try_into().ok()?).map(ToParent::Failed),
        5 => body.first_chunk().map(|pid| ToParent::Cloned(i32::from_ne_bytes(*pid))),
        6 => Some(ToParent::MoveDevices),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Step;

    #[test]
    fn messages_and_descriptors_cross_and_death_is_seen() {
        let (parent, child) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        parent.tell(ToChild::Cgroup, &[null.as_fd(), null.as_fd()]).unwrap();
        assert_eq!(child.expect(ToChild::Cgroup).unwrap().len(), 2);

        let failed = ToParent::Failed(Failure::new(Step::Mount, Errno::PERM));
        child.report(failed.clone(), None).unwrap();
        child.report(ToParent::Cloned(7), Some(null.as_fd())).unwrap();
        assert_eq!(parent.next().unwrap().unwrap().0, failed);
        assert!(parent.next().unwrap().unwrap().1.is_some());
        drop(child);
        assert!(parent.next().unwrap().is_none());
    }

    #[test]
    fn a_message_out_of_turn_is_refused() {
        let (parent, child) = pair().unwrap();
        parent.tell(ToChild::Go, &[]).unwrap();
        assert_eq!(child.expect(ToChild::Cgroup).unwrap_err(), Errno::PIPE);
    }
}
