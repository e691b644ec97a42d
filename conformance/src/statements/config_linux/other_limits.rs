//! config-linux.md "Huge page limits", "Network", "PIDs" and "RDMA".

use std::fs;

use integration::{Feature, Test, host, needs};
use serde_json::{Value, json};

use super::limits::{bundle, directory, file, refused, written};
use crate::{Statement, may, must, optional, required, should};

const HUGE: &str = r#"config-linux.md "Huge page limits""#;
const NETWORK: &str = r#"config-linux.md "Network""#;
const PIDS: &str = r#"config-linux.md "PIDs""#;
const RDMA: &str = r#"config-linux.md "RDMA""#;

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config-linux.hugepages.page-size",
        HUGE,
        "pageSize (string, REQUIRED) - hugepage size. The value has the format <size><unit-prefix>B (64KB, 2MB, 1GB)",
    )
    .test(a_size_that_the_kernel_lacks_is_an_error),
    required(
        "config-linux.hugepages.limit",
        HUGE,
        "limit (uint64, REQUIRED) - limit in bytes of hugepagesize HugeTLB reservations (if supported) or usage.",
    )
    .test(|test| {
        needs!(Feature::Controller("hugetlb"));
        let limit = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
        let v1 = [("hugetlb.2MB.limit_in_bytes", "4194304")];
        written(test, "hugepageLimits", limit, &v1, &[("hugetlb.2MB.max", "4194304")]);
    }),
    required(
        "config-linux.hugepages.limit.reservations",
        HUGE,
        "limit (uint64, REQUIRED) - limit in bytes of hugepagesize HugeTLB reservations (if supported) or usage.",
    )
    .test(|test| {
        needs!(Feature::Controller("hugetlb"));
        let limit = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
        let v1 = [("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")];
        written(test, "hugepageLimits", limit, &v1, &[("hugetlb.2MB.rsvd.max", "4194304")]);
    }),
    optional(
        "config-linux.network.class-id",
        NETWORK,
        "classID (uint32, OPTIONAL) - is the network class identifier the cgroup's network packets will be tagged with",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("net_cls"));
        let network = json!({ "classID": 1_048_577 });
        written(test, "network", network, &[("net_cls.classid", "1048577")], &[]);
    }),
    optional(
        "config-linux.network.priorities",
        NETWORK,
        "priorities (array of objects, OPTIONAL) - specifies a list of objects of the priorities assigned to traffic \
         originating from processes in the group and egressing the system on various interfaces.",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("net_prio"));
        let network = json!({ "priorities": [{ "name": "lo", "priority": 5 }] });
        written(test, "network", network, &[("net_prio.ifpriomap", "lo 5")], &[]);
    }),
    required(
        "config-linux.network.priorities.name",
        NETWORK,
        "name (string, REQUIRED) - interface name in runtime network namespace",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("net_prio"));
        refused(test, "network", json!({ "priorities": [{ "name": "notthere0", "priority": 5 }] }));
    }),
    required(
        "config-linux.network.priorities.priority",
        NETWORK,
        "priority (uint32, REQUIRED) - priority applied to the interface",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("net_prio"));
        let network = json!({ "priorities": [{ "name": "lo", "priority": 7 }] });
        written(test, "network", network, &[("net_prio.ifpriomap", "lo 7")], &[]);
    }),
    optional(
        "config-linux.pids.limit",
        PIDS,
        "limit (int64, OPTIONAL) - specifies the maximum number of tasks in the cgroup, with -1 indicating no limit (max).",
    )
    .test(|test| max(test, json!({ "limit": 32_771 }), "32771")),
    optional(
        "config-linux.pids.limit.holds",
        PIDS,
        "limit (int64, OPTIONAL) - specifies the maximum number of tasks in the cgroup, with -1 indicating no limit (max).",
    )
    .test(no_more_tasks_than_the_limit),
    optional(
        "config-linux.pids.limit.none",
        PIDS,
        "limit (int64, OPTIONAL) - specifies the maximum number of tasks in the cgroup, with -1 indicating no limit (max).",
    )
    .test(|test| max(test, json!({ "limit": -1 }), "max")),
    optional(
        "config-linux.pids.limit.absent",
        PIDS,
        "limit (int64, OPTIONAL) - specifies the maximum number of tasks in the cgroup, with -1 indicating no limit (max).",
    )
    .test(|test| max(test, json!({}), "max")),
    should(
        "config-linux.pids.limit.zero",
        PIDS,
        "Even though it may superficially seem redundant, 0 is a valid limit value for the pids cgroup controller \
         from the kernel's perspective and SHOULD be treated as such by runtimes.",
    )
    .test(zero_is_a_limit),
    optional(
        "config-linux.rdma.hca-handles",
        RDMA,
        "hcaHandles (uint32, OPTIONAL) - specifies the maximum number of hca_handles in the cgroup",
    )
    .test(|test| rdma(test, json!({ "hcaHandles": 3 }), "hca_handle=3")),
    optional(
        "config-linux.rdma.hca-objects",
        RDMA,
        "hcaObjects (uint32, OPTIONAL) - specifies the maximum number of hca_objects in the cgroup",
    )
    .test(|test| rdma(test, json!({ "hcaObjects": 1000 }), "hca_object=1000")),
    must(
        "config-linux.rdma.one-of",
        RDMA,
        "You MUST specify at least one of the hcaHandles or hcaObjects in a given entry, and MAY specify both.",
    )
    .untestable("it binds the author of the configuration"),
    may(
        "config-linux.rdma.both",
        RDMA,
        "You MUST specify at least one of the hcaHandles or hcaObjects in a given entry, and MAY specify both.",
    )
    .test(|test| {
        rdma(test, json!({ "hcaHandles": 3, "hcaObjects": 1000 }), "hca_handle=3 hca_object=1000");
    }),
];

