//! The namespaces of a pod: made by this program in another life, which stays in them and ends, and
//! held by the shim through their descriptors. The shim itself remains in the host's.

use std::{
    collections::BTreeMap,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use libcontainer::sandbox::{self, Shared};
use protobuf::Enum;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::{
    children::{self, Birth, Child},
    error::{Code, Doing, Fault, Result},
};

/// network, ipc, uts, user, pid.
const MOST: usize = 5;
/// A question or an answer is at most this long: sysctls and an error are what may be long in it.
const LENGTH: usize = 64 << 10;

/// What the other life has to say.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Beside as many descriptors as there are names.
    Held {
        names: Vec<String>,
        first: Option<i32>,
    },
    Refused {
        code: i32,
        text: String,
    },
}

/// What holds a pod together; dropped, it lets go.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// By the names of config.json's linux.namespaces.
    namespaces: BTreeMap<String, OwnedFd>,
    /// The first process of the pod's pid namespace.
    pub(crate) first: Option<Arc<Child>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // It waits for nobody.
        if let Some(first) = &self.first {
            let _ = first.signal(libc::SIGKILL);
        }
    }
}

impl Held {
    /// Has them made.
    pub(crate) async fn make(shared: &Shared) -> Result<Self> {
        let doing = || "cannot have the pod's namespaces made";
        let (ours, theirs) = UnixDatagram::pair().doing(doing)?;
        ours.send(&serde_json::to_vec(shared).unwrap_or_default()).doing(doing)?;
        let program = std::env::current_exe().doing(|| "cannot find own program")?;
        let mut command = Command::new(program);
        command.arg("namespaces").stdin(OwnedFd::from(theirs));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = children::spawn(&mut command, &[])?;
        drop(command);
        let _birth = Birth::by(Some(&child));
        child.run().await;
        Self::receive(&ours)
    }

    fn receive(socket: &UnixDatagram) -> Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; LENGTH];
        let mut slices = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let doing = || "cannot receive the pod's namespaces";
        let length = recvmsg(socket, &mut slices, &mut control, flags).doing(doing)?.bytes;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = fds.flatten().collect();
        let answer = serde_json::from_slice(&text[..length]);
        match answer.map_err(|error| Fault::unknown(format!("{}: {error}", doing())))? {
            Answer::Held { names, first } => {
                let first = first.map(Child::adopt).transpose()?.map(Arc::new);
                Ok(Self { namespaces: names.into_iter().zip(fds).collect(), first })
            }
            Answer::Refused { code, text } => {
                Err(Fault::new(Code::from_i32(code).unwrap_or(Code::UNKNOWN), text))
            }
        }
    }

    /// A path for a namespace that is held, by its name in config.json. Other processes of this user
    /// can open it as long as it is held.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let fd = self.namespaces.get(name)?.as_raw_fd();
        Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.namespaces.keys().filter_map(|name| Some((name.as_str(), self.path(name)?)))
    }
}

/// The other life: reads from its standard input, a socket, what to make, and sends it back there.
pub(crate) fn run() -> Result<()> {
    let doing = || "cannot answer";
    let socket = std::io::stdin().as_fd().try_clone_to_owned().doing(doing)?;
    let answer = read(&socket).and_then(|shared| Ok(sandbox::enter(&shared)?));
    let sent = match &answer {
        Ok(held) => send(&socket, held),
        Err(fault) => {
            let refused = Answer::Refused { code: fault.code.value(), text: fault.text.clone() };
            send_with(&socket, &refused, &[])
        }
    };
    sent.inspect_err(|_| {
        // Nobody else knows of it.
        let first = answer.ok().and_then(|held| rustix::process::Pid::from_raw(held.first?));
        if let Some(first) = first {
            let _ = rustix::process::kill_process(first, rustix::process::Signal::KILL);
        }
    })
}

fn read(socket: &OwnedFd) -> Result<Shared> {
    let doing = "cannot read what namespaces to make";
    let mut text = vec![0; LENGTH];
    let length = rustix::io::read(socket, &mut text).doing(|| doing)?;
    serde_json::from_slice(&text[..length])
        .map_err(|error| Fault::invalid(format!("{doing}: {error}")))
}

fn send(socket: &OwnedFd, held: &sandbox::Held) -> Result<()> {
    let names = held.namespaces.iter().map(|(name, _)| (*name).to_owned()).collect();
    let fds: Vec<_> = held.namespaces.iter().map(|(_, fd)| fd.as_fd()).collect();
    send_with(socket, &Answer::Held { names, first: held.first }, &fds)
}

fn send_with(socket: &OwnedFd, answer: &Answer, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let text = serde_json::to_vec(answer).unwrap_or_default();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL);
    sent.map(drop).doing(|| "cannot send the pod's namespaces")
}
