//! config-linux.md "The Container Process State".

use integration::Test;
use serde_json::json;

use super::agent;
use crate::{Statement, may, must, optional, required};

const SECTION: &str = r#"config-linux.md "The Container Process State""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.process-state.json",
        SECTION,
        "The container runtime MUST send the container process state over the UNIX socket as regular payload \
         serialized in JSON and file descriptors MUST be sent using SCM_RIGHTS.",
    )
    .test(|test| assert!(agent::heard(test).0.state().is_object())),
    must(
        "config-linux.process-state.scm-rights",
        SECTION,
        "The container runtime MUST send the container process state over the UNIX socket as regular payload \
         serialized in JSON and file descriptors MUST be sent using SCM_RIGHTS.",
    )
    .test(|test| assert_eq!(agent::heard(test).0.links(), ["anon_inode:seccomp notify"])),
    may(
        "config-linux.process-state.several-calls",
        SECTION,
        "The container runtime MAY use several sendmsg(2) calls to send the aforementioned data.",
    )
    .untestable("it leaves the choice to the runtime"),
    must(
        "config-linux.process-state.descriptors-first",
        SECTION,
        "If more than one sendmsg(2) is used, the file descriptors MUST be sent only in the first call.",
    )
    .test(descriptors_come_first),
    required(
        "config-linux.process-state.oci-version",
        SECTION,
        "ociVersion (string, REQUIRED) is version of the Open Container Initiative Runtime Specification with which \
         the container process state complies.",
    )
    .test(the_version_is_one),
    optional(
        "config-linux.process-state.fds",
        SECTION,
        "fds (array, OPTIONAL) is a string array containing the names of the file descriptors passed. The index of \
         the name in this array corresponds to index of the file descriptors in the SCM_RIGHTS array.",
    )
    .test(every_descriptor_has_a_name),
    required(
        "config-linux.process-state.pid",
        SECTION,
        "pid (int, REQUIRED) is the container process ID, as seen by the runtime.",
    )
    .test(|test| {
        let (heard, pid) = agent::heard(test);
        assert_eq!(heard.state()["pid"], pid);
    }),
    optional(
        "config-linux.process-state.metadata",
        SECTION,
        "metadata (string, OPTIONAL) opaque metadata.",
    )
    .test(metadata_is_passed_on_as_it_is),
    required(
        "config-linux.process-state.state",
        SECTION,
        "state (state, REQUIRED) is the state of the container.",
    )
    .test(the_state_is_that_of_the_container),
];

fn descriptors_come_first(test: &Test) {
    let (heard, _) = agent::heard(test);
    let counts: Vec<usize> = heard.descriptors.iter().map(Vec::len).collect();
    let (first, others) = counts.split_first().expect("nothing was sent");
    assert!(*first == 1 && others.iter().all(|count| *count == 0), "by piece: {counts:?}");
}

fn the_version_is_one(test: &Test) {
    let (heard, _) = agent::heard(test);
    let state = heard.state();
    let version = state["ociVersion"].as_str().unwrap_or_default();
    let number = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = number.split('.').map(str::parse::<u32>).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(Result::is_ok), "ociVersion {version:?}");
}

fn every_descriptor_has_a_name(test: &Test) {
    let (heard, _) = agent::heard(test);
    let names = heard.state()["fds"].as_array().map_or(0, Vec::len);
    assert_eq!(names, heard.links().len());
}

fn metadata_is_passed_on_as_it_is(test: &Test) {
    let agent = agent::Agent::new(test);
    let metadata = "MKNOD=/dev/null,\"é\"\n\t\\ {}";
    let bundle = agent::bundle(test, &agent).edit(|config| {
        config["linux"]["seccomp"]["listenerMetadata"] = json!(metadata);
    });
    let container = test.start(&bundle);
    let heard = agent.hear();
    container.remove();
    assert_eq!(heard.state()["metadata"], metadata);
}

fn the_state_is_that_of_the_container(test: &Test) {
    let agent = agent::Agent::new(test);
    let bundle = agent::bundle(test, &agent).edit(|config| {
        config["annotations"] = json!({ "org.example.key": "value" });
    });
    let container = test.start(&bundle);
    let (heard, pid) = (agent.hear(), container.pid);
    container.remove();
    let state = heard.state()["state"].clone();
    assert_eq!(state["id"], test.id());
    let status = state["status"].as_str().unwrap_or_default();
    assert!(["creating", "created", "running"].contains(&status), "the status is {status:?}");
    assert_eq!(state["pid"], pid);
    assert_eq!(state["bundle"], json!(bundle.dir));
    assert_eq!(state["annotations"], json!({ "org.example.key": "value" }));
    assert!(state["ociVersion"].is_string(), "{state}");
}
