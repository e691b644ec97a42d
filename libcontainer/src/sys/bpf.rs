//! bpf(2), as far as a cgroup's device rules need it.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// `union bpf_attr`, larger than any kernel's: kernels write back beyond the part that a command
/// reads (6.17 to 7.1 do on BPF_PROG_QUERY), and what they do not know must be zero.
#[repr(C, align(8))]
struct Attributes([u32; 64]);

/// Has the verifier check `program` and returns it, not attached yet (Linux 4.15).
pub(crate) fn load_cgroup_device(program: &[u64]) -> Result<OwnedFd, Errno> {
    let license = c"Apache-2.0";
    let count = u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let instructions = program.as_ptr() as u64;
    let text = license.as_ptr() as u64;
    let mut attributes = Attributes([0; 64]);
    attributes.0[..6].copy_from_slice(&[
        PROG_TYPE_CGROUP_DEVICE,
        count,
        instructions as u32,
        (instructions >> 32) as u32,
        text as u32,
        (text >> 32) as u32,
    ]);
    let fd = call(PROG_LOAD, &mut attributes)?;
    // SAFETY: BPF_PROG_LOAD has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches `program` to `cgroup`, a v2 directory, beside the programs that are there.
pub(crate) fn attach_cgroup_device(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut attributes = Attributes([0; 64]);
    let descriptor = |fd: BorrowedFd<'_>| fd.as_raw_fd() as u32;
    attributes.0[..4].copy_from_slice(&[
        descriptor(cgroup),
        descriptor(program),
        ATTACH_TYPE_CGROUP_DEVICE,
        ALLOW_MULTI,
    ]);
    call(PROG_ATTACH, &mut attributes).map(|_| ())
}

fn call(command: libc::c_int, attributes: &mut Attributes) -> Result<libc::c_int, Errno> {
    // SAFETY: the kernel reads and writes at most the given size of `attributes`; the pointers in
    // it are to the caller's slice and to a static string, which are only read, during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<Attributes>())
    };
    if result < 0 { Err(super::last_errno()) } else { Ok(result as libc::c_int) }
}
