//! The profile of config.json, checked: every fault is found here, with its JSON path.

use super::{
    action::Action,
    arch::{self, Arch, NATIVE},
    condition::Condition,
    names::{self, Call},
};
use crate::{
    Error,
    spec::{LinuxSeccomp, LinuxSeccompAction as Name, LinuxSeccompFilterFlag, LinuxSyscall},
};
use std::path::PathBuf;

/// A profile without faults, in the terms of seccomp(2).
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) default: Action,
    /// Whether a call with a higher number than all that the profile names gets ENOSYS.
    pub(super) guards_newer: bool,
    /// Without repetition, this machine's own first.
    pub(super) arches: Vec<&'static Arch>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(super) flags: u32,
    pub(super) listener: Option<PathBuf>,
    /// `linux.seccomp.syscalls`, in its order.
    pub(super) rules: Vec<Rule>,
    /// Which calls each rule names.
    pub(super) named: Vec<(&'static Call, usize)>,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) action: Action,
    /// The rule applies if all conditions of one of these lists hold; without a list, always.
    pub(super) any: Vec<Vec<Condition>>,
}

/// Checks `profile`; `None` after adding to `faults`. With `lenient`, an unknown system call is a
/// warning.
pub(super) fn check(
    profile: &LinuxSeccomp,
    lenient: bool,
    faults: &mut Vec<Error>,
    warnings: &mut Vec<String>,
) -> Option<Profile> {
    let before = faults.len();
    let mut check = Check { profile, lenient, faults, warnings };
    let default = check.default_action();
    let arches = check.arches();
    let flags = check.flags();
    let listener = check.listener();
    let mut named = Vec::with_capacity(512);
    let rules = check.rules(&mut named);
    (faults.len() == before).then(|| Profile {
        default,
        guards_newer: guards_newer(profile.default_action()),
        arches,
        flags,
        listener,
        rules,
        named,
    })
}

/// A program probes for a new system call by ENOSYS and falls back to an older one, but takes EPERM
/// for an answer. So a profile that forbids by default must not do so with the calls that its
/// author could not know. LOG and TRACE let a call through, the tracer being the judge
/// (runc, libcontainer/seccomp/patchbpf).
fn guards_newer(default: Name) -> bool {
    !matches!(default, Name::ScmpActAllow | Name::ScmpActLog | Name::ScmpActTrace)
}

