//! Where a private daemon has its files.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::cgroup::Tree;

/// The client beside dockerd; a newer one may stand before it in PATH.
pub const CLIENT: &str = "/usr/bin/docker";

/// What the name of its directory begins with.
pub(crate) const PREFIX: &str = "private-dockerd.";

/// The files of one private daemon; all that is known of it is in its directory's name.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
    tree: Tree,
}

impl Place {
    /// The place at `directory`, as the keeper printed it.
    pub fn at(directory: PathBuf) -> Self {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { directory, tree: Tree::new(name) }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What `docker -H unix://…` connects to.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// `docker` for it, without arguments yet.
    pub fn client(&self) -> Command {
        let client = if Path::new(CLIENT).exists() { CLIENT } else { "docker" };
        let mut command = Command::new(client);
        command.arg("-H").arg(format!("unix://{}", self.socket().display()));
        command
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A file for a test: its users and the daemon see it, and it is removed with the place.
    pub fn file(&self, name: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{name}.{number}"))
    }

    /// A tmpfs that only the daemon sees.
    pub fn private(&self) -> PathBuf {
        self.directory.join("private")
    }

    /// What dockerd is told as `--exec-root`: state of the runtime is below it.
    pub fn exec_root(&self) -> PathBuf {
        self.private().join("exec")
    }
}
