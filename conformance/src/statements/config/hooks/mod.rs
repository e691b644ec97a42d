//! config.md "POSIX-platform Hooks" and what is below it. What the list of properties says of a
//! kind it says again under the kind's own heading; here it stands once, there.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use integration::{Bundle, HookCall, Test, bundle::push, host, test::hook_calls};
use serde_json::{Value, json};

use crate::{Statement, hook};

mod entries;
mod kinds;

pub(super) const LISTS: [&[Statement]; 2] = [entries::STATEMENTS, kinds::STATEMENTS];

/// The log of the hooks that run outside.
fn log(test: &Test) -> PathBuf {
    test.dir().join("hooks.log")
}

/// Adds an entry to the hooks of a kind.
fn entry(bundle: Bundle, kind: &str, entry: Value) -> Bundle {
    bundle.edit(|config| push(&mut config["hooks"][kind], entry))
}

/// What the hooks of the bundle wrote so far, those outside first.
fn calls(test: &Test, bundle: &Bundle) -> Vec<HookCall> {
    let mut calls = hook_calls(&log(test));
    calls.extend(hook_calls(&hook::inside_log(bundle)));
    calls
}

fn labels(calls: &[HookCall]) -> Vec<&str> {
    calls.iter().map(|call| call.label.as_str()).collect()
}

/// What a container's whole life showed its hooks, and what the host saw of it.
struct Life {
    calls: Vec<HookCall>,
    /// The namespaces of the container.
    namespaces: std::collections::BTreeMap<String, u64>,
}

impl Life {
    /// Lives it: create, start, kill, delete.
    #[track_caller]
    fn of(test: &Test, bundle: Bundle) -> Self {
        let bundle = bundle.serve();
        let mut container = test.start(&bundle);
        container.expect("ready");
        let namespaces = host::namespaces(container.pid);
        container.kill("KILL");
        container.wait();
        container.delete();
        Self { calls: calls(test, &bundle), namespaces }
    }
}

/// (device, inode) of a file of the host.
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// One hook that tells, labelled with its kind.
fn telling(test: &Test, kind: &str) -> Bundle {
    hook::telling(test.bundle(), kind, kind, &log(test))
}

/// An entry that can be executed and changes nothing.
fn harmless(path: &str) -> Value {
    json!({ "path": path, "args": ["true"] })
}
