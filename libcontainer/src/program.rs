//! Programs of the host that run beside containers: hooks, and what a shim is told to run.

use std::process::Command;

use nix::sys::signal::SigSet;

use crate::sys;

/// Has a program start with no signal blocked, whatever the calling thread blocks: execve(2) keeps the
/// mask (signal(7)), and Rust's library does, too. A program that gets no SIGCHLD may wait for its own
/// children for ever (dash's `wait`), and one that gets no SIGTERM cannot be asked to end.
pub fn unblocked(command: &mut Command) -> &mut Command {
    // Mostly there is nothing to do, and a child without that shares memory until it executes.
    if SigSet::thread_get_mask().is_ok_and(|mask| mask != SigSet::empty()) {
        sys::process::with_no_signal_blocked(command);
    }
    command
}
