//! config-linux.md "Memory".

use std::{fs, io::Write};

use integration::{Feature, Test, host, needs};
use serde_json::json;

use super::limits::{bundle, directory, file, written};
use crate::{Statement, must, optional, recommended, skip};

const SECTION: &str = r#"config-linux.md "Memory""#;

const NO_KERNEL_LIMIT: &str =
    "the property is NOT RECOMMENDED, and Linux has had no such limit of its own since 5.16";

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.memory.limit",
        SECTION,
        "limit (int64, OPTIONAL) - sets limit of memory usage",
    )
    .test(|test| {
        needs!(Feature::Controller("memory"));
        let limit = json!({ "limit": 64 << 20 });
        let v1 = [("memory.limit_in_bytes", "67108864")];
        written(test, "memory", limit, &v1, &[("memory.max", "67108864")]);
    }),
    optional(
        "config-linux.memory.limit.holds",
        SECTION,
        "limit (int64, OPTIONAL) - sets limit of memory usage",
    )
    .test(a_process_beyond_the_limit_is_killed),
    optional(
        "config-linux.memory.limit.unlimited",
        SECTION,
        "Values for memory specify the limit in bytes, or -1 for unlimited memory. limit (int64, OPTIONAL)",
    )
    .test(minus_one_is_no_limit),
    optional(
        "config-linux.memory.reservation",
        SECTION,
        "reservation (int64, OPTIONAL) - sets soft limit of memory usage",
    )
    .test(|test| {
        needs!(Feature::Controller("memory"));
        let soft = json!({ "reservation": 32 << 20 });
        let v1 = [("memory.soft_limit_in_bytes", "33554432")];
        written(test, "memory", soft, &v1, &[("memory.low", "33554432")]);
    }),
    optional(
        "config-linux.memory.swap",
        SECTION,
        "swap (int64, OPTIONAL) - sets limit of memory+Swap usage",
    )
    .test(|test| {
        needs!(Feature::Controller("memory"));
        let swap = json!({ "limit": 64 << 20, "swap": 96 << 20 });
        let v1 = [("memory.memsw.limit_in_bytes", "100663296")];
        // What is left for swap alone.
        written(test, "memory", swap, &v1, &[("memory.swap.max", "33554432")]);
    }),
    optional(
        "config-linux.memory.swap.unlimited",
        SECTION,
        "Values for memory specify the limit in bytes, or -1 for unlimited memory. swap (int64, OPTIONAL)",
    )
    .test(swap_may_be_unlimited_where_memory_is_not),
    recommended(
        "config-linux.memory.kernel",
        SECTION,
        "kernel (int64, OPTIONAL, NOT RECOMMENDED) - sets hard limit for kernel memory",
    )
    .untestable(NO_KERNEL_LIMIT),
    recommended(
        "config-linux.memory.kernel-tcp",
        SECTION,
        "kernelTCP (int64, OPTIONAL, NOT RECOMMENDED) - sets hard limit for kernel TCP buffer memory",
    )
    .untestable("the property is NOT RECOMMENDED, and v2 has no such limit"),
    optional(
        "config-linux.memory.swappiness",
        SECTION,
        "swappiness (uint64, OPTIONAL) - sets swappiness parameter of vmscan (See sysctl's vm.swappiness)",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("memory"));
        for value in ["0", "17", "100"] {
            let number: u64 = value.parse().expect("a number");
            let expected = [("memory.swappiness", value)];
            written(test, "memory", json!({ "swappiness": number }), &expected, &[]);
        }
    }),
    optional(
        "config-linux.memory.disable-oom-killer",
        SECTION,
        "disableOOMKiller (bool, OPTIONAL) - enables or disables the OOM killer.",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("memory"));
        let memory = json!({ "limit": 64 << 20, "disableOOMKiller": true });
        written(test, "memory", memory, &[("memory.oom_control", "oom_kill_disable 1")], &[]);
        let memory = json!({ "limit": 64 << 20, "disableOOMKiller": false });
        written(test, "memory", memory, &[("memory.oom_control", "oom_kill_disable 0")], &[]);
    }),
    optional(
        "config-linux.memory.use-hierarchy",
        SECTION,
        "useHierarchy (bool, OPTIONAL) - enables or disables hierarchical memory accounting. If enabled (true), \
         child cgroups will share the memory limits of this cgroup.",
    )
    .test(|test| {
        needs!(Feature::CgroupV1("memory"));
        let hierarchical = [("memory.use_hierarchy", "1")];
        written(test, "memory", json!({ "useHierarchy": true }), &hierarchical, &[]);
    }),
    must(
        "config-linux.memory.check-before-update",
        SECTION,
        "checkBeforeUpdate (bool, OPTIONAL) - enables container memory usage check before setting a new limit. If \
         enabled (true), runtime MAY check if a new memory limit is lower than the current usage, and MUST reject \
         the new limit.",
    )
    .test(a_limit_below_the_usage_is_rejected),
];

fn a_process_beyond_the_limit_is_killed(test: &Test) {
    needs!(Feature::Controller("memory"));
    let memory = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    let bundle = bundle(test, "memory", memory);
    let fits = test.run(&bundle.clone_with(&["/bin/probe", "alloc", "8388608"]));
    assert_eq!(fits.ok().trim(), "2048", "8 MiB of 32");
    let output = test.run(&bundle.args(&["/bin/probe", "alloc", "67108864"]));
    assert_eq!(output.status, 128 + 9, "64 MiB of 32: {output:?}");
}

fn minus_one_is_no_limit(test: &Test) {
    needs!(Feature::Controller("memory"));
    let container = test.create(&bundle(test, "memory", json!({ "limit": -1 })));
    let name = if host::unified() { "memory.max" } else { "memory.limit_in_bytes" };
    let found = file(&container, name);
    container.remove();
    // v1 says the greatest multiple of a page.
    assert!(found == "max" || found == "9223372036854771712", "{name} holds {found}");
}

fn swap_may_be_unlimited_where_memory_is_not(test: &Test) {
    needs!(Feature::Controller("memory"));
    let v1 = [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "9223372036854771712"),
    ];
    let v2 = [("memory.max", "67108864"), ("memory.swap.max", "max")];
    written(test, "memory", json!({ "limit": 64 << 20, "swap": -1 }), &v1, &v2);
}

/// The container holds 32 MiB in a file of a tmpfs, which cannot be written back.
fn a_limit_below_the_usage_is_rejected(test: &Test) {
    needs!(Feature::Controller("memory"));
    if test.call(&["update", "--help"]).status != 0 {
        skip!("the runtime has no `update`");
    }
    let memory = json!({ "limit": 128 << 20, "swap": 128 << 20, "checkBeforeUpdate": true });
    let script = "dd if=/dev/zero of=/dev/shm/held bs=1M count=32 2>/dev/null; exec probe serve";
    let mut container = test.start(&bundle(test, "memory", memory.clone()).shell(script));
    container.expect("ready");
    let mut resources = fs::File::create(test.dir().join("resources.json")).expect("a file");
    let memory = json!({ "limit": 8 << 20, "swap": 8 << 20, "checkBeforeUpdate": true });
    write!(resources, "{}", json!({ "memory": memory })).expect("resources");
    let path = test.dir().join("resources.json");
    let output = container.call(&["update", "--resources", &path.to_string_lossy()]);
    let name = if host::unified() { "memory.max" } else { "memory.limit_in_bytes" };
    let (limit, status) = (file(&container, name), container.status());
    assert!(directory(&container, "memory").is_dir());
    container.remove();
    output.fails();
    assert_eq!((limit.as_str(), status.as_str()), ("134217728", "running"));
}
