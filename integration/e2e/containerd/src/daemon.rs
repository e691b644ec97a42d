//! The one containerd that all tests of a binary share.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Mutex, OnceLock, PoisonError},
};

use e2e_common::{Output, Running, cgroup};
use rustix::process::{Pid, Signal, kill_process};

use crate::{image, wait};

static DAEMON: OnceLock<Daemon> = OnceLock::new();

/// What is chosen for a containerd.
#[derive(Debug)]
pub struct Setup {
    /// For its files and sockets. Short, since paths of sockets are.
    pub directory: PathBuf,
    pub namespace: String,
    /// Below the mount of each hierarchy: the directory that the containers' cgroups are in.
    pub cgroups: String,
    /// What `ctr run` is told.
    pub runtime: String,
    /// Where the shim that is judged is found, if not in PATH.
    pub shims: Option<PathBuf>,
    pub disabled_plugins: Vec<String>,
    /// Tables of the configuration file beyond those of its sockets.
    pub tables: String,
}

/// A containerd with directories and sockets of its own.
#[derive(Debug)]
pub struct Daemon {
    setup: Setup,
    process: Mutex<Option<Child>>,
    /// Those that somebody else had left before.
    found_sockets: BTreeSet<PathBuf>,
}

/// Sockets of shims at which nobody listens. Those of all containerds are in one directory.
pub fn dead_sockets() -> BTreeSet<PathBuf> {
    let sockets = fs::read_dir("/run/containerd/s").into_iter().flatten().flatten();
    let paths = sockets.map(|entry| entry.path());
    paths.filter(|path| UnixStream::connect(path).is_err() && path.exists()).collect()
}

/// containerd's version: the first two numbers. It is the one in PATH, or in the directory
/// `CONTAINERD`.
///
/// # Panics
/// When there is none.
pub fn version() -> (u32, u32) {
    let output = program("containerd").arg("--version").output().expect("containerd is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = said.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    });
    numbers.unwrap_or_else(|| panic!("a version: {said}"))
}

/// A program of containerd's.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    if let Some(directory) = std::env::var_os("CONTAINERD") {
        command = Command::new(Path::new(&directory).join(name));
    }
    command
}

/// Where containerd looks for shims.
fn path(shims: Option<&Path>) -> OsString {
    let own = std::env::var_os("CONTAINERD").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = shims.map(Path::to_owned).into_iter().chain(own);
    std::env::join_paths(first.chain(std::env::split_paths(&path))).expect("names without colons")
}

/// Asks systemd, and waits.
#[track_caller]
pub fn systemctl(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemctl");
    command.args(arguments);
    Running::start(command, b"").end()
}

/// Starts it, and gives it the images.
///
/// # Panics
/// When it does not come up.
pub fn start(setup: Setup) {
    let daemon = Daemon { setup, process: Mutex::default(), found_sockets: dead_sockets() };
    daemon.prepare().expect("a place for containerd");
    DAEMON.set(daemon).expect("one daemon is enough");
    shared().up();
    let archive = image::archive(shared().directory()).expect("an image");
    let mut import = shared().client();
    import.args(["image", "import"]).arg(archive);
    Running::start(import, b"").end().code(0);
}

/// The daemon that [`start`] has started.
pub fn shared() -> &'static Daemon {
    DAEMON.get().expect("the daemon is started before the tests")
}

impl Daemon {
    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(self.directory())?;
        let at = |name: &str| self.directory().join(name).display().to_string();
        let config = format!(
            "version = {}\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {:?}\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n[debug]\nlevel = \"debug\"\n{}",
            if version() < (2, 0) { 2 } else { 3 },
            at("root"),
            at("state"),
            self.setup.disabled_plugins,
            at("c.sock"),
            at("c.sock.ttrpc"),
            self.setup.tables,
        );
        fs::write(self.directory().join("config.toml"), config)
    }

    pub fn socket(&self) -> PathBuf {
        self.directory().join("c.sock")
    }

    /// `ctr` for it, without arguments yet.
    pub fn client(&self) -> Command {
        let mut command = program("ctr");
        command.arg("--address").arg(self.socket()).args(["--namespace", self.namespace()]);
        command
    }

    pub fn directory(&self) -> &Path {
        &self.setup.directory
    }

    pub fn namespace(&self) -> &str {
        &self.setup.namespace
    }

    /// Others may use this namespace, too.
    fn is_known(&self) -> bool {
        self.namespace() == "k8s.io"
    }

    pub fn runtime(&self) -> &str {
        &self.setup.runtime
    }

    /// Whether the shim that is judged is rtn's.
    pub fn is_rtn(&self) -> bool {
        self.setup.shims.is_some()
    }

    pub fn bundles(&self) -> PathBuf {
        self.directory().join("state/io.containerd.runtime.v2.task").join(self.namespace())
    }

    pub fn found_sockets(&self) -> &BTreeSet<PathBuf> {
        &self.found_sockets
    }

    pub fn log(&self) -> PathBuf {
        self.directory().join("log")
    }

    /// Starts the process, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&self) {
        let log = File::options().append(true).create(true).open(self.log());
        let log = log.expect("a file for its messages");
        let mut command = program("containerd");
        command.arg("--config").arg(self.directory().join("config.toml"));
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        command.env("PATH", path(self.setup.shims.as_deref()));
        let process = command.spawn().expect("containerd can be executed");
        *self.process() = Some(process);
        wait::until("containerd answers", || {
            (self.client().arg("version").output().ok()?.status.success()).then_some(())
        });
    }

    /// Ends it with a signal; its containers go on.
    pub fn down(&self, signal: Signal) {
        let Some(mut process) = self.process().take() else { return };
        kill_process(Pid::from_child(&process), signal).expect("it is there");
        let ended = wait::exit(&mut process, wait::PATIENCE).expect("a child");
        assert!(ended.is_some(), "containerd ends");
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes of shims of this containerd.
    pub fn shims(&self) -> Vec<u32> {
        let address = self.socket().display().to_string();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let line = e2e_common::host::command_line(*pid);
            line.first().is_some_and(|program| program.contains("containerd-shim"))
                && line.contains(&address)
        })
        .collect()
    }

    /// What is mounted below its directories.
    pub fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.directory().display().to_string();
        mounts.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
    }

    /// Containers' cgroups.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let children = self.parents().into_iter().filter_map(|parent| fs::read_dir(parent).ok());
        let paths = children.flatten().flatten().map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// What their cgroups are in, in each hierarchy.
    fn parents(&self) -> Vec<PathBuf> {
        let roots = cgroup::roots().into_iter();
        let parents = roots.map(|root| root.join(&self.setup.cgroups));
        parents.filter(|parent| parent.is_dir()).collect()
    }

    /// Ends it, and removes its files and the cgroup above its containers'.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        self.down(Signal::TERM);
        if self.setup.cgroups.ends_with(".slice") {
            systemctl(&["stop", &self.setup.cgroups]);
        }
        for directory in self.parents() {
            fs::remove_dir(directory)?;
        }
        // Where the shims' runtimes keep states, a directory for each namespace; empty by now.
        for states in ["/run/containerd/rtn", "/run/containerd/runc"] {
            match fs::remove_dir(Path::new(states).join(self.namespace())) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Another containerd's of the same namespace.
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty && self.is_known() => {}
                removed => removed?,
            }
        }
        // The messages stay for who wants to read them.
        for entry in
            fs::read_dir(self.directory())?.flatten().filter(|entry| entry.path() != self.log())
        {
            match entry.path().is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }
}
