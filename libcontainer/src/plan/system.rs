//! The parts of config.json that are a line or two each: version, id, root, names, sysctls,
//! masked and read-only paths, and what seccomp needs beside its filter.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

use super::{
    Entrance, Namespaces, Options, Rootfs, Seccomp, Sysctl, Text, mounts::label::CONTEXT_TYPE,
    process::clean, propagation::rootfs_propagation,
};
use crate::{
    error::{Error, Kind, Result},
    host::Host,
    seccomp,
};

/// config.json's linux, or one in which nothing is set.
pub(super) fn linux(spec: &Spec) -> Linux {
    spec.linux().clone().unwrap_or_else(|| {
        let mut linux = Linux::default();
        linux.set_namespaces(None).set_resources(None).set_devices(None);
        linux.set_masked_paths(None).set_readonly_paths(None);
        linux
    })
}

/// Any 1.x is understood, as the specification's compatibility rule wants; 0.x and 2.x are not.
pub(super) fn check_version(version: &str, faults: &mut Vec<Error>) {
    if !is_semantic(version) {
        let what = format!("invalid ociVersion {version:?}: it is not in SemVer 2.0.0 format");
        let error = Error::config("ociVersion", what);
        faults.push(error.hint("as in \"1.3.0\" or \"1.0.2-dev\""));
    } else if !version.starts_with("1.") {
        let what = format!("unsupported ociVersion {version:?}");
        let error = Error::config("ociVersion", what);
        faults.push(error.hint("this runtime reads configurations of version 1.x"));
    }
}

/// `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]` (semver.org).
fn is_semantic(version: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let words = |text: Option<&str>| {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        text.is_none_or(|text| text.split('.').all(word))
    };
    let (version, build) = cut(version, '+');
    let (core, prerelease) = cut(version, '-');
    core.split('.').count() == 3 && core.split('.').all(number) && words(prerelease) && words(build)
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// config.md, "Annotations": keys must not be empty. Those of crun ask for something; one that is
/// not carried out here is told.
pub(super) fn check_annotations(spec: &Spec, faults: &mut Vec<Error>, warnings: &mut Vec<String>) {
    const KNOWN: [&str; 3] = [KEEP_GROUPS, CONTEXT_TYPE, FAIL_UNKNOWN_SYSCALL];
    let mut keys: Vec<_> = spec.annotations().iter().flat_map(HashMap::keys).collect();
    keys.sort_unstable();
    for key in keys {
        if key.is_empty() {
            faults.push(Error::config("annotations", "invalid annotation: its key is empty"));
        }
        if key.starts_with("run.oci.") && !KNOWN.contains(&key.as_str()) {
            warnings.push(format!("the annotation {key:?} is for crun and has no effect"));
        }
    }
}

/// Whether `id` can name a container: it becomes a directory and part of a cgroup.
///
/// # Errors
/// [`Kind::InvalidConfig`] with runc's words.
pub fn check_id(id: &str) -> Result<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() {
        return Err(Error::new(Kind::InvalidConfig, "container id cannot be empty"));
    }
    if !id.bytes().all(valid) || matches!(id, "." | "..") || id.len() > ID_MAX {
        let what = format!("invalid container id format: {id:?}");
        let hint = "letters, digits and _ + - . (at most 1024)";
        return Err(Error::new(Kind::InvalidConfig, what).hint(hint));
    }
    Ok(())
}

/// As in containerd and runc's callers; a directory name ends at 255 bytes, checked when made.
const ID_MAX: usize = 1024;

/// The host's uid that is to own the cgroup: the container's root, where it can see and write its
/// own cgroup and nothing above, as under runc.
pub(super) fn cgroup_owner(spec: &Spec, namespaces: &Namespaces) -> Option<u32> {
    let writable = |mount: &oci_spec::runtime::Mount| {
        mount.destination() == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|option| option == "ro")
    };
    let sees_own = namespaces.makes(LinuxNamespaceType::Cgroup)
        && spec.mounts().iter().flatten().any(writable);
    namespaces.root_ids().filter(|_| sees_own).map(|(uid, _)| uid)
}

