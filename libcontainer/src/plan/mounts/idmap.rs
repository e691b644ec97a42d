//! Id-mapped mounts: `idmap` and `ridmap` (runtime-spec, config.md "Linux mount options"), the
//! mount's own uidMappings and gidMappings, and crun's `idmap=uids=0-1000-10#…;gids=…` (crun(1)).

use oci_spec::runtime as oci;
use serde::Serialize;

use super::Surroundings;
use crate::{
    error::Error,
    plan::namespaces::{IdMap, MAP_LINES, id_maps, map_fault},
};

/// linux.uidMappings and linux.gidMappings, in the order of the container's ids.
#[derive(Debug, Default)]
pub(crate) struct ContainerMaps {
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
}

impl ContainerMaps {
    /// What is wrong with them is said elsewhere.
    pub(crate) fn new(linux: &oci::Linux) -> Self {
        let sorted = |maps| {
            let mut maps = id_maps("", maps, &mut Vec::new());
            maps.sort_unstable_by_key(|map| map.container);
            maps
        };
        Self { uids: sorted(linux.uid_mappings()), gids: sorted(linux.gid_mappings()) }
    }
}

/// The owners that a bind mount shows in place of its files' own (mount_setattr(2),
/// MOUNT_ATTR_IDMAP, Linux 5.12).
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct MountIdMap {
    /// The mounts below as well.
    pub recursive: bool,
    pub mapping: Mapping,
}

/// From ids of the filesystem to ids of the mount.
#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mapping {
    /// As the container's user namespace maps.
    Container,
    /// `container` is an id of the filesystem, `host` what the mount shows to the host.
    Ranges { uids: Vec<IdMap>, gids: Vec<IdMap> },
}

/// `idmap` or `ridmap` among the options.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) recursive: bool,
    /// What follows the equals sign, if there is one.
    pub(super) text: &'a str,
    /// Index into the mount's options.
    pub(super) index: usize,
}

impl<'a> Word<'a> {
    pub(super) fn read(index: usize, option: &'a str) -> Option<Self> {
        let (recursive, rest) = match option.strip_prefix('r') {
            Some(rest) => (true, rest),
            None => (false, option),
        };
        match rest.strip_prefix("idmap")? {
            "" => Some(Self { recursive, text: "", index }),
            text => text.strip_prefix('=').map(|text| Self { recursive, text, index }),
        }
    }
}

/// Reads what `mount` asks for; `bind` says what kind of mount it is.
pub(super) fn plan(
    at: &str,
    mount: &oci::Mount,
    word: Option<Word<'_>>,
    bind: bool,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Option<MountIdMap> {
    let has = |maps: &Option<Vec<_>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let listed = has(mount.uid_mappings()) || has(mount.gid_mappings());
    let asked = match word {
        Some(word) => format!("{at}.options[{}]", word.index),
        None if listed => format!("{at}.uidMappings"),
        None => return None,
    };
    if !bind {
        let what = "invalid mount: id-mapped mounts are only supported for bind-mounts";
        faults.push(Error::config(asked, what));
        return None;
    }
    if around.host.euid != 0 {
        let what = "id-mapped mounts are not supported for rootless containers";
        let hint = "mount_setattr(2) wants CAP_SYS_ADMIN over the filesystem for MOUNT_ATTR_IDMAP";
        faults.push(Error::config(asked, what).hint(hint));
        return None;
    }
    let mapping = match word.map_or("", |word| word.text) {
        "" if listed => own(at, mount, faults),
        "" => containers(asked, around, faults),
        _ if listed => {
            faults.push(Error::config(asked, "invalid mapping: the mount has uidMappings, too"));
            None
        }
        text => parse(&asked, text, around, faults),
    };
    Some(MountIdMap { recursive: word.is_some_and(|word| word.recursive), mapping: mapping? })
}

fn own(at: &str, mount: &oci::Mount, faults: &mut Vec<Error>) -> Option<Mapping> {
    let [uids_at, gids_at] = ["uidMappings", "gidMappings"].map(|field| format!("{at}.{field}"));
    let uids = id_maps(&uids_at, mount.uid_mappings(), faults);
    let gids = id_maps(&gids_at, mount.gid_mappings(), faults);
    complete(uids, gids, [uids_at, gids_at], faults)
}

/// A mapping of users alone would leave every file without a group.
fn complete(
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
    at: [String; 2],
    faults: &mut Vec<Error>,
) -> Option<Mapping> {
    let [uids_at, gids_at] = at;
    let missing = match (uids.is_empty(), gids.is_empty()) {
        (false, false) => return Some(Mapping::Ranges { uids, gids }),
        (true, _) => uids_at,
        _ => gids_at,
    };
    let what = "invalid mapping: id-mapped mounts must have both uid and gid mappings specified";
    faults.push(Error::config(missing, what));
    None
}

fn containers(
    asked: String,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Option<Mapping> {
    if around.namespaces.private(oci::LinuxNamespaceType::User) {
        return Some(Mapping::Container);
    }
    let what = "invalid mapping: id-mapped mounts must have both uid and gid mappings specified";
    faults.push(
        Error::config(asked, what)
            .hint("without mappings of its own the mount takes those of the container's user namespace, and it has none"),
    );
    None
}

fn parse(
    at: &str,
    text: &str,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Option<Mapping> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    let parsed = text.split(';').filter(|part| !part.is_empty()).try_for_each(|part| {
        let (list, field, ranges) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut uids, &around.maps.uids, ranges),
            Some(("gids", ranges)) => (&mut gids, &around.maps.gids, ranges),
            _ => return Err(format!("invalid mapping {part:?}: neither \"uids=\" nor \"gids=\"")),
        };
        ranges.split('#').try_for_each(|range| read_range(list, range, field))
    });
    let checked = parsed.and_then(|()| [&uids, &gids].into_iter().try_for_each(|list| check(list)));
    if let Err(what) = checked {
        let error = Error::config(at, what);
        faults.push(error.hint("as in idmap=uids=0-100000-1000#1000-0-1;gids=@0-0-1000: id of the file, id that is shown, how many; @ means that the second one is an id of the container"));
        return None;
    }
    complete(uids, gids, [at.to_owned(), at.to_owned()], faults)
}

