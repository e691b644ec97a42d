//! process: what becomes of the container's process just before execve.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
};

use oci_spec::runtime::{self as oci, LinuxNamespaceType, LinuxPersonalityDomain};
use serde::{Serialize, Serializer};

use super::{
    Namespaces, Options, Text, arguments, caps,
    hooks::texts,
    memory_policy::{self, MemoryPolicy},
    namespaces::host_id,
    scheduling::{self, CpuAffinity, IoPriority, Scheduler},
};
use crate::{
    error::{Error, Kind},
    host::Host,
};

/// The process to run, for create, run and exec alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub args: Vec<Text>,
    pub env: Vec<Text>,
    /// HOME is looked up in the container's /etc/passwd if `env` has none.
    pub needs_home: bool,
    pub cwd: Text,
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// Whether setgroups(2) is allowed at all: not in a user namespace that gave it up.
    #[serde(skip)]
    pub can_set_groups: bool,
    /// Somebody else may have given up setgroups(2) for it.
    #[serde(skip)]
    pub in_user_namespace: bool,
    pub umask: u32,
    pub capabilities: caps::Capabilities,
    pub rlimits: Vec<Rlimit>,
    /// In a user namespace nobody can raise a hard limit: the parent, who owns it, does it from
    /// outside. Elsewhere that would need a capability that the process itself does not.
    #[serde(skip)]
    pub rlimits_by_parent: bool,
    /// Whether the container of an ordinary user is to be entered while this waits for `start`:
    /// setns(2) asks what ptrace(2) does, and of a process that is not dumpable that is a right
    /// over the user namespace in which the runtime began.
    #[serde(skip)]
    pub entered_by_user: bool,
    pub no_new_privileges: bool,
    pub oom_score_adj: Option<i32>,
    /// The pty that becomes the process's terminal.
    pub terminal: Option<Terminal>,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<IoPriority>,
    /// Of a process that is executed in a running container; a first process has all the CPUs of
    /// its cpuset.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: CpuAffinity,
    pub memory_policy: Option<MemoryPolicy>,
    /// personality(2), or the caller's own.
    pub personality: Option<u32>,
    /// Descriptors 3, 4, … that survive execve.
    pub preserve_fds: u32,
}

/// A pty's first size; 0 × 0 leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Terminal {
    pub rows: u16,
    pub columns: u16,
}

/// A limit of getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    #[serde(serialize_with = "rlimit_name")]
    pub resource: oci::PosixRlimitType,
    pub soft: u64,
    pub hard: u64,
}

fn rlimit_name<S: Serializer>(
    resource: &oci::PosixRlimitType,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    resource.serialize(serializer)
}

/// What a process's plan depends on beside its own configuration.
pub(crate) struct Surroundings<'a> {
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) host: &'a Host,
    pub(crate) options: &'a Options,
    pub(crate) personality: Option<&'a oci::LinuxPersonality>,
    pub(crate) memory_policy: Option<&'a oci::LinuxMemoryPolicy>,
}

/// What runc and crun use where config.json says nothing.
const DEFAULT_UMASK: u32 = 0o022;

