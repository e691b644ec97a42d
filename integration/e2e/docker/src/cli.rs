//! The `docker` command against the shared daemon.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use e2e_common::{Engine, Output};

use crate::{cgroup, daemon};

/// The client beside dockerd; a newer one may stand before it in PATH.
pub const CLIENT: &str = "/usr/bin/docker";

/// The shared daemon, by its client.
#[derive(Debug)]
pub struct Docker;

impl Engine for Docker {
    const REMOVE: &[&str] = &["rm", "-f", "-v"];

    fn client() -> Command {
        command(&daemon::shared().place().socket())
    }

    fn cgroup(container: &crate::Container, controller: &str) -> PathBuf {
        let tree = daemon::shared().place().tree();
        cgroup::directory(controller, &tree.of_container(&container.id()))
    }
}

/// The client for the daemon at `socket`, without arguments yet.
pub(crate) fn command(socket: &Path) -> Command {
    let client = if Path::new(CLIENT).exists() { CLIENT } else { "docker" };
    let mut command = Command::new(client);
    command.arg("-H").arg(format!("unix://{}", socket.display()));
    command
}

/// Runs `docker ARGUMENTS` to its end, with nothing to read.
#[track_caller]
pub fn docker(arguments: &[&str]) -> Output {
    Docker::call(arguments)
}
