//! Who the process is: groups, ids, capabilities, working directory, and whose its stdio is.

use std::{ffi::CStr, os::fd::AsFd};

use rustix::{
    fs::{Gid, Uid},
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};

use crate::plan::{Process, caps::Capabilities};

/// Bits of a capability set that a kernel could know.
const ALL_CAPABILITIES: u32 = 64;

/// Narrows the bounding set, which only a privileged process can, and lets the permitted set
/// survive the change of ids (capabilities(7), SECBIT_KEEP_CAPS).
pub(crate) fn capabilities_before_ids(wanted: &Capabilities) -> Result<(), Errno> {
    for number in 0..ALL_CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if wanted.bounding & capability.bits() != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    rustix::thread::set_keep_capabilities(true)
}

/// Takes on groups, ids and capabilities, in this order.
pub(crate) fn become_user(process: &Process) -> Result<(), Errno> {
    set_groups(process)?;
    // For a privileged process these set all three ids, and profiles made for runc allow them.
    rustix::thread::set_thread_gid(Gid::from_raw(process.gid))?;
    rustix::thread::set_thread_uid(Uid::from_raw(process.uid))?;
    rustix::thread::set_keep_capabilities(false)?;
    set_capabilities(&process.capabilities)
}

/// Where a user namespace has given up setgroups(2), which only the kernel knows of one that was
/// made by somebody else, there is nothing to be done about the groups that are there (as in runc).
fn set_groups(process: &Process) -> Result<(), Errno> {
    if !process.can_set_groups {
        return Ok(());
    }
    let groups: Vec<_> = process.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Err(Errno::PERM) if process.in_user_namespace && groups.is_empty() => Ok(()),
        other => other,
    }
}

fn set_capabilities(wanted: &Capabilities) -> Result<(), Errno> {
    let set = CapabilitySet::from_bits_retain;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: set(wanted.effective),
            permitted: set(wanted.permitted),
            inheritable: set(wanted.inheritable),
        },
    )?;
    rustix::thread::clear_ambient_capability_set()?;
    (0..ALL_CAPABILITIES).filter(|number| wanted.ambient & (1 << number) != 0).try_for_each(
        |number| rustix::thread::configure_capability_in_ambient_set(set(1 << number), true),
    )
}

/// Enters the working directory while still root: the user need not be able to, as under runc.
/// False if root may not either (a directory on NFS, or of another user's mapping).
pub(crate) fn enter_cwd_as_root(cwd: &CStr) -> Result<bool, Errno> {
    match rustix::process::chdir(cwd) {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Enters the working directory unless root has, and makes sure that it is inside the container: a
/// path such as /proc/self/fd/7 could lead out of it (CVE-2024-21626).
pub(crate) fn enter_cwd_as_user(cwd: &CStr, entered: bool) -> Result<(), Errno> {
    if !entered {
        rustix::process::chdir(cwd)?;
    }
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Errno::XDEV),
        Err(errno) => Err(errno),
    }
}

/// Gives the user its standard streams, so that it may open /dev/stdout again; but not a device
/// that others share, and no failure where it cannot be changed (as runc).
pub(crate) fn own_stdio(process: &Process) -> Result<(), Errno> {
    let null = rustix::fs::stat(c"/dev/null").map(|stat| stat.st_rdev).ok();
    let streams = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    for stream in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()] {
        let stat = match rustix::fs::fstat(stream) {
            Err(Errno::BADF) => continue,
            other => other?,
        };
        if stat.st_uid == process.uid || Some(stat.st_rdev) == null {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(process.uid)), None) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOSYS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
