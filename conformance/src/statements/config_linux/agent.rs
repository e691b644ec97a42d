//! A seccomp agent: the other end of `listenerPath`.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use integration::{Bundle, Test, wait};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

/// A listening socket of type SOCK_STREAM.
pub(super) struct Agent {
    listener: UnixListener,
    path: PathBuf,
}

/// All that came over one connection until its end.
pub(super) struct Heard {
    /// What was sent, without the descriptors.
    pub(super) bytes: Vec<u8>,
    /// For each piece of it, in order, the descriptors that came with it.
    pub(super) descriptors: Vec<Vec<OwnedFd>>,
    /// The runtime closed the connection.
    pub(super) closed: bool,
}

impl Agent {
    pub(super) fn new(test: &Test) -> Self {
        let path = test.dir().join("agent");
        let listener = UnixListener::bind(&path).expect("a socket in the test's directory");
        Self { listener, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection.
    #[track_caller]
    pub(super) fn hear(&self) -> Heard {
        assert!(wait::readable(&self.listener, Duration::from_secs(20)), "nobody connected");
        let (stream, _) = self.listener.accept().expect("a connection");
        let mut heard = Heard { bytes: Vec::new(), descriptors: Vec::new(), closed: false };
        while !heard.closed && wait::readable(&stream, Duration::from_secs(20)) {
            heard.take(&stream);
        }
        heard
    }

    /// True when there is another connection already.
    pub(super) fn is_called_again(&self) -> bool {
        wait::readable(&self.listener, Duration::ZERO)
    }
}

impl Heard {
    fn take(&mut self, stream: &UnixStream) {
        let mut bytes = vec![0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(stream, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC);
        let count = received.expect("a message").bytes;
        let descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds.collect::<Vec<_>>()),
            _ => None,
        });
        let descriptors = descriptors.flatten().collect();
        if count == 0 {
            self.closed = true;
            return;
        }
        self.descriptors.push(descriptors);
        self.bytes.extend_from_slice(&bytes[..count]);
    }

    /// The container process state.
    #[track_caller]
    pub(super) fn state(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.bytes)))
    }

    /// What the descriptors refer to.
    pub(super) fn links(&self) -> Vec<String> {
        let link = |fd: &OwnedFd| {
            let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            link.expect("an open descriptor").to_string_lossy().into_owned()
        };
        self.descriptors.iter().flatten().map(link).collect()
    }
}

/// A bundle whose process waits; whoever calls mkdir in it has to wait for the agent.
pub(super) fn bundle(test: &Test, agent: &Agent) -> Bundle {
    listening(test.bundle().serve(), agent.path())
}

pub(super) fn listening(bundle: Bundle, path: &Path) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "listenerPath": path, "listenerMetadata": "for the agent",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        });
    })
}

/// Starts and removes a container with the agent's socket; what the agent heard, and the pid. When
/// it is told, between the beginning of create and that of the program, is the runtime's affair.
#[track_caller]
pub(super) fn heard(test: &Test) -> (Heard, i32) {
    let agent = Agent::new(test);
    let container = test.start(&bundle(test, &agent));
    let heard = agent.hear();
    let pid = container.pid;
    container.remove();
    (heard, pid)
}
