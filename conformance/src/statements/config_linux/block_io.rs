//! config-linux.md "Block IO".

use std::fs;

use integration::{Feature, Test, host, needs};
use serde_json::{Value, json};

use super::limits::{bundle, directory, refused};
use crate::{Statement, may, must, optional, required, skip};

const SECTION: &str = r#"config-linux.md "Block IO""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.block-io.weight",
        SECTION,
        "weight (uint16, OPTIONAL) - specifies per-cgroup weight.",
    )
    .test(more_weight_is_more_weight),
    optional(
        "config-linux.block-io.leaf-weight",
        SECTION,
        "leafWeight (uint16, OPTIONAL) - equivalents of weight for the purpose of deciding how much weight tasks in \
         the given cgroup has while competing with the cgroup's child cgroups.",
    )
    .untestable("it belongs to the CFQ scheduler, which Linux 5.0 removed"),
    required(
        "config-linux.block-io.weight-device.major-minor",
        SECTION,
        "weightDevice major, minor (int64, REQUIRED) - major, minor numbers for device.",
    )
    .test(a_device_has_a_weight_of_its_own),
    optional(
        "config-linux.block-io.weight-device.weight",
        SECTION,
        "weight (uint16, OPTIONAL) - bandwidth weight for the device.",
    )
    .test(a_device_has_a_weight_of_its_own),
    optional(
        "config-linux.block-io.weight-device.leaf-weight",
        SECTION,
        "leafWeight (uint16, OPTIONAL) - bandwidth weight for the device while competing with the cgroup's child \
         cgroups, CFQ scheduler only",
    )
    .untestable("it belongs to the CFQ scheduler, which Linux 5.0 removed"),
    must(
        "config-linux.block-io.weight-device.one-of",
        SECTION,
        "You MUST specify at least one of weight or leafWeight in a given entry, and MAY specify both.",
    )
    .untestable("it binds the author of the configuration"),
    may(
        "config-linux.block-io.weight-device.both",
        SECTION,
        "You MUST specify at least one of weight or leafWeight in a given entry, and MAY specify both.",
    )
    .untestable("it binds the author of the configuration"),
    optional(
        "config-linux.block-io.throttle-read-bps",
        SECTION,
        "throttleReadBpsDevice, throttleWriteBpsDevice (array of objects, OPTIONAL) - an array of per-device \
         bandwidth rate limits.",
    )
    .test(|test| throttled(test, "throttleReadBpsDevice", "read_bps_device", "rbps")),
    optional(
        "config-linux.block-io.throttle-write-bps",
        SECTION,
        "throttleReadBpsDevice, throttleWriteBpsDevice (array of objects, OPTIONAL) - an array of per-device \
         bandwidth rate limits.",
    )
    .test(|test| throttled(test, "throttleWriteBpsDevice", "write_bps_device", "wbps")),
    optional(
        "config-linux.block-io.throttle-read-iops",
        SECTION,
        "throttleReadIOPSDevice, throttleWriteIOPSDevice (array of objects, OPTIONAL) - an array of per-device IO \
         rate limits.",
    )
    .test(|test| throttled(test, "throttleReadIOPSDevice", "read_iops_device", "riops")),
    optional(
        "config-linux.block-io.throttle-write-iops",
        SECTION,
        "throttleReadIOPSDevice, throttleWriteIOPSDevice (array of objects, OPTIONAL) - an array of per-device IO \
         rate limits.",
    )
    .test(|test| throttled(test, "throttleWriteIOPSDevice", "write_iops_device", "wiops")),
    required(
        "config-linux.block-io.throttle.major-minor",
        SECTION,
        "major, minor (int64, REQUIRED) - major, minor numbers for device.",
    )
    .test(a_device_that_is_not_there_cannot_be_throttled),
    required(
        "config-linux.block-io.throttle.bps-rate",
        SECTION,
        "rate (uint64, REQUIRED) - bandwidth rate limit in bytes per second for the device",
    )
    .test(a_rate_may_need_more_than_32_bits),
    required(
        "config-linux.block-io.throttle.iops-rate",
        SECTION,
        "rate (uint64, REQUIRED) - IO rate limit for the device",
    )
    .test(|test| throttled(test, "throttleReadIOPSDevice", "read_iops_device", "riops")),
];

