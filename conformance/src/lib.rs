//! Judges a container runtime by the OCI runtime specification: one [`Statement`] for each sentence
//! of it that binds a runtime, with the check that a runtime passes, or the reason why nobody can
//! see from outside whether it does.
//!
//! The runtime is a program with runc's command line, named by the environment variable `RUNTIME`;
//! its containers are made and looked at with the means of [`integration`]. Each check runs in a
//! process of its own ([`runner`]), so that one that hangs or crashes is one failure.

pub mod hook;
pub mod report;
pub mod runner;
pub mod runtime_tools;
pub mod statement;
pub mod statements;
pub mod text;

pub use statement::{
    Check, Level, Statement, may, must, must_not, optional, recommended, required, should,
    should_not,
};
