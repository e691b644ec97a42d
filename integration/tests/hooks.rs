//! Hooks: the six kinds, when and where they run, and what a failing one does (runtime spec,
//! config.md "POSIX-platform Hooks", runtime.md "Lifecycle").

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use integration::{
    Bundle, Feature, HookCall, Kind, Test, bundle::PROBE, bundle::push, host, needs, only_on,
    test::hook_calls, wait,
};
use serde_json::json;

/// The kinds that run outside of the container's root, in the order of their time.
const OUTSIDE: [&str; 5] =
    ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

fn log(test: &Test) -> PathBuf {
    test.dir().join("hooks.log")
}

/// Adds `probe hook` to the hooks of `kind`; `startContainer` runs the container's own probe.
fn hook(test: &Test, bundle: Bundle, kind: &str, label: &str, status: u8) -> Bundle {
    let (probe, log) = match kind {
        "startContainer" => ("/bin/probe".into(), PathBuf::from("/hooks.log")),
        _ => (PROBE.to_owned(), log(test)),
    };
    let args = json!(["any name", "hook", label, log, status.to_string()]);
    bundle.edit(|config| {
        push(&mut config["hooks"][kind], json!({ "path": probe, "args": args, "env": ["HOOK=1"] }))
    })
}

fn labels(calls: &[HookCall]) -> Vec<&str> {
    calls.iter().map(|call| call.label.as_str()).collect()
}

#[test]
fn hooks_run_in_the_order_of_the_lifecycle() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's start does not wait for the startContainer hooks");
    let bundle = OUTSIDE.iter().fold(test.bundle(), |b, kind| hook(&test, b, kind, kind, 0));
    let bundle = hook(&test, bundle, "startContainer", "startContainer", 0);
    let container = test.create(&bundle.serve());
    if !test.excuses(
        &[Kind::Runc],
        "poststart comes too early before runc 1.4 (opencontainers/runc#4347)",
    ) {
        assert_eq!(
            labels(&hook_calls(&log(&test))),
            ["prestart", "createRuntime", "createContainer"]
        );
    }
    container.start();
    let inside = hook_calls(&test.dir().join("bundle/rootfs/hooks.log"));
    assert_eq!(labels(&inside), ["startContainer"]);
    assert_eq!(labels(&hook_calls(&log(&test)))[3..], ["poststart"]);
    container.kill("KILL");
    container.wait();
    assert_eq!(hook_calls(&log(&test)).len(), 4, "poststop belongs to delete");
    container.delete();
    assert_eq!(labels(&hook_calls(&log(&test)))[4..], ["poststop"]);
}

#[test]
fn run_runs_all_hooks() {
    let test = Test::new();
    let bundle = OUTSIDE.iter().fold(test.bundle(), |b, kind| hook(&test, b, kind, kind, 0));
    test.run(&bundle.args(&["/bin/true"])).ok();
    let calls = hook_calls(&log(&test));
    assert_eq!(
        labels(&calls),
        ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    );
}

#[test]
fn several_hooks_of_a_kind_run_in_their_order() {
    let test = Test::new();
    let bundle = ["a", "b", "c"]
        .iter()
        .fold(test.bundle(), |b, label| hook(&test, b, "createRuntime", label, 0));
    test.run(&bundle.args(&["/bin/true"])).ok();
    assert_eq!(labels(&hook_calls(&log(&test))), ["a", "b", "c"]);
}

#[test]
fn hooks_run_in_the_namespaces_of_their_kind() {
    let test = Test::new();
    let bundle = OUTSIDE.iter().fold(test.bundle(), |b, kind| hook(&test, b, kind, kind, 0));
    let bundle = hook(&test, bundle, "startContainer", "startContainer", 0);
    let container = test.create(&bundle.serve());
    container.start();
    let own = host::namespaces(container.pid);
    container.remove();
    let outer = host::namespaces(std::process::id() as i32);
    let mut calls = hook_calls(&log(&test));
    calls.extend(hook_calls(&test.dir().join("bundle/rootfs/hooks.log")));
    assert_eq!(calls.len(), 6);
    for call in calls {
        let inside = ["createContainer", "startContainer"].contains(&call.label.as_str());
        for name in ["ipc", "uts", "net", "pid"] {
            let expected = if inside { own[name] } else { outer[name] };
            assert_eq!(call.namespaces[name], expected, "{name} of {}", call.label);
        }
        assert_eq!(call.namespaces["mnt"] == own["mnt"], inside, "mnt of {}", call.label);
    }
}

