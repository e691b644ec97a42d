//! The words of `mounts[].options` that mean something to the runtime; every other word is data
//! for the filesystem.

use libc::{
    MS_DIRSYNC, MS_I_VERSION, MS_LAZYTIME, MS_MANDLOCK, MS_NOATIME, MS_NODEV, MS_NODIRATIME,
    MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_RELATIME, MS_SHARED, MS_SILENT, MS_SLAVE,
    MS_STRICTATIME, MS_SYNCHRONOUS, MS_UNBINDABLE,
};

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    Bind {
        recursive: bool,
    },
    Remount,
    /// Sets MS_* flags on the one mount.
    Set(u64),
    Clear(u64),
    /// The same on the mount and all below it (mount_setattr(2) with AT_RECURSIVE).
    SetAll(u64),
    ClearAll(u64),
    Propagation(u64),
    /// Copies what the directory had into the new tmpfs.
    CopyUp,
}

/// Linux 5.10; the libc crate does not have it.
pub(super) const MS_NOSYMFOLLOW: u64 = 256;
const REC: u64 = libc::MS_REC;

const OPTIONS: &[(&str, Meaning)] = {
    use Meaning::*;
    &[
        ("acl", Nothing),
        ("noacl", Nothing),
        ("async", Clear(MS_SYNCHRONOUS)),
        ("atime", Clear(MS_NOATIME)),
        ("bind", Bind { recursive: false }),
        ("defaults", Nothing),
        ("dev", Clear(MS_NODEV)),
        ("diratime", Clear(MS_NODIRATIME)),
        ("dirsync", Set(MS_DIRSYNC)),
        ("exec", Clear(MS_NOEXEC)),
        ("iversion", Set(MS_I_VERSION)),
        ("lazytime", Set(MS_LAZYTIME)),
        ("loud", Clear(MS_SILENT)),
        ("mand", Set(MS_MANDLOCK)),
        ("noatime", Set(MS_NOATIME)),
        ("nodev", Set(MS_NODEV)),
        ("nodiratime", Set(MS_NODIRATIME)),
        ("noexec", Set(MS_NOEXEC)),
        ("noiversion", Clear(MS_I_VERSION)),
        ("nolazytime", Clear(MS_LAZYTIME)),
        ("nomand", Clear(MS_MANDLOCK)),
        ("norelatime", Clear(MS_RELATIME)),
        ("nostrictatime", Clear(MS_STRICTATIME)),
        ("nosuid", Set(MS_NOSUID)),
        ("nosymfollow", Set(MS_NOSYMFOLLOW)),
        ("private", Propagation(MS_PRIVATE)),
        ("rbind", Bind { recursive: true }),
        ("relatime", Set(MS_RELATIME)),
        ("remount", Remount),
        ("ro", Set(MS_RDONLY)),
        ("rprivate", Propagation(MS_PRIVATE | REC)),
        ("rshared", Propagation(MS_SHARED | REC)),
        ("rslave", Propagation(MS_SLAVE | REC)),
        ("runbindable", Propagation(MS_UNBINDABLE | REC)),
        ("rw", Clear(MS_RDONLY)),
        ("shared", Propagation(MS_SHARED)),
        ("silent", Set(MS_SILENT)),
        ("slave", Propagation(MS_SLAVE)),
        ("strictatime", Set(MS_STRICTATIME)),
        ("suid", Clear(MS_NOSUID)),
        ("symfollow", Clear(MS_NOSYMFOLLOW)),
        ("sync", Set(MS_SYNCHRONOUS)),
        ("tmpcopyup", CopyUp),
        ("unbindable", Propagation(MS_UNBINDABLE)),
        // Recursive: the specification's "r" words (config.md "Linux mount options").
        ("ratime", ClearAll(MS_NOATIME)),
        ("rdev", ClearAll(MS_NODEV)),
        ("rdiratime", ClearAll(MS_NODIRATIME)),
        ("rexec", ClearAll(MS_NOEXEC)),
        ("rnoatime", SetAll(MS_NOATIME)),
        ("rnodev", SetAll(MS_NODEV)),
        ("rnodiratime", SetAll(MS_NODIRATIME)),
        ("rnoexec", SetAll(MS_NOEXEC)),
        ("rnorelatime", ClearAll(MS_RELATIME)),
        ("rnostrictatime", ClearAll(MS_STRICTATIME)),
        ("rnosuid", SetAll(MS_NOSUID)),
        ("rnosymfollow", SetAll(MS_NOSYMFOLLOW)),
        ("rrelatime", SetAll(MS_RELATIME)),
        ("rro", SetAll(MS_RDONLY)),
        ("rrw", ClearAll(MS_RDONLY)),
        ("rstrictatime", SetAll(MS_STRICTATIME)),
        ("rsuid", ClearAll(MS_NOSUID)),
        ("rsymfollow", ClearAll(MS_NOSYMFOLLOW)),
    ]
};

pub(super) fn meaning(option: &str) -> Option<Meaning> {
    OPTIONS.iter().find(|(name, _)| *name == option).map(|(_, meaning)| *meaning)
}

/// Every option word that the runtime itself understands, for `features`.
pub fn known() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// The mount_setattr(2) words for MS_* flags: the access-time policy is a field, not a bit, so
/// setting any of it clears the whole field first.
pub(crate) fn attributes(set: u64, clear: u64) -> (u64, u64) {
    let atime = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;
    let (mut attr_set, mut attr_clear) = (bits(set), bits(clear));
    if (set | clear) & atime != 0 {
        attr_clear |= libc::MOUNT_ATTR__ATIME;
    }
    if set & MS_NOATIME != 0 {
        attr_set |= libc::MOUNT_ATTR_NOATIME;
    } else if set & MS_STRICTATIME != 0 {
        attr_set |= libc::MOUNT_ATTR_STRICTATIME;
    }
    (attr_set, attr_clear)
}

fn bits(flags: u64) -> u64 {
    let table = [
        (MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
        (MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
        (MS_NODEV, libc::MOUNT_ATTR_NODEV),
        (MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (MS_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
        (MS_NOSYMFOLLOW, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    table.iter().filter(|(flag, _)| flags & flag != 0).fold(0, |bits, (_, bit)| bits | bit)
}

/// The option words for MS_* flags, for people.
pub(crate) fn words(flags: u64) -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().filter_map(move |(name, meaning)| match meaning {
        Meaning::Set(flag) if flags & flag != 0 => Some(*name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_atime_word_replaces_the_whole_field() {
        assert_eq!(
            attributes(MS_NOATIME | MS_RDONLY, MS_NODEV),
            (
                libc::MOUNT_ATTR_NOATIME | libc::MOUNT_ATTR_RDONLY,
                libc::MOUNT_ATTR__ATIME | libc::MOUNT_ATTR_NODEV
            )
        );
        assert_eq!(attributes(MS_RELATIME, 0), (0, libc::MOUNT_ATTR__ATIME));
        assert_eq!(attributes(0, MS_NOATIME), (0, libc::MOUNT_ATTR__ATIME));
    }

    #[test]
    fn flags_have_words() {
        assert_eq!(words(MS_RDONLY | MS_NOSUID).collect::<Vec<_>>(), ["nosuid", "ro"]);
    }
}
