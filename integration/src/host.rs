//! The machine that the tests run on: what it lacks, and where things are on it.
//!
//! A test that needs more than every machine has asks for a [`Feature`], and one that a runtime
//! cannot pass by its nature says so with [`only_on!`](crate::only_on). Both print
//! `skipped: <reason>`; nothing else may skip.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use probe::{Mount, collect};

use crate::{Kind, Mode, Runtime};

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A v1 hierarchy with this controller.
    CgroupV1(&'static str),
    /// A v2 hierarchy that stands alone and has this controller; `cgroup` for what every one has.
    CgroupV2(&'static str),
    /// This controller, by its name in v1, in a hierarchy of either version.
    Controller(&'static str),
    /// A kernel whose cpu controller divides realtime (`CONFIG_RT_GROUP_SCHED`).
    RealtimeGroups,
    /// A device with an I/O scheduler that knows weights.
    BlkioWeight,
    /// A block device behind the root filesystem, to throttle.
    BlockDevice,
    /// File systems that a program serves; see fuse(4).
    Fuse,
    AppArmor,
    /// Lowering oom_score_adj and raising hard limits.
    SysResource,
    UserNamespaces,
    TimeNamespaces,
    /// A mounted resctrl: a processor with Intel RDT or what others call it.
    Resctrl,
    /// newuidmap and newgidmap, which give an ordinary user more ids than its own.
    NewIdMap,
    /// Two processors, so that a process can be kept from one.
    TwoCpus,
    /// A kernel that knows memory policies (`CONFIG_NUMA`).
    MemoryPolicy,
    /// ip(8), and a kernel that makes veth devices.
    NetDevices,
    /// A device with RDMA.
    Rdma,
    SeLinux,
    /// systemd as the manager of the machine, see sd_booted(3).
    Systemd,
    /// Mounts of /tmp and of tmpfs (Linux 6.3) that map ids, see mount_setattr(2).
    IdMappedMounts,
    /// A kernel of this version, major and minor, or a later one.
    Kernel(u32, u32),
    /// The runtime is run by root; see [`Mode`].
    Root,
    /// The runtime is an ordinary user's who has a systemd of its own; see [`Mode`].
    UserManager,
    /// The runtime makes its cgroups itself, wherever a path says; see [`Mode`].
    Cgroupfs,
}

impl Feature {
    /// Whether the machine that `RTN_STRICT_SKIPS` names may lack this without failing: `1` is a
    /// host with cgroup v1, `vm` the machine of `make test-vm`. Nothing is excused by both.
    /// `container` is that machine as a container of a host with cgroup v1.
    fn excused(self, machine: &str) -> bool {
        match machine {
            "vm" => matches!(
                self,
                Self::CgroupV1(_)
                    | Self::RealtimeGroups
                    | Self::BlkioWeight
                    | Self::SeLinux
                    | Self::Resctrl
                    | Self::Rdma
                    | Self::Controller("net_cls" | "net_prio")
            ),
            "container" => match self {
                Self::CgroupV1(_) | Self::Controller(_) => true,
                Self::Systemd | Self::TwoCpus => false,
                Self::CgroupV2("cgroup" | "freezer" | "devices") => false,
                other => other.excused("1"),
            },
            _ => matches!(
                self,
                Self::RealtimeGroups
                    | Self::CgroupV1("hugetlb" | "net_cls" | "net_prio" | "rdma" | "perf_event")
                    | Self::CgroupV2(_)
                    | Self::Controller("hugetlb" | "net_cls" | "net_prio" | "rdma")
                    | Self::BlkioWeight
                    | Self::Fuse
                    | Self::AppArmor
                    | Self::SysResource
                    | Self::TwoCpus
                    | Self::MemoryPolicy
                    | Self::SeLinux
                    | Self::Resctrl
                    | Self::Rdma
                    | Self::Systemd
            ),
        }
    }

    /// What only some modes have, and another run of the same tests.
    fn belongs_to_a_mode(self) -> bool {
        match self {
            Self::Root | Self::UserManager | Self::Cgroupfs => true,
            Self::CgroupV1(_) => Mode::current().is_rootless(),
            Self::CgroupV2(name) | Self::Controller(name) => match Mode::current() {
                // systemd.resource-control(5): what it can delegate to users.
                Mode::Rootless => !["cpu", "cpuset", "io", "memory", "pids"].contains(&name),
                mode => mode == Mode::NoCgroup,
            },
            Self::Systemd => Mode::current() == Mode::NoCgroup,
            _ => false,
        }
    }

    pub fn present(self) -> bool {
        let holds = |file: &str, yes: &str| fs::read_to_string(file).is_ok_and(|t| t.trim() == yes);
        match self {
            Self::CgroupV1(_) | Self::CgroupV2(_) if Mode::current() == Mode::NoCgroup => false,
            Self::CgroupV1(controller) => {
                hierarchy(controller).is_some_and(|m| m.fstype == "cgroup")
            }
            Self::CgroupV2(controller) => offered_by_v2(controller),
            // The one that is called otherwise in v2.
            Self::Controller("blkio") => Self::CgroupV1("blkio").present() || offered_by_v2("io"),
            Self::Controller(name) => Self::CgroupV1(name).present() || offered_by_v2(name),
            Self::RealtimeGroups => hierarchy("cpu")
                .is_some_and(|mount| Path::new(&mount.target).join("cpu.rt_runtime_us").exists()),
            Self::BlkioWeight => knows_weights(),
            Self::BlockDevice => block_device().is_some(),
            Self::Fuse => fs::File::options().read(true).write(true).open("/dev/fuse").is_ok(),
            Self::AppArmor => holds("/sys/module/apparmor/parameters/enabled", "Y"),
            Self::SysResource => {
                collect::facts(&[], &[]).caps.effective.contains("CAP_SYS_RESOURCE")
            }
            Self::UserNamespaces => {
                !holds("/proc/sys/user/max_user_namespaces", "0")
                    && Path::new("/proc/self/ns/user").exists()
            }
            Self::TimeNamespaces => Path::new("/proc/self/ns/time").exists(),
            Self::TwoCpus => std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1),
            Self::MemoryPolicy => Path::new("/proc/self/numa_maps").exists(),
            Self::SeLinux => Path::new("/sys/fs/selinux/enforce").exists(),
            Self::Resctrl => Path::new("/sys/fs/resctrl/schemata").exists(),
            Self::NewIdMap => ["newuidmap", "newgidmap"]
                .iter()
                .all(|name| Path::new("/usr/bin").join(name).exists()),
            Self::NetDevices => makes_veth(),
            Self::Rdma => {
                fs::read_dir("/sys/class/infiniband").is_ok_and(|mut dir| dir.next().is_some())
            }
            Self::Systemd => {
                Path::new("/run/systemd/system").is_dir() && Mode::current() != Mode::NoCgroup
            }
            Self::Root => !Mode::current().is_rootless(),
            Self::UserManager => Mode::current() == Mode::Rootless,
            Self::Cgroupfs => !Mode::current().is_systemd(),
            Self::IdMappedMounts => kernel() >= (6, 3) && maps_ids("/tmp"),
            Self::Kernel(major, minor) => kernel() >= (major, minor),
        }
    }

    /// True when the test must return because the machine lacks this; says so on standard error.
    #[must_use]
    pub fn missing(self) -> bool {
        if self.present() {
            return false;
        }
        let strict = std::env::var("RTN_STRICT_SKIPS").unwrap_or_default();
        assert!(
            strict.is_empty() || strict == "0" || self.belongs_to_a_mode() || self.excused(&strict),
            "this machine lacks {self:?}, which is not excused"
        );
        skipped(&format!("this machine lacks {self:?}"));
        true
    }
}

/// The filesystem of a mount point, or of the root directory, is one of those that have
/// FS_ALLOW_IDMAP and are found below /tmp.
fn maps_ids(path: &str) -> bool {
    let mounts = mounts();
    let on = |target: &str| mounts.iter().rev().find(|mount| mount.target == target);
    let kinds = ["ext4", "xfs", "btrfs", "f2fs", "tmpfs"];
    on(path).or_else(|| on("/")).is_some_and(|mount| kinds.contains(&mount.fstype.as_str()))
}

/// Major and minor of `uname -r`.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-', '\n']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// cgroup-v2.rst: freezing, killing and device programs belong to no controller.
fn offered_by_v2(controller: &str) -> bool {
    if !unified() || Mode::current() == Mode::NoCgroup {
        return false;
    }
    let offered = fs::read_to_string(Mode::current().controllers());
    ["cgroup", "freezer"].contains(&controller)
        || controller == "devices" && !Mode::current().is_rootless()
        || offered.is_ok_and(|names| names.split_ascii_whitespace().any(|name| name == controller))
}

/// The files are there in every cgroup but the root, and only with a scheduler that reads them.
fn knows_weights() -> bool {
    let Some(mount) = hierarchy("blkio") else { return false };
    let name = format!("it{}-{:?}-weights", std::process::id(), std::thread::current().id());
    let probe = Path::new(&mount.target).join(name);
    let made = fs::create_dir(&probe).is_ok();
    let found = ["blkio.weight", "blkio.bfq.weight"].iter().any(|file| probe.join(file).exists());
    made && fs::remove_dir(&probe).is_ok() && found
}

/// The unified hierarchy and no other is mounted.
pub fn unified() -> bool {
    let mut kinds = hierarchies().map(|mount| mount.fstype).peekable();
    kinds.peek().is_some() && kinds.all(|fstype| fstype == "cgroup2")
}

/// The pair goes with the network namespace that it is made in.
fn makes_veth() -> bool {
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "ip", "link", "add", "one", "type", "veth", "peer", "name", "two"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// Past the capture of the test harness, so that every skip is seen.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    // A test that has a process to itself runs on its first thread.
    let test = thread.name().filter(|name| *name != "main").map(|name| format!(" ({name})"));
    let _ = writeln!(std::io::stderr(), "skipped: {reason}{}", test.unwrap_or_default());
}

/// True when `runtime` is none of `kinds` and the test must return; prints the reason. A test of
/// rtn itself names it among the kinds, so on rtn this never skips.
#[must_use]
pub fn not_for(runtime: &Runtime, kinds: &[Kind], reason: &str) -> bool {
    assert!(kinds.contains(&Kind::Rtn), "no test skips rtn by name");
    if kinds.contains(&runtime.kind) {
        return false;
    }
    skipped(&format!("{:?}: {reason}", runtime.kind));
    true
}

/// Returns from the test unless the runtime is one of these kinds; the reason is what the others
/// lack. With `rootless` before the kinds they lack it as an ordinary user's only.
///
/// ```no_run
/// # use integration::{Test, only_on};
/// # fn time_namespace_has_offsets() {
/// let test = Test::new();
/// only_on!(test, [Rtn], "runc 1.1 and crun 1.8 do not know the time namespace");
/// # }
/// ```
#[macro_export]
macro_rules! only_on {
    ($test:expr, rootless $kinds:tt, $reason:expr) => {
        if $crate::Mode::current().is_rootless() {
            $crate::only_on!($test, $kinds, $reason);
        }
    };
    ($test:expr, [$($kind:ident),+], $reason:expr) => {
        if $crate::host::not_for($test.runtime, &[$($crate::Kind::$kind),+], $reason) {
            return;
        }
    };
}

/// Returns from the test when the machine lacks a [`Feature`].
#[macro_export]
macro_rules! needs {
    ($($feature:expr),+) => {
        $(if $feature.missing() {
            return;
        })+
    };
}

/// The mounts of the calling thread.
pub fn mounts() -> Vec<Mount> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    collect::mounts(&text)
}