struct Check<'a> {
    profile: &'a LinuxSeccomp,
    lenient: bool,
    faults: &'a mut Vec<Error>,
    warnings: &'a mut Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, at: &str, what: String, hint: &'static str) {
        self.faults.push(Error::config(format!("linux.seccomp.{at}"), what).hint(hint));
    }

    fn default_action(&mut self) -> Action {
        let name = self.profile.default_action();
        if name == Name::ScmpActNotify {
            self.fault(
                "defaultAction",
                "SCMP_ACT_NOTIFY cannot be used as default action".to_owned(),
                "name the system calls to be notified of in a rule",
            );
        }
        let errno = self.profile.default_errno_ret();
        self.action(name, errno, "defaultErrnoRet")
    }

    fn action(&mut self, name: Name, errno: Option<u32>, at: &str) -> Action {
        Action::new(name, errno).unwrap_or_else(|cause| {
            let hint = "an errno goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only";
            self.fault(at, format!("cannot return this errno: {cause}"), hint);
            super::action::KILL
        })
    }

    /// The native architecture is implied, as libseccomp does, and Docker on some machines expects.
    fn arches(&mut self) -> Vec<&'static Arch> {
        let mut arches = vec![NATIVE];
        for (i, &name) in self.profile.architectures().iter().flatten().enumerate() {
            match arch::find(name) {
                Ok(arch) if arches.iter().any(|known| std::ptr::eq(*known, arch)) => {}
                Ok(arch) => arches.push(arch),
                Err(cause) => self.fault(
                    &format!("architectures[{i}]"),
                    format!("cannot filter the system calls of {name}: {cause}"),
                    "list the architectures that this machine can run",
                ),
            }
        }
        arches
    }

    /// Without `flags`, runc allows speculation (the mitigation costs every thread of the container
    /// dearly); with an empty list it does not.
    fn flags(&mut self) -> u32 {
        let listening = if self.notifies() { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
        let Some(flags) = self.profile.flags() else {
            return (libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW | listening) as u32;
        };
        flags.iter().enumerate().fold(listening as u32, |all, (i, &name)| {
            if name == LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv && listening == 0 {
                self.fault(
                    &format!("flags[{i}]"),
                    format!("cannot use {name}: no rule has the action SCMP_ACT_NOTIFY"),
                    "remove the flag, or add a rule with SCMP_ACT_NOTIFY",
                );
            }
            all | flag(name)
        })
    }

    fn notifies(&self) -> bool {
        let mut rules = self.profile.syscalls().iter().flatten();
        rules.any(|rule| rule.action() == Name::ScmpActNotify)
    }

    /// Where the listener goes; the empty strings of a Go program mean that there is none.
    fn listener(&mut self) -> Option<PathBuf> {
        let path = self.profile.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
        let metadata = self.profile.listener_metadata().as_ref().filter(|text| !text.is_empty());
        if path.is_none() && metadata.is_some() {
            self.fault(
                "listenerMetadata",
                "cannot send listenerMetadata: seccomp listenerPath is not set".to_owned(),
                "set linux.seccomp.listenerPath, or remove listenerMetadata",
            );
        }
        if !self.notifies() {
            return None;
        }
        if path.is_none() {
            self.fault(
                "listenerPath",
                "cannot use SCMP_ACT_NOTIFY: seccomp listenerPath is not set".to_owned(),
                "set it to the socket of the seccomp agent",
            );
        }
        path
    }

    fn rules(&mut self, named: &mut Vec<(&'static Call, usize)>) -> Vec<Rule> {
        let rules = self.profile.syscalls().as_deref().unwrap_or_default();
        rules.iter().enumerate().map(|(i, rule)| self.rule(i, rule, named)).collect()
    }

    fn rule(
        &mut self,
        i: usize,
        rule: &LinuxSyscall,
        named: &mut Vec<(&'static Call, usize)>,
    ) -> Rule {
        if rule.names().is_empty() {
            self.fault(
                &format!("syscalls[{i}].names"),
                "cannot use a rule that names no system call".to_owned(),
                "name at least one, or remove the rule",
            );
        }
        for (j, name) in rule.names().iter().enumerate() {
            if name == "write" && rule.action() == Name::ScmpActNotify {
                self.fault(
                    &format!("syscalls[{i}].names[{j}]"),
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall".to_owned(),
                    "the runtime itself writes before the agent has the listener",
                );
            }
            match names::find(name) {
                Some(call) => named.push((call, i)),
                None => self.unknown(i, j, name),
            }
        }
        let action =
            self.action(rule.action(), rule.errno_ret(), &format!("syscalls[{i}].errnoRet"));
        Rule { action, any: self.conditions(i, rule) }
    }

    fn unknown(&mut self, i: usize, j: usize, name: &str) {
        let at = format!("syscalls[{i}].names[{j}]");
        if self.lenient && !name.is_empty() {
            let warning = format!("unknown system call {name:?} is ignored (linux.seccomp.{at})");
            return self.warnings.push(warning);
        }
        self.fault(
            &at,
            format!("cannot filter the system call {name:?}: no architecture has it"),
            "correct the name; if it is newer than this program, the annotation \
             run.oci.seccomp_fail_unknown_syscall=false skips it",
        );
    }

    /// All conditions of a rule must hold; but if two are on the same argument, any one is enough,
    /// as runc has always read such a rule (libcontainer/seccomp, `matchCall`).
    fn conditions(&mut self, i: usize, rule: &LinuxSyscall) -> Vec<Vec<Condition>> {
        let args = rule.args().as_deref().unwrap_or_default();
        for (k, arg) in args.iter().enumerate() {
            if arg.index() > 5 {
                self.fault(
                    &format!("syscalls[{i}].args[{k}].index"),
                    format!("cannot compare argument {}: a system call has six", arg.index()),
                    "the first argument has index 0",
                );
            }
        }
        let mut all: Vec<Condition> = args.iter().map(Condition::new).collect();
        all.sort_by_key(|condition| condition.index);
        if all.is_empty() {
            Vec::new()
        } else if all.windows(2).any(|pair| pair[0].index == pair[1].index) {
            all.into_iter().map(|condition| vec![condition]).collect()
        } else {
            vec![all]
        }
    }
}

/// TSYNC is accepted and means nothing, as in runc: a container's init has one thread.
pub(super) fn flag(name: LinuxSeccompFilterFlag) -> u32 {
    use LinuxSeccompFilterFlag::*;
    let flag = match name {
        SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        SeccompFilterFlagTsync => 0,
    };
    flag as u32
}
