//! runtime.md "Start", "Kill" and "Delete".

use std::fs;

use integration::{Container, Output, Test};
use serde_json::json;

use super::without_id;
use crate::{Statement, may, must, must_not, skip};

const START: &str = r#"runtime.md "Start""#;
const KILL: &str = r#"runtime.md "Kill""#;
const DELETE: &str = r#"runtime.md "Delete""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "runtime.start.without-id",
        START,
        "This operation MUST generate an error if it is not provided the container ID.",
    )
    .test(|test| without_id(test, "start")),
    must(
        "runtime.start.running",
        START,
        "Attempting to start a container that is not created MUST have no effect on the container and \
         MUST generate an error.",
    )
    .test(start_does_nothing_to_a_running_container),
    must(
        "runtime.start.stopped",
        START,
        "Attempting to start a container that is not created MUST have no effect on the container and \
         MUST generate an error.",
    )
    .test(start_does_nothing_to_a_stopped_container),
    must(
        "runtime.start.program",
        START,
        "This operation MUST run the user-specified program as specified by process.",
    )
    .test(start_runs_the_program),
    must(
        "runtime.start.no-process",
        START,
        "This operation MUST generate an error if process was not set.",
    )
    .test(without_a_process_there_is_an_error),
    must(
        "runtime.kill.without-id",
        KILL,
        "This operation MUST generate an error if it is not provided the container ID.",
    )
    .test(|test| without_id(test, "kill")),
    must(
        "runtime.kill.stopped",
        KILL,
        "Attempting to send a signal to a container that is neither created nor running MUST have no \
         effect on the container and MUST generate an error.",
    )
    .test(a_stopped_container_gets_no_signal),
    must(
        "runtime.kill.created",
        KILL,
        "This operation MUST send the specified signal to the container process.",
    )
    .test(a_created_container_gets_the_signal),
    must(
        "runtime.kill.running",
        KILL,
        "This operation MUST send the specified signal to the container process.",
    )
    .test(a_running_container_gets_each_signal),
    must(
        "runtime.delete.without-id",
        DELETE,
        "This operation MUST generate an error if it is not provided the container ID.",
    )
    .test(|test| without_id(test, "delete")),
    must(
        "runtime.delete.created",
        DELETE,
        "Attempting to delete a container that is not stopped MUST have no effect on the container and \
         MUST generate an error.",
    )
    .test(|test| delete_is_refused(&test.create(&test.bundle()))),
    must(
        "runtime.delete.running",
        DELETE,
        "Attempting to delete a container that is not stopped MUST have no effect on the container and \
         MUST generate an error.",
    )
    .test(|test| delete_is_refused(&test.serve(test.bundle()))),
    must(
        "runtime.delete.resources",
        DELETE,
        "Deleting a container MUST delete the resources that were created during the create step.",
    )
    .test(the_resources_are_gone),
    must_not(
        "runtime.delete.foreign-resources",
        DELETE,
        "resources associated with the container, but not created by this container, MUST NOT be \
         deleted.",
    )
    .test(what_others_made_stays),
    may(
        "runtime.delete.id-again",
        DELETE,
        "Once a container is deleted its ID MAY be used by a subsequent container.",
    )
    .test(an_id_can_be_used_again),
];

fn start_does_nothing_to_a_running_container(test: &Test) {
    let mut container = test.serve(test.bundle());
    let before = container.state();
    let second = container.call(&["start"]);
    let after = container.state();
    container.kill("TERM");
    let output = container.output();
    container.wait();
    container.delete();
    second.fails();
    assert_eq!(before, after);
    assert_eq!(output.trim(), "SIGTERM", "the program was disturbed");
}

fn start_does_nothing_to_a_stopped_container(test: &Test) {
    let bundle = test.bundle().shell("echo run >> /runs");
    let runs = bundle.rootfs().join("runs");
    let container = test.start(&bundle);
    container.wait();
    let second = container.call(&["start"]);
    let status = container.status();
    container.delete();
    second.fails();
    assert_eq!(status, "stopped");
    assert_eq!(fs::read_to_string(runs).expect("the program ran"), "run\n");
}

