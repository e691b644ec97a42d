//! config-linux.md "Default Filesystems".

use integration::Test;

use crate::{Statement, should};

const SECTION: &str = r#"config-linux.md "Default Filesystems""#;

pub(super) const STATEMENTS: &[Statement] = &[
    should(
        "config-linux.default-filesystems.proc",
        SECTION,
        "The following filesystems SHOULD be made available in each container's filesystem: /proc, proc",
    )
    .test(|test| available(test, "/proc", "proc")),
    should(
        "config-linux.default-filesystems.sys",
        SECTION,
        "The following filesystems SHOULD be made available in each container's filesystem: /sys, sysfs",
    )
    .test(|test| available(test, "/sys", "sysfs")),
    should(
        "config-linux.default-filesystems.dev-pts",
        SECTION,
        "The following filesystems SHOULD be made available in each container's filesystem: /dev/pts, devpts",
    )
    .test(|test| available(test, "/dev/pts", "devpts")),
    should(
        "config-linux.default-filesystems.dev-shm",
        SECTION,
        "The following filesystems SHOULD be made available in each container's filesystem: /dev/shm, tmpfs",
    )
    .test(|test| available(test, "/dev/shm", "tmpfs")),
];

/// They are in `mounts` of the configuration that every runtime of runc's kind writes (`spec`), and
/// of this one; nothing in the specification makes a runtime mount what is not listed.
fn available(test: &Test, path: &str, fstype: &str) {
    let facts = test.facts(&test.bundle());
    let mount = facts.mount(path).unwrap_or_else(|| panic!("nothing is mounted on {path}"));
    assert_eq!(mount.fstype, fstype, "{path}");
}
