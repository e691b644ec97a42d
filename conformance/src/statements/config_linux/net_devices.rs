//! config-linux.md "Network Devices".
//!
//! A case is a process of its own: it makes a network namespace for itself, so that the devices of
//! its "host" are nobody else's and go with it.

use std::{path::Path, process::Command};

use integration::{Bundle, Feature, Output, Test, needs, wait};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::limits::call;
use crate::{Statement, must, must_not, optional};

const DEVICES: &str = r#"config-linux.md "Network Devices""#;
const LIFE: &str = r#"config-linux.md "Namespace Lifecycle and Container Termination""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.net-devices.available",
        DEVICES,
        "netDevices (object, OPTIONAL) - A set of network devices that MUST be made available in the container.",
    )
    .test(the_device_is_moved),
    optional(
        "config-linux.net-devices.name",
        DEVICES,
        "name (string, OPTIONAL) - the name of the network device inside the container namespace. If not \
         specified, the host name is used.",
    )
    .test(the_device_is_renamed),
    must(
        "config-linux.net-devices.possible.device",
        DEVICES,
        "The runtime MUST check if moving the network interface to the container namespace is possible.",
    )
    .test(a_device_that_is_not_there_is_an_error),
    must(
        "config-linux.net-devices.possible.namespace",
        DEVICES,
        "The runtime MUST check if moving the network interface to the container namespace is possible.",
    )
    .test(without_a_network_namespace_it_is_an_error),
    must(
        "config-linux.net-devices.possible.untouched",
        DEVICES,
        "The runtime MUST check if moving the network interface to the container namespace is possible.",
    )
    .test(a_device_that_cannot_be_moved_stays),
    must(
        "config-linux.net-devices.name.exists",
        DEVICES,
        "If a network device with the specified name already exists in the container namespace, the runtime MUST \
         generate an error, unless the user has provided a template by appending %d to the new name.",
    )
    .test(a_name_that_is_taken_is_an_error),
    must(
        "config-linux.net-devices.name.template",
        DEVICES,
        "In that case, the runtime MUST allow the move, and the kernel will generate a unique name for the \
         interface within the container's network namespace.",
    )
    .test(a_template_becomes_a_unique_name),
    must(
        "config-linux.net-devices.preserved.addresses",
        DEVICES,
        "The runtime MUST preserve existing network interface attributes, including all permanent IP addresses \
         (IFA_F_PERMANENT flag) of any family with global scope (RT_SCOPE_UNIVERSE value).",
    )
    .test(permanent_global_addresses_are_kept),
    must(
        "config-linux.net-devices.preserved.attributes",
        DEVICES,
        "The runtime MUST preserve existing network interface attributes, including all permanent IP addresses \
         (IFA_F_PERMANENT flag) of any family with global scope (RT_SCOPE_UNIVERSE value).",
    )
    .test(mtu_and_hardware_address_are_kept),
    must(
        "config-linux.net-devices.up",
        DEVICES,
        "The runtime MUST set the network device state to \"up\" after moving it to the network namespace to allow \
         the container to send and receive network traffic through that device.",
    )
    .test(the_device_is_up),
    must_not(
        "config-linux.net-devices.unmanaged",
        LIFE,
        "The runtime MUST NOT actively manage the interface's lifecycle and configuration within the container's \
         network namespace.",
    )
    .test(what_the_container_changes_stays_changed),
    must_not(
        "config-linux.net-devices.not-moved-out",
        LIFE,
        "The runtime MUST NOT attempt to move the interface out of the namespace before deletion.",
    )
    .test(the_device_stays_in_a_namespace_that_outlives_the_container),
];

#[track_caller]
fn ip(arguments: &str) -> Output {
    let mut command = Command::new("ip");
    let output = wait::output(command.args(arguments.split(' ')));
    assert_eq!(output.status, 0, "ip {arguments}: {}", output.stderr);
    output
}

/// Gives this process a network namespace with the devices `pair` and `peer`.
fn devices() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    ip("link add pair type veth peer name peer");
}

fn with(bundle: Bundle, devices: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["netDevices"] = devices)
}

/// What a script in a container with these `netDevices` prints.
fn shell(test: &Test, devices: Value, script: &str) -> String {
    test.run(&with(test.bundle(), devices).shell(script)).ok().to_owned()
}

/// The devices in the container but lo, one per line.
const LIST: &str = "cd /sys/class/net; for device in *; do [ $device = lo ] || echo $device; done";

/// On this side.
fn present(device: &str) -> bool {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("devices");
    text.lines().any(|line| line.trim().starts_with(&format!("{device}:")))
}

