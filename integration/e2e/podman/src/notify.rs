//! A service manager to whom podman reports (sd_notify(3)).

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::PathBuf,
};

use e2e_common::{Engine, Running, wait};

use crate::{Place, Podman};

/// A socket for `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    socket: UnixDatagram,
    heard: String,
}

impl Listener {
    /// # Panics
    /// When the socket cannot be made.
    pub fn new(name: &str) -> Self {
        let path = Place::shared().file(&format!("notify-{name}"));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        // Whoever a container's root is.
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("its owner");
        socket.set_read_timeout(Some(wait::PATIENCE)).expect("a socket");
        Self { path, socket, heard: String::new() }
    }

    /// Calls podman as a service's main process.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) {
        let mut command = Podman::command(arguments);
        command.env("NOTIFY_SOCKET", &self.path);
        Running::start(command, b"").end().ok();
    }

    /// All that was heard, once `words` are among it.
    ///
    /// # Panics
    /// When they are not.
    pub fn until(&mut self, words: &str) -> &str {
        while !self.heard.contains(words) {
            let mut buffer = [0; 4096];
            let count = self.socket.recv(&mut buffer);
            let count = count.unwrap_or_else(|_| panic!("no {words} in {:?}", self.heard));
            self.heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
            self.heard.push('\n');
        }
        &self.heard
    }
}
