//! What the containers of a pod share, for a pod without a container of its own: namespaces that are
//! held by descriptors and, where the containers are to see each other's processes, the first
//! process of their pid namespace (`pause.rs`).
//!
//! [`enter`] is for a process that is run for nothing else: it stays in the namespaces, hands their
//! descriptors over, and ends.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxNamespaceType as Type;
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Context, Error, Kind, Result},
    namespaces,
    plan::{
        Namespaces, Sysctl,
        namespaces::{Joined, kind_word},
        system,
    },
    process::Procfs,
    sys,
};

mod pause;

/// What a pod's containers have in common. What is not said to be the pod's is the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shared {
    pub network: Network,
    pub ipc: bool,
    pub uts: bool,
    /// One pid namespace, whose first process does nothing but to end what the others leave.
    pub pid: bool,
    /// All of it belongs to the user namespace that owns the network namespace, which is therefore
    /// one that exists.
    pub user: bool,
    /// Empty leaves the host's.
    pub hostname: String,
    /// As linux.sysctl of config.json.
    pub sysctls: BTreeMap<String, String>,
}

/// The network namespace of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    #[default]
    Host,
    /// A new one, with nothing but its loopback interface.
    New,
    Path(PathBuf),
}

/// What holds a pod together.
#[derive(Debug)]
pub struct Held {
    /// By their names in config.json's linux.namespaces.
    pub namespaces: Vec<(&'static str, OwnedFd)>,
    /// The first process of the pid namespace: a child of this process's parent, with which it ends.
    pub first: Option<i32>,
}

/// Makes what `shared` wants, and takes this process there, which must have one thread. It cannot
/// come back.
///
/// # Errors
/// [`Kind::InvalidConfig`] for a sysctl that no namespace of the pod keeps to itself, and for a user
/// namespace that is nobody's; what the kernel refuses. The process is good for nothing then.
pub fn enter(shared: &Shared) -> Result<Held> {
    let namespaces = shared.namespaces();
    let sysctls = shared.sysctls(&namespaces)?;
    let network = shared.network.open()?;
    if shared.user {
        enter_owner(network.as_ref())?;
        namespaces::become_root(&namespaces).doing(|| "cannot become root of the pod")?;
    }
    if let Some(network) = network {
        let entered = namespaces::setns(network, Type::Network as u64);
        entered.doing(|| "cannot enter the pod's network namespace")?;
    }
    namespaces::unshare(&namespaces).doing(|| "cannot make the pod's namespaces")?;
    namespaces::loopback(&namespaces).doing(|| "cannot bring the pod's loopback interface up")?;
    if shared.uts && !shared.hostname.is_empty() {
        let named = rustix::system::sethostname(shared.hostname.as_bytes());
        named.doing(|| format!("cannot set the pod's hostname to {:?}", shared.hostname))?;
    }
    sysctls.iter().try_for_each(write)?;
    let first = shared.pid.then(pause::start).transpose()?;
    let kinds = shared.kinds().into_iter();
    let namespaces =
        kinds.map(|kind| Ok((kind_word(kind), own(kind, first)?))).collect::<Result<_>>()?;
    Ok(Held { namespaces, first })
}

impl Shared {
    /// Those that are the pod's.
    fn kinds(&self) -> Vec<Type> {
        let network = self.network != Network::Host;
        let kinds = [
            (self.user, Type::User),
            (network, Type::Network),
            (self.ipc, Type::Ipc),
            (self.uts, Type::Uts),
            (self.pid, Type::Pid),
        ];
        kinds.into_iter().filter(|(shared, _)| *shared).map(|(_, kind)| kind).collect()
    }

    fn namespaces(&self) -> Namespaces {
        let is_joined = |kind: &Type| match kind {
            Type::User => true,
            Type::Network => self.network != Network::New,
            _ => false,
        };
        let (joined, new) = self.kinds().into_iter().partition::<Vec<_>, _>(is_joined);
        let joined = joined.into_iter().map(|kind| Joined { kind, path: PathBuf::new(), index: 0 });
        Namespaces { new, joined: joined.collect(), ..Namespaces::default() }
    }

