//! What only the parent may open of the host: the root and the sources of bind mounts for a child
//! in another user namespace, and every source whose owners are to be mapped.

use std::{
    collections::HashMap,
    ffi::CString,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{
    error::{Context, Error, Kind, Result},
    idmap,
    init::Fds,
    namespaces::NamespaceFd,
    plan::{
        Mount, Plan,
        mounts::{
            Action,
            idmap::{Mapping, MountIdMap},
        },
        namespaces::{IdMap, MapWriter, UserNamespace},
    },
    rootfs::{self, Source},
    spawn,
    sync::{self, ToChild},
    sys::process::close_from_except,
};

/// Opens what `plan` wants opened before the clone.
///
/// # Errors
/// Of the first entry that fails, with its JSON path.
pub(crate) fn open(plan: &Plan, fds: &mut Fds) -> Result<()> {
    if plan.sources_by_parent {
        let path = CString::new(plan.rootfs.path.as_os_str().as_bytes()).unwrap_or_default();
        let root = rootfs::open_source(&path, true, true);
        let root = root.doing(|| "cannot open the root filesystem");
        fds.root_source = Some(root.map_err(|error| error.at("root.path"))?);
    }
    if !plan.sources_by_parent && plan.mounts.iter().all(|mount| mount.idmap.is_none()) {
        return Ok(());
    }
    let mut owners = Owners::default();
    let sources = plan.mounts.iter().map(|mount| match mount.action {
        Action::Bind { .. } if mount.of_cgroup => Ok(None),
        Action::Bind { .. } if mount.idmap.is_some() || plan.sources_by_parent => {
            open_one(plan, mount, &fds.joined, &mut owners).map(Some)
        }
        _ => Ok(None),
    });
    fds.sources = sources.collect::<Result<_>>()?;
    Ok(())
}

fn open_one<'p>(
    plan: &'p Plan,
    mount: &'p Mount,
    joined: &[NamespaceFd],
    owners: &mut Owners<'p>,
) -> Result<Source> {
    // As if it were copied in the container's mount namespace: see `rootfs::prepare`.
    let peer = !plan.sources_by_parent && plan.rootfs.propagation.kind() == libc::MS_SHARED;
    let source = Source::open(mount, peer)
        .doing(|| format!("cannot open mount source {:?}", mount.source.to_string_lossy()))
        .map_err(|error| unopened(mount, error))?;
    let Some(idmap) = &mount.idmap else { return Ok(source) };
    let namespace = owners.namespace(plan, idmap, joined).map_err(|error| error.at(mount.at()))?;
    let mapped = source.map_owners(namespace, idmap.recursive);
    mapped.map_err(|errno| refused(mount, errno)).map(|()| source)
}

/// The user namespaces whose maps are those of mounts; one for all that map alike.
#[derive(Default)]
struct Owners<'p>(HashMap<&'p Mapping, OwnedFd>);

impl<'p> Owners<'p> {
    fn namespace<'a>(
        &'a mut self,
        plan: &'p Plan,
        idmap: &'p MountIdMap,
        joined: &'a [NamespaceFd],
    ) -> Result<BorrowedFd<'a>> {
        let theirs = joined.iter().find(|fd| fd.kind() == LinuxNamespaceType::User);
        if let (Mapping::Container, Some(theirs)) = (&idmap.mapping, theirs) {
            if theirs.is_own()? {
                let what = "invalid mapping: the container's user namespace is the runtime's own";
                return Err(Error::new(Kind::InvalidConfig, what));
            }
            return Ok(theirs.as_fd());
        }
        if !self.0.contains_key(&idmap.mapping) {
            let (uids, gids) = maps(plan, &idmap.mapping);
            self.0.insert(&idmap.mapping, user_namespace(uids, gids)?);
        }
        Ok(self.0[&idmap.mapping].as_fd())
    }
}

fn maps<'p>(plan: &'p Plan, mapping: &'p Mapping) -> (&'p [IdMap], &'p [IdMap]) {
    match (mapping, &plan.namespaces.user) {
        (Mapping::Ranges { uids, gids }, _) => (uids, gids),
        (Mapping::Container, Some(user)) => (&user.uids, &user.gids),
        (Mapping::Container, None) => (&[], &[]),
    }
}

/// A user namespace with these maps. Somebody has to be in it while they are written; afterwards
/// the descriptor keeps it.
pub(crate) fn user_namespace(uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd> {
    let (parent, inside) = sync::pair().doing(|| "cannot make a socket pair")?;
    let child = spawn::directly(LinuxNamespaceType::User as u64, None, || {
        // Without the parent's end of the channel it ends when the parent does.
        if close_from_except(3, &[inside.as_fd()]).is_ok() {
            let _ = inside.expect(ToChild::Go);
        }
    })?;
    let user = UserNamespace {
        uids: uids.to_vec(),
        gids: gids.to_vec(),
        written_by: MapWriter::Privileged,
    };
    let written = idmap::write(&user, child.pid).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid);
        openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| "cannot open a user namespace")
    });
    drop(parent);
    child.end();
    written
}

fn unopened(mount: &Mount, error: Error) -> Error {
    let error = error.at(format!("{}.source", mount.at()));
    match error.errno() {
        Some(libc::EMFILE) => error.hint(
            "each source is open until it is mounted: raise the limit of open files (ulimit -n)",
        ),
        Some(libc::ENOENT) => error.hint("does the source exist on the host?"),
        _ => error,
    }
}

fn refused(mount: &Mount, errno: Errno) -> Error {
    let what = format!(
        "cannot map the owners of mount source {:?} (mount_setattr MOUNT_ATTR_IDMAP)",
        mount.source.to_string_lossy()
    );
    let error = Error::os(what, errno).at(mount.at());
    match errno {
        Errno::NOSYS => error.hint("id-mapped mounts need Linux 5.12"),
        Errno::INVAL => error.hint(
            "this kernel cannot map the owners of this filesystem, or with ridmap of one mounted below it (FS_ALLOW_IDMAP); ext4, xfs, btrfs, tmpfs (Linux 6.3), overlay (5.19) and others can be mapped",
        ),
        Errno::PERM => error.hint(
            "it takes CAP_SYS_ADMIN in the user namespace that the filesystem was mounted in, and a mount that is not id-mapped already",
        ),
        _ => error,
    }
}
