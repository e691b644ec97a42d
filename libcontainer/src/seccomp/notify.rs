//! The way of a listener to the seccomp agent.

use crate::{Error, Result};
use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        self, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
        SocketFlags, SocketType, sockopt,
    },
};
use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

/// An agent with a full backlog or a full buffer for so long is a dead one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `state_json` (the container process state of the spec, config-linux.md) with `listener` in
/// one message to the agent at `path`, a listening stream socket, and closes the connection. The
/// agent recognizes `listener` by its place in `fds` of the state.
///
/// # Errors
///
/// The agent cannot be reached, or closed the connection; at `linux.seccomp.listenerPath`.
pub fn send(path: &Path, state_json: &[u8], listener: BorrowedFd<'_>) -> Result<()> {
    let failed = |what: &str, errno: Errno| {
        Error::os(format!("{what} at {path:?}"), errno)
            .at("linux.seccomp.listenerPath")
            .hint("start the seccomp agent that listens on this socket")
    };
    let agent =
        connect(path).map_err(|errno| failed("failed to connect with seccomp agent", errno))?;
    hand_over(&agent, state_json, listener)
        .map_err(|errno| failed("cannot send the seccomp listener to the agent", errno))
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket =
        net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    retry_on_intr(|| net::connect(&socket, &address))?;
    Ok(socket)
}

fn hand_over(agent: &OwnedFd, state_json: &[u8], listener: BorrowedFd<'_>) -> Result<(), Errno> {
    let fds = [listener];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let message = [IoSlice::new(state_json)];
    let sent = retry_on_intr(|| net::sendmsg(agent, &message, &mut control, SendFlags::NOSIGNAL))?;
    let mut rest = &state_json[sent..];
    // Only a state larger than the socket's buffer does not go in one piece.
    while !rest.is_empty() {
        let sent = retry_on_intr(|| net::send(agent, rest, SendFlags::NOSIGNAL))?;
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    use std::{
        fs::File,
        io::{IoSliceMut, Read, Seek, Write},
        os::{
            fd::AsFd,
            unix::net::{UnixListener, UnixStream},
        },
        path::PathBuf,
    };

    struct Socket(PathBuf);

    impl Socket {
        fn new(name: &str) -> Self {
            let name = format!("rtn-notify-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn receive(stream: &UnixStream) -> (Vec<u8>, OwnedFd) {
        let mut bytes = vec![0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut message = [IoSliceMut::new(&mut bytes)];
        let got = net::recvmsg(stream, &mut message, &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("a message");
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        bytes.truncate(got.bytes);
        (bytes, fd.expect("a descriptor"))
    }

    #[test]
    fn the_agent_gets_state_and_descriptor_in_one_message_and_then_the_end() {
        let socket = Socket::new("agent");
        let agent = UnixListener::bind(&socket.0).expect("a socket");
        let mut sent = File::from(
            rustix::fs::memfd_create("listener", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd"),
        );
        sent.write_all(b"the same file").expect("written");
        send(&socket.0, br#"{"fds":["seccompFd"]}"#, sent.as_fd()).expect("sent");

        let (mut stream, _) = agent.accept().expect("a connection");
        let (state, fd) = receive(&stream);
        assert_eq!(state, br#"{"fds":["seccompFd"]}"#);
        let mut received = File::from(fd);
        received.rewind().expect("a file");
        let mut text = String::new();
        received.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "the same file");
        assert_eq!(stream.read(&mut [0]).expect("readable"), 0);
    }

    #[test]
    fn an_absent_agent_is_named() {
        let socket = Socket::new("absent");
        let error = send(&socket.0, b"{}", std::io::stdin().as_fd()).expect_err("nobody listens");
        assert_eq!(error.spec_path(), Some("linux.seccomp.listenerPath"));
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert!(error.to_string().starts_with("failed to connect with seccomp agent at \"/"));
    }
}
