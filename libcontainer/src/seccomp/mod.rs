//! From the seccomp profile of config.json to the kernel.
//!
//! [`compile`] is pure and runs before any process exists; [`install`] is one system call in the
//! child; [`notify`] hands the listener of a profile with `SCMP_ACT_NOTIFY` to its agent.
//!
//! A filter decides as runc's does: what libseccomp makes of the profile, after runc's check for
//! system calls that are newer than the profile. Where the two are silent or differ from a
//! simple reading of the spec, the place says so. The stages are `profile` (checks), `table`
//! (decisions by number) and `assemble` (instructions).

mod action;
mod arch;
mod assemble;
mod condition;
#[cfg(test)]
mod interpret;
#[cfg(test)]
mod kernel_tests;
mod names;
pub mod notify;
mod profile;
mod summary;
mod table;
#[cfg(test)]
mod tests;

pub use seccompiler::sock_filter as Instruction;
pub use summary::Summary;

use crate::{
    Error,
    spec::{self, LinuxSeccomp, LinuxSeccompFilterFlag},
    sys,
};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// A compiled profile.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Filter {
    #[serde(skip)]
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2).
    #[serde(skip)]
    pub flags: u32,
    /// Whether [`install`] returns a listener.
    #[serde(skip)]
    pub notify: bool,
    #[serde(flatten)]
    pub summary: Summary,
    /// What a lenient compilation has passed over.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// `BPF_MAXINSNS` of include/uapi/linux/bpf_common.h.
const MAX_INSTRUCTIONS: usize = 4096;

/// Compiles `profile`, without any I/O. With `lenient`, a system call that no architecture has is
/// skipped with a warning.
///
/// # Errors
///
/// `None`, after adding every fault of the profile to `faults`, with its JSON path.
pub fn compile(profile: &LinuxSeccomp, lenient: bool, faults: &mut Vec<Error>) -> Option<Filter> {
    let before = faults.len();
    let mut warnings = Vec::new();
    let checked = profile::check(profile, lenient, faults, &mut warnings)?;
    let tables = table::build(&checked, faults);
    let program = assemble::assemble(&tables, checked.default);
    if program.len() > MAX_INSTRUCTIONS {
        faults.push(too_long(program.len()));
    }
    (faults.len() == before).then(|| Filter {
        summary: Summary::new(profile, &checked, program.len()),
        program,
        flags: checked.flags,
        notify: checked.listener.is_some(),
        warnings,
    })
}

fn too_long(instructions: usize) -> Error {
    let what = format!(
        "cannot compile the seccomp profile: it needs {instructions} instructions, and the kernel \
         takes {MAX_INSTRUCTIONS}"
    );
    Error::config("linux.seccomp.syscalls", what).hint("use fewer rules with args")
}

/// Applies `filter` to this thread, for good. Returns the listener of a filter that notifies.
/// Allocates nothing. seccomp(2): needs no_new_privs or CAP_SYS_ADMIN in its user namespace.
///
/// # Errors
///
/// EACCES without that; EBUSY if another filter has a listener already; EINVAL for a flag that the
/// kernel does not know; ENOMEM if all filters of the thread together are too long.
pub fn install(filter: &Filter) -> Result<Option<OwnedFd>, Errno> {
    sys::seccomp::set_filter(&filter.program, filter.flags)
}

/// The architectures that a profile can list, for `features`. Native is implied.
pub const ARCHITECTURES: [spec::Arch; 10] = arch::ALL;

/// The flags that a profile can list, for `features`.
pub const FLAGS: [LinuxSeccompFilterFlag; 4] = [
    LinuxSeccompFilterFlag::SeccompFilterFlagLog,
    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    LinuxSeccompFilterFlag::SeccompFilterFlagTsync,
    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
];

/// Whether this kernel knows `flag`.
pub fn supports(flag: LinuxSeccompFilterFlag) -> bool {
    let listener = match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32
        }
        _ => 0,
    };
    sys::seccomp::knows(profile::flag(flag) | listener)
}
