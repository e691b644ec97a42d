//! config-linux.md "Devices".

use std::os::unix::fs::symlink;

use integration::{Bundle, Feature, Stat, Test, bundle::push, needs};
use serde_json::{Value, json};

use crate::{Statement, may, must, optional, required, should_not};

const DEVICES: &str = r#"config-linux.md "Devices""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.devices.available",
        DEVICES,
        "devices (array of objects, OPTIONAL) lists devices that MUST be available in the container.",
    )
    .test(a_listed_device_is_there),
    must(
        "config-linux.devices.available.user-namespace",
        DEVICES,
        "devices (array of objects, OPTIONAL) lists devices that MUST be available in the container.",
    )
    .test(a_listed_device_is_there_for_mapped_users),
    may(
        "config-linux.devices.how",
        DEVICES,
        "The runtime MAY supply them however it likes (with mknod, by bind mounting from the runtime mount \
         namespace, using symlinks, etc.).",
    )
    .untestable("it leaves the choice to the runtime"),
    required(
        "config-linux.devices.type",
        DEVICES,
        "type (string, REQUIRED) - type of device: c, b, u or p.",
    )
    .test(a_device_has_a_type),
    required(
        "config-linux.devices.type.char",
        DEVICES,
        "type (string, REQUIRED) - type of device: c, b, u or p.",
    )
    .test(|test| of_type(test, "c", "char")),
    required(
        "config-linux.devices.type.unbuffered",
        DEVICES,
        "type (string, REQUIRED) - type of device: c, b, u or p.",
    )
    .test(|test| of_type(test, "u", "char")),
    required(
        "config-linux.devices.type.block",
        DEVICES,
        "type (string, REQUIRED) - type of device: c, b, u or p.",
    )
    .test(|test| of_type(test, "b", "block")),
    required(
        "config-linux.devices.type.fifo",
        DEVICES,
        "major, minor (int64, REQUIRED unless type is p) - major, minor numbers for the device.",
    )
    .test(a_fifo_needs_no_numbers),
    required(
        "config-linux.devices.path",
        DEVICES,
        "path (string, REQUIRED) - full path to device inside container.",
    )
    .test(a_device_has_a_path),
    must(
        "config-linux.devices.path.mismatch",
        DEVICES,
        "If a file already exists at path that does not match the requested device, the runtime MUST generate an error.",
    )
    .test(another_file_in_its_place_is_an_error),
    must(
        "config-linux.devices.path.mismatch.symlink",
        DEVICES,
        "If a file already exists at path that does not match the requested device, the runtime MUST generate an error.",
    )
    .test(a_link_in_its_place_is_not_followed),
    may(
        "config-linux.devices.path.anywhere",
        DEVICES,
        "The path MAY be anywhere in the container filesystem, notably outside of /dev.",
    )
    .test(a_device_may_be_anywhere),
    required(
        "config-linux.devices.major-minor",
        DEVICES,
        "major, minor (int64, REQUIRED unless type is p) - major, minor numbers for the device.",
    )
    .test(the_numbers_are_those_of_the_device),
    optional(
        "config-linux.devices.file-mode",
        DEVICES,
        "fileMode (uint32, OPTIONAL) - file mode for the device.",
    )
    .test(the_mode_is_set_whatever_the_umask),
    optional(
        "config-linux.devices.uid",
        DEVICES,
        "uid (uint32, OPTIONAL) - id of device owner in the container namespace.",
    )
    .test(|test| assert_eq!(owned(test).uid, 1234)),
    optional(
        "config-linux.devices.gid",
        DEVICES,
        "gid (uint32, OPTIONAL) - id of device group in the container namespace.",
    )
    .test(|test| assert_eq!(owned(test).gid, 5678)),
    should_not(
        "config-linux.devices.twice",
        DEVICES,
        "The same type, major and minor SHOULD NOT be used for multiple devices.",
    )
    .untestable("it binds the author of the configuration"),
    may(
        "config-linux.devices.others",
        DEVICES,
        "Containers MAY NOT access any device node that is not either explicitly referenced in the devices array \
         or listed as being part of the default devices.",
    )
    .untestable("it allows a runtime to deny, and does not make it deny"),
];

const FUSE: &str = "/dev/fuse";

fn with(bundle: Bundle, device: Value) -> Bundle {
    bundle.edit(|config| push(&mut config["linux"]["devices"], device))
}

