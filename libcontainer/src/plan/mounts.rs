//! mounts: in the order of config.json, with every option turned into flags and data.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use oci_spec::runtime as oci;
use serde::{Serialize, Serializer};

use super::{
    Namespaces, Text, cgroup_tree,
    mount_options::{self, Meaning},
    process::clean,
    propagation::Propagation,
};
use crate::{
    cgroup::{self, Hierarchies},
    error::Error,
};

/// One thing to mount.
#[derive(Debug, Serialize)]
pub struct Mount {
    /// Index into config.json's mounts; a cgroup v1 mount makes several of one. `None` for the
    /// runtime's own.
    pub index: Option<usize>,
    /// Absolute path inside the root filesystem, without `.` and `..`.
    pub destination: PathBuf,
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
    /// Becomes read-only only when everything is in it.
    pub late_readonly: bool,
    /// A directory of the cgroup that is yet to be made; everybody may see it then.
    #[serde(skip)]
    pub of_cgroup: bool,
}

/// What makes the mount.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
    },
    Remount {
        data: Text,
    },
    /// A link in a cgroup v1 tree: `cpu` to `cpu,cpuacct`. The target is the source.
    Symlink,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(flags: &u64) -> bool {
    *flags == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn words<S: Serializer>(flags: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(mount_options::words(*flags))
}

/// What the mounts depend on beside their own entries.
pub(crate) struct Surroundings<'a> {
    pub(crate) bundle: &'a Path,
    /// linux.mountLabel, where SELinux is on.
    pub(crate) mount_label: Option<&'a str>,
    pub(crate) cgroup: &'a cgroup::Plan,
    pub(crate) hierarchies: &'a Hierarchies,
    pub(crate) namespaces: &'a Namespaces,
}

impl Mount {
    /// Whether the container's /dev is a directory of the host.
    pub(crate) fn binds_dev(&self) -> bool {
        matches!(self.action, Action::Bind { .. }) && self.destination == Path::new("/dev")
    }

    /// Where config.json asked for it.
    pub(crate) fn at(&self) -> String {
        self.index.map_or_else(|| "mounts".to_owned(), |index| format!("mounts[{index}]"))
    }

    /// A directory of the runtime's own, such as that of the sd_notify(3) socket.
    pub(crate) fn own(source: &Path, destination: &Path) -> Self {
        Self {
            index: None,
            destination: destination.to_owned(),
            source: text(source.as_os_str().as_bytes()),
            action: Action::Bind { recursive: false },
            set: libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            clear: 0,
            set_all: 0,
            clear_all: 0,
            propagation: vec![Propagation(libc::MS_PRIVATE)],
            late_readonly: false,
            of_cgroup: false,
        }
    }
}

