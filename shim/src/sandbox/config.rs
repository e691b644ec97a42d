//! What CreateSandbox is told of the pod: CRI's PodSandboxConfig, of which this shim reads what
//! concerns it (kubernetes/cri-api, pkg/apis/runtime/v1/api.proto).

use std::{collections::BTreeMap, path::PathBuf};

use libcontainer::sandbox::{Network, Shared};
use protobuf::{CodedInputStream, well_known_types::any::Any};

use crate::{
    error::{Fault, Result},
    options,
};

const NAME: &str = "runtime.v1.PodSandboxConfig";

/// A pod, as far as its shim is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) hostname: String,
    /// `None` is the host's.
    pub(crate) dns: Option<Dns>,
    /// The cgroup in which those of the containers are; empty if the pod has none.
    pub(crate) cgroup_parent: PathBuf,
    sysctls: BTreeMap<String, String>,
    network: Mode,
    pid: Mode,
    ipc: Mode,
    /// Of a user namespace of the pod.
    pub(crate) user: Option<Ids>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// Host ids of the pod's root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// CRI's NamespaceMode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Shared by the pod's containers.
    #[default]
    Pod,
    /// Each container has its own.
    Container,
    /// The host's.
    Node,
}

/// A field of a message, as far as its wire type is used here.
enum Value {
    Number(u64),
    /// A string, or a message.
    Bytes(Vec<u8>),
    Other,
}