fn fuse() -> Value {
    json!({ "path": FUSE, "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0 })
}

#[track_caller]
fn stat(test: &Test, bundle: Bundle, path: &str) -> Stat {
    let facts = test.facts_with(&["--stat", path], bundle);
    facts.stats[path].clone().unwrap_or_else(|errno| panic!("{path}: {errno}"))
}

fn a_listed_device_is_there(test: &Test) {
    let found = stat(test, with(test.bundle(), fuse()), FUSE);
    assert_eq!((found.kind.as_str(), found.device), ("char", Some((10, 229))));
}

/// Nobody can make a device in a user namespace, so that it has to come from elsewhere.
fn a_listed_device_is_there_for_mapped_users(test: &Test) {
    needs!(Feature::UserNamespaces);
    let found = stat(test, with(test.bundle().user_namespace(200_000, 65_536), fuse()), FUSE);
    assert_eq!((found.kind.as_str(), found.device), ("char", Some((10, 229))));
}

fn a_device_has_a_type(test: &Test) {
    let no_type = json!({ "path": "/dev/x", "major": 10, "minor": 229 });
    test.create_fails(&with(test.bundle_named("none"), no_type));
    let unknown = json!({ "path": "/dev/x", "type": "x", "major": 10, "minor": 229 });
    test.create_fails(&with(test.bundle_named("unknown"), unknown));
}

fn of_type(test: &Test, kind: &str, seen: &str) {
    let device = json!({ "path": "/dev/made", "type": kind, "major": 7, "minor": 99 });
    let found = stat(test, with(test.bundle(), device), "/dev/made");
    assert_eq!((found.kind.as_str(), found.device), (seen, Some((7, 99))), "type {kind}");
}

fn a_fifo_needs_no_numbers(test: &Test) {
    let found =
        stat(test, with(test.bundle(), json!({ "path": "/dev/pipe", "type": "p" })), "/dev/pipe");
    assert_eq!(found.kind, "fifo");
}

fn a_device_has_a_path(test: &Test) {
    let device = json!({ "type": "c", "major": 10, "minor": 229 });
    test.create_fails(&with(test.bundle(), device));
}

fn another_file_in_its_place_is_an_error(test: &Test) {
    let mut device = fuse();
    device["path"] = json!("/etc/fuse");
    test.create_fails(&with(test.bundle().file("/etc/fuse", "not a device"), device));
}

/// An error is right, and so is a device in place of the link; the link's target is neither.
fn a_link_in_its_place_is_not_followed(test: &Test) {
    let target = test.dir().join("target");
    std::fs::write(&target, "not a device").expect("a file");
    let bundle = test.bundle();
    symlink(&target, bundle.rootfs().join("etc/fuse")).expect("a link");
    let mut device = fuse();
    device["path"] = json!("/etc/fuse");
    let facts =
        test.run(&with(bundle, device).args(&["/bin/probe", "facts", "--stat", "/etc/fuse"]));
    assert_eq!(std::fs::read_to_string(&target).expect("the target"), "not a device");
    if facts.status != 0 {
        facts.fails();
        return;
    }
    let found = integration::test::parse(&facts.stdout).stats["/etc/fuse"].clone();
    assert_eq!(found.map(|stat| stat.device), Ok(Some((10, 229))));
}

fn a_device_may_be_anywhere(test: &Test) {
    let mut device = fuse();
    device["path"] = json!("/srv/devices/fuse");
    let found = stat(test, with(test.bundle(), device), "/srv/devices/fuse");
    assert_eq!(found.device, Some((10, 229)));
}

fn the_numbers_are_those_of_the_device(test: &Test) {
    let device = json!({ "path": "/dev/made", "type": "c", "major": 511, "minor": 65_537 });
    assert_eq!(stat(test, with(test.bundle(), device), "/dev/made").device, Some((511, 65_537)));
}

fn the_mode_is_set_whatever_the_umask(test: &Test) {
    let mut device = fuse();
    device["fileMode"] = json!(0o626);
    let bundle = with(test.bundle(), device).edit(|config| {
        config["process"]["user"]["umask"] = json!(0o077);
    });
    assert_eq!(stat(test, bundle, FUSE).mode, 0o626);
}

fn owned(test: &Test) -> Stat {
    let mut device = fuse();
    (device["uid"], device["gid"]) = (json!(1234), json!(5678));
    stat(test, with(test.bundle(), device), FUSE)
}
