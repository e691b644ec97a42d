//! What a pod costs that does nothing.

use e2e_common::host;
use e2e_containerd::{Container, container, daemon, wait};

e2e_common::tests! {
    one_thread_and_little_memory
    nothing_piles_up
}

/// Pages that are the process's own. A debug build and its symbols are in other pages.
fn anonymous_kib(pid: u32) -> u64 {
    let rollup = host::proc(pid, "smaps_rollup");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("smaps_rollup has a line for it")
}

fn one_thread_and_little_memory() {
    let container = Container::idle();
    let shim = container.shim();
    let threads: u32 = host::status(shim, "Threads").parse().expect("a number");
    let anonymous = anonymous_kib(shim);
    match daemon::shared().is_rtn() {
        true => assert!(threads == 1 && anonymous < 2048, "{threads} threads, {anonymous} KiB"),
        false => assert!(threads > 1, "{threads} threads"),
    }
}

/// Descriptors and memory of a shim after many execs are those of one after a few.
fn nothing_piles_up() {
    let container = Container::idle();
    let shim = container.shim();
    let descriptors =
        || std::fs::read_dir(format!("/proc/{shim}/fd")).map(Iterator::count).expect("it lives");
    container.exec(&[], &["true"]).code(0);
    let before = descriptors();
    for _ in 0..20 {
        container.exec(&[], &["true"]).code(0);
    }
    container.exec(&[], &[&container::name("/missing")]).fails("no such file");
    match daemon::shared().is_rtn() {
        // Of the last one there may be something yet, and may have been of the first.
        true => wait::until("no more than before", || (descriptors() <= before).then_some(())),
        // It keeps some for later; a descriptor for each would be a leak.
        false => assert!(descriptors() < before + 20),
    }
}
