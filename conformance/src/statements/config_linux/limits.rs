//! What the statements on resources have in common: a container with one of `linux.resources`, and
//! what the files of its cgroup hold. Which files those are depends on the version of cgroups.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use integration::{Bundle, Container, Output, Test, host};
use serde_json::Value;

/// Another bundle with `linux.resources.<key>`, whose process waits to be ended.
pub(super) fn bundle(test: &Test, key: &str, value: Value) -> Bundle {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let bundle = test.bundle_named(&format!("bundle{number}"));
    bundle.edit(|config| config["linux"]["resources"][key] = value).serve()
}

/// A file and what it has to hold: all of it, or one of its lines.
pub(super) type Expected<'a> = (&'a str, &'a str);

/// Fails unless a container with `linux.resources.<key>` has these files in its cgroup.
#[track_caller]
pub(super) fn written(
    test: &Test,
    key: &str,
    value: Value,
    v1: &[Expected<'_>],
    v2: &[Expected<'_>],
) {
    let expected = if host::unified() { v2 } else { v1 };
    if expected.is_empty() {
        host::skipped("this version of cgroups has no such file");
        return;
    }
    let container = test.create(&bundle(test, key, value));
    let found: Vec<String> = expected.iter().map(|(name, _)| file(&container, name)).collect();
    // A process that has been given little to run with needs its time to end.
    container.kill("KILL");
    container.wait();
    container.delete();
    for ((name, wanted), found) in expected.iter().zip(found) {
        let holds = found == *wanted || found.lines().any(|line| line == *wanted);
        assert!(holds, "{name} holds {found:?}, not {wanted:?}");
    }
}

/// The directory of the container's cgroup in the hierarchy of this controller (its v1 name).
pub(super) fn directory(container: &Container<'_>, controller: &str) -> PathBuf {
    container.cgroup(if host::unified() { "" } else { controller })
}

/// The content of a file (`memory.max`, `memory.limit_in_bytes`) of the container's cgroup.
#[track_caller]
pub(super) fn file(container: &Container<'_>, name: &str) -> String {
    let controller = name.split('.').next().expect("a controller");
    let path = directory(container, controller).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// A number that one of two files holds, whichever version of cgroups there is.
#[track_caller]
pub(super) fn number(container: &Container<'_>, v1: &str, v2: &str) -> u64 {
    let name = if host::unified() { v2 } else { v1 };
    let text = file(container, name);
    let last = text.lines().next().and_then(|line| line.split(' ').next_back());
    last.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} holds {text:?}"))
}

/// Creates what a runtime has to refuse; fails if it does not.
#[track_caller]
pub(super) fn refused(test: &Test, key: &str, value: Value) -> Output {
    let told = value.to_string();
    let output = call(test, &bundle(test, key, value));
    assert_ne!(output.status, 0, "{key} {told} was accepted");
    output.fails();
    output
}

/// `create`, whatever comes of it.
pub(super) fn call(test: &Test, bundle: &Bundle) -> Output {
    test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()])
}
