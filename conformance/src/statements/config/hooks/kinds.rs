//! config.md, the headings "Prestart" to "Poststop": when and where the hooks of each kind run.

use std::{fs, path::Path};

use integration::{Test, host};
use serde_json::json;

use super::{Life, calls, entry, identity, labels, log, telling};
use crate::{Statement, hook, must};

const PRESTART: &str = r#"config.md "Prestart""#;
const CREATE_RUNTIME: &str = r#"config.md "CreateRuntime Hooks""#;
const CREATE_CONTAINER: &str = r#"config.md "CreateContainer Hooks""#;
const START_CONTAINER: &str = r#"config.md "StartContainer Hooks""#;
const POSTSTART: &str = r#"config.md "Poststart""#;
const POSTSTOP: &str = r#"config.md "Poststop""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config.hooks.prestart.when",
        PRESTART,
        "The prestart hooks MUST be called as part of the create operation after the runtime \
         environment has been created (according to the configuration in config.json) but before \
         the pivot_root or any equivalent operation has been executed.",
    )
    .test(|test| between_mounts_and_pivot(test, "prestart")),
    must(
        "config.hooks.prestart.before-create-runtime",
        PRESTART,
        "The prestart hooks MUST be called before the createRuntime hooks.",
    )
    .test(|test| in_this_order(test, "prestart", "createRuntime")),
    must(
        "config.hooks.prestart.path",
        PRESTART,
        "The prestart hooks' path MUST resolve in the runtime namespace.",
    )
    .test(|test| is_found_outside(test, "prestart")),
    must(
        "config.hooks.prestart.namespace",
        PRESTART,
        "The prestart hooks MUST be executed in the runtime namespace.",
    )
    .test(|test| runs_outside(test, "prestart")),
    must(
        "config.hooks.create-runtime.when",
        CREATE_RUNTIME,
        "The createRuntime hooks MUST be called as part of the create operation after the runtime \
         environment has been created (according to the configuration in config.json) but before \
         the pivot_root or any equivalent operation has been executed.",
    )
    .test(|test| between_mounts_and_pivot(test, "createRuntime")),
    must(
        "config.hooks.create-runtime.path",
        CREATE_RUNTIME,
        "The createRuntime hooks' path MUST resolve in the runtime namespace.",
    )
    .test(|test| is_found_outside(test, "createRuntime")),
    must(
        "config.hooks.create-runtime.namespace",
        CREATE_RUNTIME,
        "The createRuntime hooks MUST be executed in the runtime namespace.",
    )
    .test(|test| runs_outside(test, "createRuntime")),
    must(
        "config.hooks.create-container.when",
        CREATE_CONTAINER,
        "The createContainer hooks MUST be called as part of the create operation after the \
         runtime environment has been created (according to the configuration in config.json) but \
         before the pivot_root or any equivalent operation has been executed.",
    )
    .test(|test| {
        let bundle = telling(test, "createContainer").serve();
        let proc = bundle.rootfs().join("proc").to_string_lossy().into_owned();
        let container = test.create(&bundle);
        let after_create = calls(test, &bundle);
        container.remove();
        assert_eq!(labels(&after_create), ["createContainer"]);
        let place = &after_create[0].place;
        assert_eq!(place.root, identity(Path::new("/")), "the root is still the host's");
        assert!(place.mounts.contains(&proc), "no {proc} in {:?}", place.mounts);
    }),
    must(
        "config.hooks.create-container.after-create-runtime",
        CREATE_CONTAINER,
        "The createContainer hooks MUST be called after the createRuntime hooks.",
    )
    .test(|test| in_this_order(test, "createRuntime", "createContainer")),
    must(
        "config.hooks.create-container.path",
        CREATE_CONTAINER,
        "The createContainer hooks' path MUST resolve in the runtime namespace.",
    )
    .test(|test| is_found_outside(test, "createContainer")),
    must(
        "config.hooks.create-container.namespace",
        CREATE_CONTAINER,
        "The createContainer hooks MUST be executed in the container namespace.",
    )
    .test(|test| runs_inside(test, "createContainer")),
    must(
        "config.hooks.start-container.when",
        START_CONTAINER,
        "The startContainer hooks MUST be called before the user-specified process is executed as \
         part of the start operation.",
    )
    .test(|test| {
        let bundle = telling(test, "startContainer").args(&["/bin/cat", "/hooks.log"]);
        let mut container = test.create(&bundle);
        let after_create = calls(test, &bundle);
        container.start();
        let seen_by_the_process = container.output();
        container.wait();
        container.delete();
        assert_eq!(labels(&after_create), [""; 0], "called by create");
        assert!(seen_by_the_process.contains("startContainer"), "{seen_by_the_process:?}");
    }),
    must(
        "config.hooks.start-container.path",
        START_CONTAINER,
        "The startContainer hooks' path MUST resolve in the container namespace.",
    )
    .test(|test| {
        let bundle = test.bundle();
        fs::create_dir(bundle.rootfs().join("only-inside")).expect("a directory");
        fs::copy(bundle.rootfs().join("bin/probe"), bundle.rootfs().join("only-inside/probe"))
            .expect("a copy");
        let hook = json!({
            "path": "/only-inside/probe", "args": ["probe", "hook", "inside", "/hooks.log"],
        });
        let life = Life::of(test, entry(bundle, "startContainer", hook));
        assert_eq!(labels(&life.calls), ["inside"]);
    }),
    must(
        "config.hooks.start-container.namespace",
        START_CONTAINER,
        "The startContainer hooks MUST be executed in the container namespace.",
    )
    .test(|test| runs_inside(test, "startContainer")),
    must(
        "config.hooks.poststart.when",
        POSTSTART,
        "The poststart hooks MUST be called after the user-specified process is executed but \
         before the start operation returns.",
    )
    .test(|test| {
        let bundle = telling(test, "poststart").serve();
        let program = identity(&bundle.rootfs().join("bin/probe"));
        let container = test.create(&bundle);
        let after_create = calls(test, &bundle);
        container.start();
        let after_start = calls(test, &bundle);
        container.remove();
        assert_eq!(labels(&after_create), [""; 0], "called by create");
        assert_eq!(labels(&after_start), ["poststart"], "when start returned");
        assert_eq!(after_start[0].container.exe, program, "the program ran when it was called");
    }),
    must(
        "config.hooks.poststart.path",
        POSTSTART,
        "The poststart hooks' path MUST resolve in the runtime namespace.",
    )
    .test(|test| is_found_outside(test, "poststart")),
    must(
        "config.hooks.poststart.namespace",
        POSTSTART,
        "The poststart hooks MUST be executed in the runtime namespace.",
    )
    .test(|test| runs_outside(test, "poststart")),
    must(
        "config.hooks.poststop.when",
        POSTSTOP,
        "The poststop hooks MUST be called after the container is deleted but before the delete \
         operation returns.",
    )
    .test(the_container_is_gone_at_poststop),
    must(
        "config.hooks.poststop.path",
        POSTSTOP,
        "The poststop hooks' path MUST resolve in the runtime namespace.",
    )
    .test(|test| is_found_outside(test, "poststop")),
    must(
        "config.hooks.poststop.namespace",
        POSTSTOP,
        "The poststop hooks MUST be executed in the runtime namespace.",
    )
    .test(|test| runs_outside(test, "poststop")),
];

