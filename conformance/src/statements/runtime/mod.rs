//! runtime.md and runtime-linux.md: the state, the life and the operations of a container.
//!
//! The specification leaves it open how an error is shown (runtime.md "Errors"). Here an operation
//! generates an error when its command ends with another status than 0 and says why: nothing else
//! reaches the caller of a command line.

use integration::{Test, test::hook_calls};

use crate::Statement;

mod after_create;
mod create;
mod hooks;
mod lifecycle;
mod linux;
mod state;

/// The section that two of these files share.
const LIFECYCLE: &str = r#"runtime.md "Lifecycle""#;

pub const LISTS: &[&[Statement]] = &[
    state::STATEMENTS,
    lifecycle::STATEMENTS,
    hooks::STATEMENTS,
    lifecycle::ERRORS,
    create::STATEMENTS,
    after_create::STATEMENTS,
    linux::STATEMENTS,
];

/// Where the hooks of `test` that run in the runtime's namespaces write.
fn hook_log(test: &Test) -> std::path::PathBuf {
    test.dir().join("hooks.log")
}

/// The labels of the hooks that ran in the runtime's namespaces so far, in their order.
fn hooks_that_ran(test: &Test) -> Vec<String> {
    hook_calls(&hook_log(test)).into_iter().map(|call| call.label).collect()
}

/// An operation that is not told which container it is about.
fn without_id(test: &Test, operation: &str) {
    test.call(&[operation]).fails();
}