fn a_size_that_the_kernel_lacks_is_an_error(test: &Test) {
    needs!(Feature::Controller("hugetlb"));
    refused(test, "hugepageLimits", json!([{ "pageSize": "3MB", "limit": 3 << 20 }]));
}

#[track_caller]
fn max(test: &Test, pids: Value, expected: &str) {
    needs!(Feature::Controller("pids"));
    let files = [("pids.max", expected)];
    written(test, "pids", pids, &files, &files);
}

fn no_more_tasks_than_the_limit(test: &Test) {
    needs!(Feature::Controller("pids"));
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo all";
    let bundle = bundle(test, "pids", json!({ "limit": 8 }));
    let mut container = test.start(&bundle.shell(script));
    let output = container.output();
    let told = container.stderr();
    container.wait();
    container.delete();
    assert!(!output.contains("all") && told.contains("fork"), "{output:?} {told:?}");
}

/// No task may be made: the kernel counts the first, and refuses the second, be it 0 or 1.
fn zero_is_a_limit(test: &Test) {
    needs!(Feature::Controller("pids"));
    let container = test.create(&bundle(test, "pids", json!({ "limit": 0 })));
    let found = file(&container, "pids.max");
    container.remove();
    assert!(found == "0" || found == "1", "pids.max holds {found}");
}

fn rdma(test: &Test, limits: Value, expected: &str) {
    needs!(Feature::Rdma, Feature::Controller("rdma"));
    let device = fs::read_dir("/sys/class/infiniband").expect("devices").flatten().next();
    let device = device.expect("a device").file_name().to_string_lossy().into_owned();
    let container = test.create(&bundle(test, "rdma", json!({ device.as_str(): limits })));
    let text = fs::read_to_string(directory(&container, "rdma").join("rdma.max")).expect("limits");
    container.remove();
    let line = text.lines().find(|line| line.starts_with(&device)).unwrap_or_default();
    assert!(line.contains(expected), "{} has no {expected}: {text:?}", host::unified());
}
