//! Where the podman of a test program keeps everything, and how it is configured.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use e2e_common::{IMAGE, cgroup, host, image};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::cgroup_of;

static PLACE: OnceLock<Place> = OnceLock::new();

/// What is installed in /etc/containers/containers.conf.d.
const DROP_IN: &str = include_str!("../../../../etc/containers/containers.conf.d/50-rtn.conf");

/// The directories of one podman.
#[derive(Debug)]
pub struct Place {
    /// Images and containers; on a filesystem that an overlay can be made on.
    storage: PathBuf,
    /// What does not outlive the machine, and the files of tests.
    run: PathBuf,
    runtime: String,
    program: PathBuf,
    root: bool,
    controllers: Vec<String>,
    scopes: Vec<PathBuf>,
}

impl Place {
    /// Makes the place that the tests will share, with the image in it.
    ///
    /// # Errors
    /// Of the filesystem, or what podman said.
    pub fn open(runtime: &Path) -> io::Result<&'static Self> {
        let place = Self::new(runtime);
        fs::create_dir_all(place.storage.join("libpod"))?;
        fs::create_dir_all(&place.run)?;
        fs::write(place.drop_in(), DROP_IN)?;
        fs::write(place.configuration(), place.configured(runtime))?;
        let place = PLACE.get_or_init(|| place);
        let mut import = place.command();
        import.args(["import", "-q", "-", IMAGE]);
        image::import(&place.run, import)?;
        Ok(place)
    }

    fn new(runtime: &Path) -> Self {
        let own = format!("rtn-e2e-{}", std::process::id());
        let root = geteuid().is_root();
        let variable =
            |name, default: &str| env::var_os(name).map_or(default.into(), PathBuf::from);
        let (storage, run): (PathBuf, PathBuf) = match root {
            true => ("/var/lib/containers".into(), "/run".into()),
            false => (variable("HOME", "/"), variable("XDG_RUNTIME_DIR", "/")),
        };
        Self {
            storage: storage.join(&own),
            run: run.join(&own),
            runtime: runtime.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            program: runtime.to_owned(),
            root,
            controllers: controllers(root),
            scopes: scopes(),
        }
    }

    /// The place that [`Place::open`] has made.
    pub fn shared() -> &'static Self {
        PLACE.get().expect("the place is made before the tests")
    }

    /// podman at this place, without arguments yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.storage.join("storage"));
        command.arg("--runroot").arg(self.run.join("run"));
        command.arg("--tmpdir").arg(self.run.join("tmp"));
        command.args(["--runtime", &self.runtime]);
        // The one file instead of the machine's own; then the tests' over it.
        command.env("CONTAINERS_CONF", self.drop_in());
        command.env("CONTAINERS_CONF_OVERRIDE", self.configuration());
        command
    }

    /// What the tests need beside the drop-in. Networks are not the runtime's business, and cost
    /// more than a container.
    fn configured(&self, runtime: &Path) -> String {
        let pids = match self.controllers.iter().any(|name| name == "pids") {
            true => "",
            false => "pids_limit = 0\n",
        };
        format!(
            "[containers]\n{pids}netns = \"none\"\nlog_driver = \"k8s-file\"\n\
             [engine]\nevents_logger = \"file\"\n\
             [engine.runtimes]\n{} = [{:?}]\n\
             [network]\nfirewall_driver = \"iptables\"\n",
            self.runtime,
            runtime.to_string_lossy(),
        )
    }

    fn drop_in(&self) -> PathBuf {
        self.run.join("50-rtn.conf")
    }

    fn configuration(&self) -> PathBuf {
        self.run.join("containers.conf")
    }

    /// A path for a file or directory of a test, another one at each call, on a filesystem that
    /// mounts can be id-mapped on.
    pub fn file(&self, name: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.storage.join(format!("{name}.{number}"))
    }

    /// A directory of a test's own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn directory(&self, name: &str) -> String {
        let path = self.file(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.to_string_lossy().into_owned()
    }

    /// The name of the runtime that is judged.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// The runtime itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn is_root(&self) -> bool {
        self.root
    }

    pub fn who(&self) -> &str {
        if self.root { "root" } else { "the user" }
    }

    /// The controllers of cgroup v2 that a container's limits can use.
    pub fn controllers(&self) -> &[String] {
        &self.controllers
    }

    /// Cgroups of podman's containers that were not there at the beginning.
    pub fn new_scopes(&self) -> Vec<PathBuf> {
        scopes().into_iter().filter(|scope| !self.scopes.contains(scope)).collect()
    }

    /// Where a runtime keeps its containers' state when podman does not say where.
    pub fn state_of_the_runtime(&self) -> PathBuf {
        let name = if self.runtime == "rtn" { "rtn" } else { &self.runtime };
        match self.root {
            true => Path::new("/run").join(name),
            false => self.run.with_file_name(name),
        }
    }

    /// Whether a path is in here.
    pub fn owns(&self, path: &str) -> bool {
        [&self.storage, &self.run].iter().any(|own| Path::new(path).starts_with(own))
    }

    /// Processes that know this place: conmon, and podman itself.
    pub fn processes(&self) -> Vec<u32> {
        let own = self.run.to_string_lossy();
        let named = |pid: &u32| host::command_line(*pid).iter().any(|word| word.contains(&*own));
        host::processes().into_iter().filter(named).collect()
    }

    /// Removes the place with all that is in it.
    ///
    /// # Errors
    /// Of the filesystem, or that podman could not.
    pub fn close(&self) -> io::Result<()> {
        let reset = self.command().args(["system", "reset", "--force"]).output()?;
        if !reset.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&reset.stderr)));
        }
        self.end_pause()?;
        for directory in [&self.storage, &self.run] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The process that keeps an ordinary user's namespaces between two calls of podman.
    fn end_pause(&self) -> io::Result<()> {
        let pid = fs::read_to_string(self.run.join("tmp/pause.pid")).unwrap_or_default();
        match pid.trim_end().parse().ok().and_then(Pid::from_raw) {
            Some(pid) => Ok(kill_process(pid, Signal::KILL)?),
            None => Ok(()),
        }
    }
}

/// Those of the cgroup below which podman's containers will be.
fn controllers(root: bool) -> Vec<String> {
    let own = cgroup_of(std::process::id());
    let manager = |path: &Path| {
        root || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("user@"))
    };
    let cgroup = match root {
        true => cgroup::MOUNT.into(),
        false => own.ancestors().find(|path| manager(path)).unwrap_or(&own).to_owned(),
    };
    let names = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

/// Every cgroup directory that podman gave its name.
fn scopes() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from(cgroup::MOUNT)];
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.map(|entry| entry.path()));
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("libpod-") || name.starts_with("crio-") {
            found.push(directory);
        }
    }
    found
}
