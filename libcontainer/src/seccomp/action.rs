//! What a filter says to a system call: the return values of seccomp(2).

use crate::spec::LinuxSeccompAction as Name;

/// `SECCOMP_RET_*` with the errno or trace message in its low 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Action(pub(super) u32);

pub(super) const KILL: Action = Action(libc::SECCOMP_RET_KILL_THREAD);
pub(super) const ENOSYS: Action = Action(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);

/// The kernel caps an errno at `MAX_ERRNO` (4095); libseccomp, and with it runc, stops one below.
const LARGEST_ERRNO: u32 = 4094;
const LARGEST_MESSAGE: u32 = 0xffff;

impl Action {
    /// The action `name` with its errno, EPERM unless given; or what is wrong with that errno.
    pub(super) fn new(name: Name, errno: Option<u32>) -> Result<Self, String> {
        let Some(largest) = largest(name) else {
            return match errno {
                Some(_) => Err(format!("{name} does not return an errno")),
                None => Ok(Self(value(name))),
            };
        };
        match errno.unwrap_or(libc::EPERM as u32) {
            errno if errno > largest => Err(format!("{errno} is more than {largest}")),
            errno => Ok(Self(value(name) | errno)),
        }
    }
}

/// The largest number that `name` can carry, if it carries one.
fn largest(name: Name) -> Option<u32> {
    match name {
        Name::ScmpActErrno => Some(LARGEST_ERRNO),
        Name::ScmpActTrace => Some(LARGEST_MESSAGE),
        _ => None,
    }
}

fn value(name: Name) -> u32 {
    match name {
        Name::ScmpActKill | Name::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        Name::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Name::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        Name::ScmpActErrno => libc::SECCOMP_RET_ERRNO,
        Name::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
        Name::ScmpActTrace => libc::SECCOMP_RET_TRACE,
        Name::ScmpActLog => libc::SECCOMP_RET_LOG,
        Name::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_is_eperm_unless_given() {
        assert_eq!(Action::new(Name::ScmpActErrno, None), Ok(Action(0x0005_0001)));
        assert_eq!(Action::new(Name::ScmpActErrno, Some(0)), Ok(Action(0x0005_0000)));
        assert_eq!(Action::new(Name::ScmpActTrace, None), Ok(Action(0x7ff0_0001)));
        assert_eq!(Action::new(Name::ScmpActTrace, Some(65535)), Ok(Action(0x7ff0_ffff)));
    }

    #[test]
    fn an_errno_out_of_range_or_place_is_refused() {
        for (name, errno, text) in [
            (Name::ScmpActErrno, 4095, "4095 is more than 4094"),
            (Name::ScmpActTrace, 65536, "65536 is more than 65535"),
            (Name::ScmpActAllow, 0, "SCMP_ACT_ALLOW does not return an errno"),
            (Name::ScmpActKill, 1, "SCMP_ACT_KILL does not return an errno"),
        ] {
            assert_eq!(Action::new(name, Some(errno)), Err(text.to_owned()));
        }
    }

    #[test]
    fn every_action_has_the_kernels_value() {
        for (name, value) in [
            (Name::ScmpActKill, 0),
            (Name::ScmpActKillThread, 0),
            (Name::ScmpActKillProcess, 0x8000_0000),
            (Name::ScmpActTrap, 0x0003_0000),
            (Name::ScmpActNotify, 0x7fc0_0000),
            (Name::ScmpActLog, 0x7ffc_0000),
            (Name::ScmpActAllow, 0x7fff_0000),
        ] {
            assert_eq!(Action::new(name, None), Ok(Action(value)));
        }
    }
}
