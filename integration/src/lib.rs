//! Tests of a container runtime on the real kernel. The runtime is a program with runc's command
//! line, named by the environment variable `RUNTIME` (a path or a name in `PATH`), so that the same
//! tests judge rtn, runc and crun; without it, the release build of `rtn` in the target directory.
//!
//! ```text
//! cargo build --release --target x86_64-unknown-linux-gnu -p rtn
//! cargo test --target x86_64-unknown-linux-gnu -p integration
//! RUNTIME=runc cargo test --target x86_64-unknown-linux-gnu -p integration
//! ```
//!
//! A test makes a [`Test`], which owns a directory, a mount namespace and a container id, and looks
//! at the end whether the host is as it was. It makes a [`Bundle`] from it, runs the bundle, and
//! compares what the [`probe`] saw inside, or what the host shows, with what config.json asked for.
//!
//! `RTN_MODE` says who makes the cgroups and whose the runtime is; see [`mode`].
//!
//! `RTN_STRICT_SKIPS=1` turns every skip into a failure that this machine does not excuse; see
//! [`host`].

pub mod bundle;
pub mod console;
pub mod container;
pub mod host;
pub mod leftovers;
pub mod mode;
pub mod output;
pub mod runtime;
pub mod test;
pub mod wait;

pub use bundle::Bundle;
pub use container::Container;
pub use host::Feature;
pub use mode::Mode;
pub use output::Output;
pub use probe::{Capabilities, Facts, HookCall, Mount, Place, Stat, collect};
pub use runtime::{Kind, Runtime};
pub use test::Test;
