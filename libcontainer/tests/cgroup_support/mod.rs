//! What the tests of both cgroup versions share: containers that are only a cgroup, and processes
//! that enter them.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use libcontainer::{
    Error,
    cgroup::{self, Cgroup, Hierarchies, Limits, Manager, Place, Request},
    spec::LinuxResources,
};

/// A cgroup with a name of its own; removed, whatever is in it, when the test ends.
pub(crate) struct Fixture {
    pub(crate) place: Place,
    pub(crate) limits: Limits,
    top: PathBuf,
}

/// A path that no other test uses.
pub(crate) fn unique(name: &str) -> PathBuf {
    PathBuf::from(format!("/rtn-test-{}-{name}", std::process::id()))
}

pub(crate) fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).expect("resources")
}

pub(crate) fn plan(path: &Path, json: &str, host: &Hierarchies) -> Result<Fixture, Vec<Error>> {
    let resources = resources(json);
    let request = Request {
        annotations: None,
        uid: 0,
        id: "c1",
        cgroups_path: Some(path),
        resources: Some(&resources),
        devices: &[],
        manager: Manager::Cgroupfs,
        rootless: false,
        owner: None,
    };
    let mut faults = Vec::new();
    let plan = cgroup::plan(&request, host, &mut faults);
    let top = path.components().take(2).collect();
    match faults.is_empty() {
        true => Ok(Fixture { place: plan.place, limits: plan.limits, top }),
        false => Err(faults),
    }
}

/// Makes the cgroup; panics if anything is refused.
pub(crate) fn made(path: &Path, json: &str, host: &Hierarchies) -> Fixture {
    let fixture = plan(path, json, host).expect("plan");
    fixture.create().expect("create");
    fixture
}

impl Fixture {
    pub(crate) fn create(&self) -> Result<cgroup::Entry, Error> {
        let driver = cgroup::driver(&self.place);
        driver.prepare()?;
        driver.create(&self.limits, None)
    }

    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.place)
    }

    pub(crate) fn path(&self, controller: &str) -> &Path {
        &self.place.paths()[controller]
    }

    /// A file of the cgroup, trimmed.
    pub(crate) fn file(&self, controller: &str, file: &str) -> String {
        let path = self.path(controller).join(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")).trim().to_owned()
    }

    pub(crate) fn exists_anywhere(&self) -> bool {
        self.tops().iter().any(|top| top.exists())
    }

    /// The uppermost directories that the test made.
    fn tops(&self) -> Vec<PathBuf> {
        let depth = |path: &Path| path.components().count();
        let mounts = ["/sys/fs/cgroup".to_owned()].into_iter().chain(
            fs::read_dir("/sys/fs/cgroup")
                .expect("cgroups")
                .flatten()
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.path().display().to_string()),
        );
        let name = self.top.strip_prefix("/").expect("absolute");
        mounts
            .map(|mount| Path::new(&mount).join(name))
            .filter(|top| {
                self.place.paths().values().any(|path| path.starts_with(top))
                    && depth(top) > depth(Path::new("/sys/fs/cgroup"))
            })
            .collect()
    }

    /// Runs `script` by a shell inside the cgroup, entered as a container process does. Returns
    /// when the script has printed its first line.
    pub(crate) fn run(&self, script: &str) -> Inside {
        let program = env::current_exe().expect("own path");
        let mut child = Command::new(program)
            .args(["--exact", ROLE, "--test-threads=1", "--nocapture"])
            .env("CGROUP_PLACE", serde_json::to_string(&self.place).expect("place"))
            .env("CGROUP_SCRIPT", format!("echo; echo ready; {script}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut out = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert_ne!(out.read_line(&mut line).expect("read"), 0, "the child did not enter");
        }
        Inside { child, out }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let cgroup = self.cgroup();
        let _ = cgroup.thaw();
        let _ = cgroup.kill(9);
        let _ = cgroup.remove(true);
        for top in self.tops() {
            remove_empty(&top);
        }
    }
}

fn remove_empty(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// A process in a cgroup.
pub(crate) struct Inside {
    pub(crate) child: Child,
    pub(crate) out: BufReader<std::process::ChildStdout>,
}

impl Inside {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("read");
        line.trim().to_owned()
    }

    /// Everything that it still prints.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut text).expect("read");
        text
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The test function through which a test binary becomes a container process.
pub(crate) const ROLE: &str = "container_process";

/// The body of [`ROLE`]: enters the cgroup and becomes the script. Does nothing in a normal run.
pub(crate) fn container_process() {
    let Ok(place) = env::var("CGROUP_PLACE") else { return };
    let place: Place = serde_json::from_str(&place).expect("place");
    let entry = cgroup::driver(&place).open().expect("open the doors");
    // Only this thread enters; execve makes it the process.
    cgroup::enter(&entry.tasks).expect("enter");
    if let Some(unified) = place.paths().get("") {
        // A process that is already there cannot be born there.
        fs::write(unified.join("cgroup.procs"), "0").expect("enter the v2 cgroup");
    }
    let script = env::var("CGROUP_SCRIPT").expect("script");
    let failed = Command::new("/bin/sh").args(["-c", &script]).exec();
    panic!("cannot execute a shell: {failed}");
}

/// Why this test cannot run here, if it cannot.
pub(crate) fn needs_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: making cgroups needs root");
    }
    root
}
