//! linux.netDevices: which devices of the host move into the container's network namespace.

use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, LinuxNamespaceType};
use serde::Serialize;

use super::Namespaces;
use crate::{
    error::{Error, Kind},
    host::Host,
};

/// One device of the host, and what it is called in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetDevice {
    /// Its name in the runtime's network namespace.
    pub device: String,
    /// Its name in the container's; `%d` stands for a number that the kernel finds.
    pub name: String,
}

/// IFNAMSIZ without the NUL (netdevice(7)).
const NAME_MAX: usize = 15;

/// Every network namespace has it from birth, and it never leaves.
const LOOPBACK: &str = "lo";

impl NetDevice {
    /// Its place in config.json.
    pub fn at(&self) -> String {
        place(&self.device)
    }

    /// Whether the kernel is to find the number in the name.
    pub fn is_template(&self) -> bool {
        self.name.contains("%d")
    }

    /// Whether a device that came into the container as this one may be called `name` there.
    pub(crate) fn may_be_called(&self, name: &str) -> bool {
        let Some((before, after)) = self.name.split_once("%d") else { return self.name == name };
        name.strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|number| number.parse::<u32>().is_ok())
    }
}

fn place(device: &str) -> String {
    format!("linux.netDevices[{device:?}]")
}

/// Sorted by the host's name, so that they move in the same order each time.
pub(super) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    host: &Host,
    faults: &mut Vec<Error>,
) -> Vec<NetDevice> {
    let devices: BTreeMap<_, _> = linux.net_devices().iter().flatten().collect();
    if devices.is_empty() {
        return Vec::new();
    }
    faults.extend(impossible(namespaces, host));
    let devices = devices.into_iter().map(|(device, wanted)| {
        let name = wanted.name().clone().filter(|name| !name.is_empty());
        NetDevice { device: device.clone(), name: name.unwrap_or_else(|| device.clone()) }
    });
    let devices: Vec<_> = devices.collect();
    for (index, device) in devices.iter().enumerate() {
        faults.extend(bad_names(device));
        let twin = devices[..index].iter().find(|other| other.name == device.name);
        if let Some(twin) = twin.filter(|_| !device.is_template()) {
            let what =
                format!("invalid network device name {:?}: {} has it, too", device.name, twin.at());
            faults.push(Error::config(format!("{}.name", device.at()), what));
        }
    }
    devices
}

fn impossible(namespaces: &Namespaces, host: &Host) -> Option<Error> {
    const AT: &str = "linux.netDevices";
    if !namespaces.private(LinuxNamespaceType::Network) {
        let what = "unable to move network devices without a private NET namespace";
        return Some(
            Error::config(AT, what).hint("add {\"type\": \"network\"} to linux.namespaces"),
        );
    }
    if host.euid != 0 {
        let what = "network devices are not supported for rootless containers";
        let hint = "taking a device out of the host's network namespace needs CAP_NET_ADMIN there";
        return Some(Error::new(Kind::Denied, what).at(AT).hint(hint));
    }
    None
}

fn bad_names(device: &NetDevice) -> Option<Error> {
    let invalid = |name: &str, why: &str| format!("invalid network device name {name:?}: {why}");
    let name = |device: &NetDevice| format!("{}.name", device.at());
    if let Some(why) = no_name(&device.device) {
        return Some(Error::config(device.at(), invalid(&device.device, why)));
    }
    if let Some(why) = no_name(&device.name).or_else(|| no_template(&device.name)) {
        return Some(Error::config(name(device), invalid(&device.name, why)));
    }
    if device.device == LOOPBACK {
        let what = "cannot move network device \"lo\": the loopback stays in its namespace";
        return Some(Error::config(device.at(), what));
    }
    (device.name == LOOPBACK).then(|| {
        let why = "every network namespace has a loopback device of that name";
        Error::config(name(device), invalid(LOOPBACK, why))
    })
}

/// The kernel's dev_valid_name().
fn no_name(name: &str) -> Option<&'static str> {
    let forbidden = |byte: u8| matches!(byte, b'/' | b':' | 0) || is_space(byte);
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_MAX {
        Some("it is longer than 15 bytes")
    } else if matches!(name, "." | "..") || name.bytes().any(forbidden) {
        Some("a device's name is none of \".\" and \"..\", and has no \"/\", \":\" or white space")
    } else {
        None
    }
}

/// isspace() of lib/ctype.c, for which 0xa0, in UTF-8 a part of other letters, is a space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