pub(crate) fn plan(
    process: &oci::Process,
    around: &Surroundings<'_>,
    faults: &mut Vec<Error>,
    warnings: &mut Vec<String>,
) -> Process {
    let user = process.user();
    arguments::check(process, faults);
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        faults.push(Error::config("process.args", "args must not be empty"));
    }
    check_ids(user, around.namespaces, faults);
    check_groups(user, around.namespaces, faults);
    let env = environment(process, around.options, faults);
    let own_user_namespace = around.namespaces.private(LinuxNamespaceType::User);
    let available = if own_user_namespace { u64::MAX } else { around.host.capabilities };
    Process {
        args: texts("process.args", args, faults),
        needs_home: !env.iter().any(|variable| variable.to_bytes().starts_with(b"HOME=")),
        env,
        cwd: cwd(process.cwd(), faults),
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        can_set_groups: around.namespaces.can_set_groups(),
        in_user_namespace: own_user_namespace || !around.host.initial_user_namespace,
        umask: umask(user, faults),
        capabilities: caps::plan(process.capabilities().as_ref(), available, warnings),
        rlimits: rlimits(process, faults),
        rlimits_by_parent: own_user_namespace,
        entered_by_user: around.namespaces.are_a_users(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: oom_score_adj(process, faults),
        terminal: terminal(process, faults),
        apparmor_profile: label(
            "process.apparmorProfile",
            process.apparmor_profile(),
            ("apparmor", around.host.apparmor),
            faults,
        ),
        selinux_label: label(
            "process.selinuxLabel",
            process.selinux_label(),
            ("selinux", around.host.selinux),
            faults,
        ),
        scheduler: scheduling::scheduler(process.scheduler().as_ref(), faults),
        io_priority: scheduling::io_priority(process.io_priority().as_ref(), faults),
        exec_cpu_affinity: scheduling::cpu_affinity(process.exec_cpu_affinity().as_ref(), faults),
        memory_policy: around.memory_policy.map(|policy| memory_policy::plan(policy, faults)),
        personality: around.personality.map(|personality| persona(personality, faults)),
        preserve_fds: around.options.preserve_fds,
    }
}

impl Process {
    /// The working directory, which is made where the image lacks it.
    pub(crate) fn cwd_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.cwd.to_bytes()))
    }
}

fn check_ids(user: &oci::User, namespaces: &Namespaces, faults: &mut Vec<Error>) {
    check_reserved(user, faults);
    let Some(maps) = &namespaces.user else { return };
    let mut check = |at: String, id: u32, list, field: &str| {
        if host_id(list, id).is_none() {
            faults.push(
                Error::config(
                    at,
                    format!("invalid id {id}: it is not mapped in the user namespace"),
                )
                .hint(format!("add a range with it to linux.{field}")),
            );
        }
    };
    check("process.user.uid".into(), user.uid(), &maps.uids, "uidMappings");
    check("process.user.gid".into(), user.gid(), &maps.gids, "gidMappings");
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        check(format!("process.user.additionalGids[{index}]"), *gid, &maps.gids, "gidMappings");
    }
}

/// Also where they cannot be set: a process without groups that it relies on is not what its author
/// asked for.
fn check_groups(user: &oci::User, namespaces: &Namespaces, faults: &mut Vec<Error>) {
    if namespaces.can_set_groups() || user.additional_gids().iter().flatten().next().is_none() {
        return;
    }
    let (what, hint) = match namespaces.keep_groups {
        true => (
            "cannot set any additional groups: the process keeps its caller's",
            "leave additionalGids or the annotation run.oci.keep_original_groups out",
        ),
        false => (
            "cannot set any additional groups in a rootless container without a range of gids",
            "map subordinate gids (newgidmap, /etc/subgid) or leave additionalGids out",
        ),
    };
    faults.push(Error::config("process.user.additionalGids", what).hint(hint));
}

/// -1 as an unsigned number: for setuid(2) and its kin "leave it as it is", so root stays root.
const RESERVED: u32 = u32::MAX;

fn check_reserved(user: &oci::User, faults: &mut Vec<Error>) {
    let ids = [("uid".to_owned(), user.uid()), ("gid".to_owned(), user.gid())];
    let groups = user.additional_gids().iter().flatten().enumerate();
    let groups = groups.map(|(index, gid)| (format!("additionalGids[{index}]"), *gid));
    for (field, _) in ids.into_iter().chain(groups).filter(|(_, id)| *id == RESERVED) {
        let what = format!("invalid id {RESERVED}: the kernel has no such id");
        faults.push(Error::config(format!("process.user.{field}"), what));
    }
}

