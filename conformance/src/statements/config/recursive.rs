//! config.md "Linux mount options": the attributes of whole trees.

use integration::{Feature, Test, needs};
use nix::mount::MsFlags;

use super::{mount_options::row, place::bound};
use crate::Statement;

/// A row about an `AT_RECURSIVE` option; all of them are advice.
macro_rules! recursive {
    ($word:literal of $plain:literal, $check:expr) => {
        row!(SHOULD $word $plain, $check)
    };
}

const NONE: MsFlags = MsFlags::empty();

pub(super) const STATEMENTS: &[Statement] = &[
    recursive!("ratime" of "Recursive atime", |test| {
        withdraws(test, MsFlags::MS_NOATIME, "ratime", "noatime");
    }),
    recursive!("rdev" of "Recursive dev", |test| {
        withdraws(test, MsFlags::MS_NODEV, "rdev", "nodev");
    }),
    recursive!("rdiratime" of "Recursive diratime", |test| {
        withdraws(test, MsFlags::MS_NODIRATIME, "rdiratime", "nodiratime");
    }),
    recursive!("rexec" of "Recursive dev", |test| {
        withdraws(test, MsFlags::MS_NOEXEC, "rexec", "noexec");
    }),
    recursive!("rnoatime" of "Recursive noatime", |test| gives(test, NONE, "rnoatime", "noatime")),
    recursive!("rnodiratime" of "Recursive nodiratime", |test| {
        gives(test, NONE, "rnodiratime", "nodiratime");
    }),
    recursive!("rnoexec" of "Recursive noexec", |test| gives(test, NONE, "rnoexec", "noexec")),
    // Without MOUNT_ATTR_NOATIME and MOUNT_ATTR_STRICTATIME it is relatime.
    recursive!("rnorelatime" of "Recursive norelatime", |test| {
        gives(test, NONE, "rnorelatime", "relatime");
    }),
    recursive!("rnostrictatime" of "Recursive nostrictatime", |test| {
        gives(test, MsFlags::MS_STRICTATIME, "rnostrictatime", "relatime");
    }),
    recursive!("rnosuid" of "Recursive nosuid", |test| gives(test, NONE, "rnosuid", "nosuid")),
    recursive!("rnosymfollow" of "Recursive nosymfollow", |test| {
        gives(test, NONE, "rnosymfollow", "nosymfollow");
    }),
    recursive!("rrelatime" of "Recursive relatime", |test| {
        gives(test, MsFlags::MS_NOATIME, "rrelatime", "relatime");
    }),
    recursive!("rro" of "Recursive ro", |test| gives(test, NONE, "rro", "ro")),
    recursive!("rrw" of "Recursive rw", |test| gives(test, MsFlags::MS_RDONLY, "rrw", "rw")),
    recursive!("rstrictatime" of "Recursive strictatime", |test| {
        withdraws(test, NONE, "rstrictatime", "relatime");
    }),
    recursive!("rsuid" of "Recursive suid", |test| {
        withdraws(test, MsFlags::MS_NOSUID, "rsuid", "nosuid");
    }),
    recursive!("rsymfollow" of "Recursive symfollow", |test| {
        withdraws(test, NOSYMFOLLOW, "rsymfollow", "nosymfollow");
    }),
];

/// MS_NOSYMFOLLOW (Linux 5.10), which the library does not name.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// A tree whose mounts have `flags` is bound with `option`; all of them then show `wanted`.
#[track_caller]
fn gives(test: &Test, flags: MsFlags, option: &str, wanted: &str) {
    needs!(Feature::Kernel(5, 12));
    for mount in bound(test, flags, &["rbind", option]) {
        assert!(mount.has(wanted), "no {wanted} after {option}: {mount:?}");
    }
}

/// As [`gives`]; none of them shows `unwanted` any more.
#[track_caller]
fn withdraws(test: &Test, flags: MsFlags, option: &str, unwanted: &str) {
    needs!(Feature::Kernel(5, 12));
    for mount in bound(test, flags, &["rbind", option]) {
        assert!(!mount.has(unwanted), "{unwanted} after {option}: {mount:?}");
    }
}
