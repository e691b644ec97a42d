//! runtime.md "Scope of a Container" and "State".

use std::path::Path;

use integration::{Container, Test, host, test::hook_calls};
use serde_json::{Value, json};

use crate::{Statement, hook, may, must, optional, required, skip};

const SCOPE: &str = r#"runtime.md "Scope of a Container""#;
const STATE: &str = r#"runtime.md "State""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "runtime.scope.operations",
        SCOPE,
        "The entity using a runtime to create a container MUST be able to use the operations defined in \
         this specification against that same container.",
    )
    .test(the_creator_can_do_everything),
    required(
        "runtime.state.oci-version",
        STATE,
        "ociVersion (string, REQUIRED) is version of the Open Container Initiative Runtime Specification \
         with which the state complies.",
    )
    .test(the_version_is_one),
    required("runtime.state.id", STATE, "id (string, REQUIRED) is the container's ID.")
        .test(the_id_is_the_one_given),
    must("runtime.state.id-unique", STATE, "This MUST be unique across all containers on this host.")
        .untestable("a runtime knows the containers of one state directory, not those of the host"),
    required(
        "runtime.state.status",
        STATE,
        "status (string, REQUIRED) is the runtime state of the container.",
    )
    .test(|test| in_every_status(test, |state, _| assert!(state["status"].is_string(), "{state}"))),
    may(
        "runtime.state.status.creating",
        STATE,
        "The value MAY be one of: creating: the container is being created (step 2 in the lifecycle)",
    )
    .untestable("create is over when its caller can ask, and hooks run after step 2"),
    may(
        "runtime.state.status.created",
        STATE,
        "The value MAY be one of: created: the runtime has finished the create operation, and the \
         container process has neither exited nor executed the user-specified program",
    )
    .test(|test| {
        let container = test.create(&test.bundle());
        assert_eq!(container.status(), "created");
        container.remove();
    }),
    may(
        "runtime.state.status.running",
        STATE,
        "The value MAY be one of: running: the container process has executed the user-specified \
         program but has not exited",
    )
    .test(|test| {
        let container = test.serve(test.bundle());
        assert_eq!(container.status(), "running");
        container.remove();
    }),
    may(
        "runtime.state.status.stopped",
        STATE,
        "The value MAY be one of: stopped: the container process has exited",
    )
    .test(|test| {
        let container = ended(test);
        assert_eq!(container.status(), "stopped");
        container.delete();
    }),
    must(
        "runtime.state.status.additional",
        STATE,
        "Additional values MAY be defined by the runtime, however, they MUST be used to represent new \
         runtime states not defined above.",
    )
    .test(a_paused_container_is_not_called_by_another_states_name),
    required(
        "runtime.state.pid",
        STATE,
        "pid (int, REQUIRED when status is created or running on Linux) is the ID of the container \
         process.",
    )
    .test(the_pid_is_the_first_of_the_container),
    required(
        "runtime.state.pid.runtime-hooks",
        STATE,
        "pid (int, REQUIRED when status is created or running on Linux) […] For hooks executed in the \
         runtime namespace, it is the pid as seen by the runtime.",
    )
    .test(hooks_outside_see_the_pid_of_the_host),
    required(
        "runtime.state.pid.container-hooks",
        STATE,
        "pid (int, REQUIRED when status is created or running on Linux) […] For hooks executed in the \
         container namespace, it is the pid as seen by the container.",
    )
    .test(hooks_inside_see_the_pid_of_the_container),
    required(
        "runtime.state.bundle",
        STATE,
        "bundle (string, REQUIRED) is the absolute path to the container's bundle directory.",
    )
    .test(the_bundle_is_an_absolute_path),
    optional(
        "runtime.state.annotations",
        STATE,
        "annotations (map, OPTIONAL) contains the list of annotations associated with the container.",
    )
    .test(the_annotations_are_those_of_the_configuration),
    may(
        "runtime.state.annotations.absent",
        STATE,
        "If no annotations were provided then this property MAY either be absent or an empty map.",
    )
    .test(no_annotations_are_absent_or_empty),
    may("runtime.state.additional", STATE, "The state MAY include additional properties.")
        .untestable("it allows something and asks for nothing"),
    must(
        "runtime.state.schema",
        STATE,
        "When serialized in JSON, the format MUST adhere to the JSON Schema schema/state-schema.json.",
    )
    .test(|test| in_every_status(test, adheres_to_the_schema)),
];

fn the_creator_can_do_everything(test: &Test) {
    let mut container = test.create(&test.bundle().serve());
    container.state();
    container.start();
    container.expect("ready");
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    container.delete();
}

/// A container whose process has come to its end.
fn ended(test: &Test) -> Container<'_> {
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    container.wait();
    container
}

