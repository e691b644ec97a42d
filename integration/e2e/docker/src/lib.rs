//! A Docker daemon of one's own, and the host seen from outside its containers.
//!
//! * [`keeper`]: runs a dockerd in private mount and network namespaces and removes every trace of
//!   it, whichever way its user ends; the program `private-dockerd`.
//! * [`place`]: its directory, its socket, and the client for it.
//! * [`daemon`]: the one daemon that all tests of a binary share.
//! * [`cli`]: the `docker` command against it.
//! * [`runtime`]: how it comes by the runtime that is judged.
//!
//! What is not Docker's own is in `e2e_common`.

pub mod cgroup;
pub mod cli;
pub mod daemon;
pub mod keeper;
pub mod place;
pub mod runtime;

pub use cli::{Docker, docker};
pub use e2e_common::{Engine, IDLE, IMAGE, Output, Running, container, host, wait};

/// A container of the shared daemon.
pub type Container = container::Container<Docker>;

/// `docker run --rm FLAGS IMAGE COMMAND` in the foreground, to its end.
#[track_caller]
pub fn run(flags: &[&str], command: &[&str]) -> Output {
    Container::feed(flags, command, b"")
}
