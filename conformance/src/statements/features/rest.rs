//! features-linux.md from AppArmor to NetDevices.

use std::process::Command;

use integration::{Bundle, Feature, Test, needs, test::parse, wait};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::{claimed, feature, listed, recognizes};
use crate::{Statement, must, optional, skip};

const APPARMOR: &str = r#"features-linux.md "AppArmor""#;
const SELINUX: &str = r#"features-linux.md "SELinux""#;
const MEMORY_POLICY: &str = r#"features-linux.md "MemoryPolicy""#;
const INTEL_RDT: &str = r#"features-linux.md "Intel RDT""#;
const MOUNT_EXTENSIONS: &str = r#"features-linux.md "MountExtensions""#;
const NET_DEVICES: &str = r#"features-linux.md "NetDevices""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "features-linux.apparmor",
        APPARMOR,
        "enabled (bool, OPTIONAL) represents whether the runtime supports AppArmor.",
    )
    .test(an_apparmor_profile_is_asked_of_the_kernel),
    optional(
        "features-linux.selinux",
        SELINUX,
        "enabled (bool, OPTIONAL) represents whether the runtime supports SELinux.",
    )
    .test(a_selinux_label_is_applied),
    must(
        "features-linux.memory-policy.modes",
        MEMORY_POLICY,
        "The runtime MUST recognize the elements in this array as the mode of linux.memoryPolicy objects \
         in config.json.",
    )
    .test(every_memory_policy_that_is_listed_is_recognized),
    must(
        "features-linux.memory-policy.flags",
        MEMORY_POLICY,
        "The runtime MUST recognize the elements in this in the flags property of the linux.memoryPolicy \
         object in config.json",
    )
    .test(every_memory_policy_flag_that_is_listed_is_recognized),
    optional(
        "features-linux.intel-rdt",
        INTEL_RDT,
        "enabled (bool, OPTIONAL) represents whether the runtime supports Intel RDT.",
    )
    .test(|test| resctrl_is_used(test, "/linux/intelRdt/enabled", json!({}))),
    optional(
        "features-linux.intel-rdt.schemata",
        INTEL_RDT,
        "schemata (bool, OPTIONAL) represents whether the (schemata field of linux.intelRdt in \
         config.json) is supported.",
    )
    .test(|test| resctrl_is_used(test, "/linux/intelRdt/schemata", json!({ "schemata": [] }))),
    optional(
        "features-linux.intel-rdt.monitoring",
        INTEL_RDT,
        "monitoring (bool, OPTIONAL) represents whether the (enableMonitoring field of linux.intelRdt in \
         config.json) is supported.",
    )
    .test(|test| {
        resctrl_is_used(test, "/linux/intelRdt/monitoring", json!({ "enableMonitoring": true }))
    }),
    must(
        "features-linux.mount-extensions.idmap",
        MOUNT_EXTENSIONS,
        "runtimes MUST still set this value to true, to indicate that the runtime recognises the \
         uidMappings and gidMappings properties.",
    )
    .test(what_it_says_of_mapped_mounts_is_what_it_does),
    optional(
        "features-linux.net-devices",
        NET_DEVICES,
        "enabled (bool, OPTIONAL) represents whether the runtime supports the capability to move Linux \
         network devices into the container's network namespace.",
    )
    .test(a_network_device_is_moved),
];

/// One that ignores profiles would not miss this one.
fn an_apparmor_profile_is_asked_of_the_kernel(test: &Test) {
    claimed!(test, "/linux/apparmor/enabled");
    needs!(Feature::AppArmor);
    test.create_fails(&test.bundle().edit(|config| {
        config["process"]["apparmorProfile"] = json!("no-such-profile-on-this-host");
    }));
}

fn a_selinux_label_is_applied(test: &Test) {
    claimed!(test, "/linux/selinux/enabled");
    needs!(Feature::SeLinux);
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let bundle = test
        .bundle()
        .edit(|config| config["process"]["selinuxLabel"] = json!(label))
        .args(&["/bin/probe", "facts", "--read", "/proc/self/attr/current"]);
    let facts = test.facts(&bundle);
    let found = facts.files["/proc/self/attr/current"].clone();
    assert_eq!(found.as_deref().map(|text| text.trim_end_matches('\0')), Ok(label));
}

/// A policy that the kernel takes with this mode: some need nodes, some refuse them.
fn policy(mode: &str) -> Value {
    match mode {
        "MPOL_DEFAULT" | "MPOL_LOCAL" => json!({ "mode": mode }),
        _ => json!({ "mode": mode, "nodes": "0" }),
    }
}

fn every_memory_policy_that_is_listed_is_recognized(test: &Test) {
    let modes = listed!(test, "/linux/memoryPolicy/modes");
    recognizes(test, &modes, |config, mode| config["linux"]["memoryPolicy"] = policy(mode));
}

fn every_memory_policy_flag_that_is_listed_is_recognized(test: &Test) {
    let flags = listed!(test, "/linux/memoryPolicy/flags");
    recognizes(test, &flags, |config, flag| {
        config["linux"]["memoryPolicy"] = policy("MPOL_BIND");
        config["linux"]["memoryPolicy"]["flags"] = json!([flag]);
    });
}

/// A group of resource control named after the container is there while the container is.
fn resctrl_is_used(test: &Test, pointer: &str, rdt: Value) {
    claimed!(test, pointer);
    needs!(Feature::Resctrl);
    let container = test.create(&test.bundle().edit(|config| config["linux"]["intelRdt"] = rdt));
    let group = std::path::Path::new("/sys/fs/resctrl").join(&container.id);
    let made = group.exists();
    container.remove();
    assert!(made, "no {}", group.display());
    assert!(!group.exists(), "{} is still there", group.display());
}

/// A file of uid 1000 on the host, through a mount that maps 0 to 1000.
fn mapped(test: &Test) -> Bundle {
    let source = test.dir().join("source");
    std::fs::create_dir(&source).expect("a directory");
    std::fs::write(source.join("file"), "").expect("a file");
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    test.bundle().args(&["/bin/probe", "facts", "--stat", "/data/file"]).mount(json!({
        "destination": "/data", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": map, "gidMappings": map,
    }))
}

fn what_it_says_of_mapped_mounts_is_what_it_does(test: &Test) {
    let says = feature(test, "/linux/mountExtensions/idmap/enabled");
    if says.is_null() {
        skip!("the runtime does not tell /linux/mountExtensions/idmap/enabled");
    }
    let output = test.run(&mapped(test));
    let does = output.status == 0 && {
        let stat = parse(&output.stdout).stats["/data/file"].clone();
        stat.is_ok_and(|stat| stat.uid == 1000)
    };
    assert_eq!(says, does, "{output:?}");
}

/// The check's process makes a network namespace of its own first, so that the device is nobody
/// else's.
fn a_network_device_is_moved(test: &Test) {
    claimed!(test, "/linux/netDevices/enabled");
    needs!(Feature::NetDevices);
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    let mut add = Command::new("ip");
    add.args(["link", "add", "moved", "type", "veth", "peer", "name", "stays"]);
    wait::output(&mut add).ok();
    let bundle =
        test.bundle().edit(|config| config["linux"]["netDevices"] = json!({ "moved": {} }));
    let inside = test.run(&bundle.args(&["/bin/ls", "/sys/class/net"]));
    assert!(inside.ok().lines().any(|name| name == "moved"), "{inside:?}");
}