/// Reads `[@]from-to-size`. With the `@`, `to` is an id of the container: then a range falls into
/// as many as the container's user namespace maps it in.
fn read_range(list: &mut Vec<IdMap>, text: &str, container: &[IdMap]) -> Result<(), String> {
    let numbers = text.strip_prefix('@').unwrap_or(text);
    let numbers: Vec<u32> = numbers.split('-').map_while(|number| number.parse().ok()).collect();
    let [from, to, size] = numbers[..] else {
        return Err(format!("invalid mapping {text:?}: three numbers are expected"));
    };
    let range = IdMap { container: from, host: to, size };
    if let Some(what) = map_fault(&[], &range) {
        return Err(format!("{what} ({text:?})"));
    }
    match text.starts_with('@') {
        false => list.push(range),
        true => list.extend(translate(range, container).ok_or_else(|| format!("invalid mapping {text:?}: the container's user namespace (linux.uidMappings, linux.gidMappings) does not map it"))?),
    }
    match list.len() <= MAP_LINES {
        true => Ok(()),
        false => Err(format!("invalid mapping: the kernel takes at most {MAP_LINES} ranges")),
    }
}

/// No id may be mapped twice, on either side.
fn check(list: &[IdMap]) -> Result<(), String> {
    let overlap = |first: fn(&IdMap) -> u32| {
        let mut list: Vec<&IdMap> = list.iter().collect();
        list.sort_unstable_by_key(|map| first(map));
        list.is_sorted_by(|a, b| first(b) - first(a) >= a.size)
    };
    match overlap(|map| map.container) && overlap(|map| map.host) {
        true => Ok(()),
        false => Err("invalid mapping: ranges overlap".to_owned()),
    }
}

/// `range` with ids of the host in place of the container's; `None` where they are not mapped.
fn translate(range: IdMap, maps: &[IdMap]) -> Option<Vec<IdMap>> {
    let IdMap { mut container, host: mut inside, size: mut left } = range;
    let mut result = Vec::new();
    let mut next = maps.partition_point(|map| map.container <= inside).checked_sub(1)?;
    while left > 0 {
        let map = maps.get(next)?;
        let offset = inside.checked_sub(map.container)?;
        let size = left.min(map.size.checked_sub(offset).filter(|size| *size > 0)?);
        result.push(IdMap { container, host: map.host.checked_add(offset)?, size });
        (container, inside, left) = (container + size, inside + size, left - size);
        next += 1;
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: [IdMap; 2] = [
        IdMap { container: 0, host: 1000, size: 1 },
        IdMap { container: 1, host: 100_000, size: 65_535 },
    ];

    fn map(container: u32, host: u32, size: u32) -> IdMap {
        IdMap { container, host, size }
    }

    #[test]
    fn a_word_is_read_with_its_text() {
        let read = |option| Word::read(0, option).map(|word| (word.recursive, word.text));
        assert_eq!(read("idmap"), Some((false, "")));
        assert_eq!(read("ridmap"), Some((true, "")));
        assert_eq!(read("idmap=uids=0-1-2"), Some((false, "uids=0-1-2")));
        assert_eq!((read("idmapped"), read("ro"), read("rbind")), (None, None, None));
    }

    #[test]
    fn a_relative_range_is_translated_piece_by_piece() {
        assert_eq!(translate(map(7, 3, 10), &MAPS), Some(vec![map(7, 100_002, 10)]));
        let both = Some(vec![map(500, 1000, 1), map(501, 100_000, 9)]);
        assert_eq!(translate(map(500, 0, 10), &MAPS), both);
        assert_eq!(translate(map(0, 65_535, 2), &MAPS), None);
        assert_eq!(translate(map(0, 1_000_000, 1), &MAPS), None);
        assert_eq!(translate(map(0, 0, 1), &[]), None);
        let gap = [map(0, 1000, 1), map(2, 2000, 1)];
        assert_eq!(translate(map(0, 0, 3), &gap), None);
        assert_eq!(translate(map(0, 1, 1), &gap), None);
        assert_eq!(translate(map(9, 2, 1), &gap), Some(vec![map(9, 2000, 1)]));
    }

    #[test]
    fn no_id_is_mapped_twice() {
        assert!(check(&[map(10, 0, 5), map(0, 5, 10)]).is_ok());
        assert!(check(&[map(0, 0, 5), map(4, 10, 1)]).is_err());
        assert!(check(&[map(0, 14, 5), map(5, 10, 5)]).is_err());
        assert!(check(&[map(0, 0, 1), map(0, 1, 1)]).is_err());
    }

    #[test]
    fn ranges_are_three_numbers() {
        let read = |text: &str| {
            let mut list = Vec::new();
            read_range(&mut list, text, &MAPS).map(|()| list)
        };
        assert_eq!(read("0-1000-10"), Ok(vec![map(0, 1000, 10)]));
        for text in
            ["", "0", "0-1", "0-1-2-3", "a-1-2", "0-1-0", "0-4294967295-2", "-1-0-1", "@0-70000-1"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
