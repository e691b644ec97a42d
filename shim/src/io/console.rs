//! The socket through which the runtime hands over the master of a process's terminal.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};

use crate::error::{Doing, Fault, Result};

/// A listening socket in the bundle, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    /// Relative to the bundle: the whole path may be longer than a socket's name can be (unix(7)).
    name: PathBuf,
    path: PathBuf,
}

impl Console {
    pub(super) fn listen(bundle: &Path, exec_id: &str) -> Result<Self> {
        let name = PathBuf::from(match exec_id {
            "" => "init.pty".to_owned(),
            exec_id => format!("exec-{exec_id}.pty"),
        });
        let path = bundle.join(&name);
        let doing = || format!("cannot listen on {path:?}");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, bundle, flags, Mode::empty()).doing(doing)?;
        let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(&name);
        let listener = UnixListener::bind(&short).doing(doing)?;
        listener.set_nonblocking(true).doing(doing)?;
        Ok(Self { listener, name, path })
    }

    /// For a program whose working directory is the bundle.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// The terminal that a runtime has sent before it ended.
    pub(crate) fn receive(self) -> Result<OwnedFd> {
        let doing = || "cannot receive the terminal from the runtime";
        let (socket, _) = self.listener.accept().doing(doing)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut slices = [IoSliceMut::new(&mut name)];
        // It has ended. Somebody else may have inherited the other end, and will not send anything.
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        recvmsg(&socket, &mut slices, &mut control, flags).doing(doing)?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fds.last().ok_or_else(|| Fault::unknown("the runtime has sent no terminal"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_terminal_that_was_not_sent_is_not_waited_for() {
        let bundle = std::env::temp_dir().join(format!("console.{}", std::process::id()));
        std::fs::create_dir(&bundle).unwrap();
        let console = Console::listen(&bundle, "").unwrap();
        let _silent = UnixStream::connect(bundle.join(console.name())).unwrap();
        let fault = console.receive().unwrap_err();
        assert!(fault.text.contains("cannot receive the terminal"), "{}", fault.text);
        std::fs::remove_dir(bundle).unwrap();
    }
}
