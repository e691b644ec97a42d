//! The words of `mounts[].options` that mean something to the runtime; every other word is data
//! for the filesystem.

use libc::{
    MS_DIRSYNC, MS_I_VERSION, MS_LAZYTIME, MS_MANDLOCK, MS_NOATIME, MS_NODEV, MS_NODIRATIME,
    MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_RELATIME, MS_SHARED, MS_SILENT, MS_SLAVE,
    MS_STRICTATIME, MS_SYNCHRONOUS, MS_UNBINDABLE,
};

use super::{Propagation, idmap};

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Meaning {
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
    /// See [`super::idmap`]; the word may go on after an equals sign.
    IdMap,
    /// A source that is a link is made again at the destination.
    CopyLink,
    /// A source that is a link is mounted itself.
    SourceLink,
    /// A destination that is a link is covered itself.
    DestinationLink,
}

/// Linux 5.10; the libc crate does not have it.
pub(super) const MS_NOSYMFOLLOW: u64 = 256;
const REC: u64 = libc::MS_REC;

/// In alphabetical order. The words with an r are the specification's recursive ones (config.md
/// "Linux mount options"); `tmpcopyup` is runc's, those about links are crun's.
const OPTIONS: &[(&str, Meaning)] = {
    use Meaning::*;
    &[
        ("acl", Nothing),
        ("async", Clear(MS_SYNCHRONOUS)),
        ("atime", Clear(MS_NOATIME)),
        ("bind", Bind { recursive: false }),
        ("copy-symlink", CopyLink),
        ("defaults", Nothing),
        ("dest-nofollow", DestinationLink),
        ("dev", Clear(MS_NODEV)),
        ("diratime", Clear(MS_NODIRATIME)),
        ("dirsync", Set(MS_DIRSYNC)),
        ("exec", Clear(MS_NOEXEC)),
        ("idmap", IdMap),
        ("iversion", Set(MS_I_VERSION)),
        ("lazytime", Set(MS_LAZYTIME)),
        ("loud", Clear(MS_SILENT)),
        ("mand", Set(MS_MANDLOCK)),
        ("noacl", Nothing),
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
        ("ratime", ClearAll(MS_NOATIME)),
        ("rbind", Bind { recursive: true }),
        ("rdev", ClearAll(MS_NODEV)),
        ("rdiratime", ClearAll(MS_NODIRATIME)),
        ("relatime", Set(MS_RELATIME)),
        ("remount", Remount),
        ("rexec", ClearAll(MS_NOEXEC)),
        ("ridmap", IdMap),
        ("rnoatime", SetAll(MS_NOATIME)),
        ("rnodev", SetAll(MS_NODEV)),
        ("rnodiratime", SetAll(MS_NODIRATIME)),
        ("rnoexec", SetAll(MS_NOEXEC)),
        ("rnorelatime", ClearAll(MS_RELATIME)),
        ("rnostrictatime", ClearAll(MS_STRICTATIME)),
        ("rnosuid", SetAll(MS_NOSUID)),
        ("rnosymfollow", SetAll(MS_NOSYMFOLLOW)),
        ("ro", Set(MS_RDONLY)),
        ("rprivate", Propagation(MS_PRIVATE | REC)),
        ("rrelatime", SetAll(MS_RELATIME)),
        ("rro", SetAll(MS_RDONLY)),
        ("rrw", ClearAll(MS_RDONLY)),
        ("rshared", Propagation(MS_SHARED | REC)),
        ("rslave", Propagation(MS_SLAVE | REC)),
        ("rstrictatime", SetAll(MS_STRICTATIME)),
        ("rsuid", ClearAll(MS_NOSUID)),
        ("rsymfollow", ClearAll(MS_NOSYMFOLLOW)),
        ("runbindable", Propagation(MS_UNBINDABLE | REC)),
        ("rw", Clear(MS_RDONLY)),
        ("shared", Propagation(MS_SHARED)),
        ("silent", Set(MS_SILENT)),
        ("slave", Propagation(MS_SLAVE)),
        ("src-nofollow", SourceLink),
        ("strictatime", Set(MS_STRICTATIME)),
        ("suid", Clear(MS_NOSUID)),
        ("symfollow", Clear(MS_NOSYMFOLLOW)),
        ("sync", Set(MS_SYNCHRONOUS)),
        ("tmpcopyup", CopyUp),
        ("unbindable", Propagation(MS_UNBINDABLE)),
    ]
};

