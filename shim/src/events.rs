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
use tokio::sync::Notify;
use ttrpc::r#async::Client;

use crate::{
    address::SCHEME,
    children::lock,
    log,
    ready::{self, Watched},
};

/// How many events are kept for a containerd that stays away; containerd's own figure.
const CAPACITY: usize = 2048;
/// How long containerd may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one is offered that containerd refuses.
const OFFERS: usize = 5;

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

    async fn send(&self, client: &mut Option<Client>, event: Envelope) -> Result<(), Refusal> {
        let absent = |error: ttrpc::Error| Refusal::Absence(error.to_string());
        let connected = match client.take() {
            Some(connected) => connected,
            None => {
                Client::connect(&format!("{SCHEME}{}", self.address())).await.map_err(absent)?
            }
        };
        let request = ForwardRequest { envelope: MessageField::some(event), ..Default::default() };
        let context = ttrpc::context::with_duration(PATIENCE);
        let sent = EventsClient::new(connected.clone()).forward(context, &request).await;
        match sent {
            Ok(_) => {
                *client = Some(connected);
                Ok(())
            }
            Err(ttrpc::Error::RpcStatus(status))
                if status.code() != ttrpc::Code::DEADLINE_EXCEEDED =>
            {
                *client = Some(connected);
                Err(Refusal::Event(status.message))
            }
            Err(error) => Err(absent(error)),
        }
    }

    /// Waits until everything is sent, but not longer than containerd may take for one.
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