pub(super) fn rootfs(
    spec: &Spec,
    linux: &Linux,
    options: &Options,
    namespaces: &Namespaces,
    faults: &mut Vec<Error>,
) -> Rootfs {
    let root = spec.root().as_ref();
    let path = root.map(|root| root.path().clone()).unwrap_or_default();
    if path.as_os_str().is_empty() {
        faults.push(Error::config("root.path", "invalid root: root.path is missing"));
    }
    check_nul("root.path", path.as_os_str().as_encoded_bytes(), faults);
    check_nul("linux.mountLabel", linux.mount_label().as_deref().unwrap_or("").as_bytes(), faults);
    let entrance = match namespaces.private(LinuxNamespaceType::Mount) {
        false => Entrance::Chroot,
        true if options.no_pivot => Entrance::MoveMount,
        true => Entrance::PivotRoot,
    };
    if entrance == Entrance::Chroot && !spec.mounts().as_deref().unwrap_or_default().is_empty() {
        let error =
            Error::config("mounts", "cannot mount anything without a private mount namespace");
        faults.push(error.hint(
            "the mounts would appear on the host; add {\"type\": \"mount\"} to linux.namespaces",
        ));
    }
    Rootfs {
        path: options.bundle.join(path),
        readonly: root.and_then(|root| root.readonly()).unwrap_or(false),
        propagation: rootfs_propagation(linux.rootfs_propagation().as_deref(), faults),
        entrance,
    }
}

/// The kernel would take what is before the NUL for the whole.
fn check_nul(at: &str, text: &[u8], faults: &mut Vec<Error>) {
    if text.contains(&0) {
        faults.push(Error::config(at, "invalid string: it contains a NUL byte"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Hostname,
    Domainname,
}

/// uts_namespaces(7): both names take 64 bytes.
const NAME_MAX: usize = 64;

pub(super) fn name(
    which: Name,
    name: &Option<String>,
    namespaces: &Namespaces,
    faults: &mut Vec<Error>,
) -> Option<Text> {
    let name = name.as_deref().filter(|name| !name.is_empty())?;
    let at = match which {
        Name::Hostname => "hostname",
        Name::Domainname => "domainname",
    };
    if !namespaces.private(LinuxNamespaceType::Uts) {
        let what = format!("unable to set {at} without a private UTS namespace");
        faults.push(Error::config(at, what));
    }
    if name.len() > NAME_MAX {
        faults.push(Error::config(at, format!("invalid {at}: it is longer than {NAME_MAX} bytes")));
    }
    Some(Text::new(name, at, faults))
}

pub(super) fn sysctls(
    linux: &Linux,
    has_hostname: bool,
    namespaces: &Namespaces,
    faults: &mut Vec<Error>,
) -> Vec<Sysctl> {
    let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
    sysctls.sort();
    let sysctls = sysctls.into_iter().map(|(name, value)| {
        let file = sysctl_file(name);
        let at = format!("linux.sysctl[{name:?}]");
        check_nul(&at, value.as_bytes(), faults);
        let checked = check_sysctl(name, &file, has_hostname, namespaces);
        let needs = checked.map_err(|what| faults.push(Error::config(at, what))).ok();
        Sysctl { name: name.clone(), file, value: value.clone(), needs }
    });
    sysctls.collect()
}

/// One sysctl of a pod, for which the same holds as for those of a container.
pub(crate) fn sysctl(
    name: &str,
    value: &str,
    has_hostname: bool,
    namespaces: &Namespaces,
) -> Result<Sysctl, String> {
    let file = sysctl_file(name);
    let needs = Some(check_sysctl(name, &file, has_hostname, namespaces)?);
    Ok(Sysctl { name: name.to_owned(), file, value: value.to_owned(), needs })
}

/// sysctl(8): whichever of `.` and `/` comes first separates; the other is part of a name, such
/// as that of the interface in `net.ipv4.conf.eth0/1.forwarding`.
fn sysctl_file(name: &str) -> PathBuf {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes()[first] == b'.' => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect::<String>()
            .into(),
        _ => name.into(),
    }
}

/// Only what a private namespace of the container keeps to itself may be set.
fn check_sysctl(
    name: &str,
    file: &Path,
    has_hostname: bool,
    namespaces: &Namespaces,
) -> Result<LinuxNamespaceType, String> {
    const IPC: [&str; 9] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "kernel/msg_next_id",
    ];
    let needs = |kind, word: &str| match namespaces.private(kind) {
        true => Ok(kind),
        false => Err(format!("sysctl {name:?} not allowed in host {word} namespace")),
    };
    let text = file.to_str().unwrap_or_default();
    if text.contains('\0') || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("invalid sysctl {name:?}"));
    }
    if IPC.contains(&text) || text.starts_with("fs/mqueue/") {
        return needs(LinuxNamespaceType::Ipc, "ipc");
    }
    if text.starts_with("net/") {
        return needs(LinuxNamespaceType::Network, "network");
    }
    if text.starts_with("user/") {
        return needs(LinuxNamespaceType::User, "user");
    }
    match text {
        "kernel/domainname" => needs(LinuxNamespaceType::Uts, "uts"),
        "kernel/hostname" if has_hostname => {
            Err(format!("sysctl {name:?} conflicts with the hostname field"))
        }
        "kernel/hostname" => needs(LinuxNamespaceType::Uts, "uts"),
        _ => Err(format!("sysctl {name:?} is not in a separate kernel namespace")),
    }
}