/// The kernel's __dev_alloc_name(): a `%` is followed by `d`, and there is no other.
fn no_template(name: &str) -> Option<&'static str> {
    let (_, after) = name.split_once('%')?;
    let good = after.strip_prefix('d').is_some_and(|rest| !rest.contains('%'));
    (!good).then_some("the one use of \"%\" is one \"%d\", for a number that the kernel finds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{namespaces, tests::host};

    fn read(json: &str, host: &Host) -> (Vec<NetDevice>, Vec<String>) {
        let linux = serde_json::from_str(json).unwrap();
        let namespaces = namespaces::plan(&linux, host, &mut Vec::new());
        let mut faults = Vec::new();
        let devices = plan(&linux, &namespaces, host, &mut faults);
        (devices, faults.iter().map(ToString::to_string).collect())
    }

    fn in_new_namespace(devices: &str) -> (Vec<NetDevice>, Vec<String>) {
        let json = format!(r#"{{"namespaces":[{{"type":"network"}}],"netDevices":{{{devices}}}}}"#);
        read(&json, &host())
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let (devices, faults) =
            in_new_namespace(r#""eth1":{},"eth0":{"name":"net"},"eth2":{"name":""}"#);
        assert_eq!(faults, Vec::<String>::new());
        let names: Vec<_> = devices.iter().map(|device| (&*device.device, &*device.name)).collect();
        assert_eq!(names, [("eth0", "net"), ("eth1", "eth1"), ("eth2", "eth2")]);
        assert_eq!(in_new_namespace("").0, []);
    }

    #[test]
    fn two_devices_of_one_name_are_refused_unless_the_kernel_counts() {
        let (_, faults) = in_new_namespace(r#""eth0":{"name":"eth1"},"eth1":{}"#);
        assert_eq!(
            faults,
            [
                r#"invalid network device name "eth1": linux.netDevices["eth0"] has it, too (config.json: linux.netDevices["eth1"].name)"#
            ]
        );
        let (_, faults) = in_new_namespace(r#""eth0":{"name":"eth1"},"eth1":{"name":"eth0"}"#);
        assert_eq!(faults, Vec::<String>::new());
        let (devices, faults) = in_new_namespace(r#""a":{"name":"n%d"},"b":{"name":"n%d"}"#);
        assert_eq!(faults, Vec::<String>::new());
        assert!(devices[0].may_be_called("n0") && devices[0].may_be_called("n12"));
        assert!(!devices[0].may_be_called("n") && !devices[0].may_be_called("nx"));
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused_before() {
        for name in
            ["", "0123456789abcdef", ".", "..", "a/b", "a:b", "a b", "a\\tb", "a\\u0000", "\u{e0}"]
        {
            let (_, faults) = in_new_namespace(&format!(r#""{name}":{{}}"#));
            assert_eq!(faults.len(), 1, "{name:?}: {faults:?}");
            if name.is_empty() {
                continue;
            }
            let (_, faults) = in_new_namespace(&format!(r#""eth0":{{"name":"{name}"}}"#));
            let at = r#"(config.json: linux.netDevices["eth0"].name)"#;
            assert!(faults.len() == 1 && faults[0].ends_with(at), "{name:?}: {faults:?}");
        }
        for name in ["%", "%s", "a%d%d", "%d%", "%%d"] {
            let (_, faults) = in_new_namespace(&format!(r#""eth0":{{"name":"{name}"}}"#));
            assert_eq!(faults.len(), 1, "{name:?}: {faults:?}");
        }
        for name in ["0123456789abcde", "eth0.1", "...", "é", "%d", "a%db"] {
            let (_, faults) = in_new_namespace(&format!(r#""eth0":{{"name":"{name}"}}"#));
            assert_eq!(faults, Vec::<String>::new(), "{name:?}");
        }
    }

    #[test]
    fn the_loopback_neither_leaves_nor_arrives() {
        let (_, faults) = in_new_namespace(r#""lo":{},"eth0":{"name":"lo"}"#);
        assert!(faults[0].ends_with(r#"(config.json: linux.netDevices["eth0"].name)"#));
        assert!(faults[1].ends_with(r#"(config.json: linux.netDevices["lo"])"#), "{faults:?}");
    }

    #[test]
    fn a_namespace_of_its_own_and_root_are_needed() {
        let (_, faults) = read(r#"{"netDevices":{"eth0":{}}}"#, &host());
        assert!(faults[0].starts_with("unable to move network devices without"), "{faults:?}");
        let joined = r#"{"namespaces":[{"type":"network","path":"/n"}],"netDevices":{"eth0":{}}}"#;
        assert_eq!(read(joined, &host()).1, Vec::<String>::new());
        let (_, faults) = read(joined, &Host { euid: 1000, ..host() });
        assert!(faults[0].contains("rootless"), "{faults:?}");
    }
}
