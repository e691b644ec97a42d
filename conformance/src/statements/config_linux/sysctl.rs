//! config-linux.md "Sysctl".

use std::fs;

use integration::{Bundle, Test};
use serde_json::json;

use crate::{Statement, optional};

const SECTION: &str = r#"config-linux.md "Sysctl""#;

const SENTENCE: &str = "sysctl (object, OPTIONAL) allows kernel parameters to be modified at runtime for the container.";

pub(super) const STATEMENTS: &[Statement] = &[
    optional("config-linux.sysctl.net", SECTION, SENTENCE).test(|test| {
        set(test, "net.ipv4.ip_default_ttl", "/proc/sys/net/ipv4/ip_default_ttl", "77");
    }),
    optional("config-linux.sysctl.ipc", SECTION, SENTENCE)
        .test(|test| set(test, "kernel.msgmax", "/proc/sys/kernel/msgmax", "9001")),
    optional("config-linux.sysctl.mqueue", SECTION, SENTENCE)
        .test(|test| set(test, "fs.mqueue.msg_max", "/proc/sys/fs/mqueue/msg_max", "9")),
    optional("config-linux.sysctl.unknown", SECTION, SENTENCE).test(|test| {
        test.create_fails(&with(test.bundle(), "net.ipv4.no_such_parameter", "1"));
    }),
    optional("config-linux.sysctl.host", SECTION, SENTENCE).test(one_of_the_host_is_refused),
];

fn with(bundle: Bundle, key: &str, value: &str) -> Bundle {
    bundle.edit(|config| config["linux"]["sysctl"][key] = json!(value))
}

/// In the container, and not on the host.
fn set(test: &Test, key: &str, path: &str, value: &str) {
    let read = || fs::read_to_string(path).expect("a sysctl");
    let before = read();
    assert_ne!(before.trim(), value, "the host has it already");
    let facts = test.facts_with(&["--read", path], with(test.bundle(), key, value));
    assert_eq!(facts.files[path].as_deref().map(str::trim), Ok(value));
    assert_eq!(read(), before, "{path} of the host");
}

/// It is for the container: without a network namespace, its parameters are the host's.
fn one_of_the_host_is_refused(test: &Test) {
    let path = "/proc/sys/net/ipv4/ip_default_ttl";
    let before = fs::read_to_string(path).expect("a sysctl");
    let bundle = with(test.bundle().without_namespace("network"), "net.ipv4.ip_default_ttl", "77");
    let output = super::limits::call(test, &bundle);
    let after = fs::read_to_string(path).expect("a sysctl");
    fs::write(path, &before).expect("the sysctl as it was");
    assert_eq!(after, before, "{path} of the host");
    output.fails();
}
