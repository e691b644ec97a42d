//! config-linux.md "User namespace mappings" and "Offset for Time Namespace".

use std::{fs, os::unix::fs::MetadataExt};

use integration::{Bundle, Feature, Test, needs};
use serde_json::{Value, json};

use crate::{Statement, may, optional, required, should_not};

const USER: &str = r#"config-linux.md "User namespace mappings""#;
const TIME: &str = r#"config-linux.md "Offset for Time Namespace""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.user-mappings.uid",
        USER,
        "uidMappings (array of objects, OPTIONAL) describes the user namespace uid mappings from the host to the \
         container.",
    )
    .test(uids_are_mapped),
    optional(
        "config-linux.user-mappings.gid",
        USER,
        "gidMappings (array of objects, OPTIONAL) describes the user namespace gid mappings from the host to the \
         container.",
    )
    .test(gids_are_mapped),
    required(
        "config-linux.user-mappings.container-id",
        USER,
        "containerID (uint32, REQUIRED) - is the starting uid/gid in the container.",
    )
    .test(the_start_in_the_container_counts),
    required(
        "config-linux.user-mappings.host-id",
        USER,
        "hostID (uint32, REQUIRED) - is the starting uid/gid on the host to be mapped to containerID.",
    )
    .test(the_start_on_the_host_counts),
    required(
        "config-linux.user-mappings.size",
        USER,
        "size (uint32, REQUIRED) - is the number of ids to be mapped.",
    )
    .test(ids_beyond_the_size_are_nobodys),
    should_not(
        "config-linux.user-mappings.ownership",
        USER,
        "The runtime SHOULD NOT modify the ownership of referenced filesystems to realize the mapping.",
    )
    .test(files_keep_their_owners),
    may(
        "config-linux.user-mappings.number",
        USER,
        "Note that the number of mapping entries MAY be limited by the kernel.",
    )
    .untestable("it speaks of the kernel, not of the runtime"),
    optional(
        "config-linux.time-offsets",
        TIME,
        "timeOffsets (object, OPTIONAL) sets the offset for Time Namespace.",
    )
    .test(every_clock_has_its_offset),
    optional(
        "config-linux.time-offsets.secs",
        TIME,
        "secs (int64, OPTIONAL) - is the offset of clock (in seconds) in the container.",
    )
    .test(seconds_count),
    optional(
        "config-linux.time-offsets.nanosecs",
        TIME,
        "nanosecs (uint32, OPTIONAL) - is the offset of clock (in nanoseconds) in the container.",
    )
    .test(nanoseconds_count),
];

/// Ids 0 to 999 of the container are 200000 to 200999 of the host; 1000 to 1009 are 300000 to
/// 300009.
fn two_ranges(test: &Test) -> Bundle {
    let map = json!([
        { "containerID": 0, "hostID": 200_000, "size": 1000 },
        { "containerID": 1000, "hostID": 300_000, "size": 10 },
    ]);
    test.bundle().user_namespace(200_000, 1000).edit(|config| {
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    })
}

fn uids_are_mapped(test: &Test) {
    needs!(Feature::UserNamespaces);
    let facts = test.facts(&two_ranges(test));
    assert_eq!(facts.uid_map, [(0, 200_000, 1000), (1000, 300_000, 10)]);
}

fn gids_are_mapped(test: &Test) {
    needs!(Feature::UserNamespaces);
    let facts = test.facts(&two_ranges(test));
    assert_eq!(facts.gid_map, [(0, 200_000, 1000), (1000, 300_000, 10)]);
}

/// The ids of a file outside and inside.
fn seen_as(test: &Test, outside: u32) -> (u32, u32) {
    let bundle = two_ranges(test).file("/etc/owned", "");
    std::os::unix::fs::chown(bundle.rootfs().join("etc/owned"), Some(outside), Some(outside))
        .expect("chown");
    let facts = test.facts_with(&["--stat", "/etc/owned"], bundle);
    let stat = facts.stats["/etc/owned"].as_ref().expect("the file");
    (stat.uid, stat.gid)
}

fn the_start_in_the_container_counts(test: &Test) {
    needs!(Feature::UserNamespaces);
    assert_eq!(seen_as(test, 300_000), (1000, 1000));
}

fn the_start_on_the_host_counts(test: &Test) {
    needs!(Feature::UserNamespaces);
    let bundle = two_ranges(test).edit(|config| {
        config["process"]["user"] = json!({ "uid": 1003, "gid": 1004 });
    });
    let container = test.create(&bundle.serve());
    let process = fs::metadata(format!("/proc/{}", container.pid)).expect("the process");
    container.remove();
    assert_eq!((process.uid(), process.gid()), (300_003, 300_004), "on the host");
}

fn ids_beyond_the_size_are_nobodys(test: &Test) {
    needs!(Feature::UserNamespaces);
    let overflow = |file: &str| -> u32 {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{file}")).expect("an id");
        text.trim().parse().expect("an id")
    };
    assert_eq!(seen_as(test, 300_010), (overflow("overflowuid"), overflow("overflowgid")));
}

fn files_keep_their_owners(test: &Test) {
    needs!(Feature::UserNamespaces);
    let volume = test.dir().join("volume");
    fs::create_dir(&volume).expect("a directory");
    fs::write(volume.join("file"), "").expect("a file");
    let bundle = test.bundle().user_namespace(200_000, 65_536).file("/etc/foreign", "").mount(
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] }),
    );
    std::os::unix::fs::chown(bundle.rootfs().join("etc/foreign"), Some(7), Some(8)).expect("chown");
    test.run(&bundle.clone_with(&["/bin/true"])).ok();
    for (path, owner) in [
        (bundle.rootfs().join("etc/foreign"), (7, 8)),
        (bundle.rootfs().join("etc/passwd"), (200_000, 200_000)),
        (volume.join("file"), (0, 0)),
    ] {
        let file = fs::metadata(&path).expect("the file");
        assert_eq!((file.uid(), file.gid()), owner, "{}", path.display());
    }
}

/// /proc/self/timens_offsets with these `timeOffsets`: clock, seconds, nanoseconds.
fn offsets(test: &Test, offsets: Value) -> Vec<String> {
    let bundle = test.bundle().namespace("time", None);
    let bundle = bundle.edit(|config| config["linux"]["timeOffsets"] = offsets);
    let facts = test.facts_with(&["--read", "/proc/self/timens_offsets"], bundle);
    let text = facts.files["/proc/self/timens_offsets"].as_ref().expect("offsets");
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn every_clock_has_its_offset(test: &Test) {
    needs!(Feature::TimeNamespaces);
    let found =
        offsets(test, json!({ "monotonic": { "secs": 86_400 }, "boottime": { "secs": 7 } }));
    assert_eq!(found, ["monotonic 86400 0", "boottime 7 0"]);
}

fn seconds_count(test: &Test) {
    needs!(Feature::TimeNamespaces);
    // The kernel refuses what would take a clock below zero; this machine is up for longer.
    let found = offsets(test, json!({ "boottime": { "secs": -1, "nanosecs": 0 } }));
    assert_eq!(found, ["monotonic 0 0", "boottime -1 0"]);
}

fn nanoseconds_count(test: &Test) {
    needs!(Feature::TimeNamespaces);
    let found = offsets(test, json!({ "monotonic": { "nanosecs": 123_456_789 } }));
    assert_eq!(found, ["monotonic 0 123456789", "boottime 0 0"]);
}