pub(in crate::plan) fn meaning(option: &str) -> Option<Meaning> {
    let found = OPTIONS.binary_search_by_key(&option, |(name, _)| name);
    found.ok().map(|index| OPTIONS[index].1)
}

/// Every option word that the runtime itself understands, for `features`.
pub fn known() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// The words of one mount, sorted by meaning; of two that contradict each other the later wins.
#[derive(Default)]
pub(super) struct Words<'a> {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) set_all: u64,
    pub(super) clear_all: u64,
    pub(super) propagation: Vec<Propagation>,
    /// Whether it is a bind mount, and a recursive one.
    pub(super) bind: Option<bool>,
    pub(super) remount: bool,
    pub(super) copy_up: bool,
    pub(super) copy_link: bool,
    pub(super) source_link: bool,
    pub(super) destination_link: bool,
    pub(super) idmap: Option<idmap::Word<'a>>,
    pub(super) data: Vec<&'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn read(options: &'a [String]) -> Self {
        let mut words = Self::default();
        for (index, option) in options.iter().enumerate() {
            match (idmap::Word::read(index, option), meaning(option)) {
                (Some(word), _) => words.idmap = Some(word),
                (None, Some(meaning)) => words.take(meaning),
                (None, None) => words.data.push(option),
            }
        }
        words
    }

    fn take(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Nothing | Meaning::IdMap => {}
            Meaning::Bind { recursive } => {
                self.bind = Some(recursive || self.bind == Some(true));
            }
            Meaning::Remount => self.remount = true,
            Meaning::Set(flags) => switch(&mut self.set, &mut self.clear, flags),
            Meaning::Clear(flags) => switch(&mut self.clear, &mut self.set, flags),
            Meaning::SetAll(flags) => switch(&mut self.set_all, &mut self.clear_all, flags),
            Meaning::ClearAll(flags) => switch(&mut self.clear_all, &mut self.set_all, flags),
            Meaning::Propagation(flags) => self.propagation.push(Propagation(flags)),
            Meaning::CopyUp => self.copy_up = true,
            Meaning::CopyLink => self.copy_link = true,
            Meaning::SourceLink => self.source_link = true,
            Meaning::DestinationLink => self.destination_link = true,
        }
    }
}

/// When access times are written: a mount has one of these policies.
const ATIME: u64 = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;

fn switch(on: &mut u64, off: &mut u64, flags: u64) {
    if flags & ATIME != 0 {
        *on &= !ATIME;
    }
    *on |= flags;
    *off &= !flags;
}

/// The mount_setattr(2) words for MS_* flags: the access-time policy is a field, not a bit, so
/// setting any of it clears the whole field first. Without any of them a mount is relatime, so to
/// clear that one means nothing.
pub(crate) fn attributes(set: u64, clear: u64) -> (u64, u64) {
    let (mut attr_set, mut attr_clear) = (bits(set), bits(clear));
    if set & ATIME != 0 || clear & (MS_NOATIME | MS_STRICTATIME) != 0 {
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
        assert_eq!(attributes(0, MS_RELATIME), (0, 0));
    }

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(OPTIONS.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn the_last_word_about_access_times_counts() {
        let read = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            let words = Words::read(&options);
            (words.set, words.set_all)
        };
        assert_eq!(read(&["noatime", "strictatime"]), (MS_STRICTATIME, 0));
        assert_eq!(read(&["strictatime", "relatime"]), (MS_RELATIME, 0));
        assert_eq!(read(&["rnoatime", "ro", "rrelatime"]), (MS_RDONLY, MS_RELATIME));
        assert_eq!(read(&["noatime", "atime"]), (0, 0));
    }

    #[test]
    fn flags_have_words() {
        assert_eq!(words(MS_RDONLY | MS_NOSUID).collect::<Vec<_>>(), ["nosuid", "ro"]);
    }
}
