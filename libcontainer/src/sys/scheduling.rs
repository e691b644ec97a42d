//! Who runs when, and whose reads and writes go first: sched_setattr(2) and ioprio_set(2).

use rustix::io::Errno;

/// The kernel's `struct sched_attr`, first version (Linux 3.14).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SchedAttr {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    /// Nanoseconds, as the two below; SCHED_DEADLINE only.
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// Sets the calling thread's scheduling policy and what belongs to it.
pub(crate) fn sched_setattr(attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: `attr` lives across the call and says its own size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// Sets the calling thread's I/O priority, `class << 13 | level`.
pub(crate) fn ioprio_set(priority: u16) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: this call takes integers only.
    let result = unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, libc::c_int::from(priority))
    };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}
