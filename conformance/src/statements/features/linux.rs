//! features-linux.md: namespaces, capabilities and cgroups.

use std::collections::BTreeSet;

use integration::{Feature, Test, collect, host, leftovers, needs};
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use super::{claimed, listed, recognizes};
use crate::{Statement, must, optional};

const NAMESPACES: &str = r#"features-linux.md "Namespaces""#;
const CAPABILITIES: &str = r#"features-linux.md "Capabilities""#;
const CGROUP: &str = r#"features-linux.md "Cgroup""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "features-linux.namespaces",
        NAMESPACES,
        "The runtime MUST recognize the elements in this array as the type of linux.namespaces objects \
         in config.json.",
    )
    .test(every_namespace_that_is_listed_is_made),
    must(
        "features-linux.capabilities",
        CAPABILITIES,
        "The runtime MUST recognize the elements in this array in the process.capabilities object of \
         config.json.",
    )
    .test(every_capability_that_is_listed_is_recognized),
    optional(
        "features-linux.cgroup.v1",
        CGROUP,
        "v1 (bool, OPTIONAL) represents whether the runtime supports cgroup v1.",
    )
    .test(v1_cgroups_are_supported),
    optional(
        "features-linux.cgroup.v2",
        CGROUP,
        "v2 (bool, OPTIONAL) represents whether the runtime supports cgroup v2.",
    )
    .test(v2_cgroups_are_supported),
    optional(
        "features-linux.cgroup.systemd",
        CGROUP,
        "systemd (bool, OPTIONAL) represents whether the runtime supports system-wide systemd cgroup \
         manager.",
    )
    .test(systemd_makes_the_cgroup),
    optional(
        "features-linux.cgroup.systemd-user",
        CGROUP,
        "systemdUser (bool, OPTIONAL) represents whether the runtime supports user-scoped systemd cgroup \
         manager.",
    )
    .untestable("it takes the session of an ordinary user under a systemd that runs the machine"),
    optional(
        "features-linux.cgroup.rdma",
        CGROUP,
        "rdma (bool, OPTIONAL) represents whether the runtime supports RDMA cgroup controller.",
    )
    .test(rdma_limits_are_written),
];

/// `type` in config.json → name in /proc/self/ns.
const KINDS: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

fn every_namespace_that_is_listed_is_made(test: &Test) {
    let listed = listed!(test, "/linux/namespaces");
    needs!(Feature::UserNamespaces, Feature::TimeNamespaces);
    let known = |kind: &String| KINDS.iter().any(|(name, _)| name == kind);
    assert!(listed.iter().all(known), "the specification lacks some of {listed:?}");
    let plain = listed.iter().filter(|kind| *kind != "user");
    let bundle = plain.fold(test.bundle(), |bundle, kind| bundle.namespace(kind, None));
    let bundle = if listed.iter().any(|kind| kind == "user") {
        bundle.user_namespace(100_000, 65_536)
    } else {
        bundle
    };
    let inside = test.facts(&bundle).namespaces;
    let outside = host::namespaces(std::process::id() as i32);
    for (kind, name) in KINDS.iter().filter(|(kind, _)| listed.iter().any(|l| l == kind)) {
        assert_ne!(inside[*name], outside[*name], "{kind} is listed, but not made");
    }
}

/// What this process lacks cannot be given; those names have to be known all the same.
fn every_capability_that_is_listed_is_recognized(test: &Test) {
    let listed = listed!(test, "/linux/capabilities");
    let own = collect::facts(&[], &[]).caps.bounding;
    let (held, lacking): (Vec<_>, Vec<_>) = listed.into_iter().partition(|name| own.contains(name));
    let names: Vec<&str> = held.iter().map(String::as_str).collect();
    let inside = test.facts(&test.bundle().capabilities(&names)).caps.bounding;
    assert_eq!(inside, held.iter().cloned().collect::<BTreeSet<_>>());
    recognizes(test, &lacking, |config, name| {
        config["process"]["capabilities"]["bounding"] = json!([name]);
    });
}

fn v1_cgroups_are_supported(test: &Test) {
    claimed!(test, "/linux/cgroup/v1");
    needs!(Feature::CgroupV1("devices"));
    let container = test.create(&test.bundle());
    let (own, outer) = (container.cgroup("devices"), host::cgroup_of(own_pid(), "devices"));
    container.remove();
    assert_ne!(own, outer, "the container has no cgroup of its own");
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// On a machine with v1 hierarchies, too: the test has a mount namespace of its own, in which
/// /sys/fs/cgroup becomes a v2 hierarchy for as long as it takes. Where it is one already, another
/// mount would be refused, and change the options of the machine's.
fn v2_cgroups_are_supported(test: &Test) {
    claimed!(test, "/linux/cgroup/v2");
    let plain = MsFlags::empty();
    let alone = Feature::CgroupV2("cgroup").present();
    if !alone {
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), plain, None::<&str>)
            .expect("a cgroup2 mount");
    }
    let bundle = test.bundle().edit(|config| config["linux"]["resources"] = json!({}));
    let container = test.create(&bundle);
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", container.pid));
    let own = std::fs::read_to_string("/proc/self/cgroup");
    container.remove();
    let left = leftovers::cgroups(test.id());
    if !alone {
        umount("/sys/fs/cgroup").expect("the cgroup2 mount can go");
    }
    let v2 = |text: std::io::Result<String>| {
        let text = text.expect("a list of cgroups");
        text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))
    };
    assert_ne!(v2(cgroups), v2(own), "the container has no cgroup of its own");
    assert!(left.is_empty(), "{left:?}");
}

fn systemd_makes_the_cgroup(test: &Test) {
    claimed!(test, "/linux/cgroup/systemd");
    needs!(Feature::Systemd);
    let bundle = test.bundle().args(&["/bin/true"]).edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:conformance:{}", test.id()));
    });
    let dir = bundle.dir.to_string_lossy();
    let arguments = ["--systemd-cgroup", "create", "--bundle", &dir, test.id()];
    test.call(&arguments).ok();
    let state = test.call(&["state", test.id()]).json();
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", state["pid"]));
    test.call(&["delete", "--force", test.id()]).ok();
    let scope = format!("system.slice/conformance-{}.scope", test.id());
    let cgroups = cgroups.expect("the container's process is there");
    assert!(cgroups.contains(&scope), "no {scope} in {cgroups}");
}

fn rdma_limits_are_written(test: &Test) {
    claimed!(test, "/linux/cgroup/rdma");
    needs!(Feature::Controller("rdma"), Feature::Rdma);
    let mut devices = std::fs::read_dir("/sys/class/infiniband").expect("RDMA devices");
    let device = devices.next().expect("a device").expect("a device");
    let name = device.file_name().to_string_lossy().into_owned();
    let limits = json!({ &name: { "hcaHandles": 3 } });
    let bundle = test.bundle().edit(|config| config["linux"]["resources"]["rdma"] = limits);
    let container = test.create(&bundle);
    let written = container.cgroup_file("rdma.max");
    container.remove();
    assert!(written.contains(&format!("{name} hca_handle=3")), "{written}");
}
