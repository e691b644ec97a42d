//! One test: its place on the host, and the calls of the runtime.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::{
    Bundle, Container, Facts, Kind, Mode, Output, Runtime,
    leftovers::{self, HostView},
    wait,
};

/// A directory, a mount namespace and a container id of its own. Dropping it fails the test if
/// anything is left on the host.
#[derive(Debug)]
pub struct Test {
    pub runtime: &'static Runtime,
    program: PathBuf,
    dir: PathBuf,
    id: String,
    before: HostView,
}

impl Test {
    /// The thread gets a mount namespace of its own, in which everything is shared as systemd has
    /// it: what a runtime changes of the host's mounts is then seen, and only by this test. The
    /// process becomes the reaper of orphans, as a containerd shim is, and learns how they end.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static REAPER: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        REAPER.call_once(|| {
            nix::sys::prctl::set_child_subreaper(true).expect("subreaper");
            Mode::current().enter();
        });
        let runtime = Runtime::from_env();
        private_mounts(runtime.kind);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = std::thread::current().name().unwrap_or("main").to_owned();
        let name: String = name.rsplit("::").next().unwrap_or_default().chars().take(24).collect();
        let id = format!("it{}-{number}-{name}", std::process::id());
        let dir = PathBuf::from("/tmp").join(&id);
        fs::create_dir(&dir).expect("a directory in /tmp");
        let program = runtime.program.clone();
        Self { runtime, program, dir, id, before: HostView::take() }
    }

    /// A test that lets an attacker at the runtime's own file: it works with a copy from now on.
    #[must_use]
    pub fn with_copied_runtime(mut self) -> Self {
        self.program = self.dir.join("runtime");
        fs::copy(&self.runtime.program, &self.program).expect("a copy of the runtime");
        self
    }

    /// The program that this test runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Every container of the test is called this, or this and a suffix.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Everything that the test makes on the host is in here.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `--root` of the runtime.
    pub fn root(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn bundle(&self) -> Bundle {
        self.bundle_named("bundle")
    }

    pub fn bundle_named(&self, name: &str) -> Bundle {
        Bundle::new(self.dir.join(name))
    }

    /// The runtime with this test's `--root`, as [`Mode`] has it, and nothing on standard input.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_after(&[], arguments)
    }

    /// Whatever the test made in its directory belongs to the user of the runtime from now on; each
    /// call of the runtime does so, too.
    pub fn give(&self) {
        Mode::current().give(&self.dir);
    }

    /// The runtime without any argument yet, not even `--root`.
    pub fn bare_command(&self) -> Command {
        let mode = Mode::current();
        self.give();
        let mut command = Command::new(&self.program);
        mode.become_user(command.args(mode.flags()).stdin(Stdio::null()));
        command
    }

    /// The same as the last arguments of another program: `["nice", "-n", "5"]`.
    pub fn command_after(&self, before: &[&str], arguments: &[&str]) -> Command {
        let mode = Mode::current();
        self.give();
        let program = self.program.as_os_str();
        let mut words = before.iter().map(OsStr::new).chain([program]);
        let mut command = Command::new(words.next().expect("the runtime at least"));
        command.args(words).arg("--root").arg(self.root());
        if !arguments.contains(&"--systemd-cgroup") {
            command.args(mode.flags());
        }
        mode.become_user(command.args(arguments).stdin(Stdio::null()));
        command
    }

    /// True on a runtime of these kinds, which fails the next assertion for `reason`; prints it.
    /// Never for rtn.
    #[must_use]
    pub fn excuses(&self, kinds: &[Kind], reason: &str) -> bool {
        assert!(!kinds.contains(&Kind::Rtn), "rtn has no excuse");
        let excused = kinds.contains(&self.runtime.kind);
        if excused {
            crate::host::skipped(&format!("one assertion on {:?}: {reason}", self.runtime.kind));
        }
        excused
    }

    /// False on an older runtime that does not know this option of a mount, by its own `features`;
    /// says so.
    #[must_use]
    pub fn knows_option(&self, word: &str) -> bool {
        let knows = self.runtime.is(Kind::Rtn)
            || self.call(&["features"]).stdout.contains(&format!("\"{word}\""));
        if !knows {
            crate::host::skipped(&format!("{:?} has no mount option {word}", self.runtime.kind));
        }
        knows
    }

    /// True on a release of these runtimes before the first that knows what the test is about, and
    /// on a runtime that is not in the list; the test must return then. Prints `what`. Never for
    /// rtn.
    #[must_use]
    pub fn predates(&self, firsts: &[(Kind, (u32, u32))], what: &str) -> bool {
        let first = firsts.iter().find(|(kind, _)| self.runtime.is(*kind));
        let known = first.is_some_and(|(_, version)| self.runtime.version >= *version);
        if known || self.runtime.is(Kind::Rtn) {
            return false;
        }
        crate::host::skipped(&format!(
            "{:?} {:?}: {what}",
            self.runtime.kind, self.runtime.version
        ));
        true
    }

    /// Calls the runtime and waits for it.
    pub fn call(&self, arguments: &[&str]) -> Output {
        wait::output(&mut self.command(arguments))
    }

    /// Asserts that the runtime knows no container of this test's id, in the words that containerd
    /// looks for.
    #[track_caller]
    pub fn assert_unknown(&self) {
        let words = if self.runtime.is(Kind::Crun) { "No such file" } else { "does not exist" };
        self.call(&["state", &self.id]).fails_with(words);
    }

    /// `run` in the foreground with further options.
    pub fn run_with(&self, options: &[&str], bundle: &Bundle) -> Output {
        let dir = bundle.dir.to_string_lossy();
        let arguments = [&["run", "--bundle", &dir], options, &[self.id()]].concat();
        self.call(&arguments)
    }

    pub fn run(&self, bundle: &Bundle) -> Output {
        self.run_with(&[], bundle)
    }

    /// Runs a bundle whose process is `probe facts`.
    #[track_caller]
    pub fn facts(&self, bundle: &Bundle) -> Facts {
        parse(self.run(bundle).ok())
    }

    /// Runs `probe facts` with options (`--read`, `--stat`) in place of the bundle's arguments.
    #[track_caller]
    pub fn facts_with(&self, options: &[&str], bundle: Bundle) -> Facts {
        self.facts(&bundle.args(&[&["/bin/probe", "facts"], options].concat()))
    }

    /// `create`, which must succeed.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        self.create_as("", &[], bundle)
    }

    /// `create` with options, as container [`Test::id`] and `suffix`.
    #[track_caller]
    pub fn create_as(&self, suffix: &str, options: &[&str], bundle: &Bundle) -> Container<'_> {
        Container::create(self, format!("{}{suffix}", self.id), options, bundle)
    }

    /// `create` and `start`.
    #[track_caller]
    pub fn start(&self, bundle: &Bundle) -> Container<'_> {
        let container = self.create(bundle);
        container.start();
        container
    }

    /// Starts a bundle that runs `probe serve` and waits until it answers.
    #[track_caller]
    pub fn serve(&self, bundle: Bundle) -> Container<'_> {
        let mut container = self.start(&bundle.serve());
        container.expect("ready");
        container
    }

    /// `create` that must fail; nothing may be left of it.
    #[track_caller]
    pub fn create_fails(&self, bundle: &Bundle) -> Output {
        let output = self.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), self.id()]);
        output.fails();
        self.assert_clean();
        output
    }

    /// What is different on the host from when the test began.
    pub fn differences(&self) -> Vec<String> {
        self.before.differences(&self.id, &self.dir)
    }

    /// Fails if anything is left on the host right now.
    #[track_caller]
    pub fn assert_clean(&self) {
        let left = self.differences();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }

    /// Removes whatever a failed test left: first as the runtime does, then by force.
    fn clean_up(&self) {
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            let _ = self.command(&["delete", "--force"]).arg(entry.file_name()).output();
        }
        leftovers::remove(&self.id, &self.dir);
    }

    /// Removes the directory; never through something that is mounted there.
    fn remove_dir(&self) {
        let below = |mount: &&probe::Mount| Path::new(&mount.target).starts_with(&self.dir);
        for mount in crate::host::mounts().iter().rev().filter(below) {
            let _ = umount2(mount.target.as_str(), MntFlags::MNT_DETACH);
        }
        if !crate::host::mounts().iter().any(|mount| below(&mount)) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let left = if std::thread::panicking() { Vec::new() } else { self.differences() };
        self.clean_up();
        self.remove_dir();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

/// Reads what `probe facts` printed.
#[track_caller]
pub fn parse(text: &str) -> Facts {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Reads the log of `probe hook`.
pub fn hook_calls(log: &Path) -> Vec<crate::HookCall> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a hook's line")).collect()
}

fn private_mounts(kind: Kind) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (are you root?)");
    for flag in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | flag, None::<&str>)
            .expect("mount");
    }
    if kind == Kind::Crun {
        // crun takes a host with a v2 hierarchy beside those of v1 for one of v2; the namespace is
        // this thread's own, so only crun misses it.
        let _ = umount2("/sys/fs/cgroup/unified", MntFlags::empty());
    }
}
