//! The mounts of the `rtn spec` container; with Docker's settings the root stays writable.

use std::{fs, path::Path};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat, symlink},
    io::Errno,
    mount::{
        MountFlags as M, MountPropagationFlags, UnmountFlags, mount, mount_bind,
        mount_bind_recursive, mount_change, mount_remount, unmount,
    },
};

use crate::{
    Options,
    calls::{ok, raw},
    cgroups::{CGROUP, Cgroups},
};

const NO_DEVICES: M = M::NOSUID.union(M::NODEV).union(M::NOEXEC);
const MASKED: [&str; 11] = [
    "proc/acpi",
    "proc/asound",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "sys/firmware",
    "proc/scsi",
    "sys/devices/virtual/tpm",
];
const READONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];
const NODES: [(&str, u32, u32); 6] = [
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/tty", 5, 0),
];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/proc/kcore", "dev/core"),
    ("pts/ptmx", "dev/ptmx"),
];
const SYSCTLS: [(&str, &str); 2] = [
    ("proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Leaves the working directory in the new root; all later paths are relative to it.
pub(crate) fn build(root: &str) {
    ok(
        "mount /",
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM),
    );
    ok("mount root", mount_bind_recursive(root, root));
    ok("chdir", rustix::process::chdir(root));
    let data = |text: &'static std::ffi::CStr| Some(text);
    ok("proc", mount("proc", "proc", "proc", M::empty(), None));
    ok(
        "dev",
        mount("tmpfs", "dev", "tmpfs", M::NOSUID | M::STRICTATIME, data(c"mode=755,size=65536k")),
    );
    for directory in ["dev/pts", "dev/shm", "dev/mqueue"] {
        ok("mkdir", fs::create_dir(directory));
    }
    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    ok("pts", mount("devpts", "dev/pts", "devpts", M::NOSUID | M::NOEXEC, data(pts)));
    ok("shm", mount("shm", "dev/shm", "tmpfs", NO_DEVICES, data(c"mode=1777,size=65536k")));
    ok("mqueue", mount("mqueue", "dev/mqueue", "mqueue", NO_DEVICES, None));
    ok("sys", mount("sysfs", "sys", "sysfs", NO_DEVICES | M::RDONLY, None));
    nodes();
}

fn nodes() {
    rustix::process::umask(Mode::empty());
    for (path, major, minor) in NODES {
        ok(
            path,
            mknodat(
                CWD,
                path,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o666),
                makedev(major, minor),
            ),
        );
    }
    LINKS.iter().for_each(|(to, from)| ok(from, symlink(*to, *from)));
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

pub(crate) fn cgroup_mounts(options: &Options, cgroups: &Cgroups) {
    let target = "sys/fs/cgroup";
    let flags = NO_DEVICES | M::RELATIME | M::RDONLY;
    if options.v2 {
        return ok("cgroup2", mount("cgroup", target, "cgroup2", flags, None));
    }
    ok("cgroup", mount("tmpfs", target, "tmpfs", NO_DEVICES, Some(c"mode=755")));
    for path in &cgroups.0 {
        let hierarchy =
            path.strip_prefix(CGROUP).ok().and_then(|p| p.iter().next()).unwrap_or_default();
        let at = Path::new(target).join(hierarchy);
        ok("mkdir", fs::create_dir(&at));
        ok("cgroup", mount_bind(path, &at));
    }
    // One call for the tmpfs and what is on it.
    let flags = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    let attributes = [flags, 0, 0, 0];
    let (path, recursive) = (c"sys/fs/cgroup", libc::AT_RECURSIVE as usize);
    let cwd = libc::AT_FDCWD as usize;
    raw(
        libc::SYS_mount_setattr,
        [cwd, path.as_ptr() as usize, recursive, attributes.as_ptr() as usize, 32],
    );
}

/// The sysctls first: /proc/sys becomes read-only.
pub(crate) fn protect(options: &Options) {
    if options.filter.is_some() {
        SYSCTLS.iter().for_each(|(path, value)| ok(path, fs::write(path, value)));
    }
    MASKED.iter().for_each(|path| mask(path));
    READONLY.iter().for_each(|path| read_only(path));
}

fn mask(path: &str) {
    match mount_bind("dev/null", path) {
        Err(Errno::NOTDIR) => ok(path, mount("tmpfs", path, "tmpfs", M::RDONLY, None)),
        Err(Errno::NOENT) => {}
        result => ok(path, result),
    }
}

fn read_only(path: &str) {
    match mount_bind_recursive(path, path) {
        Err(Errno::NOENT) => {}
        result => {
            ok(path, result);
            ok(path, mount_remount(path, M::BIND | M::RDONLY, ""));
        }
    }
}

pub(crate) fn pivot(options: &Options) {
    ok("pivot_root", rustix::process::pivot_root(".", "."));
    ok("umount", unmount(".", UnmountFlags::DETACH));
    ok("chdir", rustix::process::chdir("/"));
    if options.filter.is_none() {
        ok("remount", mount_remount("/", M::BIND | M::RDONLY, ""));
    }
}