pub(in crate::statements) fn the_device_is_moved(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    let container = test.serve(with(test.bundle(), json!({ "pair": {} })));
    let inside = container.exec(&["/bin/sh", "-c", LIST]);
    let outside = (present("pair"), present("peer"));
    container.remove();
    assert_eq!(inside.ok(), "pair\n");
    assert_eq!(outside, (false, true), "pair and peer outside");
}

fn the_device_is_renamed(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    assert_eq!(shell(test, json!({ "pair": { "name": "inner0" } }), LIST), "inner0\n");
}

fn a_device_that_is_not_there_is_an_error(test: &Test) {
    test.create_fails(&with(test.bundle(), json!({ "notthere0": {} })));
}

fn without_a_network_namespace_it_is_an_error(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    let bundle = test.bundle().without_namespace("network");
    test.create_fails(&with(bundle, json!({ "pair": { "name": "inner0" } })));
    assert!(present("pair"), "the device keeps its name");
}

/// A container whose network namespace has a device called `taken`, and that file.
fn with_a_taken_name<R>(test: &Test, then: impl FnOnce(&Path) -> R) -> R {
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    let pid = other.pid;
    ip(&format!("link add taken netns {pid} type veth peer name taken-peer netns {pid}"));
    let result = then(Path::new(&format!("/proc/{pid}/ns/net")));
    other.remove();
    result
}

fn move_to_a_taken_name(test: &Test) -> Output {
    devices();
    with_a_taken_name(test, |namespace| {
        let bundle = test.bundle().namespace("network", Some(namespace));
        call(test, &with(bundle, json!({ "pair": { "name": "taken" } })))
    })
}

fn a_name_that_is_taken_is_an_error(test: &Test) {
    needs!(Feature::NetDevices);
    move_to_a_taken_name(test).fails();
}

fn a_device_that_cannot_be_moved_stays(test: &Test) {
    needs!(Feature::NetDevices);
    assert_ne!(move_to_a_taken_name(test).status, 0, "it was moved");
    assert!(present("pair"), "the device is no longer where it was");
}

fn a_template_becomes_a_unique_name(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    ip("link add other type veth peer name other-peer");
    let devices = json!({ "pair": { "name": "net%d" }, "other": { "name": "net%d" } });
    assert_eq!(shell(test, devices, LIST), "net0\nnet1\n");
}

fn permanent_global_addresses_are_kept(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    ip("address add 10.99.1.2/24 dev pair");
    ip("address add 10.99.2.2/16 dev pair");
    ip("address add fd00:99::2/64 dev pair nodad");
    let text = shell(test, json!({ "pair": { "name": "inner0" } }), "ip addr show dev inner0");
    for wanted in ["inet 10.99.1.2/24", "inet 10.99.2.2/16", "inet6 fd00:99::2/64"] {
        assert!(text.contains(wanted), "no {wanted} in:\n{text}");
    }
}

fn mtu_and_hardware_address_are_kept(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    ip("link set pair mtu 1342 address 02:00:00:00:00:42");
    let script = "cd /sys/class/net/pair; cat mtu address";
    assert_eq!(shell(test, json!({ "pair": {} }), script), "1342\n02:00:00:00:00:42\n");
}

/// IFF_UP is the lowest bit.
fn the_device_is_up(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    let script = "echo $(($(cat /sys/class/net/pair/flags) & 1))";
    assert_eq!(shell(test, json!({ "pair": {} }), script), "1\n");
}

/// Whatever is asked of the runtime afterwards.
fn what_the_container_changes_stays_changed(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    let bundle = with(test.bundle().capabilities(&["CAP_NET_ADMIN"]), json!({ "pair": {} }));
    let mut container =
        test.start(&bundle.shell("ip link set pair down name other && exec probe serve"));
    container.expect("ready");
    assert_eq!(container.status(), "running");
    let script = format!("{LIST}; echo $(($(cat /sys/class/net/other/flags) & 1))");
    let seen = container.exec(&["/bin/sh", "-c", &script]);
    container.remove();
    assert_eq!(seen.ok(), "other\n0\n", "the device is called other and is down");
}

fn the_device_stays_in_a_namespace_that_outlives_the_container(test: &Test) {
    needs!(Feature::NetDevices);
    devices();
    let other = test.serve(test.bundle_named("other"));
    let path = format!("/proc/{}/ns/net", other.pid);
    let bundle = test.bundle().namespace("network", Some(Path::new(&path)));
    let container = test.create_as("-guest", &[], &with(bundle.serve(), json!({ "pair": {} })));
    container.start();
    container.remove();
    let left = other.exec(&["/bin/sh", "-c", LIST]);
    other.remove();
    assert_eq!(left.ok(), "pair\n");
    assert!(!present("pair"), "the device came back");
}