impl Config {
    /// Nothing at all is a pod in which nothing is set.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for another message, and for what it cannot hold.
    pub(crate) fn from_any(any: &Any) -> Result<Self> {
        match options::name(any) {
            "" | NAME => Self::from_bytes(&any.value),
            other => Err(Fault::invalid(format!("a sandbox of an unknown type: {other:?}"))),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut config = Self::default();
        each(bytes, |field, value| {
            match field {
                2 => config.hostname = value.text()?,
                4 => config.dns = Some(Dns::from_bytes(&value.bytes())?),
                8 => config.read_linux(&value.bytes())?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(config)
    }

    /// LinuxPodSandboxConfig.
    fn read_linux(&mut self, bytes: &[u8]) -> Result<()> {
        each(bytes, |field, value| {
            match field {
                1 => self.cgroup_parent = value.text()?.into(),
                2 => self.read_security(&value.bytes())?,
                3 => self.sysctls.extend([entry(&value.bytes())?]),
                _ => {}
            }
            Ok(())
        })
    }

    /// LinuxSandboxSecurityContext, of which the namespaces are the pod's, and the rest that of a
    /// container which there is none of.
    fn read_security(&mut self, bytes: &[u8]) -> Result<()> {
        each(bytes, |field, value| match field {
            1 => self.read_namespaces(&value.bytes()),
            _ => Ok(()),
        })
    }

    /// NamespaceOption.
    fn read_namespaces(&mut self, bytes: &[u8]) -> Result<()> {
        each(bytes, |field, value| {
            match field {
                1 => self.network = Mode::from_number(value.number())?,
                2 => self.pid = Mode::from_number(value.number())?,
                3 => self.ipc = Mode::from_number(value.number())?,
                5 => self.user = Ids::from_bytes(&value.bytes())?,
                _ => {}
            }
            Ok(())
        })
    }

    /// What is to be made for the pod. `netns` is the path of its network namespace, empty if nobody
    /// has made one.
    pub(crate) fn shared(&self, netns: &str) -> Shared {
        let network = match self.network {
            Mode::Node => Network::Host,
            _ if netns.is_empty() => Network::New,
            _ => Network::Path(netns.into()),
        };
        let own_network = network != Network::Host;
        Shared {
            ipc: self.ipc != Mode::Node,
            // As CRI has it: whoever is in the host's network has its name.
            uts: own_network,
            pid: self.pid == Mode::Pod,
            user: self.user.is_some(),
            hostname: self.hostname.clone(),
            sysctls: self.sysctls(own_network),
            network,
        }
    }

    /// As containerd does for a pod with a pause container, unless its configuration says otherwise:
    /// in a network of its own, a pod needs no capability for low ports and for ping.
    fn sysctls(&self, own_network: bool) -> BTreeMap<String, String> {
        let mut sysctls = self.sysctls.clone();
        if own_network {
            let mut default = |name: &str, value: &str| {
                sysctls.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            };
            default("net.ipv4.ip_unprivileged_port_start", "0");
            if self.user.is_none() {
                default("net.ipv4.ping_group_range", "0 2147483647");
            }
        }
        sysctls
    }

    /// Whether containers have pid namespaces of their own unless they want otherwise.
    pub(crate) fn has_private_pids(&self) -> bool {
        self.pid == Mode::Container
    }

    /// Whether a kind of namespace, by its name in /proc/PID/ns, is the host's.
    pub(crate) fn is_hosts(&self, kind: &str) -> bool {
        match kind {
            "net" | "uts" => self.network == Mode::Node,
            "ipc" => self.ipc == Mode::Node,
            "pid" => self.pid == Mode::Node,
            "user" => self.user.is_none(),
            _ => false,
        }
    }
}

impl Dns {
    /// DNSConfig.
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut dns = Self::default();
        each(bytes, |field, value| {
            match field {
                1 => dns.servers.push(value.text()?),
                2 => dns.searches.push(value.text()?),
                3 => dns.options.push(value.text()?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(dns)
    }
}

impl Ids {
    /// UserNamespace.
    fn from_bytes(bytes: &[u8]) -> Result<Option<Self>> {
        let (mut mode, mut uid, mut gid) = (Mode::Pod, None, None);
        each(bytes, |field, value| {
            match field {
                1 => mode = Mode::from_number(value.number())?,
                2 => uid = uid.or(root(&value.bytes())?),
                3 => gid = gid.or(root(&value.bytes())?),
                _ => {}
            }
            Ok(())
        })?;
        match (mode, uid, gid) {
            (Mode::Pod, Some(uid), Some(gid)) => Ok(Some(Self { uid, gid })),
            (Mode::Pod, ..) => Err(Fault::invalid("a user namespace that does not map id 0")),
            _ => Ok(None),
        }
    }
}

/// The host's id for 0, if an IDMapping has it.
fn root(bytes: &[u8]) -> Result<Option<u32>> {
    let mut map = [0; 3];
    each(bytes, |field, value| {
        if let Some(slot) = (field as usize).checked_sub(1).and_then(|at| map.get_mut(at)) {
            *slot = value.number() as u32;
        }
        Ok(())
    })?;
    let [host, container, length] = map;
    Ok((container == 0 && length > 0).then_some(host))
}

impl Mode {
    fn from_number(number: u64) -> Result<Self> {
        match number {
            0 => Ok(Self::Pod),
            1 => Ok(Self::Container),
            2 => Ok(Self::Node),
            other => Err(Fault::invalid(format!("a pod with a namespace of mode {other}"))),
        }
    }
}

impl Value {
    fn number(&self) -> u64 {
        if let Self::Number(number) = self { *number } else { 0 }
    }

    fn bytes(self) -> Vec<u8> {
        if let Self::Bytes(bytes) = self { bytes } else { Vec::new() }
    }

    fn text(self) -> Result<String> {
        String::from_utf8(self.bytes())
            .map_err(|_| Fault::invalid("a sandbox whose configuration is not UTF-8"))
    }
}

/// An entry of a map: its key is field 1, its value field 2.
fn entry(bytes: &[u8]) -> Result<(String, String)> {
    let (mut key, mut text) = (String::new(), String::new());
    each(bytes, |field, value| {
        match field {
            1 => key = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, text))
}

/// Calls `take` for each field of a message (protobuf.dev, "Encoding").
fn each(bytes: &[u8], mut take: impl FnMut(u32, Value) -> Result<()>) -> Result<()> {
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        let value = match tag & 7 {
            0 => Value::Number(input.read_raw_varint64()?),
            1 => {
                input.read_fixed64()?;
                Value::Other
            }
            2 => Value::Bytes(input.read_bytes()?),
            5 => {
                input.read_fixed32()?;
                Value::Other
            }
            other => return Err(Fault::invalid(format!("a message with a field of type {other}"))),
        };
        take(tag >> 3, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    fn pod(namespaces: &[u8]) -> Config {
        let linux = field(8, &field(2, &field(1, namespaces)));
        Config::from_bytes(&linux).unwrap()
    }

    #[test]
    fn a_pod_as_kubelet_describes_it() {
        let dns = [field(1, b"10.0.0.10"), field(2, b"svc.local"), field(3, b"ndots:5")].concat();
        let sysctl = [field(1, b"kernel.shmmax"), field(2, b"65536")].concat();
        let linux = [
            field(1, b"/kubepods/pod1"),
            // Network and ipc are the pod's, pid namespaces the containers'.
            field(2, &field(1, &[0x10, 1])),
            field(3, &sysctl),
        ];
        let bytes =
            [field(1, b"metadata"), field(2, b"web-0"), field(4, &dns), field(8, &linux.concat())];
        let config = Config::from_bytes(&bytes.concat()).unwrap();
        let dns = config.dns.clone().unwrap();
        assert_eq!((&*dns.servers[0], &*dns.options[0]), ("10.0.0.10", "ndots:5"));
        assert_eq!(config.cgroup_parent, std::path::Path::new("/kubepods/pod1"));
        let shared = config.shared("/run/netns/1");
        assert_eq!(shared.network, Network::Path("/run/netns/1".into()));
        assert!(shared.ipc && shared.uts && !shared.pid && !shared.user);
        assert_eq!(shared.hostname, "web-0");
        let names: Vec<_> = shared.sysctls.keys().map(String::as_str).collect();
        let ping = "net.ipv4.ping_group_range";
        assert_eq!(names, ["kernel.shmmax", "net.ipv4.ip_unprivileged_port_start", ping]);
    }

    #[test]
    fn a_pod_in_the_hosts_namespaces_shares_nothing() {
        let config = pod(&[0x08, 2, 0x10, 2, 0x18, 2]);
        assert_eq!(config.shared(""), Shared::default());
        assert!(["net", "uts", "ipc", "pid", "user"].iter().all(|kind| config.is_hosts(kind)));
        assert!(!pod(&[]).is_hosts("net") && pod(&[]).shared("").pid);
    }

    #[test]
    fn a_user_namespace_says_who_its_root_is() {
        let map = |host: u8| [0x08, host, 0x10, 0, 0x18, 100];
        let user = [field(2, &map(70)), field(3, &map(80))].concat();
        assert_eq!(pod(&field(5, &user)).user, Some(Ids { uid: 70, gid: 80 }));
        assert_eq!(pod(&field(5, &[0x08, 2])).user, None);
        let linux = field(8, &field(2, &field(1, &field(5, &[]))));
        assert!(Config::from_bytes(&linux).unwrap_err().text.contains("does not map id 0"));
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        let any = |type_url: &str, value: &[u8]| {
            let (type_url, value) = (type_url.to_owned(), value.to_vec());
            Config::from_any(&Any { type_url, value, ..Default::default() })
        };
        assert_eq!(any("", b"").unwrap(), Config::default());
        assert!(any("io.other.Pod", b"").unwrap_err().text.contains("io.other.Pod"));
        assert!(any("type.googleapis.com/runtime.v1.PodSandboxConfig", b"\x12\x7f").is_err());
    }
}