/// The mount of the hierarchy that `controller` is in; `name=systemd` for the named one, the empty
/// string for v2.
pub fn hierarchy(controller: &str) -> Option<Mount> {
    let wanted = if controller.is_empty() { "cgroup2" } else { "cgroup" };
    mounts().into_iter().find(|mount| {
        mount.fstype == wanted
            && (controller.is_empty() || mount.super_options.contains(controller))
    })
}

/// All hierarchies that are mounted.
pub fn hierarchies() -> impl Iterator<Item = Mount> {
    mounts().into_iter().filter(|mount| mount.fstype == "cgroup" || mount.fstype == "cgroup2")
}

/// The directory of the cgroup that process `pid` is in: that of the v1 hierarchy that has
/// `controller`, otherwise that of v2.
#[track_caller]
pub fn cgroup_of(pid: i32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process is there");
    let path_with = |wanted: &str| {
        text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then_some(path)
        })
    };
    // A container of a host with v1 has the lines of that and nothing to look them up in.
    let v1 = path_with(controller).filter(|_| hierarchy(controller).is_some());
    let (name, path) = match (v1, path_with("")) {
        (Some(path), _) => (controller, path),
        (None, Some(path)) => ("", path),
        (None, None) => panic!("no controller {controller:?} in {text}"),
    };
    let mount = hierarchy(name).expect("the hierarchy is mounted");
    Path::new(&mount.target).join(path.trim_start_matches('/'))
}

/// Namespaces of process `pid`.
pub fn namespaces(pid: i32) -> std::collections::BTreeMap<String, u64> {
    collect::namespaces(format!("/proc/{pid}/ns").as_ref())
}

/// (major, minor) of the whole disk behind the root filesystem.
pub fn block_device() -> Option<(u64, u64)> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let mut numbers: Vec<(u64, u64)> = entries
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with(['l', 'r', 'z']))
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .collect();
    numbers.sort_unstable();
    numbers.pop()
}