/// Judges a kind that runs outside, by what it sees of the container's process.
#[track_caller]
fn between_mounts_and_pivot(test: &Test, kind: &str) {
    let bundle = telling(test, kind).serve();
    let proc = bundle.rootfs().join("proc").to_string_lossy().into_owned();
    let container = test.create(&bundle);
    let after_create = calls(test, &bundle);
    container.remove();
    assert_eq!(labels(&after_create), [kind]);
    let place = &after_create[0].container;
    assert_eq!(place.root, identity(Path::new("/")), "the container's root is still the host's");
    assert!(place.mounts.contains(&proc), "no {proc} in {:?}", place.mounts);
}

#[track_caller]
fn in_this_order(test: &Test, first: &str, second: &str) {
    // The later kind comes first in config.json.
    let bundle = hook::telling(telling(test, second), first, first, &log(test));
    assert_eq!(labels(&Life::of(test, bundle).calls), [first, second]);
}

/// The hook's program is not in the container's root filesystem.
#[track_caller]
fn is_found_outside(test: &Test, kind: &str) {
    let program = test.dir().join("only-outside");
    fs::copy(integration::bundle::PROBE, &program).expect("a copy");
    let hook = json!({ "path": program, "args": ["probe", "hook", kind, log(test)] });
    assert_eq!(labels(&Life::of(test, entry(test.bundle(), kind, hook)).calls), [kind]);
}

#[track_caller]
fn runs_outside(test: &Test, kind: &str) {
    let life = Life::of(test, telling(test, kind));
    assert_eq!(labels(&life.calls), [kind]);
    let call = &life.calls[0];
    let outer = host::namespaces(std::process::id() as i32);
    for name in ["ipc", "uts", "net", "pid", "user"] {
        assert_eq!(call.namespaces[name], outer[name], "{name} is not the runtime's");
    }
    assert_ne!(call.namespaces["mnt"], life.namespaces["mnt"], "mnt is the container's");
    assert_eq!(call.place.root, identity(Path::new("/")), "the root is not the host's");
}

#[track_caller]
fn runs_inside(test: &Test, kind: &str) {
    let life = Life::of(test, telling(test, kind));
    assert_eq!(labels(&life.calls), [kind]);
    for name in ["ipc", "uts", "net", "pid", "mnt"] {
        let (own, wanted) = (life.calls[0].namespaces[name], life.namespaces[name]);
        assert_eq!(own, wanted, "{name} is not the container's");
    }
}

/// The hook asks the runtime for the state of its container.
fn the_container_is_gone_at_poststop(test: &Test) {
    let answer = test.dir().join("answer");
    let script = format!(
        "'{}' --root '{}' state '{}' >/dev/null 2>&1; echo $? >'{}'",
        test.program().display(),
        test.root().display(),
        test.id(),
        answer.display(),
    );
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 20 });
    let container = test.start(&entry(test.bundle(), "poststop", hook).args(&["/bin/true"]));
    container.wait();
    let early = answer.exists();
    container.delete();
    assert!(!early, "called before delete");
    let status = fs::read_to_string(answer).expect("called when delete returned");
    assert_ne!(status.trim(), "0", "the container was still there");
}
