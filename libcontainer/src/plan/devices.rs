//! The device nodes of /dev: the ones that every container has, and linux.devices.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, LinuxNamespaceType};
use serde::Serialize;

use super::{Namespaces, mounts::checks::leaves_root, process::clean};
use crate::{error::Error, host::Host};

/// A node to make in the root filesystem.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    pub path: PathBuf,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Character,
    Block,
    Fifo,
}

/// How the node comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    Mknod,
    /// The host's node of the same path: mknod(2) of a device needs CAP_MKNOD in the initial user
    /// namespace.
    Bind,
}

/// Default devices of runtime-spec, config-linux.md; ptmx is a link and console a bind mount.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

pub(crate) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    host: &Host,
    furnish_dev: bool,
    faults: &mut Vec<Error>,
) -> Vec<Device> {
    let method = match namespaces.private(LinuxNamespaceType::User) || !host.initial_user_namespace
    {
        true => Method::Bind,
        false => Method::Mknod,
    };
    let asked = linux.devices().as_deref().unwrap_or_default();
    let asked = asked.iter().enumerate().filter_map(|(index, device)| {
        plan_one(&format!("linux.devices[{index}]"), device, method, faults)
    });
    let asked: Vec<_> = asked.collect();
    // Where /dev is the host's own directory nothing is put into it.
    if !furnish_dev {
        return Vec::new();
    }
    let defaults = DEFAULTS
        .into_iter()
        .filter(|(path, ..)| !asked.iter().any(|device| device.path == Path::new(path)));
    let defaults = defaults.map(|(path, major, minor)| Device {
        path: path.into(),
        kind: Kind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
        method,
    });
    defaults.collect::<Vec<_>>().into_iter().chain(asked).collect()
}

/// A dev_t of mknod(2) has 12 and 20 bits for them (linux/kdev_t.h); more would name another
/// device.
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// Some callers pass the type bits of st_mode along.
fn mode(at: &str, device: &LinuxDevice, faults: &mut Vec<Error>) -> u32 {
    let mode = device.file_mode().unwrap_or(0o666);
    if mode > 0o177_777 {
        let what = format!("invalid fileMode {mode}: it has bits beyond those of a file's mode");
        faults.push(Error::config(format!("{at}.fileMode"), what));
    }
    mode & 0o7777
}

fn check_path(at: &str, path: &Path, faults: &mut Vec<Error>) {
    let fault = match leaves_root(path) {
        _ if !path.is_absolute() => "it must be absolute",
        true => "it leaves the root filesystem",
        false => return,
    };
    let what = format!("invalid device path {path:?}: {fault}");
    faults.push(Error::config(format!("{at}.path"), what));
}

fn plan_one(
    at: &str,
    device: &LinuxDevice,
    method: Method,
    faults: &mut Vec<Error>,
) -> Option<Device> {
    let kind = match device.typ() {
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Kind::Character,
        LinuxDeviceType::P => Kind::Fifo,
        LinuxDeviceType::A => {
            let what = "invalid device type \"a\": a node is one of b, c, u and p";
            faults.push(Error::config(format!("{at}.type"), what));
            return None;
        }
    };
    check_path(at, device.path(), faults);
    let mut number = |name: &str, value: i64, max: u32| {
        u32::try_from(value).ok().filter(|number| *number <= max).unwrap_or_else(|| {
            let what = format!("invalid device number {value}: it must be from 0 to {max}");
            faults.push(Error::config(format!("{at}.{name}"), what));
            0
        })
    };
    let (major, minor) =
        (number("major", device.major(), MAJOR_MAX), number("minor", device.minor(), MINOR_MAX));
    for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
        if id == Some(u32::MAX) {
            let what = format!("invalid id {}: the kernel has no such id", u32::MAX);
            faults.push(Error::config(format!("{at}.{name}"), what));
        }
    }
    Some(Device {
        path: clean(device.path()),
        kind,
        major,
        minor,
        mode: mode(at, device, faults),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        // A fifo is nobody's privilege.
        method: if kind == Kind::Fifo { Method::Mknod } else { method },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::host;

    fn read(json: &str) -> (Vec<Device>, Vec<String>) {
        let mut faults = Vec::new();
        let linux = serde_json::from_str(json).unwrap();
        let devices = plan(&linux, &Namespaces::default(), &host(), true, &mut faults);
        (devices, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_own_device_replaces_the_default_of_its_path() {
        let (devices, faults) = read(
            r#"{"devices":[{"path":"/dev/null","type":"c","major":1,"minor":3,"fileMode":384},
                           {"path":"/dev/fuse","type":"c","major":10,"minor":229,"uid":5}]}"#,
        );
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(devices.len(), 7);
        let null = devices.iter().find(|device| device.path == Path::new("/dev/null")).unwrap();
        assert_eq!(null.mode, 0o600);
        assert_eq!(devices[6].uid, 5);
    }

    #[test]
    fn faults_are_told_by_path() {
        let (_, faults) = read(
            r#"{"devices":[{"path":"x","type":"c","major":-1,"minor":3},{"path":"/x","type":"a"},
                           {"path":"/y","type":"b","major":4096,"minor":1048576,"fileMode":65536}]}"#,
        );
        for path in [
            "devices[0].path",
            "devices[0].major",
            "devices[1].type",
            "devices[2].major",
            "devices[2].minor",
            "devices[2].fileMode",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(path)), "{path}: {faults:?}");
        }
    }
}
