//! A connection to a systemd manager, over the message bus or to its private socket. Every wait has
//! a deadline: systemd may be busy, stopped or gone.

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{event::PollFlags, io::Errno, net::SendFlags};

use super::{
    address::{Address, Owner, patience},
    value::Value,
    wire::{self, Call, FIXED, Message},
};
use crate::{
    cgroup::wait::Deadline,
    error::{Error, Kind, Result},
};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const DBUS: &str = "org.freedesktop.DBus";

#[derive(Debug)]
pub(super) struct Bus {
    socket: OwnedFd,
    received: Vec<u8>,
    serial: u32,
    /// Signals that came while an answer was awaited.
    signals: Vec<(String, Vec<String>)>,
    /// For one answer.
    patience: Duration,
    deadline: Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Private,
    Bus,
}

/// An error that systemd answered with.
#[derive(Debug)]
pub(super) struct Refusal {
    /// `org.freedesktop.systemd1.UnitExists`
    pub(super) name: String,
    pub(super) text: String,
}

impl Bus {
    /// The system's is called over the bus first: it tells every private connection of everything
    /// that happens, so that a hundred containers at once cost it twice the time.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when no systemd is there.
    pub(super) fn connect(owner: Owner) -> Result<Self> {
        let patience = patience();
        let mut ways = vec![(Address::private(owner), Way::Private)];
        ways.extend(Address::bus(owner).into_iter().map(|address| (address, Way::Bus)));
        if owner == Owner::System {
            ways.rotate_left(1);
        }
        let mut failure = None;
        for (address, way) in ways {
            match address.connect(patience) {
                Ok(socket) => return Self::new(socket, &address, patience)?.introduced(way),
                Err(Errno::AGAIN) => return Err(silent(patience)),
                Err(cause) => failure = Some(absent(owner, &address, cause)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(Kind::Bug, "there is no way to systemd")))
    }

    fn new(socket: OwnedFd, address: &Address, patience: Duration) -> Result<Self> {
        let mut bus = Self {
            socket,
            received: Vec::new(),
            serial: 0,
            signals: Vec::new(),
            patience,
            deadline: Deadline::after(patience),
        };
        bus.authenticate().map_err(|error| {
            Error::new(error.kind(), format!("cannot talk to systemd at {address}")).because(error)
        })?;
        Ok(bus)
    }

    /// "Authentication Protocol": who we are is read off the socket. A process in a user namespace
    /// does not know the number that the other side sees, so none is said, not even when a peer asks
    /// for it with an empty challenge.
    ///
    /// All of it is one write, as of systemd's own programs. Of a first call that arrives together
    /// with a late `BEGIN`, systemd takes no notice before there is something more to read.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = self.line()?;
            match line.split_ascii_whitespace().next() {
                Some("DATA") => {}
                Some("OK") => return Ok(()),
                _ => return Err(Error::new(Kind::Denied, format!("it answered {line:?}"))),
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.received.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8(line).unwrap_or_default());
            }
            self.receive()?;
        }
    }

    /// The bus passes on what was asked of it. systemd says what became of a job when the one who
    /// asked for the job is there; to hear of everything else takes a subscription.
    fn introduced(mut self, way: Way) -> Result<Self> {
        if way == Way::Bus {
            let rule = format!("type='signal',sender='{SYSTEMD}',member='JobRemoved'");
            self.ask_bus("Hello", &[])?;
            self.ask_bus("AddMatch", &[Value::string(rule)])?;
        }
        Ok(self)
    }

    fn ask_bus(&mut self, member: &str, arguments: &[Value]) -> Result<()> {
        let call = Call {
            destination: DBUS,
            path: "/org/freedesktop/DBus",
            interface: DBUS,
            member,
            arguments,
        };
        self.exchange(&call)?.map(drop).map_err(|refusal| {
            Error::new(Kind::Os, format!("cannot use the message bus: {}", refusal.text))
        })
    }

    /// Calls a method of systemd's manager; the strings of its answer, or its refusal.
    pub(super) fn call(
        &mut self,
        member: &str,
        arguments: &[Value],
    ) -> Result<Result<Vec<String>, Refusal>> {
        self.exchange(&Call {
            destination: SYSTEMD,
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            arguments,
        })
    }

    fn exchange(&mut self, call: &Call<'_>) -> Result<Result<Vec<String>, Refusal>> {
        self.deadline = Deadline::after(self.patience);
        self.serial += 1;
        self.send(&call.to_bytes(self.serial))?;
        loop {
            match self.message()? {
                Message::Return { to, strings } if to == self.serial => return Ok(Ok(strings)),
                Message::Error { to, name, text } if to == self.serial => {
                    return Ok(Err(Refusal { name, text }));
                }
                Message::Signal { member, strings } => self.signals.push((member, strings)),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job; how it ended (`done`, `failed`, `canceled`, `timeout`, …).
    pub(super) fn job(&mut self, job: &str) -> Result<String> {
        self.deadline = Deadline::after(self.patience);
        loop {
            for (member, strings) in std::mem::take(&mut self.signals) {
                if let ("JobRemoved", [path, _unit, result, ..]) = (member.as_str(), &strings[..])
                    && path == job
                {
                    return Ok(result.clone());
                }
            }
            if let Message::Signal { member, strings } = self.message()? {
                self.signals.push((member, strings));
            }
        }
    }

    fn message(&mut self) -> Result<Message> {
        let damaged =
            |what: &str| Error::new(Kind::Os, format!("cannot understand systemd: {what}"));
        loop {
            if let Some(fixed) = self.received.first_chunk::<FIXED>() {
                let size = wire::size(fixed).map_err(damaged)?;
                if let Some(bytes) = self.received.get(..size) {
                    let message = wire::parse(bytes).map_err(damaged);
                    self.received.drain(..size);
                    return message;
                }
            }
            self.receive()?;
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(cause) => return Err(Error::os("cannot talk to systemd", cause)),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => {
                    return Err(Error::new(Kind::Os, "systemd closed the connection"));
                }
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(cause) => return Err(Error::os("cannot hear from systemd", cause)),
            }
        }
    }

    fn wait(&mut self, flags: PollFlags) -> Result<()> {
        match self.deadline.poll(&self.socket, flags) {
            Ok(true) => Ok(()),
            // What is still said to it, to take something back, is said without hope of an answer.
            Ok(false) => Err(silent(std::mem::take(&mut self.patience))),
            Err(cause) => Err(Error::os("cannot wait for systemd", cause)),
        }
    }
}

fn silent(patience: Duration) -> Error {
    Error::new(Kind::Os, format!("systemd did not answer within {patience:?}"))
        .hint("see `systemctl list-jobs`; SYSTEMD_BUS_TIMEOUT is how many seconds to wait")
}

fn absent(owner: Owner, address: &Address, cause: Errno) -> Error {
    let what = format!("cannot reach systemd at {address}");
    let cause = std::io::Error::from(cause);
    Error::new(Kind::Unsupported, what).because(cause).hint(match owner {
        Owner::System => "without systemd leave out --systemd-cgroup",
        Owner::User => {
            "a user's systemd runs while the user is logged in or lingers (loginctl enable-linger)"
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn begin_is_there_before_the_first_call() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut theirs, b"DATA\r\nOK 1\r\n").unwrap();
        talk(ours).unwrap();
        let mut sent = [0; 100];
        // One read: a stream socket keeps what was written at once together.
        let length = std::io::Read::read(&mut theirs, &mut sent).unwrap();
        assert_eq!(&sent[..length], b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
    }

    fn talk(socket: UnixStream) -> Result<Bus> {
        socket.set_nonblocking(true).unwrap();
        Bus::new(socket.into(), &Address::Path("/x".into()), Duration::from_secs(9))
    }

    #[test]
    fn a_peer_that_hangs_up_or_talks_nonsense_is_an_error() {
        for answer in [&b""[..], b"REJECTED EXTERNAL\r\n", b"OK 1\r\nHTTP/1.1 400 Bad request\r\n"]
        {
            let (ours, theirs) = UnixStream::pair().unwrap();
            std::io::Write::write_all(&mut &theirs, answer).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let bus = talk(ours);
            let error = match bus {
                Err(error) => error,
                Ok(mut bus) => bus.call("Reload", &[]).map(drop).unwrap_err(),
            };
            assert!(error.to_string().contains("systemd"), "{error}");
        }
    }
}
