//! Where the terminal of a process goes: to whoever listens at `--console-socket`, or to us.

use std::{os::fd::OwnedFd, path::Path};

use libcontainer::{Error, Kind, Result, error::Context};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair,
};

use crate::tty::Relay;

/// The two ends of the way that the pty's master takes.
#[derive(Debug, Default)]
pub(crate) struct Console {
    /// The end that the container's process sends on; without a terminal there is none.
    pub(crate) sender: Option<OwnedFd>,
    /// The end that we receive on, if the terminal is ours to show.
    receiver: Option<OwnedFd>,
}

impl Console {
    /// Prepares the way for a process with or without a `terminal`.
    ///
    /// # Errors
    /// When `detach` and `socket` do not fit that, or nobody listens at `socket`.
    pub(crate) fn new(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<Self> {
        check(terminal, detach, socket.is_some())?;
        match socket {
            Some(path) => Ok(Self { sender: Some(dial(path)?), receiver: None }),
            None if terminal => pair(),
            None => Ok(Self::default()),
        }
    }

    /// The terminal that the process made, if it is ours to show.
    ///
    /// # Errors
    /// When the process sent none.
    pub(crate) fn receive(self) -> Result<Option<Relay>> {
        // Without our copy of the sender, a process that died is an end of file.
        drop(self.sender);
        self.receiver.map(|socket| Relay::receive(&socket)).transpose()
    }
}

/// runc's rules, in its words.
fn check(terminal: bool, detach: bool, socket: bool) -> Result<()> {
    let refuse = |what, hint| Err(Error::new(Kind::InvalidConfig, what).hint(hint));
    if detach && terminal && !socket {
        return refuse(
            "cannot allocate tty if rtn will detach without setting console socket",
            "set process.terminal to false, or give --console-socket",
        );
    }
    if socket && !(detach && terminal) {
        return refuse(
            "cannot use console socket if rtn will not detach or allocate tty",
            "leave --console-socket out, or set process.terminal to true and detach",
        );
    }
    Ok(())
}

fn pair() -> Result<Console> {
    let made = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (receiver, sender) = made.doing(|| "cannot make a socket pair")?;
    Ok(Console { sender: Some(sender), receiver: Some(receiver) })
}

/// Connects to the listening stream socket at `path`.
///
/// # Errors
/// When there is none.
pub(crate) fn dial(path: &Path) -> Result<OwnedFd> {
    let open = || {
        let address = SocketAddrUnix::new(path)?;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &address).map(|()| socket)
    };
    open().doing(|| format!("cannot connect to console socket {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_needs_somebody_who_shows_it() {
        for (terminal, detach, socket, fits) in [
            (true, true, true, true),
            (true, false, false, true),
            (false, true, false, true),
            (false, false, false, true),
            (true, true, false, false),
            (true, false, true, false),
            (false, true, true, false),
            (false, false, true, false),
        ] {
            let case = format!("terminal {terminal}, detach {detach}, socket {socket}");
            assert_eq!(check(terminal, detach, socket).is_ok(), fits, "{case}");
        }
    }
}
