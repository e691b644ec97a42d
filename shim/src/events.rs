//! Events for containerd: kept in the order in which they happened, each one until containerd has
//! taken it.
//!
//! A containerd that is away comes back by connecting to this shim, and then by opening its socket for
//! events. These are when sending is tried again; before, there would be nobody to hear.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use containerd_shim_protos::{
    api::ForwardRequest, shim::event::Envelope, shim_async::EventsClient,
};
use protobuf::{
    Message, MessageField,
    well_known_types::{any::Any, timestamp::Timestamp},
};
use rustix::fs::inotify;
use tokio::{net::UnixStream, sync::Notify};
use ttrpc::{r#async::Client, asynchronous::transport::Socket, context::Context};

use crate::{
    address::SCHEME,
    children::{Exit, lock},
    log,
    ready::{self, Watched},
};

/// How many events are kept for a containerd that stays away; containerd's own figure.
const CAPACITY: usize = 2048;
/// How long an ending shim waits for containerd to take what is left.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one is offered that containerd refuses.
const OFFERS: usize = 5;
/// The beginning of the year 1, in seconds since 1970.
const GO_ZERO: i64 = -62_135_596_800;

/// The queue.
#[derive(Debug)]
pub(crate) struct Events {
    namespace: String,
    /// Of containerd's ttrpc socket; without one nobody wants events.
    address: Option<String>,
    queue: Mutex<VecDeque<Envelope>>,
    /// There is something to send, or somebody to send it to.
    wake: Notify,
    /// The queue is empty.
    empty: Notify,
}

enum Refusal {
    /// It did not like the event.
    Event(String),
    /// It was not there.
    Absence(String),
}

impl Events {
    pub(crate) fn new(namespace: &str, address: Option<String>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            address: address.filter(|address| !address.is_empty()),
            queue: Mutex::default(),
            wake: Notify::new(),
            empty: Notify::new(),
        }
    }

    /// `name` is that of the message's type, without its package.
    pub(crate) fn publish(&self, topic: &str, name: &str, event: &impl Message) {
        if self.address.is_some() {
            // Not by the trait object for messages: that brings the tables of all of them into memory.
            self.push(topic, name, event.write_to_bytes().unwrap_or_default());
        }
    }

    fn push(&self, topic: &str, name: &str, value: Vec<u8>) {
        let type_url = format!("containerd.events.{name}");
        let any = Any { type_url, value, ..Default::default() };
        let envelope = Envelope {
            timestamp: MessageField::some(timestamp(SystemTime::now())),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(any),
            ..Default::default()
        };
        let mut queue = lock(&self.queue);
        if queue.len() == CAPACITY {
            log::error("too many events are waiting for containerd; the oldest is lost");
            queue.pop_front();
        }
        queue.push_back(envelope);
        self.wake.notify_one();
    }

    /// containerd has shown that it is there.
    pub(crate) fn nudge(&self) {
        self.wake.notify_one();
    }

    /// Sends what there is to send, for ever.
    pub(crate) async fn forward(&self) {
        let (mut client, mut arrivals) = (None, None);
        let mut offers = 0;
        loop {
            let Some(first) = lock(&self.queue).front().cloned() else {
                arrivals = None;
                self.empty.notify_waiters();
                self.wake.notified().await;
                continue;
            };
            offers += 1;
            let used = client.is_some();
            match self.send(&mut client, first).await {
                // The connection was to one that has ended since. Its successor may be there.
                Err(Refusal::Absence(_)) if used => {}
                Err(Refusal::Absence(why)) => match &arrivals {
                    // Watched before the last look, so that it is not missed.
                    None => arrivals = Some(self.arrivals()),
                    Some(arrivals) => {
                        log::warning(&format!("cannot publish an event: {why}"));
                        self.arrival(arrivals.as_ref()).await;
                    }
                },
                Err(Refusal::Event(_)) if offers < OFFERS => {}
                Err(Refusal::Event(why)) => {
                    log::error(&format!("containerd does not take an event: {why}"));
                    self.taken(&mut offers);
                }
                Ok(()) => self.taken(&mut offers),
            }
        }
    }

    /// What happens to containerd's socket. It is given its owner and mode when somebody listens there
    /// (containerd, pkg/sys/socket_unix.go `GetLocalListener`).
    fn arrivals(&self) -> Option<Watched> {
        let directory = Path::new(self.address()).parent()?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let arrivals = inotify::init(flags).ok()?;
        let what = inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB;
        inotify::add_watch(&arrivals, directory, what).ok()?;
        ready::for_reading(arrivals).ok()
    }

    /// Waits until there may be somebody to send to.
    async fn arrival(&self, arrivals: Option<&Watched>) {
        let Some(arrivals) = arrivals else { return self.wake.notified().await };
        tokio::select! {
            () = self.wake.notified() => {}
            ready = arrivals.readable() => {
                let _ = ready.map(|mut ready| ready.clear_ready());
                // Whatever it was.
                while rustix::io::read(arrivals.get_ref(), &mut [0; 4096]).is_ok_and(|read| read > 0) {}
            }
        }
    }

    fn address(&self) -> &str {
        let address = self.address.as_deref().unwrap_or_default();
        address.strip_prefix(SCHEME).unwrap_or(address)
    }

    fn taken(&self, offers: &mut usize) {
        lock(&self.queue).pop_front();
        *offers = 0;
    }

    /// Without a deadline: a containerd that does not answer is slow, or stopped, and has the event. One
    /// that is gone has hung up.
    async fn send(&self, client: &mut Option<Client>, event: Envelope) -> Result<(), Refusal> {
        let connected = match client.take() {
            Some(connected) => connected,
            None => self.connect().await.map_err(|error| Refusal::Absence(error.to_string()))?,
        };
        let request = ForwardRequest { envelope: MessageField::some(event), ..Default::default() };
        let forwarding = EventsClient::new(connected.clone());
        match forwarding.forward(Context::default(), &request).await {
            Ok(_) => {
                *client = Some(connected);
                Ok(())
            }
            Err(ttrpc::Error::RpcStatus(status)) => {
                *client = Some(connected);
                Err(Refusal::Event(status.message))
            }
            Err(error) => Err(Refusal::Absence(error.to_string())),
        }
    }

    /// Not by the client, whose connect(2) blocks while the queue of a socket is full.
    async fn connect(&self) -> std::io::Result<Client> {
        let stream = UnixStream::connect(self.address()).await?;
        Ok(Client::new(Socket::from(stream)))
    }

    /// Waits until everything is sent, but not for ever.
    pub(crate) async fn flush(&self) {
        let empty = self.empty.notified();
        if !lock(&self.queue).is_empty() {
            self.wake.notify_one();
            let _ = tokio::time::timeout(PATIENCE, empty).await;
        }
    }
}