/// linux.maskedPaths or linux.readonlyPaths.
pub(super) fn paths(
    field: &str,
    paths: &Option<Vec<String>>,
    namespaces: &Namespaces,
    faults: &mut Vec<Error>,
) -> Vec<PathBuf> {
    let paths = paths.as_deref().unwrap_or_default();
    if !paths.is_empty() && !namespaces.private(LinuxNamespaceType::Mount) {
        let what = "unable to restrict sys entries without a private MNT namespace";
        faults.push(Error::config(format!("linux.{field}"), what));
    }
    let paths = paths.iter().enumerate().map(|(index, path)| {
        if !path.starts_with('/') || path.contains('\0') {
            let what = format!("invalid path {path:?}: it must be absolute");
            faults.push(Error::config(format!("linux.{field}[{index}]"), what));
        }
        clean(Path::new(path))
    });
    paths.collect()
}

/// crun's annotation, which podman sets for `--group-add keep-groups`: 0 is no.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

pub(super) fn keeps_groups(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.and_then(|all| all.get(KEEP_GROUPS)).is_some_and(|word| word != "0")
}

/// crun's annotation: what to do about a system call that no architecture has.
const FAIL_UNKNOWN_SYSCALL: &str = "run.oci.seccomp_fail_unknown_syscall";

pub(super) fn seccomp(
    spec: &Spec,
    linux: &Linux,
    host: &Host,
    faults: &mut Vec<Error>,
    warnings: &mut Vec<String>,
) -> Option<Seccomp> {
    let profile = linux.seccomp().as_ref()?;
    let annotation = spec.annotations().as_ref().and_then(|all| all.get(FAIL_UNKNOWN_SYSCALL));
    let lenient = annotation.is_some_and(|word| matches!(word.as_str(), "0" | "false"));
    let listener = profile.listener_path().as_deref().unwrap_or(Path::new(""));
    check_nul("linux.seccomp.listenerPath", listener.as_os_str().as_encoded_bytes(), faults);
    let mut filter = seccomp::compile(profile, lenient, faults)?;
    warnings.append(&mut filter.warnings);
    Some(Seccomp {
        filter,
        listener_path: profile.listener_path().clone().filter(|path| !path.as_os_str().is_empty()),
        listener_metadata: profile.listener_metadata().clone().unwrap_or_default(),
        unprivileged_parent: host.rootless(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_of_crun() {
        let json = r#"{"ociVersion":"1.0.0","annotations":
            {"run.oci.handler":"krun","run.oci.keep_original_groups":"1","a":"b","":"c"}}"#;
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        check_annotations(&serde_json::from_str(json).unwrap(), &mut faults, &mut warnings);
        assert_eq!(warnings, ["the annotation \"run.oci.handler\" is for crun and has no effect"]);
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.2.3-rc.1", "1.0.2-dev", "1.3.0+dirty", "1.3.0-a-b.1+c.d"] {
            assert!(is_semantic(good), "{good}");
        }
        for bad in ["", "1", "1.0", "1.0.x", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0+", "latest"] {
            assert!(!is_semantic(bad), "{bad}");
        }
    }

    #[test]
    fn ids() {
        assert!(check_id("a_+-.9").is_ok());
        for id in ["", ".", "..", "a/b", "a b", "ä"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_sysctl_in_either_form() {
        assert_eq!(sysctl_file("net.ipv4.ip_forward"), Path::new("net/ipv4/ip_forward"));
        assert_eq!(sysctl_file("net/ipv4/conf/eth0.1/x"), Path::new("net/ipv4/conf/eth0.1/x"));
        assert_eq!(sysctl_file("net.ipv4.conf.eth0/1.x"), Path::new("net/ipv4/conf/eth0.1/x"));
    }

    #[test]
    fn a_sysctl_of_the_host_is_refused() {
        let json = r#"{"namespaces":[{"type":"ipc"}]}"#;
        let linux: Linux = serde_json::from_str(json).unwrap();
        let namespaces =
            super::super::namespaces::plan(&linux, &crate::plan::tests::host(), &mut Vec::new());
        let check = |name: &str| check_sysctl(name, &sysctl_file(name), true, &namespaces);
        assert!(check("kernel.shmmax").is_ok());
        assert!(check("fs.mqueue.msg_max").is_ok());
        for name in ["net.ipv4.ip_forward", "vm.swappiness", "kernel.hostname", "fs.mqueue.../../x"]
        {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn absent_linux_has_nothing_set() {
        let linux = linux(&serde_json::from_str(r#"{"ociVersion":"1.0.0"}"#).unwrap());
        assert_eq!(linux, serde_json::from_str("{}").unwrap());
    }
}
