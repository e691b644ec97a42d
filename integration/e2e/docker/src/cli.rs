//! The `docker` command against the shared daemon.

use std::{path::PathBuf, process::Command};

use e2e_common::{Engine, Output};

use crate::{cgroup, daemon};

/// The shared daemon, by its client.
#[derive(Debug)]
pub struct Docker;

impl Engine for Docker {
    const REMOVE: &[&str] = &["rm", "-f", "-v"];

    fn client() -> Command {
        daemon::shared().place().client()
    }

    fn cgroup(container: &crate::Container, controller: &str) -> PathBuf {
        let tree = daemon::shared().place().tree();
        cgroup::directory(controller, &tree.of_container(&container.id()))
    }
}

/// Runs `docker ARGUMENTS` to its end, with nothing to read.
#[track_caller]
pub fn docker(arguments: &[&str]) -> Output {
    Docker::call(arguments)
}