#[test]
fn the_state_is_on_standard_input() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 calls every state before start `created`");
    let early = test.excuses(&[Kind::Runc], "poststart comes too early before runc 1.4");
    let bundle = OUTSIDE.iter().fold(test.bundle(), |b, kind| hook(&test, b, kind, kind, 0));
    let bundle = hook(&test, bundle, "startContainer", "startContainer", 0);
    let bundle =
        bundle.edit(|config| config["annotations"] = json!({ "org.example.key": "value" }));
    let container = test.create(&bundle.serve());
    container.start();
    container.remove();
    let mut calls = hook_calls(&log(&test));
    calls.extend(hook_calls(&test.dir().join("bundle/rootfs/hooks.log")));
    for HookCall { label, state, .. } in calls {
        assert_eq!(state["id"], test.id(), "{label}");
        assert_eq!(state["bundle"], json!(test.dir().join("bundle")), "{label}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{label}");
        assert!(state["ociVersion"].is_string(), "{label}");
        let status = match label.as_str() {
            "poststart" if early => "created",
            "poststart" => "running",
            "poststop" => "stopped",
            "startContainer" => "created",
            _ => "creating",
        };
        assert_eq!(state["status"], status, "{label}");
        let pid = state["pid"].as_i64().unwrap_or_default();
        match label.as_str() {
            "poststop" => assert_eq!(pid, 0, "nothing runs any more"),
            // Both are in the container's pid namespace and cannot see the host's pid.
            "createContainer" | "startContainer" => {
                assert!(pid == 1 || pid == i64::from(container.pid), "{label}: {pid}")
            }
            _ => assert_eq!(pid, i64::from(container.pid), "{label}"),
        }
    }
}

#[test]
fn a_hook_gets_its_arguments_and_environment_and_nothing_else() {
    let test = Test::new();
    let bundle = hook(&test, test.bundle(), "createRuntime", "label", 0);
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    integration::wait::output(command.env("SECRET", "1")).ok();
    let calls = hook_calls(&log(&test));
    assert_eq!(calls[0].argv[..3], ["any name", "hook", "label"]);
    assert_eq!(calls[0].env, ["HOOK=1"]);
}

