//! What is wrong with an entry of `mounts` by itself.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
};

use oci_spec::runtime as oci;

use super::{Action, clean, options::Words};
use crate::error::Error;

pub(super) fn destination(at: &str, path: &Path, remount: bool, faults: &mut Vec<Error>) {
    let at = format!("{at}.destination");
    if path.as_os_str().is_empty() {
        faults.push(Error::config(at, "invalid mount: the destination is empty"));
    } else if leaves_root(path) {
        let what = format!("invalid mount destination {path:?}: it leaves the root filesystem");
        faults.push(Error::config(at, what));
    } else if !remount && clean(path) == Path::new("/") {
        let what = format!("invalid mount destination {path:?}: it is the root filesystem itself");
        faults.push(Error::config(at, what));
    } else if path.as_os_str().as_bytes().contains(&0) {
        faults.push(Error::config(at, "invalid mount destination: it contains a NUL byte"));
    }
}

/// Whether the text of `path` climbs above where it starts.
pub(in crate::plan) fn leaves_root(path: &Path) -> bool {
    let mut depth = 0_i32;
    path.components().any(|component| {
        depth += match component {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            _ => 0,
        };
        depth < 0
    })
}

pub(super) fn bind(at: &str, mount: &oci::Mount, words: &Words<'_>, faults: &mut Vec<Error>) {
    if mount.source().as_deref().is_none_or(|source| source.as_os_str().is_empty()) {
        faults.push(Error::config(format!("{at}.source"), "invalid bind mount: it has no source"));
    }
    if let Some(option) = words.data.first() {
        let index = mount.options().iter().flatten().position(|other| other == option);
        let at = format!("{at}.options[{}]", index.unwrap_or(0));
        let what = format!(
            "unknown option {option:?}: bind mounts cannot have any filesystem-specific options applied"
        );
        faults.push(Error::config(at, what));
    }
    if words.copy_link && (words.source_link || words.destination_link) {
        let what =
            "invalid options: \"copy-symlink\" excludes \"src-nofollow\" and \"dest-nofollow\"";
        faults.push(Error::config(format!("{at}.options"), what));
    }
    only_tmpfs_copies_up(at, "bind", words, faults);
}

pub(super) fn filesystem(at: &str, kind: &str, words: &Words<'_>, faults: &mut Vec<Error>) {
    if kind.is_empty() {
        let error = Error::config(format!("{at}.type"), "invalid mount: it has no type");
        faults.push(error.hint("a bind mount has \"bind\" or \"rbind\" among its options"));
    }
    if words.copy_link || words.source_link {
        let what =
            "invalid options: \"copy-symlink\" and \"src-nofollow\" work on bind mounts only";
        faults.push(Error::config(format!("{at}.options"), what));
    }
    only_tmpfs_copies_up(at, kind, words, faults);
}

fn only_tmpfs_copies_up(at: &str, kind: &str, words: &Words<'_>, faults: &mut Vec<Error>) {
    if words.copy_up && kind != "tmpfs" {
        let what = "invalid option \"tmpcopyup\": it works on tmpfs only";
        faults.push(Error::config(format!("{at}.options"), what));
    }
}

/// Files in /proc that a caller may cover: lxcfs and the like, as under runc.
const COVERABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Nothing but a procfs may be /proc, and nothing may cover what is inside: the container's own
/// programs trust what they read and write there (CVE-2019-16884).
pub(super) fn inside_proc(
    at: &str,
    destination: &Path,
    action: &Action,
    mount: &oci::Mount,
    faults: &mut Vec<Error>,
) {
    if !destination.starts_with("/proc") || matches!(action, Action::Remount { .. }) {
        return;
    }
    let allowed = match destination.to_str() {
        Some("/proc") => match action {
            Action::Filesystem { .. } => action.is_of(&["proc"]),
            _ => mount.source().as_deref().is_some_and(|source| source.starts_with("/proc")),
        },
        Some(file) => COVERABLE.contains(&file),
        None => false,
    };
    if !allowed {
        let what =
            format!("{destination:?} cannot be mounted because it is inside /proc or not a procfs");
        faults.push(Error::config(format!("{at}.destination"), what));
    }
}