/// Looks at the state of a container that is created, running, stopped.
fn in_every_status(test: &Test, look: impl Fn(&Value, &Container<'_>)) {
    let mut container = test.create(&test.bundle().serve());
    look(&container.state(), &container);
    container.start();
    container.expect("ready");
    look(&container.state(), &container);
    container.kill("KILL");
    container.wait();
    look(&container.state(), &container);
    container.delete();
}

fn the_version_is_one(test: &Test) {
    in_every_status(test, |state, _| {
        let version = state["ociVersion"].as_str().expect("ociVersion is a string");
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        let parts: Vec<&str> = numbers.split('.').collect();
        let number = |part: &&str| part.parse::<u32>().is_ok();
        assert!(parts.len() == 3 && parts.iter().all(number), "no version: {version:?}");
        assert_eq!(parts[0], "1", "a state of version {version} is not this specification's");
    });
}

fn the_id_is_the_one_given(test: &Test) {
    in_every_status(test, |state, container| assert_eq!(state["id"], container.id));
}

fn a_paused_container_is_not_called_by_another_states_name(test: &Test) {
    let container = test.serve(test.bundle());
    let paused = container.call(&["pause"]).status == 0;
    let status = container.status();
    if paused {
        container.call(&["resume"]).ok();
    }
    container.remove();
    if !paused {
        skip!("the runtime cannot pause, so it has no state of its own");
    }
    let others = ["creating", "created", "stopped"];
    assert!(!others.contains(&status.as_str()), "a paused container is called {status}");
}

fn own_pid_namespace() -> u64 {
    host::namespaces(std::process::id() as i32)["pid"]
}

/// The last number in NSpid is the process's own view, see proc_pid_status(5).
fn pid_inside(pid: i64) -> Option<i64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

fn the_pid_is_the_first_of_the_container(test: &Test) {
    let mut container = test.create(&test.bundle().serve());
    let look = || {
        let pid = container.state()["pid"].as_i64().expect("pid is a number");
        assert_eq!(pid_inside(pid), Some(1), "process {pid} is not the container's first");
        assert_ne!(host::namespaces(pid as i32)["pid"], own_pid_namespace());
        pid
    };
    let created = look();
    container.start();
    container.expect("ready");
    assert_eq!(created, container.state()["pid"].as_i64().expect("pid is a number"));
    container.remove();
}

fn hooks_outside_see_the_pid_of_the_host(test: &Test) {
    let log = super::hook_log(test);
    let bundle = hook::telling(test.bundle(), "createRuntime", "createRuntime", &log);
    let bundle = hook::telling(bundle, "poststart", "poststart", &log);
    let container = test.serve(bundle);
    container.remove();
    let calls = hook_calls(&log);
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in calls {
        assert_eq!(call.state["pid"], container.pid, "in {}", call.label);
    }
}

fn hooks_inside_see_the_pid_of_the_container(test: &Test) {
    let log = super::hook_log(test);
    let bundle = hook::telling(test.bundle(), "createContainer", "createContainer", &log);
    let bundle = hook::telling(bundle, "startContainer", "startContainer", &log);
    let inside = hook::inside_log(&bundle);
    let container = test.serve(bundle);
    container.remove();
    let calls: Vec<_> = hook_calls(&log).into_iter().chain(hook_calls(&inside)).collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in calls {
        assert_eq!(call.state["pid"], 1, "in {}", call.label);
    }
}

fn the_bundle_is_an_absolute_path(test: &Test) {
    let bundle = test.bundle();
    let mut create = test.command(&["create", "--bundle", "bundle", "--pid-file"]);
    let pid_file = test.dir().join("pid");
    create.arg(&pid_file).arg(test.id()).current_dir(test.dir());
    let container = Container::from_command(test, test.id().into(), &mut create, pid_file);
    let state = container.state();
    container.remove();
    let told = Path::new(state["bundle"].as_str().expect("bundle is a string"));
    assert!(told.is_absolute(), "{told:?}");
    let same = (told.canonicalize().ok(), bundle.dir.canonicalize().ok());
    assert_eq!(same.0, same.1);
}

fn the_annotations_are_those_of_the_configuration(test: &Test) {
    let annotations = json!({ "org.example.one": "1", "org.example.empty": "" });
    let bundle = test.bundle().edit(|config| config["annotations"] = annotations.clone());
    let container = test.create(&bundle);
    let state = container.state();
    container.remove();
    assert_eq!(state["annotations"], annotations);
}

fn no_annotations_are_absent_or_empty(test: &Test) {
    in_every_status(test, |state, _| match state.get("annotations") {
        None => {}
        Some(annotations) => assert_eq!(*annotations, json!({})),
    });
}

fn adheres_to_the_schema(state: &Value, _: &Container<'_>) {
    for name in ["ociVersion", "id", "status", "bundle"] {
        assert!(state[name].is_string(), "{name} is {}", state[name]);
    }
    let status = state["status"].as_str().unwrap_or_default();
    assert!(["creating", "created", "running", "stopped"].contains(&status), "{status}");
    if let Some(pid) = state.get("pid") {
        assert!(pid.is_u64(), "pid is {pid}");
    }
    let annotations = state.get("annotations").and_then(Value::as_object);
    let strings = annotations.into_iter().flatten().all(|(_, value)| value.is_string());
    assert!(strings, "annotations are {}", state["annotations"]);
}
