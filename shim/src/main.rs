//! containerd's shim for rtn: one process with one thread for all containers of a pod.
//!
//! containerd calls this program in three ways, and the program calls itself in two more. `start`
//! finds or makes the process of the pod and prints its address, `delete` cleans up after one that
//! is dead, `-info` describes the runtime; without an action it is the process of a pod
//! (containerd, core/runtime/v2/README.md). `namespaces` makes those of a pod, and ends.

use std::{path::Path, process::ExitCode};

mod address;
mod birth;
mod bootstrap;
mod bundle;
mod cgroup;
mod children;
mod common;
mod delete;
mod dismiss;
mod error;
mod events;
mod flags;
mod info;
mod io;
mod log;
mod memory;
mod metrics;
mod oom;
mod options;
mod pod;
mod process;
mod ready;
mod rootfs;
mod runtime;
mod sandbox;
mod serve;
mod service;
mod stage;
mod start;
mod table;
mod task;

use error::Result;
use flags::{Action, Flags};

fn main() -> ExitCode {
    let outcome = Flags::parse(std::env::args().skip(1)).and_then(run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // containerd shows what a failed `start` or `delete` has printed.
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<()> {
    if flags.version {
        println!("{}:\n  Version:  {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if flags.info {
        return info::print();
    }
    match flags.action {
        Some(Action::Start) => start::run(&flags),
        Some(Action::Delete) => delete::run(&flags),
        Some(Action::Namespaces) => sandbox::namespaces::run(),
        Some(Action::Unmount) => rootfs::unmount(Path::new(bundle::ROOTFS)),
        None => serve::run(flags),
    }
}
