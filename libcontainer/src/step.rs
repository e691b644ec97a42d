//! The steps of a container's birth, and how a failure of one crosses from the child to the parent.

use rustix::io::Errno;

/// Declares the steps once: as an enum, and as the list that a number on the wire is looked up in.
macro_rules! steps {
    ($(#[$about:meta])* enum Step { $($(#[$doc:meta])* $step:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Step { $($(#[$doc])* $step,)* }

        const ALL: &[Step] = &[$(Step::$step,)*];
    };
}

steps! {
/// What the container process is doing; the order is that of `init.rs` and docs/create.md.
enum Step {
    /// Waiting for, or talking to, the parent.
    Sync,
    /// Joining a namespace by path; index into `namespaces.joined`.
    Join,
    /// The weight of a process that joins a container.
    OomScoreAdj,
    /// Becoming root of a new user namespace.
    Root,
    /// Making the new namespaces.
    Unshare,
    /// The clocks of a new time namespace.
    TimeOffsets,
    /// Bringing the loopback interface up.
    Loopback,
    /// Entering the cgroup, then its namespace.
    Cgroup,
    /// The CPUs of a process that joins a container, once it is in the cgroup.
    CpuAffinity,
    Keyring,
    Session,
    /// The root filesystem and the propagation of the mounts around it.
    Rootfs,
    /// index into `mounts`.
    Mount,
    /// index into `devices`.
    Device,
    /// The links and the console in /dev.
    DevLinks,
    /// index into `hooks.create_container`.
    HookCreateContainer,
    Pivot,
    Console,
    /// index into `mounts`: those that become read-only only after everything is in them.
    Remount,
    Hostname,
    Domainname,
    /// index into `sysctls`.
    Sysctl,
    /// index into `readonly_paths`.
    ReadonlyPath,
    /// index into `masked_paths`.
    MaskedPath,
    RootReadonly,
    Personality,
    Scheduler,
    IoPriority,
    MemoryPolicy,
    NoNewPrivileges,
    ApparmorProfile,
    SelinuxLabel,
    Seccomp,
    Stdio,
    /// index into `process.rlimits`.
    Rlimit,
    Capabilities,
    Ids,
    Cwd,
    Lookup,
    Start,
    /// index into `hooks.start_container`.
    HookStartContainer,
    Exec,
}
}

impl Step {
    fn from_byte(byte: u8) -> Option<Self> {
        ALL.get(usize::from(byte)).copied()
    }
}

/// Why the child gave up, as a fixed-size value: the parent owns the plan and finds the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    /// Which one of the step's list; 0 for a step without a list.
    pub(crate) index: u32,
    /// The kernel's refusal; for a hook see [`crate::hooks`].
    pub(crate) errno: i32,
    pub(crate) detail: Detail,
}

/// A few words that only the child can know (a hook's last words), cut to fit; empty for most
/// failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Detail(Vec<u8>);

const DETAIL: usize = 256;

impl Detail {
    pub(crate) fn new(text: &[u8]) -> Self {
        Self(text[..text.len().min(DETAIL)].to_vec())
    }

    /// The words, as far as they are text, on one line.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Failure {
    /// Bytes of a failure on the wire.
    pub(crate) const SIZE: usize = 9 + DETAIL;

    pub(crate) fn new(step: Step, errno: Errno) -> Self {
        Self { step, index: 0, errno: errno.raw_os_error(), detail: Detail::default() }
    }

    pub(crate) fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = self.step as u8;
        bytes[1..5].copy_from_slice(&self.index.to_ne_bytes());
        bytes[5..9].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[9..9 + self.detail.0.len()].copy_from_slice(&self.detail.0);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let (&[step, i0, i1, i2, i3, e0, e1, e2, e3], detail) = bytes.split_first_chunk()?;
        Some(Self {
            step: Step::from_byte(step)?,
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            errno: i32::from_ne_bytes([e0, e1, e2, e3]),
            detail: Detail::new(detail.split(|byte| *byte == 0).next().unwrap_or_default()),
        })
    }
}

/// Names the step in which `result` failed.
pub(crate) fn at<T>(step: Step, result: Result<T, impl Into<Cause>>) -> Result<T, Failure> {
    result.map_err(|cause| cause.into().of(step, 0))
}

/// Does `work` to each of `items`, and names the one that failed.
pub(crate) fn each<T, C: Into<Cause>>(
    step: Step,
    items: &[T],
    mut work: impl FnMut(&T) -> Result<(), C>,
) -> Result<(), Failure> {
    items
        .iter()
        .enumerate()
        .try_for_each(|(index, item)| work(item).map_err(|cause| cause.into().of(step, index)))
}

/// What went wrong, before [`at`] or [`each`] say where.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) errno: i32,
    pub(crate) detail: Detail,
}

impl Cause {
    fn of(self, step: Step, index: usize) -> Failure {
        Failure { step, index: index as u32, errno: self.errno, detail: self.detail }
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Self { errno: errno.raw_os_error(), detail: Detail::default() }
    }
}

impl From<nix::errno::Errno> for Cause {
    fn from(errno: nix::errno::Errno) -> Self {
        Self { errno: errno as i32, detail: Detail::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_crossing() {
        for step in ALL {
            let detail = Detail::new(b"one line\nand another\n");
            let failure = Failure { step: *step, index: 100_000, errno: libc::ENOSYS, detail };
            assert_eq!(failure.detail.text(), "one line and another");
            assert_eq!(Failure::from_bytes(&failure.to_bytes()), Some(failure));
        }
        assert_eq!(Failure::from_bytes(&[u8::MAX; Failure::SIZE]), None);
    }
}
