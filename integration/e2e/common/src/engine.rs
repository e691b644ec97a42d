//! A container engine by its command line.

use std::{path::PathBuf, process::Command};

use crate::{Container, Output, Running, Session};

/// The engine that a program's tests share.
pub trait Engine: Sized + std::fmt::Debug + 'static {
    /// Removes a container by force, with its anonymous volumes; the name follows.
    const REMOVE: &[&str];

    /// The client, without arguments yet.
    fn client() -> Command;

    /// The container's directory in the hierarchy of a controller ("unified" for cgroup v2).
    fn cgroup(container: &Container<Self>, controller: &str) -> PathBuf;

    /// Calls the client, with nothing to read, and waits for its end.
    #[track_caller]
    fn call(arguments: &[&str]) -> Output {
        Self::feed(arguments, b"")
    }

    /// As [`Engine::call`], with `input` to read.
    #[track_caller]
    fn feed(arguments: &[&str], input: &[u8]) -> Output {
        Self::start(arguments, input).end()
    }

    /// Calls the client, and does not wait.
    #[track_caller]
    fn start(arguments: &[&str], input: &[u8]) -> Running {
        Running::start(Self::command(arguments), input)
    }

    /// The client on pipes, to be talked to.
    #[track_caller]
    fn pipes(arguments: &[&str]) -> Session {
        Session::pipes(Self::command(arguments))
    }

    /// The client on a new terminal of `rows` by `columns`, to be talked to.
    #[track_caller]
    fn terminal(arguments: &[&str], rows: u16, columns: u16) -> Session {
        Session::terminal(Self::command(arguments), rows, columns)
    }

    /// The client with arguments.
    fn command(arguments: &[&str]) -> Command {
        let mut command = Self::client();
        command.args(arguments);
        command
    }
}