/// The variables in order; of two with one name the later wins, as in a shell. LISTEN_FDS belongs
/// to whoever was activated (sd_listen_fds(3)), NOTIFY_SOCKET to the container's own socket.
fn environment(process: &oci::Process, options: &Options, faults: &mut Vec<Error>) -> Vec<Text> {
    let mut env: Vec<&str> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for (index, variable) in process.env().iter().flatten().enumerate() {
        let Some((name, _)) = variable.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let what =
                format!("invalid environment variable {variable:?}: it has no name and \"=\"");
            faults.push(Error::config(format!("process.env[{index}]"), what));
            continue;
        };
        match seen.insert(name, env.len()) {
            Some(earlier) => {
                seen.insert(name, earlier);
                env[earlier] = variable;
            }
            None => env.push(variable),
        }
    }
    // It would be taken for the current directory; runc looks it up, too.
    env.retain(|variable| *variable != "HOME=");
    let mut env: Vec<_> = env.iter().map(|text| Text::new(*text, "process.env", faults)).collect();
    if options.listen_fds > 0 {
        env.push(Text::new(format!("LISTEN_FDS={}", options.listen_fds), "process.env", faults));
        env.push(Text::new("LISTEN_PID=1", "process.env", faults));
    }
    if options.notify_dir.is_some() {
        env.push(Text::new(format!("NOTIFY_SOCKET={NOTIFY_SOCKET}"), "process.env", faults));
    }
    env
}

/// Where the container finds the way to the host's NOTIFY_SOCKET, as under runc.
pub(crate) const NOTIFY_DIR: &str = "/run/notify";
const NOTIFY_SOCKET: &str = "/run/notify/notify.sock";

fn cwd(cwd: &Path, faults: &mut Vec<Error>) -> Text {
    if !cwd.is_absolute() {
        let what =
            format!("cwd property must not be empty and must be an absolute path, not {cwd:?}");
        faults.push(Error::config("process.cwd", what));
    }
    Text::new(clean(cwd).as_os_str().as_bytes(), "process.cwd", faults)
}

/// `path` without `.`, `..` and repeated slashes, by its text alone.
pub(super) fn clean(path: &Path) -> std::path::PathBuf {
    let mut clean = std::path::PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn umask(user: &oci::User, faults: &mut Vec<Error>) -> u32 {
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o7777 {
        let what = format!("invalid umask {umask}: it is above 0o7777");
        faults.push(Error::config("process.user.umask", what));
    }
    umask
}

fn rlimits(process: &oci::Process, faults: &mut Vec<Error>) -> Vec<Rlimit> {
    let mut result: Vec<Rlimit> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let limit = Rlimit { resource: limit.typ(), soft: limit.soft(), hard: limit.hard() };
        let at = format!("process.rlimits[{index}]");
        if limit.soft > limit.hard {
            let what = format!("invalid rlimit: soft {} is above hard {}", limit.soft, limit.hard);
            faults.push(Error::config(&at, what));
        }
        // The specification: an error MUST be generated for a type that is there twice.
        if result.iter().any(|other| other.resource == limit.resource) {
            faults.push(Error::config(at, format!("invalid rlimit: a second {}", limit.resource)));
        }
        result.push(limit);
    }
    result
}

fn oom_score_adj(process: &oci::Process, faults: &mut Vec<Error>) -> Option<i32> {
    let score = process.oom_score_adj()?;
    if !(-1000..=1000).contains(&score) {
        let what = format!("invalid oomScoreAdj {score}: it must be from -1000 to 1000");
        faults.push(Error::config("process.oomScoreAdj", what));
    }
    Some(score)
}

fn terminal(process: &oci::Process, faults: &mut Vec<Error>) -> Option<Terminal> {
    if process.terminal() != Some(true) {
        return None;
    }
    let size = process.console_size().unwrap_or_default();
    let mut cells = |name: &str, count: u64| {
        u16::try_from(count).unwrap_or_else(|_| {
            let what = format!("invalid console size {count}: it is above 65535");
            faults.push(Error::config(format!("process.consoleSize.{name}"), what));
            0
        })
    };
    Some(Terminal { rows: cells("height", size.height()), columns: cells("width", size.width()) })
}

