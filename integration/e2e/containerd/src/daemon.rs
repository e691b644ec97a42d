//! The one containerd that all tests of a binary share.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Mutex, OnceLock, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    ctr::{self, ctr},
    image, wait,
};

static DAEMON: OnceLock<Daemon> = OnceLock::new();

/// A containerd with directories and sockets of its own, and a namespace that no other one on this
/// host uses: the containers' cgroups are named after it.
#[derive(Debug)]
pub struct Daemon {
    directory: PathBuf,
    namespace: String,
    runtime: String,
    /// Where the shim that is judged is found.
    shims: Option<PathBuf>,
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

/// Starts it. `runtime` is what `ctr run` is told; its shim is in `shims`, or in PATH.
///
/// # Panics
/// When it does not come up.
pub fn start(runtime: &str, shims: Option<PathBuf>, directory: PathBuf) {
    let namespace = format!("e2e-{}", std::process::id());
    let daemon = Daemon {
        directory,
        namespace,
        runtime: runtime.to_owned(),
        shims,
        process: Mutex::default(),
        found_sockets: dead_sockets(),
    };
    daemon.prepare().expect("a place for containerd");
    DAEMON.set(daemon).expect("one daemon is enough");
    shared().up();
    let archive = image::archive(&shared().directory).expect("an image");
    ctr(&["image", "import", &archive.to_string_lossy()]).code(0);
}

/// The daemon that [`start`] has started.
pub fn shared() -> &'static Daemon {
    DAEMON.get().expect("the daemon is started before the tests")
}

impl Daemon {
    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let at = |name: &str| self.directory.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n[debug]\nlevel = \"debug\"\n",
            at("root"),
            at("state"),
            at("c.sock"),
            at("c.sock.ttrpc"),
        );
        fs::write(self.directory.join("config.toml"), config)
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("c.sock")
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// Whether the shim that is judged is rtn's.
    pub fn is_rtn(&self) -> bool {
        self.shims.is_some()
    }

    pub fn bundles(&self) -> PathBuf {
        self.directory.join("state/io.containerd.runtime.v2.task").join(&self.namespace)
    }

    pub fn found_sockets(&self) -> &BTreeSet<PathBuf> {
        &self.found_sockets
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts the process, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&self) {
        let log = File::options().append(true).create(true).open(self.log());
        let log = log.expect("a file for its messages");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(self.directory.join("config.toml"));
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        if let Some(shims) = &self.shims {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", shims.display()));
        }
        let process = command.spawn().expect("containerd can be executed");
        *self.process() = Some(process);
        wait::until("containerd answers", || {
            (ctr::command().arg("version").output().ok()?.status.success()).then_some(())
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
        let own = self.directory.display().to_string();
        mounts.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
    }

    /// Containers' cgroups.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        let containers = roots.filter_map(|root| fs::read_dir(root.join(&self.namespace)).ok());
        let paths = containers.flatten().flatten().map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// Ends it, and removes its files and the cgroup above its containers'.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        self.down(Signal::TERM);
        let hierarchies = fs::read_dir("/sys/fs/cgroup")?.flatten();
        let roots = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        for directory in roots.map(|root| root.join(&self.namespace)).filter(|path| path.is_dir()) {
            fs::remove_dir(directory)?;
        }
        // Where the shims' runtimes keep states, a directory for each namespace; empty by now.
        for states in ["/run/containerd/rtn", "/run/containerd/runc"] {
            match fs::remove_dir(Path::new(states).join(&self.namespace)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // The messages stay for who wants to read them.
        for entry in
            fs::read_dir(&self.directory)?.flatten().filter(|entry| entry.path() != self.log())
        {
            match entry.path().is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }
}