pub(crate) fn plan(
    mounts: &[oci::Mount],
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Vec<Mount> {
    let mut result = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        let Some(mount) = plan_one(index, mount, around, faults) else { continue };
        match &mount.action {
            Action::Filesystem { fstype, .. } if fstype.to_bytes() == b"cgroup" => {
                result.extend(cgroup_tree::mounts(mount, around));
            }
            _ => result.push(mount),
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
    let destination = destination(&at, mount.destination(), faults);
    let words = Words::read(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or_default();
    let recursive = words.bind.or((kind == "bind").then_some(false));
    let action = if words.remount {
        Action::Remount { data: Text::new(words.data.join(","), &at, faults) }
    } else if let Some(recursive) = recursive {
        check_bind(&at, mount, &words, faults);
        Action::Bind { recursive }
    } else {
        filesystem(&at, kind, &words, around, faults)
    };
    check_proc(&at, &destination, &action, mount, faults);
    let late_readonly = words.set & libc::MS_RDONLY != 0
        && matches!(&action, Action::Filesystem { fstype, .. } if fstype.to_bytes() == b"tmpfs");
    let mount = Mount {
        index: Some(index),
        source: source(&at, mount, &action, around.bundle, faults),
        destination,
        action,
        set: if late_readonly { words.set & !libc::MS_RDONLY } else { words.set },
        clear: words.clear,
        set_all: words.set_all,
        clear_all: words.clear_all,
        propagation: words.propagation,
        late_readonly,
        of_cgroup: false,
    };
    (faults.len() == before).then_some(mount)
}

/// The options, sorted by meaning; of two that contradict each other the later wins.
#[derive(Default)]
struct Words<'a> {
    set: u64,
    clear: u64,
    set_all: u64,
    clear_all: u64,
    propagation: Vec<Propagation>,
    bind: Option<bool>,
    remount: bool,
    copy_up: bool,
    data: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn read(options: &'a [String]) -> Self {
        let mut words = Self::default();
        for option in options {
            match mount_options::meaning(option) {
                Some(Meaning::Nothing) => {}
                Some(Meaning::Bind { recursive }) => {
                    words.bind = Some(recursive || words.bind == Some(true));
                }
                Some(Meaning::Remount) => words.remount = true,
                Some(Meaning::Set(flags)) => switch(&mut words.set, &mut words.clear, flags),
                Some(Meaning::Clear(flags)) => switch(&mut words.clear, &mut words.set, flags),
                Some(Meaning::SetAll(flags)) => {
                    switch(&mut words.set_all, &mut words.clear_all, flags);
                }
                Some(Meaning::ClearAll(flags)) => {
                    switch(&mut words.clear_all, &mut words.set_all, flags);
                }
                Some(Meaning::Propagation(flags)) => words.propagation.push(Propagation(flags)),
                Some(Meaning::CopyUp) => words.copy_up = true,
                None => words.data.push(option),
            }
        }
        words
    }
}

fn switch(on: &mut u64, off: &mut u64, flags: u64) {
    *on |= flags;
    *off &= !flags;
}

fn destination(at: &str, path: &Path, faults: &mut Vec<Error>) -> PathBuf {
    let at = format!("{at}.destination");
    if path.as_os_str().is_empty() {
        faults.push(Error::config(at, "invalid mount: the destination is empty"));
    } else if leaves_root(path) {
        let what = format!("invalid mount destination {path:?}: it leaves the root filesystem");
        faults.push(Error::config(at, what));
    } else if path.as_os_str().as_bytes().contains(&0) {
        faults.push(Error::config(at, "invalid mount destination: it contains a NUL byte"));
    }
    clean(path)
}

/// Whether the text of `path` climbs above where it starts.
pub(super) fn leaves_root(path: &Path) -> bool {
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

fn check_bind(at: &str, mount: &oci::Mount, words: &Words<'_>, faults: &mut Vec<Error>) {
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
}

fn filesystem(
    at: &str,
    kind: &str,
    words: &Words<'_>,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
) -> Action {
    if kind.is_empty() {
        let error = Error::config(format!("{at}.type"), "invalid mount: it has no type");
        faults.push(error.hint("a bind mount has \"bind\" or \"rbind\" among its options"));
    }
    if words.copy_up && kind != "tmpfs" {
        let what = "invalid option \"tmpcopyup\": it works on tmpfs only";
        faults.push(Error::config(format!("{at}.options"), what));
    }
    let mut data = words.data.join(",");
    // The kernel takes a label for these, and refuses it for those that have none.
    if let (Some(label), "tmpfs" | "devpts" | "mqueue") = (around.mount_label, kind) {
        let separator = if data.is_empty() { "" } else { "," };
        data.push_str(&format!("{separator}context=\"{label}\""));
    }
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
fn check_proc(
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
            Action::Filesystem { fstype, .. } => fstype.to_bytes() == b"proc",
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

/// For text that has no NUL by construction.
pub(super) fn text(bytes: &[u8]) -> Text {
    Text::new(bytes, "", &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxNamespaceType;

    use super::*;

    fn read(json: serde_json::Value) -> (Vec<Mount>, Vec<String>) {
        read_with(json, &Hierarchies::default(), &Namespaces::default())
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
        };
        let mounts: Vec<oci::Mount> = serde_json::from_value(json).unwrap();
        let mounts = plan(&mounts, &around, &mut faults);
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
        assert_eq!(mounts[0].action, Action::Bind { recursive: false });
        assert_eq!(mounts[1].source, text(b"/host"));
        assert_eq!(mounts[1].action, Action::Bind { recursive: true });
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
        ] {
            let told = format!("(config.json: {path})");
            assert!(faults.iter().any(|fault| fault.contains(&told)), "{path}: {faults:?}");
        }
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
}
