//! The files of a pod that its containers share, in the bundle of its sandbox: the same that
//! containerd makes for a pod with a pause container (internal/cri/server/podsandbox).

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;

use super::config::{Config, Dns, Ids};
use crate::{
    bundle::Bundle,
    error::{Doing, Result},
    rootfs,
};

/// Where a container expects it, its name in the bundle, and where the host has its own.
const FILES: [(&str, &str); 3] =
    [("/etc/hostname", "hostname"), ("/etc/hosts", "hosts"), ("/etc/resolv.conf", "resolv.conf")];
const SHM: &str = "shm";
const DEV_SHM: &str = "/dev/shm";
/// 64 MiB, as everywhere.
const SHM_OPTIONS: &str = "mode=1777,size=67108864";

/// Makes them. What there is after a failure, [`remove`] removes.
pub(super) fn make(bundle: &Bundle, config: &Config) -> Result<()> {
    for (target, name) in FILES {
        let content = match (name, &config.dns) {
            ("hostname", _) => Some(hostname(config)),
            ("resolv.conf", Some(dns)) => Some(dns.text()),
            _ => None,
        };
        let path = bundle.path().join(name);
        match content {
            Some(content) => std::fs::write(&path, content),
            None => copy(Path::new(target), &path),
        }
        .doing(|| format!("cannot write {path:?}"))?;
        if let Some(Ids { uid, gid }) = config.user {
            let owned = std::os::unix::fs::chown(&path, Some(uid), Some(gid));
            owned.doing(|| format!("cannot give {path:?} to the pod"))?;
        }
    }
    match config.is_hosts("ipc") {
        true => Ok(()),
        false => mount_shm(&bundle.path().join(SHM)),
    }
}

/// A host without the file is a pod with an empty one.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::read(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::fs::write(to, ""),
        content => std::fs::write(to, content?),
    }
}

fn hostname(config: &Config) -> String {
    let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = Some(config.hostname.clone()).filter(|name| !name.is_empty());
    format!("{}\n", name.unwrap_or_else(own))
}

fn mount_shm(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.doing(|| format!("cannot make {path:?}"))?;
    let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounted = nix::mount::mount(Some("shm"), path, Some("tmpfs"), flags, Some(SHM_OPTIONS));
    mounted.map_err(std::io::Error::from).doing(|| format!("cannot mount {path:?}"))
}

/// Takes away what is mounted in a bundle; the rest goes with it.
pub(crate) fn remove(bundle: &Bundle) -> Result<()> {
    rootfs::unmount(&bundle.path().join(SHM))
}

/// Where containers expect the files, and the files.
pub(super) fn list(bundle: &Bundle, config: &Config) -> Vec<(&'static str, PathBuf)> {
    let shm = Some((DEV_SHM, SHM)).filter(|_| !config.is_hosts("ipc"));
    let files = FILES.into_iter().chain(shm);
    files.map(|(target, name)| (target, bundle.path().join(name))).collect()
}

impl Dns {
    /// resolv.conf(5).
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text += &format!("search {}\n", self.searches.join(" "));
        }
        for server in &self.servers {
            text += &format!("nameserver {server}\n");
        }
        if !self.options.is_empty() {
            text += &format!("options {}\n", self.options.join(" "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_as_a_file() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let dns = Dns {
            servers: words(&["10.0.0.10", "10.0.0.11"]),
            searches: words(&["a.local", "local"]),
            options: words(&["ndots:5"]),
        };
        let text =
            "search a.local local\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n";
        assert_eq!(dns.text(), text);
        assert_eq!(Dns::default().text(), "");
    }
}