/// A label that cannot be set is a fault, as under runc: the caller relies on the confinement.
pub(super) fn label(
    at: &str,
    label: &Option<String>,
    (module, enabled): (&str, bool),
    faults: &mut Vec<Error>,
) -> Option<String> {
    let label = label.clone().filter(|label| !label.is_empty())?;
    if label.contains('\0') {
        faults.push(Error::config(at, "invalid string: it contains a NUL byte"));
    }
    if !enabled {
        let what = format!(
            "{module} label {label:?} is specified in config, but {module} is disabled or not supported"
        );
        faults.push(Error::new(Kind::Unsupported, what).at(at));
    }
    Some(label)
}

fn persona(personality: &oci::LinuxPersonality, faults: &mut Vec<Error>) -> u32 {
    if personality.flags().iter().flatten().next().is_some() {
        let what = "invalid personality: the specification reserves the field flags";
        faults.push(Error::config("linux.personality.flags", what));
    }
    match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        // PER_LINUX32 of personality(2).
        LinuxPersonalityDomain::PerLinux32 => 0x0008,
    }
}

/// The variable's value, for a lookup in PATH.
pub(crate) fn variable<'a>(env: &'a [Text], name: &str) -> Option<&'a OsStr> {
    env.iter().find_map(|variable| {
        let value = variable.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(OsStr::from_bytes(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{host, options};

    fn read(json: &str) -> (Process, Vec<String>, Vec<String>) {
        let namespaces = Namespaces::default();
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let around = Surroundings {
            namespaces: &namespaces,
            host: &host(),
            options: &options(),
            personality: None,
            memory_policy: None,
        };
        let process =
            plan(&serde_json::from_str(json).unwrap(), &around, &mut faults, &mut warnings);
        (process, faults.iter().map(ToString::to_string).collect(), warnings)
    }

    #[test]
    fn the_last_of_two_variables_wins() {
        let (process, faults, _) =
            read(r#"{"user":{},"args":["a"],"cwd":"/a/../b","env":["A=1","B=2","A=3"]}"#);
        assert!(faults.is_empty(), "{faults:?}");
        let env: Vec<_> = process.env.iter().map(|text| text.to_str().unwrap()).collect();
        assert_eq!(env, ["A=3", "B=2"]);
        assert_eq!(process.cwd.to_str().unwrap(), "/b");
        assert!(process.needs_home);
        assert_eq!(process.umask, 0o22);
    }

    #[test]
    fn every_fault_is_told() {
        let (_, faults, _) = read(
            r#"{"user":{"umask":65535},"cwd":"a","args":[],"env":["=x"],"oomScoreAdj":2000,
                "rlimits":[{"type":"RLIMIT_CORE","soft":2,"hard":1},{"type":"RLIMIT_CORE","soft":0,"hard":0}],
                "terminal":true,"consoleSize":{"height":70000,"width":1}}"#,
        );
        for path in [
            "process.args",
            "process.env[0]",
            "process.cwd",
            "process.user.umask",
            "process.rlimits[0]",
            "process.rlimits[1]",
            "process.oomScoreAdj",
            "process.consoleSize.height",
        ] {
            let told = format!("(config.json: {path})");
            assert!(faults.iter().any(|fault| fault.contains(&told)), "{path}: {faults:?}");
        }
    }

    #[test]
    fn a_label_without_its_module_is_refused() {
        let (_, faults, _) =
            read(r#"{"user":{},"args":["a"],"cwd":"/","apparmorProfile":"docker-default"}"#);
        assert!(faults[0].contains("process.apparmorProfile"), "{faults:?}");
    }
}
