//! The process of a pod.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener as StdListener,
    },
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::watch,
};
use ttrpc::{r#async::Server, asynchronous::transport::Listener};

use crate::{
    children,
    error::{Doing, Fault, Result},
    events::Events,
    flags::Flags,
    log,
    pod::Pod,
    ready::{self, Watched},
    sandbox, service,
    start::EVENTS,
};

/// How long clients may stay when it is over: as long as containerd waits for a shim to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves until containerd says that it is over. The listening socket is the standard input.
pub(crate) fn run(flags: Flags) -> Result<()> {
    children::reserve_doors()?;
    let listener = take_listener()?;
    let parent = take_pipe();
    log::open(Path::new("."), flags.debug);
    let doing = || "cannot become the parent of orphans";
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing(doing)?;
    let signals = signals()?;
    // One thread, and no other one ever: the runtime counts on it, and each would cost memory.
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    executor
        .doing(|| "cannot start the executor")?
        .block_on(serve(flags, listener, signals, parent))
}

/// Children are not to have it, so it makes room for /dev/null.
fn take_listener() -> Result<StdListener> {
    let doing = || "cannot take the listening socket from the standard input";
    let stdin = std::io::stdin();
    let listener = stdin.as_fd().try_clone_to_owned().doing(doing)?;
    if !rustix::net::sockopt::socket_acceptconn(&listener).unwrap_or(false) {
        return Err(Fault::invalid(
            "this is containerd's shim for rtn, for containerd to call: it needs an action, start or \
             delete, or a listening socket as its standard input",
        ));
    }
    let null = std::fs::File::open("/dev/null").doing(doing)?;
    rustix::stdio::dup2_stdin(&null).doing(doing)?;
    let listener = StdListener::from(listener);
    listener.set_nonblocking(true).doing(doing)?;
    Ok(listener)
}

/// From `start`, if that is who runs this.
fn take_pipe() -> Option<OwnedFd> {
    let stdout = std::io::stdout();
    let mode = rustix::fs::fstat(&stdout).ok()?.st_mode;
    if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::Fifo {
        return None;
    }
    let pipe = stdout.as_fd().try_clone_to_owned().ok()?;
    let null = std::fs::File::options().write(true).open("/dev/null").ok()?;
    rustix::stdio::dup2_stdout(&null).ok()?;
    Some(pipe)
}

/// Ends a shim of which containerd was never told.
async fn heed_start(pipe: OwnedFd, pod: Arc<Pod>) {
    let Ok(pipe) = ready::for_reading(pipe) else { return };
    let readable = pipe.readable().await.is_ok();
    let told = rustix::io::read(pipe.get_ref(), &mut [0]).is_ok_and(|read| read > 0);
    if readable && !told && pod.is_empty() {
        pod.done.notify_one();
    }
}

/// SIGCHLD tells of orphans. SIGTERM and SIGINT end it only when it serves nothing: a shim that
/// leaves its containers alone loses their exits.
fn signals() -> Result<SignalFd> {
    let set = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]);
    let doing = || "cannot watch for signals";
    set.thread_block().map_err(std::io::Error::from).doing(doing)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).map_err(std::io::Error::from).doing(doing)
}

async fn serve(
    flags: Flags,
    listener: StdListener,
    signals: SignalFd,
    parent: Option<OwnedFd>,
) -> Result<()> {
    let events = Events::new(&flags.namespace, std::env::var(EVENTS).ok());
    let pod = Arc::new(Pod::new(&flags.namespace, &flags.id, events));
    let listener = UnixListener::from_std(listener).doing(|| "cannot watch the socket")?;
    let present = Arc::new(watch::Sender::new(()));
    let clients = Clients { listener, pod: pod.clone(), present: present.clone() };
    let mut server = Server::new()
        .add_listener(Listener::new(clients))
        .register_service(service::methods(&pod))
        .register_service(sandbox::methods(&pod));
    let arrival = signals.as_fd().try_clone_to_owned().and_then(ready::for_reading);
    let arrival = arrival.doing(|| "cannot watch for signals")?;
    tokio::spawn(heed(signals, arrival, pod.clone()));
    parent.map(|pipe| tokio::spawn(heed_start(pipe, pod.clone())));
    let forwarded = pod.common.clone();
    tokio::spawn(async move { forwarded.events.forward().await });
    server.start().await.map_err(|error| Fault::unknown(error.to_string()))?;
    pod.done.notified().await;
    pod.common.events.flush().await;
    let _ = std::fs::remove_file(&flags.socket);
    // Who brought this about hangs up when it has its answer. If the connection ended first,
    // containerd's client might see that instead, and take it for a failure.
    let _ = tokio::time::timeout(PATIENCE, present.closed()).await;
    let _ = server.shutdown().await;
    Ok(())
}

async fn heed(signals: SignalFd, arrival: Watched, pod: Arc<Pod>) {
    while let Ok(mut ready) = arrival.readable().await {
        ready.clear_ready();
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                match pod.is_empty() {
                    true => pod.done.notify_one(),
                    false => log::warning("there are containers: a signal to end is not heeded"),
                }
            }
        }
        children::sweep();
    }
}

/// Connections from this process's own user. A file with mode 0600 keeps others out already; who got
/// hold of a descriptor of it by other ways is kept out here (CVE-2020-15257).
struct Clients {
    listener: UnixListener,
    pod: Arc<Pod>,
    present: Arc<watch::Sender<()>>,
}

/// A connection, which is counted as long as it is there.
struct Client {
    stream: UnixStream,
    _presence: watch::Receiver<()>,
}

impl Stream for Clients {
    type Item = std::io::Result<Client>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let (stream, _) = match ready!(self.listener.poll_accept(context)) {
                Ok(accepted) => accepted,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            let own = rustix::process::geteuid().as_raw();
            if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
                self.pod.common.events.nudge();
                let _presence = self.present.subscribe();
                return Poll::Ready(Some(Ok(Client { stream, _presence })));
            }
            log::warning("a connection from another user is refused");
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
