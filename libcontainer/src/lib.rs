//! From an OCI bundle to a running Linux container.
//!
//! One way through the house: [`bundle`] reads config.json, [`host`] looks at the machine once,
//! [`plan`] decides everything without touching either, `launch` and `init` carry the plan out on
//! the two sides of a clone3, and [`container`] speaks about the result.

pub mod bundle;
pub mod cgroup;
pub mod container;
pub mod error;
pub mod exe;
mod explain;
mod hooks;
pub mod host;
mod idmap;
pub mod image;
mod init;
mod join;
mod launch;
pub mod mask;
mod namespaces;
mod network;
pub mod plan;
mod process;
pub mod program;
pub mod resctrl;
mod rootfs;
pub mod sandbox;
pub mod seccomp;
mod sources;
mod spawn;
mod step;
mod sync;
#[allow(unsafe_code)]
mod sys;

pub use error::{Error, Kind, Result};
pub use oci_spec::runtime as spec;