/// Nanoseconds and all.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanos: since.subsec_nanos().cast_signed(),
        ..Default::default()
    }
}

/// That of an end that there has not been is Go's zero time, 0001-01-01: a message without one is the
/// year 1970 for a client in Go (containerd, pkg/protobuf/timestamp.go).
pub(crate) fn exited_at(exit: Option<Exit>) -> Timestamp {
    let never = || Timestamp { seconds: GO_ZERO, ..Default::default() };
    exit.map_or_else(never, |exit| timestamp(exit.at))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use containerd_shim_protos::{
        api::Empty,
        shim_async::{Events as Service, create_events},
    };
    use ttrpc::r#async::{Server, TtrpcContext};

    use super::*;

    /// Keeps the topics that it hears, and answers the first one late.
    #[derive(Default)]
    struct Slow(Mutex<Vec<String>>);

    #[async_trait]
    impl Service for Slow {
        async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
            let is_first = lock(&self.0).is_empty();
            lock(&self.0).push(request.envelope.topic.clone());
            if is_first {
                tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
            }
            Ok(Empty::new())
        }
    }

    /// A containerd that was stopped, or whose disk is slow: it has the event, which is neither lost nor
    /// told twice.
    #[test]
    fn an_answer_that_is_late_is_waited_for() {
        let socket = std::env::temp_dir().join(format!("events.{}", std::process::id()));
        let address = format!("{SCHEME}{}", socket.display());
        let slow = Arc::new(Slow::default());
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        executor.block_on(async {
            let server = Server::new().bind(&address).unwrap();
            let mut server = server.register_service(create_events(slow.clone()));
            server.start().await.unwrap();
            let events = Arc::new(Events::new("tests", Some(address)));
            events.push("/first", "TaskExit", Vec::new());
            events.push("/second", "TaskDelete", Vec::new());
            let forwarded = events.clone();
            tokio::spawn(async move { forwarded.forward().await });
            for _ in 0..3 {
                events.flush().await;
            }
            assert!(lock(&events.queue).is_empty());
        });
        assert_eq!(*lock(&slow.0), ["/first", "/second"]);
        std::fs::remove_file(socket).unwrap();
    }
}