    fn sysctls(&self, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
        let has_hostname = !self.hostname.is_empty();
        let sysctls = self.sysctls.iter().map(|(name, value)| {
            system::sysctl(name, value, has_hostname, namespaces)
                .map_err(|what| Error::new(Kind::InvalidConfig, what))
        });
        sysctls.collect()
    }
}

impl Network {
    fn open(&self) -> Result<Option<OwnedFd>> {
        let Self::Path(path) = self else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())
            .doing(|| format!("cannot open the pod's network namespace {path:?}"))?;
        match sys::process::namespace_type(fd.as_fd()) {
            Ok(kind) if kind == Type::Network as i32 => Ok(Some(fd)),
            _ => {
                let what = format!("{path:?} is not a network namespace");
                Err(Error::new(Kind::InvalidConfig, what))
            }
        }
    }
}

/// Enters the user namespace to which `network` belongs.
fn enter_owner(network: Option<&OwnedFd>) -> Result<()> {
    let hint = "whoever makes the pod's network namespace makes it in the pod's user namespace";
    let nobodys = || {
        Error::new(Kind::InvalidConfig, "the pod's network namespace is in no user namespace of it")
            .hint(hint)
    };
    let network = network.ok_or_else(nobodys)?;
    let owner = sys::process::namespace_owner(network.as_fd());
    let owner = owner.doing(|| "cannot find the pod's user namespace")?;
    let doing = || "cannot look at a user namespace";
    let (pods, hosts) = (rustix::fs::fstat(&owner), rustix::fs::fstat(own(Type::User, None)?));
    let (pods, hosts) = (pods.doing(doing)?, hosts.doing(doing)?);
    if (pods.st_dev, pods.st_ino) == (hosts.st_dev, hosts.st_ino) {
        return Err(nobodys());
    }
    namespaces::setns(owner, Type::User as u64).doing(|| "cannot enter the pod's user namespace")
}

/// The namespace that this process is in, or in which `first` is the first.
fn own(kind: Type, first: Option<i32>) -> Result<OwnedFd> {
    let whose = match (kind, first) {
        (Type::Pid, Some(pid)) => pid.to_string(),
        _ => "self".to_owned(),
    };
    // A magic link, which Procfs refuses to follow.
    let path = Path::new("/proc").join(whose).join("ns").join(namespaces::proc_name(kind));
    let fd = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    fd.doing(|| format!("cannot open {path:?}"))
}

fn write(sysctl: &Sysctl) -> Result<()> {
    let file = Path::new("sys").join(&sysctl.file);
    Procfs::by_path()
        .write(&file, sysctl.value.as_bytes())
        .doing(|| format!("cannot write sysctl {} = {:?}", sysctl.name, sysctl.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(shared: &Shared) -> String {
        shared.sysctls(&shared.namespaces()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_joined_is_not_made() {
        let network = Network::Path("/run/netns/pod".into());
        let shared = Shared { network, ipc: true, uts: true, user: true, ..Shared::default() };
        let namespaces = shared.namespaces();
        assert_eq!(namespaces.new, [Type::Ipc, Type::Uts]);
        assert!(namespaces.private(Type::Network) && namespaces.private(Type::User));
        assert_eq!(shared.kinds(), [Type::User, Type::Network, Type::Ipc, Type::Uts]);
        assert!(Shared::default().kinds().is_empty());
    }

    #[test]
    fn a_sysctl_needs_a_namespace_of_the_pod() {
        let sysctls = [("kernel.shmmax".to_owned(), "65536".to_owned())].into();
        let shared = Shared { ipc: true, sysctls, ..Shared::default() };
        assert_eq!(shared.sysctls(&shared.namespaces()).unwrap().len(), 1);
        let host = Shared { ipc: false, ..shared };
        assert_eq!(refusal(&host), "sysctl \"kernel.shmmax\" not allowed in host ipc namespace");
        let sysctls = [("vm.swappiness".to_owned(), "1".to_owned())].into();
        let what = refusal(&Shared { sysctls, ..Shared::default() });
        assert!(what.contains("not in a separate kernel namespace"), "{what}");
    }
}
