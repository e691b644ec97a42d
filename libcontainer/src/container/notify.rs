//! sd_notify(3) for a service manager that started this runtime: the container gets a socket of
//! its own, and what it says there that the manager should hear is passed on.

use std::{
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{init_process::InitProcess, store::Entry};
use crate::error::{Context, Result};

/// Beside the state; it is mounted at /run/notify in the container.
pub(super) const DIR: &str = "notify";
const SOCKET: &str = "notify.sock";

/// The container's socket and the host's.
#[derive(Debug)]
pub(super) struct Proxy {
    container: UnixDatagram,
    host: PathBuf,
}

impl Proxy {
    pub(super) fn bind(entry: &Entry, host: &Path) -> Result<Self> {
        let path = entry.path(DIR).join(SOCKET);
        let doing = || format!("cannot bind {path:?}");
        let container = UnixDatagram::bind(&path).doing(doing)?;
        // Whoever the container's user is, it may speak.
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&path, anybody).doing(doing)?;
        Ok(Self { container, host: host.to_owned() })
    }

    /// Waits until the container says READY=1, and says so to the host together with the
    /// container's pid; or until it ends.
    pub(super) fn forward(&self, init: &InitProcess) -> Result<()> {
        let doing = || "cannot forward the container's notification";
        let mut message = vec![0; 4096];
        loop {
            let mut fds = [
                PollFd::new(&self.container, PollFlags::IN),
                PollFd::from_borrowed_fd(init.pidfd.as_fd(), PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).doing(doing)?;
            if !fds[0].revents().contains(PollFlags::IN) {
                return Ok(());
            }
            let length = self.container.recv(&mut message).doing(doing)?;
            let ready =
                message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
            if ready {
                let host = UnixDatagram::unbound().doing(doing)?;
                host.send_to(format!("READY=1\nMAINPID={}", init.pid).as_bytes(), &self.host)
                    .doing(doing)?;
                return Ok(());
            }
        }
    }
}
