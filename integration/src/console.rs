//! The socket on which a runtime hands over the master of a container's terminal.

use std::{
    fs::File,
    io::{IoSliceMut, Write},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::wait;

/// A listening socket; every connection brings one descriptor.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    pub fn bind(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket in the test's directory");
        Self { listener, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next descriptor and the bytes that came with it.
    pub fn receive(&self) -> (OwnedFd, Vec<u8>) {
        assert!(wait::readable(&self.listener, wait::DEADLINE), "nobody connected");
        let (stream, _) = self.listener.accept().expect("a connection");
        assert!(wait::readable(&stream, wait::DEADLINE), "nothing was sent");
        let mut bytes = vec![0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let received =
            recvmsg(&stream, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message");
        let count = received.bytes;
        let mut descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds.collect::<Vec<_>>()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(descriptors.len(), 1, "exactly one descriptor is sent");
        bytes.truncate(count);
        (descriptors.remove(0), bytes)
    }

    /// The master of a terminal.
    pub fn terminal(&self) -> Terminal {
        Terminal(self.receive().0.into())
    }
}

/// The master of a container's terminal; reading ends when the container has gone.
#[derive(Debug)]
pub struct Terminal(pub File);

impl Terminal {
    pub fn type_line(&mut self, line: &str) {
        writeln!(self.0, "{line}").expect("the terminal takes a line");
    }

    /// Reads lines until `wanted` comes.
    pub fn expect(&mut self, wanted: &str) {
        wait::line(&mut self.0, wanted);
    }

    /// All that the container wrote until its end.
    pub fn rest(&mut self) -> String {
        wait::rest(&mut self.0)
    }
}
