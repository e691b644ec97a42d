//! Entering and making namespaces; the child's side and, for what only a process in between can
//! do, the joiner's.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::sched::CloneFlags;
use oci_spec::runtime::LinuxNamespaceType;
use rustix::{
    fs::{CWD, Gid, Mode, OFlags, Uid},
    io::Errno,
    process::Signal,
};

use crate::{
    error::{Context, Error, Result as Outcome},
    plan::{
        Namespaces,
        namespaces::{Joined, kind_word},
    },
    process::Procfs,
    sys,
};

/// A namespace of somebody else's, open.
#[derive(Debug)]
pub(crate) struct NamespaceFd {
    kind: LinuxNamespaceType,
    fd: OwnedFd,
}

impl NamespaceFd {
    /// Opens the namespace of linux.namespaces, and makes sure that it is of the kind that is
    /// asked for.
    pub(crate) fn open(joined: &Joined) -> Outcome<Self> {
        let at = format!("linux.namespaces[{}].path", joined.index);
        let doing = || format!("cannot open namespace {:?}", joined.path);
        let fd =
            rustix::fs::openat(CWD, &joined.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .doing(doing)
                .map_err(|error| error.at(&at))?;
        let kind = sys::process::namespace_type(fd.as_fd());
        if kind != Ok(joined.kind as i32) {
            let what = format!("{:?} is not a {} namespace", joined.path, kind_word(joined.kind));
            return Err(Error::config(at, what));
        }
        Ok(Self { kind: joined.kind, fd })
    }

    /// Whether it is the one that this process is in: dockerd gives the host's by path.
    pub(crate) fn is_own(&self) -> Outcome<bool> {
        let path = format!("/proc/self/ns/{}", proc_name(self.kind));
        let own = rustix::fs::stat(&path).doing(|| format!("cannot look at {path}"))?;
        let this = rustix::fs::fstat(&self.fd).doing(|| "cannot look at a namespace")?;
        Ok((own.st_dev, own.st_ino) == (this.st_dev, this.st_ino))
    }

    pub(crate) fn kind(&self) -> LinuxNamespaceType {
        self.kind
    }

    /// setns(2); a pid namespace is entered by the next child only.
    pub(crate) fn enter(&self) -> Result<(), Errno> {
        setns(self.fd.as_fd(), self.kind as u64)
    }
}

impl AsFd for NamespaceFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The file in /proc/PID/ns (namespaces(7)).
pub(crate) fn proc_name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Network => "net",
        other => kind_word(other),
    }
}

/// Joins all of `fds`. Rights over a namespace come from its user namespace: what is refused
/// before that of the list was entered must work afterwards. The order within does not matter.
pub(crate) fn enter_all(fds: &[NamespaceFd]) -> Result<(), Errno> {
    let (users, others): (Vec<_>, Vec<_>) =
        fds.iter().partition(|fd| fd.kind == LinuxNamespaceType::User);
    let mut refused = Vec::new();
    for fd in others {
        match fd.enter() {
            Err(Errno::PERM) if !users.is_empty() => refused.push(fd),
            other => other?,
        }
    }
    users.into_iter().chain(refused).try_for_each(NamespaceFd::enter)
}

/// setns(2) on a namespace, or on a pidfd for several kinds at once (Linux 5.8).
pub(crate) fn setns(fd: impl AsFd, kinds: u64) -> Result<(), Errno> {
    nix::sched::setns(fd, CloneFlags::from_bits_retain(kinds as i32)).map_err(to_errno)
}

/// What every child does first: it dies with its parent while it is being made, ends on the
/// signals that a fresh program would end on, and says what it is in ps(1).
pub(crate) fn start_child() -> Result<(), Errno> {
    const NAME: &CStr = c"rtn:[init]";
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::process::default_signals();
    let none = nix::sys::signal::SigSet::empty();
    none.thread_set_mask().map_err(to_errno)?;
    rustix::thread::set_name(NAME)
}

/// Root of the new user namespace, so that everything made from here on belongs to it.
pub(crate) fn become_root(namespaces: &Namespaces) -> Result<(), Errno> {
    if !namespaces.private(LinuxNamespaceType::User) {
        return Ok(());
    }
    if namespaces.can_set_groups() {
        match rustix::thread::set_thread_groups(&[]) {
            // Given up in this namespace, or in one that it is in.
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

pub(crate) fn unshare(namespaces: &Namespaces) -> Result<(), Errno> {
    unshare_flags(namespaces.unshare_flags())
}

/// After the cgroup was entered: the namespace's root is where its maker is.
pub(crate) fn unshare_cgroup(namespaces: &Namespaces) -> Result<(), Errno> {
    match namespaces.makes(LinuxNamespaceType::Cgroup) {
        true => unshare_flags(LinuxNamespaceType::Cgroup as u64),
        false => Ok(()),
    }
}

/// A time namespace takes its clocks while nobody is in it, and a child enters it at birth; the
/// maker may follow by setns(2) (time_namespaces(7)). Before any change of ids: that would give
/// this process's files in /proc to the machine's root.
pub(crate) fn time(namespaces: &Namespaces, procfs: &Procfs) -> Result<(), Errno> {
    if !namespaces.makes(LinuxNamespaceType::Time) {
        return Ok(());
    }
    unshare_flags(LinuxNamespaceType::Time as u64)?;
    if let Some(offsets) = &namespaces.time_offsets {
        procfs.write(Path::new("self/timens_offsets"), offsets.as_bytes())?;
    }
    // A magic link, which Procfs refuses to follow; the process is alone in a copy of the host's
    // mounts, or still among the host's own.
    let path = c"/proc/self/ns/time_for_children";
    let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    setns(fd, LinuxNamespaceType::Time as u64)
}

/// A new network namespace has its loopback interface, but down.
pub(crate) fn loopback(namespaces: &Namespaces) -> Result<(), Errno> {
    match namespaces.makes(LinuxNamespaceType::Network) {
        true => sys::process::interface_up(c"lo"),
        false => Ok(()),
    }
}

fn unshare_flags(flags: u64) -> Result<(), Errno> {
    match flags {
        0 => Ok(()),
        _ => nix::sched::unshare(CloneFlags::from_bits_retain(flags as i32)).map_err(to_errno),
    }
}

fn to_errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
