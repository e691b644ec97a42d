//! Where a systemd listens, and how long its answer is waited for. What the environment says is
//! read here, and understood by pure functions.

use std::{
    env,
    ffi::OsString,
    fmt,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// For one answer, and for one job: systemd with hundreds of units to start takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    System,
    User,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Path(PathBuf),
    /// unix(7), without the leading NUL byte.
    Abstract(Vec<u8>),
}

impl Address {
    /// systemd's own socket, without a bus between.
    pub(super) fn private(owner: Owner) -> Self {
        Self::Path(match owner {
            Owner::System => "/run/systemd/private".into(),
            Owner::User => runtime_dir().join("systemd/private"),
        })
    }

    /// The message bus, in the order in which to try; never empty.
    pub(super) fn bus(owner: Owner) -> Vec<Self> {
        let (variable, default) = match owner {
            Owner::System => ("DBUS_SYSTEM_BUS_ADDRESS", "/run/dbus/system_bus_socket".into()),
            Owner::User => ("DBUS_SESSION_BUS_ADDRESS", runtime_dir().join("bus")),
        };
        let mut said = addresses(&env::var(variable).unwrap_or_default(), &runtime_dir());
        if said.is_empty() {
            said.push(Self::Path(default));
        }
        said
    }

    /// A connection that does not block from now on. A peer that accepts none is refused as EAGAIN
    /// after `limit`.
    pub(super) fn connect(&self, limit: Duration) -> Result<OwnedFd, Errno> {
        let address = match self {
            Self::Path(path) => SocketAddrUnix::new(path),
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }?;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        connect(&socket, &address)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path:?}"),
            Self::Abstract(name) => write!(f, "\"@{}\"", name.escape_ascii()),
        }
    }
}

/// How long to wait for one answer: `SYSTEMD_BUS_TIMEOUT`, as for systemd's own programs.
pub(super) fn patience() -> Duration {
    let said = env::var("SYSTEMD_BUS_TIMEOUT").ok();
    said.and_then(|text| time_span(&text)).unwrap_or(PATIENCE)
}

/// systemd.time(7), of one number: seconds, or what its unit says. Nothing and 0 are the default.
fn time_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit.trim() {
        "" | "s" | "sec" => Duration::from_secs(1),
        "ms" | "msec" => Duration::from_millis(1),
        "min" | "m" => Duration::from_secs(60),
        _ => return None,
    };
    unit.checked_mul(number)
}

/// D-Bus specification, "Server Addresses": those that are Unix sockets.
fn addresses(text: &str, runtime_dir: &std::path::Path) -> Vec<Address> {
    let keys = |one: &str| {
        one.strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", value) => Some(Address::Path(OsString::from_vec(unescape(value)).into())),
            ("abstract", value) => Some(Address::Abstract(unescape(value))),
            ("runtime", "yes") => Some(Address::Path(runtime_dir.join("bus"))),
            _ => None,
        })
    };
    text.split(';').filter_map(keys).collect()
}

/// `%2f` is a slash.
fn unescape(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [byte, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *byte == b'%');
        let number = escaped
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(number.unwrap_or(*byte));
        rest = if number.is_some() { &after[2..] } else { after };
    }
    bytes
}

fn runtime_dir() -> PathBuf {
    let set = env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    set.map_or_else(|| format!("/run/user/{}", crate::host::outer_uid()).into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unix_socket_of_an_address() {
        let path = |path: &str| Address::Path(path.into());
        let found = |text| addresses(text, "/run/user/7".as_ref());
        assert_eq!(found("tcp:host=x;unix:guid=1,path=/run/bus,x=y"), [path("/run/bus")]);
        assert_eq!(
            found("unix:path=/a;unix:abstract=/b%2fc"),
            [path("/a"), Address::Abstract(b"/b/c".to_vec())]
        );
        assert_eq!(found("unix:runtime=yes"), [path("/run/user/7/bus")]);
        assert_eq!(found("unix:path=/a%20b%zz%2"), [path("/a b%zz%2")]);
        for none in ["", "autolaunch:", "unix:", "unix:tmpdir=/tmp", "unix:path"] {
            assert_eq!(found(none), []);
        }
    }

    #[test]
    fn a_time_is_seconds_unless_it_says_otherwise() {
        assert_eq!(time_span("2"), Some(Duration::from_secs(2)));
        assert_eq!(time_span(" 300ms "), Some(Duration::from_millis(300)));
        assert_eq!(time_span("3 min"), Some(Duration::from_secs(180)));
        for default in ["", "0", "soon", "-1", "5 fortnights", "99999999999"] {
            assert_eq!(time_span(default), None, "{default:?}");
        }
    }

    #[test]
    fn a_peer_that_accepts_nobody_is_given_up() {
        let dir = std::env::temp_dir().join(format!("rtn-full-{}", std::process::id()));
        let address = SocketAddrUnix::new(&dir).unwrap();
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = Address::Path(dir.clone());
        let connected: Vec<_> =
            (0..2).map(|_| address.connect(Duration::from_millis(20))).collect();
        std::fs::remove_file(dir).unwrap();
        assert!(connected[0].is_ok());
        assert_eq!(connected[1].as_ref().err(), Some(&Errno::AGAIN));
    }
}
