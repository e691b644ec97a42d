//! config-linux.md "Unified".

use integration::{Feature, Test, needs};
use serde_json::json;

use super::limits::{bundle, file, refused, written};
use crate::{Statement, may, must, optional};

const SECTION: &str = r#"config-linux.md "Unified""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.unified",
        SECTION,
        "unified (object, OPTIONAL) allows cgroup v2 parameters to be to be set and modified for the container. Each \
         key in the map refers to a file in the cgroup unified hierarchy.",
    )
    .test(|test| {
        needs!(Feature::CgroupV2("memory"), Feature::CgroupV2("pids"));
        let unified = json!({ "memory.high": "67108864", "pids.max": "77" });
        let v2 = [("memory.high", "67108864"), ("pids.max", "77")];
        written(test, "unified", unified, &[], &v2);
    }),
    must(
        "config-linux.unified.controllers-enabled",
        SECTION,
        "The OCI runtime MUST ensure that the needed cgroup controllers are enabled for the cgroup.",
    )
    .test(the_controllers_of_the_keys_are_enabled),
    must(
        "config-linux.unified.unknown-written",
        SECTION,
        "Configuration unknown to the runtime MUST still be written to the relevant file.",
    )
    .test(|test| {
        needs!(Feature::CgroupV2("memory"));
        // Files for which the specification has no property.
        let unified = json!({ "cgroup.max.depth": "7", "cgroup.max.descendants": "9", "memory.oom.group": "1" });
        let v2 =
            [("cgroup.max.depth", "7"), ("cgroup.max.descendants", "9"), ("memory.oom.group", "1")];
        written(test, "unified", unified, &[], &v2);
    }),
    must(
        "config-linux.unified.no-such-controller",
        SECTION,
        "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present \
         or that cannot be enabled.",
    )
    .test(|test| {
        refused(test, "unified", json!({ "nosuchcontroller.max": "1" }));
    }),
    must(
        "config-linux.unified.no-such-file",
        SECTION,
        "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present \
         or that cannot be enabled.",
    )
    .test(|test| {
        needs!(Feature::CgroupV2("memory"));
        refused(test, "unified", json!({ "memory.nosuchfile": "1" }));
    }),
    must(
        "config-linux.unified.only-v1",
        SECTION,
        "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present \
         or that cannot be enabled.",
    )
    .test(a_controller_that_is_in_v1_is_not_present),
    may(
        "config-linux.unified.conversion",
        SECTION,
        "If a controller is enabled on the cgroup v2 hierarchy but the configuration is provided for the cgroup v1 \
         equivalent controller, the runtime MAY attempt a conversion.",
    )
    .test(v1_values_are_converted),
    must(
        "config-linux.unified.no-conversion",
        SECTION,
        "If the conversion is not possible the runtime MUST generate an error.",
    )
    .test(what_v2_lacks_is_an_error),
];

fn the_controllers_of_the_keys_are_enabled(test: &Test) {
    needs!(Feature::CgroupV2("memory"), Feature::CgroupV2("pids"));
    let container = test.create(&bundle(
        test,
        "unified",
        json!({ "memory.max": "67108864", "pids.max": "77" }),
    ));
    let enabled = file(&container, "cgroup.controllers");
    container.remove();
    let has = |name: &str| enabled.split(' ').any(|controller| controller == name);
    assert!(has("memory") && has("pids"), "{enabled}");
}

/// Its files are not in the unified hierarchy, if there is one at all.
fn a_controller_that_is_in_v1_is_not_present(test: &Test) {
    needs!(Feature::CgroupV1("memory"));
    refused(test, "unified", json!({ "memory.max": "67108864" }));
}

fn v1_values_are_converted(test: &Test) {
    needs!(Feature::CgroupV2("memory"));
    let v2 = [("memory.max", "67108864"), ("memory.swap.max", "33554432")];
    written(test, "memory", json!({ "limit": 64 << 20, "swap": 96 << 20 }), &[], &v2);
}

/// v2 has no OOM killer to disable and no limit of realtime.
fn what_v2_lacks_is_an_error(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"));
    refused(test, "cpu", json!({ "realtimeRuntime": 1000, "realtimePeriod": 1_000_000 }));
}
