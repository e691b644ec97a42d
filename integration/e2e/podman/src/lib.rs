//! podman on storage of its own, as root and as an ordinary user.
//!
//! * [`place`]: directories and configuration that disturb no other podman, and their end.
//! * [`Podman`]: the command.
//! * [`notify`]: a service manager that podman reports to.
//! * [`user`]: the same tests once more, under an ordinary user's manager.
//! * [`machine`]: an image with a systemd, made of this machine's own files.
//!
//! What is not podman's own is in `e2e_common`.

pub mod machine;
pub mod notify;
pub mod place;
pub mod user;

use std::{path::PathBuf, process::Command};

pub use e2e_common::{
    Engine, IDLE, IMAGE, Output, Running, Session, cgroup, container,
    host::{self, Skip, needs},
    wait,
};
pub use place::Place;

/// podman with the runtime that is judged.
#[derive(Debug)]
pub struct Podman;

impl Engine for Podman {
    const REMOVE: &[&str] = &["rm", "-f", "-v", "-t", "0"];

    fn client() -> Command {
        Place::shared().command()
    }

    /// Where its first process is; it is there as long as that runs.
    fn cgroup(container: &Container, _controller: &str) -> PathBuf {
        cgroup_of(container.pid())
    }
}

/// A container of podman's.
pub type Container = container::Container<Podman>;

/// Calls `podman ARGUMENTS`, with nothing to read, and waits for its end.
#[track_caller]
pub fn podman(arguments: &[&str]) -> Output {
    Podman::call(arguments)
}

/// `podman run --rm FLAGS IMAGE COMMAND` in the foreground, to its end.
#[track_caller]
pub fn run(flags: &[&str], command: &[&str]) -> Output {
    Container::feed(flags, command, b"")
}

/// The directory of a process's cgroup.
pub fn cgroup_of(pid: u32) -> PathBuf {
    let path = host::cgroups(pid).remove("").unwrap_or_default();
    PathBuf::from(format!("{}{path}", cgroup::MOUNT))
}

/// Goes on only where the user has this controller of cgroup v2.
pub fn needs_controller(name: &str) -> Result<(), Skip> {
    let has = Place::shared().controllers().iter().any(|controller| controller == name);
    needs(has, format!("{name} controller for {}", Place::shared().who()))
}

/// Goes on only for root, or only for an ordinary user.
pub fn needs_root() -> Result<(), Skip> {
    match Place::shared().is_root() {
        true => Ok(()),
        false => Err(Skip("podman does it for root only".to_owned())),
    }
}

/// See [`needs_root`].
pub fn needs_user() -> Result<(), Skip> {
    match Place::shared().is_root() {
        true => Err(Skip("podman does it for ordinary users only".to_owned())),
        false => Ok(()),
    }
}

/// What a peer is known to do differently, and so is not judged on.
pub fn excuses(peer: &str, reason: &str) -> Result<(), Skip> {
    match Place::shared().runtime() == peer {
        true => Err(Skip(format!("{peer}: {reason}"))),
        false => Ok(()),
    }
}

/// A command whose descriptors a shell moves first: `3<&0` gives it the standard input as number 3.
pub fn through_a_shell(redirections: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$@\" {redirections}"), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// What a privileged container has: this machine's capabilities, or in a user namespace all.
pub fn all_capabilities() -> u64 {
    match Place::shared().is_root() {
        true => host::capabilities(),
        false => host::all_capabilities(),
    }
}
