//! The ioctls of loop devices (loop(4)).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;

/// The kernel's `struct loop_info64`; all but `flags` and the name are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Info {
    numbers: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    /// LO_FLAGS_*.
    flags: u32,
    names: [[u8; 64]; 2],
    key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `struct loop_config` (Linux 5.8).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// The number of a device that nobody uses at the moment; `control` is /dev/loop-control.
pub(crate) fn get_free(control: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: this request takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    if number < 0 { Err(super::last_errno()) } else { Ok(number) }
}

/// Makes `file` the content of `device`. `flags` are LO_FLAGS_*.
///
/// # Errors
/// EBUSY when somebody else was faster.
pub(crate) fn configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    flags: u32,
) -> Result<(), Errno> {
    let info = Info {
        numbers: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags,
        names: [[0; 64]; 2],
        key: [0; 32],
        init: [0; 2],
    };
    let fd = file.as_raw_fd().cast_unsigned();
    let config = Config { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: `config` is a live struct of the layout that this request reads.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(&config)) };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// include/uapi/linux/loop.h.
    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
        assert_eq!(std::mem::offset_of!(Info, flags), 52);
    }
}
