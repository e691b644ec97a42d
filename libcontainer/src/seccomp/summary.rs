//! What a filter does, for people.

use super::profile::Profile;
use crate::spec::{LinuxSeccomp, LinuxSeccompAction};
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// The filter of `rtn plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// As in the spec; with the errno or trace message, if it has one: `SCMP_ACT_ERRNO(1)`.
    pub default_action: String,
    /// As in the spec, this machine's own first. System calls of any other kill the thread.
    pub architectures: Vec<String>,
    /// How many system calls the rules name, by action (written like `default_action`).
    pub rules: BTreeMap<String, usize>,
    /// Whether system calls that are newer than all that the profile names return ENOSYS.
    pub newer_calls_return_enosys: bool,
    /// Length of the BPF program.
    pub instructions: usize,
    /// `SECCOMP_FILTER_FLAG_*`, without the prefix.
    pub flags: Vec<&'static str>,
    /// Where the listener goes, if a rule notifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<PathBuf>,
}

impl Summary {
    pub(super) fn new(spec: &LinuxSeccomp, profile: &Profile, instructions: usize) -> Self {
        let mut rules = BTreeMap::new();
        for rule in spec.syscalls().iter().flatten() {
            *rules.entry(action(rule.action(), rule.errno_ret())).or_default() +=
                rule.names().len();
        }
        Self {
            default_action: action(spec.default_action(), spec.default_errno_ret()),
            architectures: profile.arches.iter().map(|arch| arch.name.to_owned()).collect(),
            rules,
            newer_calls_return_enosys: profile.guards_newer,
            instructions,
            flags: flags(profile.flags),
            listener: profile.listener.clone(),
        }
    }
}

fn action(name: LinuxSeccompAction, errno: Option<u32>) -> String {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActTrace};
    match name {
        ScmpActErrno | ScmpActTrace => {
            format!("{name}({})", errno.unwrap_or(libc::EPERM as u32))
        }
        _ => name.to_string(),
    }
}

fn flags(bits: u32) -> Vec<&'static str> {
    let names = [
        (libc::SECCOMP_FILTER_FLAG_LOG, "LOG"),
        (libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, "SPEC_ALLOW"),
        (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, "NEW_LISTENER"),
        (libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, "WAIT_KILLABLE_RECV"),
    ];
    let set = names.iter().filter(|(flag, _)| bits & *flag as u32 != 0);
    set.map(|&(_, name)| name).collect()
}
