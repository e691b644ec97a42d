//! The one daemon that all tests of a binary share.

use std::{
    io::{BufRead, BufReader, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use e2e_common::{host, wait};

use crate::{keeper, place::Place, runtime::Way};

static DAEMON: OnceLock<Daemon> = OnceLock::new();

/// Longer than the keeper's own deadlines together.
const START: Duration = Duration::from_secs(1000);
const STOP: Duration = Duration::from_secs(300);

/// The shared daemon and the child that keeps it.
#[derive(Debug)]
pub struct Daemon {
    place: Place,
    pid: AtomicU32,
    runtime: PathBuf,
    mounts: Vec<host::Mount>,
    keeper: Mutex<Keeper>,
}

#[derive(Debug)]
struct Keeper {
    child: Child,
    answers: BufReader<ChildStdout>,
}

/// Starts the daemon that the tests will share. `keeper` is the program `private-dockerd`, `log`
/// the file for dockerd's messages.
///
/// # Panics
/// When it does not come up, with the keeper's words on standard error before.
pub fn start(keeper: &Path, runtime: &Path, log: &Path) {
    let mut child = Command::new(keeper)
        .arg(runtime)
        .arg(log)
        // Its closing tells the keeper that this process is gone, however it went.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("private-dockerd can be executed");
    let answers = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut keeper = Keeper { child, answers };
    let (pid, directory) = keeper.answer().expect("private-dockerd starts");
    let (place, runtime) = (Place::at(directory), runtime.to_owned());
    let mounts = host::mounts(pid);
    let daemon = Daemon { place, pid: pid.into(), runtime, mounts, keeper: Mutex::new(keeper) };
    DAEMON.set(daemon).expect("one daemon is enough");
}

/// Stops the daemon; the status is the keeper's, which fails when anything could not be cleaned up.
pub fn stop() -> Option<ExitStatus> {
    let mut keeper = shared().keeper();
    drop(keeper.child.stdin.take());
    wait::exit(&mut keeper.child, STOP).expect("a child can be waited for")
}

/// The daemon that [`start`] has started.
pub fn shared() -> &'static Daemon {
    DAEMON.get().expect("the daemon is started before the tests")
}

impl Daemon {
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The process id of dockerd.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Ends dockerd, and the containerd that it has started: in order, or at once.
    ///
    /// # Panics
    /// When it does not end.
    pub fn down(&self, at_once: bool) {
        self.keeper().told(if at_once { keeper::KILL } else { keeper::DOWN });
    }

    /// Starts dockerd again.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(&self) {
        self.pid.store(self.keeper().told(keeper::UP), Ordering::Relaxed);
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime that is judged.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Mounts that the daemon's mount namespace has now and did not have at the start.
    pub fn new_mounts(&self) -> Vec<host::Mount> {
        let mut mounts = host::mounts(self.pid());
        mounts.retain(|mount| !self.mounts.contains(mount));
        mounts
    }

    /// A path of the daemon's mount namespace, seen from here.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where the runtime keeps its containers' state, seen from here.
    pub fn runtime_root(&self) -> PathBuf {
        self.seen(&Way::chosen().root(&self.place.exec_root()))
    }
}

impl Keeper {
    /// Has it do something; the process id of dockerd afterwards.
    fn told(&mut self, word: &str) -> u32 {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{word}").expect("private-dockerd reads");
        self.answer().expect("private-dockerd does it").0
    }

    /// A line of it: process id of dockerd, and the place.
    fn answer(&mut self) -> Option<(u32, PathBuf)> {
        if !wait::readable(self.answers.get_ref().as_fd(), Instant::now() + START) {
            return None;
        }
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        let (pid, directory) = line.trim_end().split_once(' ')?;
        Some((pid.parse().ok()?, directory.into()))
    }
}
