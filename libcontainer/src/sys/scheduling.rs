//! Who runs when and where, whose reads and writes go first, and which memory is near:
//! sched_setattr(2), sched_setaffinity(2), ioprio_set(2), set_mempolicy(2).

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

/// Restricts the calling thread to the CPUs of `mask`, whose bits may pass the 1024 of the C
/// library's `cpu_set_t`; the kernel ignores CPUs that it does not have.
pub(crate) fn sched_setaffinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many bytes from `mask` as the length says.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// The CPUs that the calling thread may run on.
///
/// # Errors
/// EINVAL when the kernel has more of them than `mask` has bits.
pub(crate) fn sched_getaffinity(mask: &mut [u64]) -> Result<(), Errno> {
    // SAFETY: the kernel writes at most as many bytes to `mask` as the length says.
    let result = unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(mask), mask.as_mut_ptr())
    };
    if result >= 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// Sets the NUMA policy of the calling thread, which execve(2) keeps: `MPOL_*` with its `MPOL_F_*`.
pub(crate) fn set_mempolicy(mode: i32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel looks at one bit less than it is told of.
    let bits = nodes.len() * u64::BITS as usize + 1;
    // SAFETY: the kernel reads the words of `nodes` that hold `bits` - 1 bits: all, and no more.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}
