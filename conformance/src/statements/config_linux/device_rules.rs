//! config-linux.md "Allowed Device list".

use integration::Test;
use serde_json::{Value, json};

use crate::{Statement, must, optional, required};

const SECTION: &str = r#"config-linux.md "Allowed Device list""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must("config-linux.device-list.order", SECTION, "The runtime MUST apply entries in the listed order.")
        .test(the_last_entry_that_fits_decides),
    required(
        "config-linux.device-list.allow",
        SECTION,
        "allow (boolean, REQUIRED) - whether the entry is allowed or denied.",
    )
    .test(an_entry_allows_or_denies),
    optional(
        "config-linux.device-list.type",
        SECTION,
        "type (string, OPTIONAL) - type of device: a (all), c (char), or b (block). Unset values mean \"all\", \
         mapping to a.",
    )
    .test(the_type_restricts_an_entry),
    optional(
        "config-linux.device-list.type.unset",
        SECTION,
        "type (string, OPTIONAL) - type of device: a (all), c (char), or b (block). Unset values mean \"all\", \
         mapping to a.",
    )
    .test(without_a_type_it_is_for_all),
    optional(
        "config-linux.device-list.major-minor",
        SECTION,
        "major, minor (int64, OPTIONAL) - major, minor numbers for the device. Unset values mean \"all\", mapping to \
         * in the filesystem API.",
    )
    .test(the_numbers_restrict_an_entry),
    optional(
        "config-linux.device-list.major-minor.unset",
        SECTION,
        "major, minor (int64, OPTIONAL) - major, minor numbers for the device. Unset values mean \"all\", mapping to \
         * in the filesystem API.",
    )
    .test(without_a_minor_it_is_for_all_minors),
    optional(
        "config-linux.device-list.access.read",
        SECTION,
        "access (string, OPTIONAL) - cgroup permissions for device. A composition of r (read), w (write), and m (mknod).",
    )
    .test(|test| accessible(test, "r", ["ok", "EPERM"])),
    optional(
        "config-linux.device-list.access.write",
        SECTION,
        "access (string, OPTIONAL) - cgroup permissions for device. A composition of r (read), w (write), and m (mknod).",
    )
    .test(|test| accessible(test, "w", ["EPERM", "ok"])),
    optional(
        "config-linux.device-list.access.mknod",
        SECTION,
        "access (string, OPTIONAL) - cgroup permissions for device. A composition of r (read), w (write), and m (mknod).",
    )
    .test(a_node_may_be_made_where_it_may_not_be_opened),
    optional(
        "config-linux.device-list.access.composition",
        SECTION,
        "access (string, OPTIONAL) - cgroup permissions for device. A composition of r (read), w (write), and m (mknod).",
    )
    .test(|test| accessible(test, "rwm", ["ok", "ok"])),
];

/// What comes of opening device 1:11 (/dev/kmsg), which is not one of those that a container always
/// has, for reading and for writing. To make a node opens nothing, and the runtimes of the field
/// allow it whatever the list says; only where the list allows it does a check here look at it.
fn kmsg(test: &Test, name: &str, rules: Value) -> Vec<String> {
    attempts(test, name, rules, "probe try open /kmsg; probe try open-write /kmsg")
}

/// A container that may make devices and has /kmsg, whatever the rules say.
fn attempts(test: &Test, name: &str, rules: Value, script: &str) -> Vec<String> {
    let bundle = test.bundle_named(name);
    let node = bundle.rootfs().join("kmsg");
    let (mode, device) = (nix::sys::stat::Mode::S_IRWXU, nix::sys::stat::makedev(1, 11));
    nix::sys::stat::mknod(&node, nix::sys::stat::SFlag::S_IFCHR, mode, device).expect("a device");
    let bundle = bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]).edit(|config| {
        config["linux"]["resources"]["devices"] = rules;
    });
    let output = test.run(&bundle.shell(script));
    output.stdout.lines().map(str::to_owned).collect()
}

const NOTHING: [&str; 2] = ["EPERM", "EPERM"];
const ALL: [&str; 2] = ["ok", "ok"];

fn the_last_entry_that_fits_decides(test: &Test) {
    let deny = json!({ "allow": false, "access": "rwm" });
    let one = |allow: bool| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": "rwm" });
    let found = kmsg(test, "allowed", json!([deny, one(false), one(true)]));
    assert_eq!(found, ALL, "denied, then allowed");
    let found = kmsg(test, "denied", json!([deny, one(true), one(false)]));
    assert_eq!(found, NOTHING, "allowed, then denied");
    let found = kmsg(test, "all-denied", json!([one(true), deny]));
    assert_eq!(found, NOTHING, "allowed, then everything denied");
}

fn an_entry_allows_or_denies(test: &Test) {
    let rule = |allow: bool| json!([{ "allow": allow, "access": "rwm" }]);
    assert_eq!(kmsg(test, "denied", rule(false)), NOTHING);
    assert_eq!(kmsg(test, "allowed", rule(true)), ALL);
}

fn the_type_restricts_an_entry(test: &Test) {
    let rules = |kind: &str| {
        json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": kind, "major": 1, "minor": 11, "access": "rwm" },
        ])
    };
    assert_eq!(kmsg(test, "block", rules("b")), NOTHING, "a rule for blocks");
    assert_eq!(kmsg(test, "char", rules("c")), ALL, "a rule for characters");
}

fn without_a_type_it_is_for_all(test: &Test) {
    let rule = |allow: bool| json!({ "allow": allow, "access": "rwm" });
    assert_eq!(kmsg(test, "allowed", json!([rule(false), rule(true)])), ALL);
    assert_eq!(kmsg(test, "denied", json!([rule(true), rule(false)])), NOTHING);
}

fn numbered(test: &Test, name: &str, entry: Value) -> Vec<String> {
    kmsg(test, name, json!([{ "allow": false, "access": "rwm" }, entry]))
}

fn the_numbers_restrict_an_entry(test: &Test) {
    for (name, major, minor, expected) in
        [("major", 10, 11, NOTHING), ("minor", 1, 12, NOTHING), ("both", 1, 11, ALL)]
    {
        let entry =
            json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" });
        assert_eq!(numbered(test, name, entry), expected, "{major}:{minor}");
    }
}

fn without_a_minor_it_is_for_all_minors(test: &Test) {
    let entry = |major: u32| json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
    assert_eq!(numbered(test, "one", entry(1)), ALL, "1:*");
    assert_eq!(numbered(test, "ten", entry(10)), NOTHING, "10:*");
    let any = json!({ "allow": true, "type": "c", "access": "rwm" });
    assert_eq!(numbered(test, "any", any), ALL, "*:*");
}

fn entry(access: &str) -> Value {
    json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": access })
}

/// What comes of reading and of writing.
fn accessible(test: &Test, access: &str, expected: [&str; 2]) {
    assert_eq!(numbered(test, "access", entry(access)), expected, "{access}");
}

fn a_node_may_be_made_where_it_may_not_be_opened(test: &Test) {
    let rules = json!([{ "allow": false, "access": "rwm" }, entry("m")]);
    let script = "probe try mknod /made 1 11; probe try open /kmsg; probe try open-write /kmsg";
    assert_eq!(attempts(test, "mknod", rules, script), ["ok", "EPERM", "EPERM"]);
}