fn start_runs_the_program(test: &Test) {
    let mut container = test.create(&test.bundle().shell("echo $0 was here"));
    container.start();
    let output = container.output();
    container.wait();
    container.delete();
    assert_eq!(output, "/bin/sh was here\n");
}

fn without_a_process_there_is_an_error(test: &Test) {
    let bundle = test.bundle().edit(|config| {
        config.as_object_mut().expect("an object").remove("process");
    });
    let dir = bundle.dir.to_string_lossy();
    let create = test.call(&["create", "--bundle", &dir, test.id()]);
    let errors = |output: &Output| output.status != 0;
    let start = (!errors(&create)).then(|| test.call(&["start", test.id()]));
    let refused = errors(&create) || start.as_ref().is_some_and(errors);
    let _ = test.call(&["delete", "--force", test.id()]);
    assert!(refused, "a container without a process was started");
    if start.is_none() {
        skip!("the runtime refuses this configuration at create: {}", create.stderr.trim());
    }
}

fn a_stopped_container_gets_no_signal(test: &Test) {
    let container = test.start(&test.bundle().args(&["/bin/true"]));
    container.wait();
    let before = container.state();
    let kill = test.call(&["kill", &container.id, "TERM"]);
    let after = container.state();
    container.delete();
    kill.fails();
    assert_eq!(before, after);
}

fn a_created_container_gets_the_signal(test: &Test) {
    let container = test.create(&test.bundle());
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    container.delete();
}

fn a_running_container_gets_each_signal(test: &Test) {
    let mut container = test.serve(test.bundle());
    // By name, by short name and by number.
    for (given, name) in [("SIGUSR1", "SIGUSR1"), ("HUP", "SIGHUP"), ("12", "SIGUSR2")] {
        container.kill(given);
        container.expect(name);
    }
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    container.delete();
}

fn delete_is_refused(container: &Container<'_>) {
    let before = container.state();
    let delete = container.call(&["delete"]);
    let after = container.call(&["state"]);
    // Is there nothing any more, the assertions tell it better.
    let _ = container.call(&["delete", "--force"]);
    delete.fails();
    assert_eq!(before, after.json());
}

fn the_resources_are_gone(test: &Test) {
    let container = test.serve(test.bundle());
    let cgroups = integration::leftovers::cgroups(test.id());
    container.kill("KILL");
    container.wait();
    container.delete();
    assert!(!cgroups.is_empty(), "the container had no cgroup that could be deleted");
    test.assert_clean();
}

fn what_others_made_stays(test: &Test) {
    let neighbour = test.create_as("-neighbour", &[], &test.bundle_named("neighbour").serve());
    let network = format!("/proc/{}/ns/net", neighbour.pid);
    let shared = test.dir().join("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::write(shared.join("file"), "kept").expect("a file");
    let bundle = test.bundle().namespace("network", Some(network.as_ref())).mount(json!({
        "destination": "/shared", "type": "bind", "source": shared, "options": ["rbind"],
    }));
    let container = test.serve(bundle);
    container.kill("KILL");
    container.wait();
    container.delete();
    let status = neighbour.status();
    neighbour.remove();
    assert_eq!(status, "created", "the container whose network was shared");
    assert_eq!(fs::read_to_string(shared.join("file")).ok().as_deref(), Some("kept"));
    assert!(test.dir().join("bundle/config.json").exists(), "the bundle is gone");
    assert!(test.dir().join("bundle/rootfs/bin/probe").exists(), "the root filesystem is gone");
}

fn an_id_can_be_used_again(test: &Test) {
    let bundle = test.bundle().args(&["/bin/true"]);
    for _ in 0..2 {
        let container = test.start(&bundle);
        container.wait();
        container.delete();
    }
}
