//! mounts: in the order of config.json, with every option turned into flags and data.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use oci_spec::runtime as oci;
use serde::{Serialize, Serializer};

use self::{
    idmap::{ContainerMaps, MountIdMap},
    options::Words,
};
use super::{Namespaces, Text, process::clean, propagation::Propagation};
use crate::{
    cgroup::{self, Hierarchies},
    error::Error,
    host::Host,
};

mod cgroup_tree;
pub(super) mod checks;
pub mod idmap;
pub(super) mod label;
pub(super) mod options;

/// One thing to mount.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Index into config.json's mounts; a cgroup v1 mount makes several of one. `None` for the
    /// runtime's own.
    pub index: Option<usize>,
    /// Absolute path inside the root filesystem, without `.` and `..`.
    pub destination: PathBuf,
    /// Whether a destination that is a link is covered itself.
    #[serde(skip_serializing_if = "is_false")]
    pub destination_nofollow: bool,
    pub source: Text,
    pub action: Action,
    /// `MS_*` flags to set on the mount.
    #[serde(serialize_with = "words")]
    pub set: u64,
    /// `MS_*` flags to take away from it.
    #[serde(serialize_with = "words", skip_serializing_if = "is_zero")]
    pub clear: u64,
    /// The same for the mount and all below it.
    #[serde(serialize_with = "words", skip_serializing_if = "is_zero")]
    pub set_all: u64,
    #[serde(serialize_with = "words", skip_serializing_if = "is_zero")]
    pub clear_all: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub propagation: Vec<Propagation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idmap: Option<MountIdMap>,
    /// SELinux label of the root, for a filesystem that takes none as an option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Text>,
    /// Becomes read-only only when everything is in it.
    pub late_readonly: bool,
    /// A directory of the cgroup that is yet to be made; everybody may see it then.
    #[serde(skip)]
    pub of_cgroup: bool,
}

/// What makes the mount.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    Filesystem {
        #[serde(rename = "type")]
        fstype: Text,
        /// The filesystem's own options.
        data: Text,
        copy_up: bool,
    },
    Bind {
        recursive: bool,
        #[serde(skip_serializing_if = "SourceLink::is_followed")]
        link: SourceLink,
    },
    /// Changes the mount that is there: with `bind` the flags of this mount only, else those of
    /// its filesystem, too.
    Remount {
        #[serde(skip_serializing_if = "is_false")]
        bind: bool,
        data: Text,
    },
    /// A link in a cgroup v1 tree: `cpu` to `cpu,cpuacct`. The target is the source.
    Symlink,
}

/// What is done with a source that is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceLink {
    /// What it points to is mounted.
    Followed,
    /// The link itself is mounted: crun's `src-nofollow`.
    Mounted,
    /// The same link is made at the destination, and nothing mounted: crun's `copy-symlink`.
    Copied,
}

impl SourceLink {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_followed(&self) -> bool {
        *self == Self::Followed
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(flags: &u64) -> bool {
    *flags == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn words<S: Serializer>(flags: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(options::words(*flags))
}

/// What the mounts depend on beside their own entries.
pub(crate) struct Surroundings<'a> {
    pub(crate) bundle: &'a Path,
    /// The kind of label, such as `context`, and linux.mountLabel; where SELinux is on.
    pub(crate) mount_label: Option<(&'static str, &'a str)>,
    pub(crate) cgroup: &'a cgroup::Plan,
    pub(crate) hierarchies: &'a Hierarchies,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) maps: &'a ContainerMaps,
    pub(crate) host: &'a Host,
}

impl Mount {
    /// An entry without any option.
    pub(super) fn plain(index: Option<usize>, destination: PathBuf, action: Action) -> Self {
        Self {
            index,
            destination,
            destination_nofollow: false,
            source: Text::default(),
            action,
            set: 0,
            clear: 0,
            set_all: 0,
            clear_all: 0,
            propagation: Vec::new(),
            idmap: None,
            label: None,
            late_readonly: false,
            of_cgroup: false,
        }
    }

    /// A directory of the runtime's own, such as that of the sd_notify(3) socket.
    pub(crate) fn own(source: &Path, destination: &Path) -> Self {
        Self {
            source: text(source.as_os_str().as_bytes()),
            set: libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            propagation: vec![Propagation(libc::MS_PRIVATE)],
            ..Self::plain(None, destination.to_owned(), Action::bind(false))
        }
    }