/// Every file of the container's cgroup that may hold weights, with its content.
fn weights(test: &Test, block_io: Value) -> String {
    let container = test.create(&bundle(test, "blockIO", block_io));
    let group = directory(&container, "blkio");
    let read = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
    let files = ["blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"].map(read);
    let devices = ["blkio.weight_device", "blkio.bfq.weight_device"].map(read);
    container.remove();
    format!("{}{}", files.concat(), devices.concat())
}

fn more_weight_is_more_weight(test: &Test) {
    needs!(Feature::BlkioWeight);
    let (light, heavy) =
        (weights(test, json!({ "weight": 20 })), weights(test, json!({ "weight": 800 })));
    assert_ne!(light, heavy, "weights of 20 and of 800");
    if !host::unified() {
        assert!(light.contains("20") && heavy.contains("800"), "{light:?}, {heavy:?}");
    }
}

/// A device whose I/O scheduler knows weights.
fn weighted_device() -> Option<(u64, u64)> {
    fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).ok();
        read("queue/scheduler").filter(|text| text.contains("[bfq]"))?;
        let (major, minor) =
            read("dev")?.trim().split_once(':').map(|(a, b)| (a.parse(), b.parse()))?;
        Some((major.ok()?, minor.ok()?))
    })
}

fn a_device_has_a_weight_of_its_own(test: &Test) {
    let Some((major, minor)) = weighted_device() else {
        skip!("no block device of this machine has the BFQ scheduler");
    };
    let text = weights(
        test,
        json!({ "weightDevice": [{ "major": major, "minor": minor, "weight": 333 }] }),
    );
    assert!(text.contains(&format!("{major}:{minor} ")), "{text:?}");
}

/// The content of the file that a throttle is in.
fn throttle(test: &Test, block_io: Value, v1: &str) -> String {
    let container = test.create(&bundle(test, "blockIO", block_io));
    let name = if host::unified() { "io.max" } else { &format!("blkio.throttle.{v1}") };
    let found = fs::read_to_string(directory(&container, "blkio").join(name)).expect("a throttle");
    container.remove();
    found
}

#[track_caller]
fn limited(test: &Test, key: &str, v1: &str, v2: &str, rate: u64) {
    needs!(Feature::Controller("blkio"), Feature::BlockDevice);
    let (major, minor) = host::block_device().expect("a block device");
    let value = json!({ key: [{ "major": major, "minor": minor, "rate": rate }] });
    let found = throttle(test, value, v1);
    let device = format!("{major}:{minor} ");
    let wanted = if host::unified() { format!("{v2}={rate}") } else { rate.to_string() };
    let line = found.lines().find_map(|line| line.strip_prefix(&device));
    let line = line.unwrap_or_else(|| panic!("no {device}in {found:?}"));
    assert!(line.split(' ').any(|word| word == wanted), "no {wanted} in {found:?}");
}

fn throttled(test: &Test, key: &str, v1: &str, v2: &str) {
    limited(test, key, v1, v2, 123_456);
}

fn a_rate_may_need_more_than_32_bits(test: &Test) {
    limited(test, "throttleReadBpsDevice", "read_bps_device", "rbps", 10_000_000_000);
}

/// The kernel says so, and the runtime has to pass it on.
fn a_device_that_is_not_there_cannot_be_throttled(test: &Test) {
    needs!(Feature::Controller("blkio"));
    let nowhere = json!([{ "major": 4000, "minor": 77, "rate": 1000 }]);
    refused(test, "blockIO", json!({ "throttleReadBpsDevice": nowhere }));
}
