//! The socket on which the shim of a pod listens.
//!
//! Its name must be the same for every container of the pod, and short: sun_path has 108 bytes. As
//! root's file in a directory of root's it is out of every container's reach, which an abstract
//! socket would not be in the host's network namespace (CVE-2020-15257).

use std::{
    io::ErrorKind,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use sha2::{Digest, Sha256};

use crate::error::{Doing, Result};

/// Where sockets are if containerd does not say.
pub(crate) const DIR: &str = "/run/containerd/s";

/// The scheme that containerd expects before the path.
pub(crate) const SCHEME: &str = "unix://";

/// The socket of the pod `group` in `namespace` of the containerd at `grpc_address`.
pub(crate) fn path(dir: &Path, grpc_address: &str, namespace: &str, group: &str) -> PathBuf {
    let name = format!("{}/{namespace}/{group}", grpc_address.trim_end_matches('/'));
    let digest = Sha256::digest(name.as_bytes());
    dir.join(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// What [`claim`] found at a path.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nobody listened there; now whoever has this does.
    Free(UnixListener),
    /// The shim of the pod.
    Taken,
}

/// Listens at `path` unless somebody does. What a dead shim left there is removed.
///
/// The directory is locked in between, so that of two containers of a pod that start at once the
/// second finds the first one's shim.
pub(crate) fn claim(path: &Path) -> Result<Claim> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let _lock = lock(dir)?;
    let doing = || format!("cannot listen on {path:?}");
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Ok(Claim::Taken);
            }
            std::fs::remove_file(path).doing(doing)?;
            UnixListener::bind(path).doing(doing)
        }
        other => other.doing(doing),
    }
    .and_then(|listener| {
        // Until now the directory alone kept others out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).doing(doing)?;
        Ok(Claim::Free(listener))
    })
}

/// Removes the socket of a shim that has ended, unless another one listens there.
pub(crate) fn remove_stale(path: &Path) -> Result<()> {
    let _lock = lock(path.parent().unwrap_or(Path::new("/")))?;
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).doing(|| format!("cannot remove {path:?}"))
        }
        _ => Ok(()),
    }
}

/// Held until what it returns is dropped.
fn lock(dir: &Path) -> Result<std::os::fd::OwnedFd> {
    let doing = || format!("cannot lock {dir:?}");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).doing(doing)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, dir, flags, Mode::empty()).doing(doing)?;
    flock(&fd, FlockOperation::LockExclusive).doing(doing)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_depends_on_containerd_namespace_and_pod() {
        let dir = Path::new(DIR);
        let name = path(dir, "/run/containerd/containerd.sock", "default", "c1");
        // printf /run/containerd/containerd.sock/default/c1 | sha256sum
        let sum = "d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888";
        assert_eq!(name, dir.join(sum));
        assert_ne!(name, path(dir, "/run/containerd/containerd.sock", "default", "c2"));
        assert_ne!(name, path(dir, "/run/other.sock", "default", "c1"));
    }
}