    /// Whether the container's /dev is a directory of the host.
    pub(crate) fn binds_dev(&self) -> bool {
        matches!(self.action, Action::Bind { .. }) && self.destination == Path::new("/dev")
    }

    /// Where config.json asked for it.
    pub(crate) fn at(&self) -> String {
        self.index.map_or_else(|| "mounts".to_owned(), |index| format!("mounts[{index}]"))
    }
}

impl Action {
    pub(super) fn bind(recursive: bool) -> Self {
        Self::Bind { recursive, link: SourceLink::Followed }
    }
}

pub(crate) fn plan(
    mounts: &[oci::Mount],
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
    warnings: &mut Vec<String>,
) -> Vec<Mount> {
    let mut result = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        if !mount.destination().is_absolute() {
            let path = mount.destination();
            warnings.push(format!(
                "mount destination {path:?} (config.json: mounts[{index}].destination) is not absolute: it counts from the root of the container"
            ));
        }
        let Some(mount) = plan_one(index, mount, around, faults) else { continue };
        match &mount.action {
            Action::Filesystem { fstype, .. } if fstype.to_bytes() == b"cgroup" => {
                result.extend(cgroup_tree::mounts(mount, around));
            }
            _ => result.push(cgroup_tree::of_host(mount, around)),
        }
    }
    result
}

fn plan_one(
    index: usize,
    mount: &oci::Mount,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Option<Mount> {
    let at = format!("mounts[{index}]");
    let before = faults.len();
    let words = Words::read(mount.options().as_deref().unwrap_or_default());
    checks::destination(&at, mount.destination(), words.remount, faults);
    let action = action(&at, mount, &words, around, faults);
    let destination = clean(mount.destination());
    checks::inside_proc(&at, &destination, &action, mount, faults);
    let late_readonly = words.set & libc::MS_RDONLY != 0 && action.is_of(&["tmpfs"]);
    let bind = matches!(action, Action::Bind { .. });
    let result = Mount {
        destination_nofollow: words.destination_link,
        source: source(&at, mount, &action, around.bundle, faults),
        set: if late_readonly { words.set & !libc::MS_RDONLY } else { words.set },
        clear: words.clear,
        set_all: words.set_all,
        clear_all: words.clear_all,
        propagation: words.propagation,
        idmap: idmap::plan(&at, mount, words.idmap, bind, around, faults),
        label: label::of_root(&action, around.mount_label),
        late_readonly,
        ..Mount::plain(Some(index), destination, action)
    };
    (faults.len() == before).then_some(result)
}

fn action(
    at: &str,
    mount: &oci::Mount,
    words: &Words<'_>,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Action {
    let kind = mount.typ().as_deref().unwrap_or_default();
    if words.remount {
        let data = Text::new(words.data.join(","), at, faults);
        return Action::Remount { bind: words.bind.is_some(), data };
    }
    match words.bind.or((kind == "bind").then_some(false)) {
        Some(recursive) => {
            checks::bind(at, mount, words, faults);
            let link = match (words.copy_link, words.source_link) {
                (true, _) => SourceLink::Copied,
                (_, true) => SourceLink::Mounted,
                _ => SourceLink::Followed,
            };
            Action::Bind { recursive, link }
        }
        None => filesystem(at, kind, words, around, faults),
    }
}

fn filesystem(
    at: &str,
    kind: &str,
    words: &Words<'_>,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Action {
    checks::filesystem(at, kind, words, faults);
    let data = label::with_label(words.data.join(","), kind, around.mount_label);
    if data.len() >= PAGE {
        let what = format!("invalid mount: its options take {} of {PAGE} bytes", data.len());
        faults.push(Error::config(format!("{at}.options"), what));
    }
    let fstype = match (kind, around.hierarchies.is_v2()) {
        ("cgroup", true) => "cgroup2",
        (kind, _) => kind,
    };
    Action::Filesystem {
        fstype: Text::new(fstype, at, faults),
        data: Text::new(data, at, faults),
        copy_up: words.copy_up,
    }
}

impl Action {
    /// Whether it mounts a filesystem of one of these types.
    pub(super) fn is_of(&self, types: &[&str]) -> bool {
        matches!(self, Self::Filesystem { fstype, .. }
            if types.iter().any(|name| name.as_bytes() == fstype.to_bytes()))
    }
}

/// mount(2) copies one page of data.
const PAGE: usize = 4096;

fn source(
    at: &str,
    mount: &oci::Mount,
    action: &Action,
    bundle: &Path,
    faults: &mut Vec<Error>,
) -> Text {
    let source = mount.source().clone().unwrap_or_default();
    let source = match action {
        Action::Bind { .. } => bundle.join(source),
        _ => source,
    };
    Text::new(source.as_os_str().as_bytes(), &format!("{at}.source"), faults)
}

/// For text that has no NUL by construction.
pub(super) fn text(bytes: &[u8]) -> Text {
    Text::new(bytes, "", &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxNamespaceType;

    use super::*;
    use crate::plan::{mounts::idmap::Mapping, namespaces::IdMap};

    fn read(json: serde_json::Value) -> (Vec<Mount>, Vec<String>) {
        read_with(json, &Hierarchies::default(), &Namespaces::default())
    }

    fn linux() -> serde_json::Value {
        let maps = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        serde_json::json!({"namespaces": [{"type": "user"}], "uidMappings": maps, "gidMappings": maps})
    }

    fn read_with(
        json: serde_json::Value,
        hierarchies: &Hierarchies,
        namespaces: &Namespaces,
    ) -> (Vec<Mount>, Vec<String>) {
        let mut faults = Vec::new();
        let cgroup = cgroup::Plan::default();
        let around = Surroundings {
            bundle: Path::new("/bundle"),
            mount_label: None,
            cgroup: &cgroup,
            hierarchies,
            namespaces,
            maps: &ContainerMaps::new(&serde_json::from_value(linux()).unwrap()),
            host: &crate::plan::tests::host(),
        };
        let mounts: Vec<oci::Mount> = serde_json::from_value(json).unwrap();
        let mounts = plan(&mounts, &around, &mut faults, &mut Vec::new());
        (mounts, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn options_become_flags_and_data() {
        let (mounts, faults) = read(serde_json::json!([{
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "exec", "nodev", "mode=1777", "size=65536k", "rslave"]
        }]));
        assert!(faults.is_empty(), "{faults:?}");
        let mount = &mounts[0];
        assert_eq!(mount.set, libc::MS_NOSUID | libc::MS_NODEV);
        assert_eq!(mount.clear, libc::MS_NOEXEC);
        assert_eq!(mount.propagation[0].word(), "rslave");
        assert_eq!(
            mount.action,
            Action::Filesystem {
                fstype: text(b"tmpfs"),
                data: text(b"mode=1777,size=65536k"),
                copy_up: false
            }
        );
    }

    #[test]
    fn a_bind_source_starts_at_the_bundle() {
        let (mounts, faults) = read(serde_json::json!([
            {"destination": "/a", "type": "bind", "source": "data", "options": ["ro"]},
            {"destination": "/b", "type": "none", "source": "/host", "options": ["rbind"]},
        ]));
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(mounts[0].source, text(b"/bundle/data"));
        assert_eq!(mounts[0].action, Action::bind(false));
        assert_eq!(mounts[1].source, text(b"/host"));
        assert_eq!(mounts[1].action, Action::bind(true));
    }

    #[test]
    fn a_read_only_tmpfs_is_furnished_first() {
        let (mounts, _) =
            read(serde_json::json!([{"destination": "/t", "type": "tmpfs", "options": ["ro"]}]));
        assert!(mounts[0].late_readonly && mounts[0].set & libc::MS_RDONLY == 0);
    }

    #[test]
    fn every_fault_has_its_path() {
        let (_, faults) = read(serde_json::json!([
            {"destination": "/a/../../x", "type": "tmpfs"},
            {"destination": "", "type": "tmpfs"},
            {"destination": "/c"},
            {"destination": "/d", "type": "bind", "options": ["bind"]},
            {"destination": "/e", "type": "bind", "source": "/e", "options": ["ro", "size=1"]},
            {"destination": "/proc/sys/x", "type": "tmpfs"},
            {"destination": "/proc", "type": "tmpfs"},
            {"destination": "/h", "type": "proc", "options": ["tmpcopyup"]},
            {"destination": "/a/../.", "type": "tmpfs"},
            {"destination": "/", "type": "none", "source": "/e", "options": ["rbind"]},
            {"destination": "/", "type": "none", "options": ["remount", "ro"]},
        ]));
        for path in [
            "mounts[0].destination",
            "mounts[1].destination",
            "mounts[2].type",
            "mounts[3].source",
            "mounts[4].options[1]",
            "mounts[5].destination",
            "mounts[6].destination",
            "mounts[7].options",
            "mounts[8].destination",
            "mounts[9].destination",
        ] {
            let told = format!("(config.json: {path})");
            assert!(faults.iter().any(|fault| fault.contains(&told)), "{path}: {faults:?}");
        }
        assert_eq!(faults.len(), 10, "{faults:?}");
    }

    #[test]
    fn what_lxcfs_covers_may_be_covered() {
        let (_, faults) = read(serde_json::json!([
            {"destination": "/proc/meminfo", "type": "bind", "source": "/lxcfs", "options": ["bind"]},
            {"destination": "/proc", "type": "proc"},
        ]));
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn a_v1_tree_has_a_directory_for_each_hierarchy() {
        let hierarchy = |controllers: &[&str], mount: &str| cgroup::Hierarchy {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: mount.into(),
            own: "/".into(),
        };
        let hierarchies = Hierarchies {
            v1: vec![
                hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"),
                hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd"),
            ],
            ..Hierarchies::default()
        };
        let namespaces =
            Namespaces { new: vec![LinuxNamespaceType::Cgroup], ..Namespaces::default() };
        let json = serde_json::json!([
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nosuid"]}
        ]);
        let (mounts, faults) = read_with(json, &hierarchies, &namespaces);
        assert!(faults.is_empty(), "{faults:?}");
        let names: Vec<_> =
            mounts.iter().map(|mount| mount.destination.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup",
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/cpu",
                "/sys/fs/cgroup/cpuacct",
                "/sys/fs/cgroup/systemd"
            ]
        );
        assert!(mounts[0].late_readonly && mounts[1].set & libc::MS_RDONLY != 0);
        assert_eq!(mounts[2].action, Action::Symlink);
    }

    #[test]
    fn a_v2_tree_is_mounted_anew_in_a_cgroup_namespace_only() {
        let unified = cgroup::Unified {
            controllers: Vec::new(),
            mount: "/sys/fs/cgroup".into(),
            own: "/".into(),
        };
        let hierarchies = Hierarchies { unified: Some(unified), ..Hierarchies::default() };
        let own = Namespaces { new: vec![LinuxNamespaceType::Cgroup], ..Namespaces::default() };
        let read = |namespaces| {
            let json = serde_json::json!([
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
            ]);
            let (mut mounts, faults) = read_with(json, &hierarchies, namespaces);
            assert!(faults.is_empty() && mounts.len() == 1, "{faults:?}");
            mounts.remove(0)
        };
        assert!(read(&own).action.is_of(&["cgroup2"]));
        let bound = read(&Namespaces::default());
        assert_eq!((bound.action, bound.set), (Action::bind(false), libc::MS_RDONLY));
        assert_eq!(bound.source.to_bytes(), b"/sys/fs/cgroup");
    }

    #[test]
    fn id_maps_are_the_mounts_own_or_the_containers() {
        let bind = |more: serde_json::Value| {
            let mut entry =
                serde_json::json!({"destination": "/d", "type": "bind", "source": "/s"});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::Value::Array(vec![entry])
        };
        let in_userns = Namespaces { new: vec![LinuxNamespaceType::User], ..Namespaces::default() };
        let read = |more| read_with(bind(more), &Hierarchies::default(), &in_userns);
        let map = |container, host, size| IdMap { container, host, size };

        let (mounts, faults) = read(serde_json::json!({"options": ["bind", "ridmap"]}));
        assert!(faults.is_empty(), "{faults:?}");
        let container = MountIdMap { recursive: true, mapping: Mapping::Container };
        assert_eq!(mounts[0].idmap, Some(container));

        let (mounts, faults) = read(serde_json::json!({
            "uidMappings": [{"containerID": 1, "hostID": 2, "size": 3}],
            "gidMappings": [{"containerID": 4, "hostID": 5, "size": 6}]
        }));
        assert!(faults.is_empty(), "{faults:?}");
        let own = Mapping::Ranges { uids: vec![map(1, 2, 3)], gids: vec![map(4, 5, 6)] };
        assert_eq!(mounts[0].idmap, Some(MountIdMap { recursive: false, mapping: own }));

        let word = "idmap=uids=0-5-1#10-7-2;gids=@20-30-40";
        let (mounts, faults) = read(serde_json::json!({"options": ["bind", word]}));
        assert!(faults.is_empty(), "{faults:?}");
        let uids = vec![map(0, 5, 1), map(10, 7, 2)];
        let parsed = Mapping::Ranges { uids, gids: vec![map(20, 100_030, 40)] };
        assert_eq!(mounts[0].idmap, Some(MountIdMap { recursive: false, mapping: parsed }));
    }

    #[test]
    fn what_cannot_be_id_mapped_has_its_path() {
        let map = serde_json::json!([{"containerID": 0, "hostID": 1, "size": 1}]);
        let (mounts, faults) = read(serde_json::json!([
            {"destination": "/a", "type": "bind", "source": "/s", "options": ["bind", "idmap"]},
            {"destination": "/b", "type": "tmpfs", "options": ["ridmap"]},
            {"destination": "/c", "type": "bind", "source": "/s", "uidMappings": map},
            {"destination": "/d", "type": "bind", "source": "/s", "gidMappings": map},
            {"destination": "/e", "type": "bind", "source": "/s",
             "options": ["idmap=uids=0-0-1"], "uidMappings": map, "gidMappings": map},
            {"destination": "/f", "type": "bind", "source": "/s", "options": ["ro", "idmap=x"]},
            {"destination": "/g", "type": "bind", "source": "/s", "options": ["idmap=uids=0-0-1"]},
            {"destination": "/h", "type": "bind", "source": "/s",
             "options": ["idmap=uids=@70000-70000-1;gids=0-0-1"]},
        ]));
        assert!(mounts.is_empty(), "{mounts:?}");
        let paths = [
            "mounts[0].options[1]",
            "mounts[1].options[0]",
            "mounts[2].gidMappings",
            "mounts[3].uidMappings",
            "mounts[4].options[0]",
            "mounts[5].options[1]",
            "mounts[6].options[0]",
            "mounts[7].options[0]",
        ];
        assert_eq!(faults.len(), paths.len(), "{faults:?}");
        for (path, fault) in paths.iter().zip(&faults) {
            assert!(fault.contains(&format!("(config.json: {path})")), "{path}: {fault}");
        }
    }

    #[test]
    fn words_about_links_are_for_bind_mounts() {
        let bind = |options: &[&str]| serde_json::json!({"destination": "/d", "type": "bind", "source": "/s", "options": options});
        let (mounts, faults) = read(serde_json::json!([
            bind(&["src-nofollow", "dest-nofollow"]),
            bind(&["copy-symlink"]),
        ]));
        assert!(faults.is_empty(), "{faults:?}");
        assert!(mounts[0].destination_nofollow && !mounts[1].destination_nofollow);
        let links: Vec<_> = mounts.iter().map(|mount| &mount.action).collect();
        let action = |link| Action::Bind { recursive: false, link };
        assert_eq!(links, [&action(SourceLink::Mounted), &action(SourceLink::Copied)]);
        let (_, faults) = read(serde_json::json!([
            bind(&["copy-symlink", "src-nofollow"]),
            bind(&["dest-nofollow", "copy-symlink"]),
            {"destination": "/t", "type": "tmpfs", "options": ["copy-symlink"]},
            bind(&["tmpcopyup"]),
        ]));
        assert_eq!(faults.len(), 4, "{faults:?}");
    }

    #[test]
    fn a_hundred_thousand_mounts_are_no_more_than_a_long_list() {
        let entry = serde_json::json!({"destination": "/d/e", "type": "bind", "source": "/s",
            "options": ["rbind", "ro", "nosuid", "rprivate", "rro"]});
        let time = |count| {
            let started = std::time::Instant::now();
            let (mounts, faults) = read(serde_json::Value::Array(vec![entry.clone(); count]));
            assert!(faults.is_empty() && mounts.len() == count);
            started.elapsed()
        };
        // Ten times the work; a hundred times would be a loop inside a loop, each time. A machine
        // that stood still meanwhile did not do so each time.
        let pairs = (0..5).map(|_| (time(10_000), time(100_000)));
        let slow: Vec<_> = pairs.take_while(|(short, long)| *long >= *short * 40).collect();
        assert!(slow.len() < 5, "{slow:?}");
    }
}
