//! What the tests of container engines share. An engine (dockerd, podman) is driven by its own
//! command; what it did is looked for on the host.
//!
//! * [`Engine`]: how its client is called, and the calls themselves, at once or in conversation.
//! * [`container`]: a container that is removed when its handle goes out of scope.
//! * [`image`]: the image of the tests, made on the spot.
//! * [`host`]: what this machine can do, and what the kernel says about a process.
//! * [`list`]: tests that may skip with a reason, and the runtime that they judge.
//! * [`wait`]: every wait of the tests has a deadline.

pub mod cgroup;
pub mod command;
pub mod container;
mod engine;
pub mod host;
pub mod image;
pub mod list;
pub mod session;
pub mod wait;

pub use command::{Output, Running};
pub use container::{Container, IDLE, IMAGE};
pub use engine::Engine;
pub use list::trial;
pub use session::Session;
