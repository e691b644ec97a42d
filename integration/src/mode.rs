//! How the runtime is run: who makes the cgroups, and as which user. `RTN_MODE` says it:
//!
//! | | |
//! |---|---|
//! | `cgroupfs` | by root, with cgroups that the runtime makes; the default |
//! | `systemd` | by root, with `--systemd-cgroup` |
//! | `rootless` | by an ordinary user, with `--systemd-cgroup` and the user's own systemd |
//! | `nocgroup` | by an ordinary user who may make no cgroup |
//!
//! The tests are the same, and are root's in every mode, for they look at the host; the runtime is
//! the user's. What a user cannot have is a [`Feature`](crate::Feature) that the mode lacks.

use std::{
    collections::HashSet,
    env,
    fs::{self, File},
    os::{
        fd::AsFd,
        unix::{
            fs::{DirEntryExt, MetadataExt, fchown, lchown},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{host, wait};

/// The ordinary user's number; its name is in /etc/passwd.
pub const USER: u32 = 1000;

/// The user's unit in which the tests run, so that they may move what they start.
const UNIT: &str = "rtn-tests.service";

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Cgroupfs,
    Systemd,
    Rootless,
    NoCgroup,
}

impl Mode {
    /// `RTN_MODE`.
    pub fn current() -> Self {
        static MODE: OnceLock<Mode> = OnceLock::new();
        *MODE.get_or_init(|| match env::var("RTN_MODE").unwrap_or_default().as_str() {
            "" | "cgroupfs" => Self::Cgroupfs,
            "systemd" => Self::Systemd,
            "rootless" => Self::Rootless,
            "nocgroup" => Self::NoCgroup,
            other => panic!("RTN_MODE={other}: not cgroupfs, systemd, rootless or nocgroup"),
        })
    }

    /// The runtime is not root's.
    pub fn is_rootless(self) -> bool {
        matches!(self, Self::Rootless | Self::NoCgroup)
    }

    /// systemd makes the cgroups.
    pub fn is_systemd(self) -> bool {
        matches!(self, Self::Systemd | Self::Rootless)
    }

    /// Flags of the runtime before its command.
    pub fn flags(self) -> &'static [&'static str] {
        if self.is_systemd() { &["--systemd-cgroup"] } else { &[] }
    }

    /// Makes a command the user's.
    pub fn become_user(self, command: &mut Command) {
        if self.is_rootless() {
            command.uid(USER).gid(USER).env_remove("DBUS_SESSION_BUS_ADDRESS");
            command.env("XDG_RUNTIME_DIR", runtime_dir()).env("HOME", "/");
        }
    }

    /// Before the first test of a process: brings it to where the user may make cgroups.
    pub(crate) fn enter(self) {
        if self.is_rootless() {
            // Before a test can change the files that say so.
            subordinate_ids();
        }
        if self == Self::Rootless {
            let own = unit().join("tests");
            let _ = fs::create_dir(&own);
            fs::write(own.join("cgroup.procs"), "0").expect("a cgroup of the user's");
        }
    }

    /// What a container of an ordinary user cannot do without: ids, which newuidmap gives it.
    pub(crate) fn adapt(self, config: &mut Value) {
        if self.is_rootless() {
            let (first, count) = subordinate_ids();
            let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 },
                             { "containerID": 1, "hostID": first, "size": count }]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            crate::bundle::push(&mut config["linux"]["namespaces"], json!({ "type": "user" }));
        }
    }

    /// Gives the user a pipe of its own, as a user's shell does.
    pub(crate) fn own(self, pipe: impl AsFd) {
        if self.is_rootless() {
            fchown(pipe, Some(USER), Some(USER)).expect("chown");
        }
    }

    /// What an ordinary user cannot mount for a namespace of the host's, it binds from there.
    pub(crate) fn share(self, namespace: &str, config: &mut Value) {
        let tree = match namespace {
            "pid" => "/proc",
            "network" => "/sys",
            "ipc" => "/dev/mqueue",
            _ => return,
        };
        let mounts = config["mounts"].as_array_mut().into_iter().flatten();
        for mount in mounts.filter(|mount| self.is_rootless() && mount["destination"] == tree) {
            let options = ["rbind", "nosuid", "noexec", "nodev"];
            *mount = crate::bundle::bind(Path::new(tree), tree, &options);
        }
    }

    /// The name of the cgroup of container `id`, if `cgroupsPath` does not say another.
    pub fn cgroup_name(self, id: &str) -> String {
        if self.is_systemd() { format!("runc-{id}.scope") } else { id.to_owned() }
    }

    /// Gives the user everything of root's below `dir`; what is mounted there stays as it is.
    pub fn give(self, dir: &Path) {
        if self.is_rootless() {
            let mounts = host::mounts().into_iter().map(|mount| mount.target.into()).collect();
            give(dir, &mounts, &mut HashSet::new());
        }
    }

    /// Where systemd's slices are that are in no other.
    pub fn slices(self) -> PathBuf {
        match self {
            Self::Rootless => user_manager(),
            _ => host::hierarchy("").expect("cgroup2").target.into(),
        }
    }

    /// Where containers without `cgroupsPath` have their v2 cgroups.
    pub fn parent(self) -> PathBuf {
        let root = || PathBuf::from(host::hierarchy("").expect("cgroup2").target);
        match self {
            Self::Systemd => root().join("system.slice"),
            Self::Rootless => user_manager().join("user.slice"),
            Self::Cgroupfs | Self::NoCgroup => {
                let own = host::cgroup_of(std::process::id() as i32, "");
                own.parent().expect("the test is not in the root cgroup").to_owned()
            }
        }
    }

    /// The file of v2 controllers that the runtime may use.
    pub(crate) fn controllers(self) -> PathBuf {
        self.slices().join("cgroup.controllers")
    }

    /// systemctl, for the systemd that the runtime uses.
    pub fn systemctl(self) -> Command {
        let mut command = Command::new("systemctl");
        if self.is_rootless() {
            command.arg("--user");
            self.become_user(&mut command);
        }
        command
    }

    /// systemd-run, as [`Mode::systemctl`].
    pub fn systemd_run(self) -> Command {
        let mut command = Command::new("systemd-run");
        command.arg("--quiet");
        if self.is_rootless() {
            command.arg("--user");
            self.become_user(&mut command);
        }
        command
    }

    /// Where systemd has the units that a runtime makes; each is a file there while it lives.
    pub(crate) fn units(self) -> Option<PathBuf> {
        match self {
            Self::Rootless => Some(runtime_dir().join("systemd/transient")),
            _ => Some(PathBuf::from("/run/systemd/transient")).filter(|dir| dir.is_dir()),
        }
    }
}

