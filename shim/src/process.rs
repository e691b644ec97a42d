//! A process of a container, its first or a later one, from the wish for it to its deletion.

use std::sync::{Arc, Mutex};

use tokio::sync::{Mutex as Turns, watch};

use crate::{
    children::{Child, Exit, lock},
    error::{Fault, Result},
    io::{Io, Names},
    table::{State, Verb},
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Process {
    /// Empty for the container's first.
    pub(crate) exec_id: String,
    pub(crate) names: Names,
    /// What to run (runtime-spec, config.md "Process"), as JSON; empty for the container's first.
    pub(crate) spec: Vec<u8>,
    now: Mutex<Now>,
    /// What `Wait` waits for: said when everybody else has been told. A refusal is why it did not begin.
    exit: watch::Sender<Option<Result<Exit>>>,
    /// Held by Start, Delete and the end of the process, which take their time: one at a time.
    pub(crate) turns: Turns<()>,
}

#[derive(Debug)]
struct Now {
    state: State,
    child: Option<Arc<Child>>,
    exit: Option<Exit>,
    io: Option<Io>,
    /// Being frozen, which may take its time.
    pausing: bool,
}

impl Process {
    /// One that waits for Start: made already if it is a container's first, else only wished for.
    pub(crate) fn new(exec_id: &str, names: Names, spec: Vec<u8>) -> Self {
        Self {
            exec_id: exec_id.to_owned(),
            names,
            spec,
            now: Mutex::new(Now {
                state: State::Created,
                child: None,
                exit: None,
                io: None,
                pausing: false,
            }),
            exit: watch::Sender::new(None),
            turns: Turns::new(()),
        }
    }

    pub(crate) fn is_init(&self) -> bool {
        self.exec_id.is_empty()
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.now).state
    }

    pub(crate) fn is_pausing(&self) -> bool {
        lock(&self.now).pausing
    }

    pub(crate) fn set_pausing(&self, pausing: bool) {
        lock(&self.now).pausing = pausing;
    }

    /// Whether it has been made and has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        let now = lock(&self.now);
        now.child.is_some() && now.exit.is_none()
    }

    /// Whether it has, be it known here already or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.child().is_some_and(|child| child.has_ended())
    }

    /// 0 before there is one.
    pub(crate) fn pid(&self) -> i32 {
        lock(&self.now).child.as_ref().map_or(0, |child| child.pid)
    }

    pub(crate) fn child(&self) -> Option<Arc<Child>> {
        lock(&self.now).child.clone()
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        lock(&self.now).exit
    }

    /// Whether `verb` may be done now.
    pub(crate) fn allows(&self, verb: Verb) -> Result<()> {
        self.state().after(verb).map(drop)
    }

    /// Marks that it has been done.
    pub(crate) fn did(&self, verb: Verb) -> Result<()> {
        let mut now = lock(&self.now);
        now.state = now.state.after(verb)?;
        Ok(())
    }

    /// It exists.
    pub(crate) fn made(&self, child: Arc<Child>, io: Io) {
        let mut now = lock(&self.now);
        now.child = Some(child);
        now.io = Some(io);
        // It may have been tried before.
        self.exit.send_replace(None);
    }

    /// It has ended; who waits for it is told later, by [`Self::tell`].
    pub(crate) fn ended(&self, exit: Exit) {
        let mut now = lock(&self.now);
        now.exit = Some(exit);
        now.state = now.state.after(Verb::Exit).unwrap_or(State::Stopped);
    }

    pub(crate) fn tell(&self, exit: Exit) {
        self.exit.send_replace(Some(Ok(exit)));
    }

    /// Waits for its end, be it started or not.
    ///
    /// # Errors
    /// Why it did not begin; NOT_FOUND when it is deleted before that.
    pub(crate) async fn wait(&self) -> Result<Exit> {
        let mut exit = self.exit.subscribe();
        let told = exit.wait_for(Option::is_some).await;
        // The sender is here: it cannot go away while this is called.
        told.ok().and_then(|told| told.clone()).unwrap_or_else(|| Err(never_began()))
    }

    /// It does not begin, for this reason; nobody needs to wait any longer.
    pub(crate) fn give_up(&self, why: Fault) {
        self.exit.send_if_modified(|exit| {
            let untold = exit.is_none();
            exit.get_or_insert(Err(why));
            untold
        });
    }

    /// It is deleted, and will not begin if it has not.
    pub(crate) fn deleted(&self) {
        self.give_up(never_began());
    }

    /// Sends a signal to it, and to it alone.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        let child = lock(&self.now).child.clone();
        child.ok_or_else(|| Fault::precondition("process not created"))?.signal(signal)
    }

    /// Does something with its streams, if they are open.
    pub(crate) fn with_io<T>(&self, what: impl FnOnce(&mut Io) -> T) -> Option<T> {
        lock(&self.now).io.as_mut().map(what)
    }

    pub(crate) fn take_io(&self) -> Option<Io> {
        lock(&self.now).io.take()
    }
}

fn never_began() -> Fault {
    Fault::not_found("the process was deleted before it was started: not found")
}
