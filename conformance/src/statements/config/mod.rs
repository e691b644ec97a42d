//! config.md, one file per part of the document.

use std::process::{Command, Stdio};

use integration::{Bundle, Output, Test, wait};
use serde_json::Value;

use crate::Statement;

mod annotations;
mod capabilities;
mod extensibility;
mod hooks;
mod idmap;
mod io_and_cpu;
mod linux_process;
mod mount_options;
mod mounts;
mod names;
mod place;
mod platform;
mod process;
mod propagation;
mod recursive;
mod rlimits;
mod root;
mod scheduler;
mod user;
mod version;

/// The lists of this document's files, in the document's order.
pub const LISTS: &[&[Statement]] = &[
    version::STATEMENTS,
    root::STATEMENTS,
    mounts::STATEMENTS,
    mount_options::STATEMENTS,
    propagation::STATEMENTS,
    recursive::STATEMENTS,
    idmap::STATEMENTS,
    mounts::POSIX,
    idmap::POSIX,
    process::STATEMENTS,
    rlimits::STATEMENTS,
    linux_process::APPARMOR,
    capabilities::STATEMENTS,
    linux_process::STATEMENTS,
    scheduler::STATEMENTS,
    linux_process::SELINUX,
    io_and_cpu::STATEMENTS,
    user::ZOS,
    user::STATEMENTS,
    names::STATEMENTS,
    platform::STATEMENTS,
    hooks::LISTS[0],
    hooks::LISTS[1],
    annotations::STATEMENTS,
    extensibility::STATEMENTS,
];

const WINDOWS: &str = "it is about another platform: Windows";
const SOLARIS: &str = "it is about another platform: Solaris";
const AUTHOR: &str = "it binds the author of the configuration, not the runtime";

/// Runs a bundle that is not valid: the runtime has to end by itself with a message, before the
/// program ran.
#[track_caller]
fn refuses(test: &Test, bundle: &Bundle) {
    let output = test.run(bundle);
    let name = bundle.dir.file_name().unwrap_or_default();
    assert!(!output.stdout.contains("\"pid\""), "the program of {name:?} ran all the same");
    output.fails();
}

/// Runs the bundle by a runtime that `changer` executes, a program with arguments which changes
/// itself first: `&["nice", "-n", "11"]`. `None` where there is no such program.
#[track_caller]
fn run_by(test: &Test, changer: &[&str], bundle: &Bundle) -> Option<Output> {
    Command::new(changer[0]).arg("--version").output().ok()?;
    let mut command = Command::new(changer[0]);
    command.args(&changer[1..]).arg(test.program()).arg("--root").arg(test.root());
    command.args(["run", "--bundle"]).arg(&bundle.dir).arg(test.id());
    Some(wait::output(command.stdin(Stdio::null())))
}

/// The bundle with `process.<key>` changed.
fn process(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["process"][key] = value)
}

/// Takes a property out of an object.
fn remove(object: &mut Value, key: &str) {
    object.as_object_mut().expect("an object").remove(key);
}