/// First and number of the ids that /etc/subuid and /etc/subgid give the user.
pub fn subordinate_ids() -> (u32, u32) {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    *IDS.get_or_init(find_subordinate_ids)
}

fn find_subordinate_ids() -> (u32, u32) {
    let name = user_name();
    let text = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let range = text.lines().find_map(|line| {
        let (first, count) = line.strip_prefix(&name)?.strip_prefix(':')?.split_once(':')?;
        Some((first.parse().ok()?, count.parse().ok()?))
    });
    range.unwrap_or_else(|| panic!("{name:?} has no ids in /etc/subuid"))
}

fn user_name() -> String {
    let text = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let names = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number == USER.to_string()).then(|| name.to_owned())
    });
    names.unwrap_or_else(|| panic!("RTN_MODE: there is no user {USER}"))
}

/// XDG_RUNTIME_DIR of the user.
pub fn runtime_dir() -> PathBuf {
    format!("/run/user/{USER}").into()
}

fn user_manager() -> PathBuf {
    let root = host::hierarchy("").expect("cgroup2").target;
    Path::new(&root).join(format!("user.slice/user-{USER}.slice/user@{USER}.service"))
}

/// The cgroup of [`UNIT`], which is started by the first test that asks.
fn unit() -> PathBuf {
    let place = user_manager().join("app.slice").join(UNIT);
    let lock = File::create("/run/rtn-tests.lock").expect("a lock");
    lock.lock().expect("a lock");
    if !place.is_dir() {
        let manager = format!("user@{USER}.service");
        wait::output(Command::new("systemctl").args(["start", &manager])).ok();
        let mut start = Mode::Rootless.systemd_run();
        start.args(["--unit", UNIT, "--property", "Delegate=yes"]);
        start.args(["--property", "DelegateSubgroup=holder", "sleep", "infinity"]);
        wait::output(&mut start).ok();
    }
    place
}

/// Looks at each inode once: the programs of a root filesystem are hundreds of links to one.
fn give(path: &Path, mounts: &HashSet<PathBuf>, seen: &mut HashSet<u64>) {
    let Ok(about) = path.symlink_metadata() else { return };
    if about.uid() == 0 || about.gid() == 0 {
        let of_root = |id| if id == 0 { USER } else { id };
        lchown(path, Some(of_root(about.uid())), Some(of_root(about.gid()))).expect("chown");
    }
    if !about.is_dir() {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if seen.insert(entry.ino()) && !mounts.contains(&entry.path()) {
            give(&entry.path(), mounts, seen);
        }
    }
}
