//! runtime.md "Operations", "Query State" and "Create".

use std::fs;

use integration::{Container, Test, host};
use serde_json::json;

use super::without_id;
use crate::{Statement, may, must, must_not};

const OPERATIONS: &str = r#"runtime.md "Operations""#;
const QUERY: &str = r#"runtime.md "Query State""#;
const CREATE: &str = r#"runtime.md "Create""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "runtime.operations.supported",
        OPERATIONS,
        "Unless otherwise stated, runtimes MUST support the following operations.",
    )
    .test(all_five_work),
    must(
        "runtime.query.without-id",
        QUERY,
        "This operation MUST generate an error if it is not provided the ID of a container.",
    )
    .test(|test| without_id(test, "state")),
    must(
        "runtime.query.unknown",
        QUERY,
        "Attempting to query a container that does not exist MUST generate an error.",
    )
    .test(|test| {
        test.call(&["state", test.id()]).fails();
    }),
    must(
        "runtime.query.state",
        QUERY,
        "This operation MUST return the state of a container as specified in the State section.",
    )
    .test(the_state_is_json_on_standard_output),
    must(
        "runtime.create.without-id",
        CREATE,
        "This operation MUST generate an error if it is not provided a path to the bundle and the \
         container ID to associate with the container.",
    )
    .test(create_without_an_id),
    must(
        "runtime.create.without-bundle",
        CREATE,
        "This operation MUST generate an error if it is not provided a path to the bundle and the \
         container ID to associate with the container.",
    )
    .test(create_without_a_bundle),
    must(
        "runtime.create.id-in-use",
        CREATE,
        "If the ID provided is not unique across all containers within the scope of the runtime, […] \
         the implementation MUST generate an error and a new container MUST NOT be created.",
    )
    .test(an_id_in_use_is_refused),
    must(
        "runtime.create.id-invalid",
        CREATE,
        "If the ID provided […] is not valid in any other way, the implementation MUST generate an \
         error and a new container MUST NOT be created.",
    )
    .test(an_id_that_leads_elsewhere_is_refused),
    must("runtime.create.new", CREATE, "This operation MUST create a new container.")
        .test(create_makes_a_new_container),
    must(
        "runtime.create.properties",
        CREATE,
        "All of the properties configured in config.json except for process MUST be applied.",
    )
    .test(the_properties_are_applied_by_create),
    must_not(
        "runtime.create.args",
        CREATE,
        "process.args MUST NOT be applied until triggered by the start operation.",
    )
    .test(args_wait_for_start),
    may(
        "runtime.create.process",
        CREATE,
        "The remaining process properties MAY be applied by this operation.",
    )
    .untestable("both are allowed: to apply them now and to apply them at start"),
    must(
        "runtime.create.cannot-apply",
        CREATE,
        "If the runtime cannot apply a property as specified in the configuration, it MUST generate an \
         error and a new container MUST NOT be created.",
    )
    .test(what_cannot_be_applied_is_an_error),
    may(
        "runtime.create.validate",
        CREATE,
        "The runtime MAY validate config.json against this spec […] before creating the container.",
    )
    .untestable("when a fault is found makes no difference to what is left of the container"),
];

fn all_five_work(test: &Test) {
    let bundle = test.bundle();
    let container = test.create(&bundle);
    container.call(&["state"]).ok();
    container.call(&["start"]).ok();
    container.wait();
    container.call(&["delete"]).ok();
    let container = test.create(&bundle);
    test.call(&["kill", &container.id, "KILL"]).ok();
    container.wait();
    container.call(&["delete"]).ok();
}

fn the_state_is_json_on_standard_output(test: &Test) {
    let container = test.create(&test.bundle());
    let state = container.call(&["state"]);
    container.remove();
    assert_eq!(state.json()["id"], container.id);
}

fn create_without_an_id(test: &Test) {
    let bundle = test.bundle();
    test.call(&["create", "--bundle", &bundle.dir.to_string_lossy()]).fails();
    test.assert_clean();
}

/// The command line takes the working directory in place of a path; here it is no bundle.
fn create_without_a_bundle(test: &Test) {
    let mut create = test.command(&["create", test.id()]);
    integration::wait::output(create.current_dir("/")).fails();
    test.assert_clean();
}

fn an_id_in_use_is_refused(test: &Test) {
    let container = test.serve(test.bundle());
    let before = container.state();
    let other = test.bundle_named("other");
    let second = test.call(&["create", "--bundle", &other.dir.to_string_lossy(), &container.id]);
    let after = container.state();
    container.remove();
    second.fails();
    assert_eq!(before, after, "the container that has the id");
}

fn an_id_that_leads_elsewhere_is_refused(test: &Test) {
    let bundle = test.bundle();
    let below = format!("../{}-elsewhere", test.id());
    for id in ["", ".", "..", below.as_str(), "a/b", "/etc"] {
        let create = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), id]);
        assert_ne!(create.status, 0, "{id:?} is taken for an id");
        test.assert_clean();
    }
}

fn create_makes_a_new_container(test: &Test) {
    let (one, two) = (test.bundle_named("one"), test.bundle_named("two"));
    let containers = [test.create_as("-1", &[], &one), test.create_as("-2", &[], &two)];
    let pids = containers.each_ref().map(|container| container.state()["pid"].clone());
    let namespaces = containers.each_ref().map(|container| host::namespaces(container.pid)["pid"]);
    containers.iter().for_each(Container::remove);
    assert_ne!(pids[0], pids[1]);
    assert_ne!(namespaces[0], namespaces[1]);
}

fn the_properties_are_applied_by_create(test: &Test) {
    let bundle = test.bundle().edit(|config| {
        config["root"]["readonly"] = json!(true);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    let container = test.create(&bundle);
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid));
    let inside = host::namespaces(container.pid);
    container.remove();
    let mounts = probe::collect::mounts(&text.expect("mountinfo of the container's process"));
    for target in ["/", "/proc/sys"] {
        let mount = mounts.iter().rev().find(|mount| mount.target == target);
        assert!(mount.is_some_and(|mount| mount.has("ro")), "{target} is not read-only: {mount:?}");
    }
    assert!(mounts.iter().any(|mount| mount.target == "/dev/shm"), "no /dev/shm");
    assert_ne!(inside["net"], host::namespaces(std::process::id() as i32)["net"]);
}

fn args_wait_for_start(test: &Test) {
    let bundle = test.bundle().args(&["/bin/probe", "serve", "args-of-this-test"]);
    let container = test.create(&bundle);
    let command_line = fs::read(format!("/proc/{}/cmdline", container.pid));
    container.remove();
    let command_line = command_line.expect("the container's process is there");
    let command_line = String::from_utf8_lossy(&command_line);
    assert!(!command_line.contains("args-of-this-test"), "create ran {command_line:?}");
}

fn what_cannot_be_applied_is_an_error(test: &Test) {
    let sysctl = json!({ "net.ipv4.no_such_key": "1" });
    test.create_fails(&test.bundle().edit(|config| config["linux"]["sysctl"] = sysctl));
    let file = json!({ "destination": "/etc/passwd/below", "type": "tmpfs" });
    test.create_fails(&test.bundle_named("below-a-file").mount(file));
}