#[test]
fn hooks_before_the_container_may_change_its_namespaces() {
    let test = Test::new();
    needs!(Feature::Root);
    let script = "pid=$(cat /dev/stdin | tr , '\\n' | grep '\"pid\"' | tr -dc 0-9); \
                  nsenter --target $pid --uts hostname from-a-hook";
    let bundle = test.bundle().edit(|config| {
        config["hostname"] = json!(null);
        push(&mut config["hooks"]["createRuntime"], json!({
            "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        }));
    });
    assert_eq!(test.facts(&bundle).hostname, "from-a-hook");
}

#[test]
fn create_container_hooks_see_the_mounts_before_the_root_is_changed() {
    let test = Test::new();
    let script =
        format!("mount | grep -q '{}/proc type proc'", test.dir().join("bundle/rootfs").display());
    let bundle = test.bundle().edit(|config| {
        push(&mut config["hooks"]["createContainer"], json!({
            "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        }));
    });
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn a_failing_hook_before_start_stops_everything() {
    let test = Test::new();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = hook(&test, test.bundle_named(kind), kind, "fails", 3);
        let bundle = hook(&test, bundle, kind, "never", 0);
        let output = test.create_fails(&hook(&test, bundle, "poststop", "poststop", 0));
        assert!(output.stderr.contains("hook"), "{kind}: {output:?}");
        let calls = hook_calls(&log(&test));
        assert_eq!(calls[0].label, "fails", "{kind}");
        assert!(!labels(&calls).contains(&"never"), "{kind}");
        if !test.excuses(&[Kind::Crun], "poststop hooks are left out") {
            assert_eq!(labels(&calls)[1..], ["poststop"], "{kind}");
        }
        fs::remove_file(log(&test)).expect("the log");
    }
}

#[test]
fn a_failing_start_container_hook_keeps_the_program_from_running() {
    let test = Test::new();
    let bundle = hook(&test, test.bundle(), "startContainer", "fails", 3);
    let output = test.run(&bundle.args(&["/bin/probe", "write", "/ran", "x"]));
    output.fails();
    assert!(!bundle_file(&test, "ran").exists());
}

/// runtime-spec 1.3, runtime.md "Lifecycle", steps 8, 9 and 12.
#[test]
fn a_hook_that_fails_at_start_ends_the_container() {
    let test = Test::new();
    only_on!(
        test,
        [Rtn],
        "neither runc's nor crun's start waits for what a startContainer hook does"
    );
    for kind in ["startContainer", "poststart"] {
        let bundle = hook(&test, test.bundle_named(kind), kind, "fails", 3);
        let bundle = hook(&test, bundle, "poststop", "poststop", 0);
        let container = test.create(&bundle.args(&["/bin/sleep", "1000"]));
        let output = container.call(&["start"]);
        output.fails_with(&format!("error running {kind} hook #0"));
        container.wait();
        test.assert_unknown();
        test.assert_clean();
        let calls = hook_calls(&log(&test));
        assert_eq!(labels(&calls).last(), Some(&"poststop"), "{kind}");
        fs::remove_file(log(&test)).expect("the log");
    }
}

#[test]
fn start_tells_why_the_program_cannot_run() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc and crun tell the container's stderr, where nobody may be");
    let bundle = test.bundle();
    let program = bundle.rootfs().join("bin/nonsense");
    fs::write(&program, [0xff; 64]).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let container = test.create(&bundle.args(&["/bin/nonsense"]));
    container.call(&["start"]).fails_with("exec format error");
    assert_eq!(container.wait(), 1);
    assert_eq!(container.status(), "stopped");
    container.delete();
}

fn bundle_file(test: &Test, name: &str) -> PathBuf {
    test.dir().join("bundle/rootfs").join(name)
}

#[test]
fn a_failing_poststop_hook_does_not_keep_the_container_from_being_deleted() {
    let test = Test::new();
    let bundle = hook(&test, test.bundle(), "poststop", "fails", 3);
    let bundle = hook(&test, bundle, "poststop", "second", 0);
    let container = test.start(&bundle.args(&["/bin/true"]));
    container.wait();
    container.call(&["delete"]);
    let labels: Vec<String> = hook_calls(&log(&test)).into_iter().map(|call| call.label).collect();
    if !test.excuses(&[Kind::Runc, Kind::Crun], "the hooks after a failed one are left out") {
        assert_eq!(labels, ["fails", "second"]);
    }
    // runc 1.1 gives up halfway and has to be asked again.
    if test.excuses(&[Kind::Runc], "the container stays when the hook fails") {
        container.remove();
    }
}

#[test]
fn a_hook_that_hangs_is_ended_by_its_timeout() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        push(
            &mut config["hooks"]["createRuntime"],
            json!({
                "path": "/bin/sleep", "args": ["sleep", test.id(), "1000"], "timeout": 1,
            }),
        );
        config["hooks"]["createRuntime"][0]["args"] = json!(["sleep", "1000"]);
    });
    assert!(test.create_fails(&bundle).stderr.contains("hook"));
}

/// Who deletes what is being made means all of it: the create, which waits for the hook, ends.
#[test]
fn a_hook_that_hangs_is_ended_with_its_container() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc and crun remove the state, and leave create and its hook");
    let runs = test.dir().join("runs");
    let script = format!(": >{runs:?}; exec sleep 1000");
    let bundle = test.bundle().edit(|config| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        push(&mut config["hooks"]["createRuntime"], hook);
    });
    let mut command =
        test.command(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let (mut create, _output) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    wait::until(test.dir(), || runs.exists());
    test.call(&["delete", "--force", test.id()]).ok();
    assert_ne!(wait::exit_status(&mut create, &command), 0);
    test.assert_clean();
}

#[test]
fn a_missing_hook_is_an_error() {
    let test = Test::new();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = test.bundle_named(kind).edit(|config| {
            push(&mut config["hooks"][kind], json!({ "path": "/not/there" }));
        });
        let output = test.create_fails(&bundle);
        assert!(output.stderr.contains("/not/there"), "{kind}: {output:?}");
    }
}

#[test]
fn what_a_failing_hook_wrote_is_in_the_message() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        push(
            &mut config["hooks"]["createRuntime"],
            json!({
                "path": "/bin/sh", "args": ["sh", "-c", "echo the-reason >&2; exit 1"],
            }),
        );
    });
    let output = test.create_fails(&bundle);
    only_on!(test, [Rtn, Runc], "crun drops what a hook writes");
    assert!(output.stderr.contains("the-reason"), "{output:?}");
}

#[test]
fn a_hook_that_ignores_its_input_is_fine() {
    let test = Test::new();
    let annotations: serde_json::Map<String, serde_json::Value> =
        (0..3000).map(|n| (format!("org.example.{n}"), json!("x".repeat(100)))).collect();
    let bundle = test.bundle().edit(|config| {
        config["annotations"] = annotations.into();
        push(&mut config["hooks"]["createRuntime"], json!({ "path": "/bin/true" }));
    });
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn a_hook_may_write_more_than_a_pipe_holds() {
    let test = Test::new();
    for (name, status) in [("succeeds", 0), ("fails", 1)] {
        let script =
            format!("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit {status}");
        let bundle = test.bundle_named(name).edit(|config| {
            push(&mut config["hooks"]["createRuntime"], json!({
                "path": "/bin/busybox", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"],
            }));
        });
        let output = test.run(&bundle.args(&["/bin/true"]));
        assert_eq!(output.status == 0, status == 0, "{name}: {}", output.status);
        if !test.excuses(&[Kind::Runc], "all of it is in the message") {
            assert!(output.stderr.len() < 2_000_000, "all of it is in the message");
        }
    }
}
