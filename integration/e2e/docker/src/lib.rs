//! A Docker daemon of one's own, and the host seen from outside its containers.
//!
//! * [`keeper`]: runs a dockerd in private mount and network namespaces and removes every trace of
//!   it, whichever way its user ends; the program `private-dockerd`.
//! * [`daemon`]: the one daemon that all tests of a binary share.
//! * [`cli`], [`session`]: the `docker` command, at once or in conversation (pipes or a pty).
//! * [`container`]: a container that is removed when its handle goes out of scope.
//! * [`host`]: what this machine can do, and what the kernel says about a process.
//! * [`wait`]: every wait of the tests has a deadline.

pub mod cgroup;
pub mod cli;
pub mod container;
pub mod daemon;
pub mod host;
mod image;
pub mod keeper;
pub mod session;
pub mod wait;

pub use cli::{Output, docker};
pub use container::{Container, IDLE, IMAGE, run};
pub use session::Session;
