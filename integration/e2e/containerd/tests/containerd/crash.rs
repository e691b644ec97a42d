//! Who makes a container is killed while it does, at many moments one after the other: the runtime,
//! the shim, containerd. Nothing may be left, and the name must be free.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use e2e_common::{Running, host};
use e2e_containerd::{Container, container, ctr, daemon, image::IMAGE, wait};
use rustix::{
    event::{Timespec, poll},
    process::{Pid, Signal, kill_process},
};

e2e_common::tests! {
    a_hundred_come_and_go
    the_runtime_is_killed_while_it_creates
    the_runtime_is_killed_while_it_executes
    the_shim_is_killed_while_a_container_is_made
    the_shim_is_killed_while_a_container_is_removed
    containerd_is_killed_while_a_container_is_made
}

/// One after the other, and eight at a time. Descriptors of containerd are counted; `rest` looks for
/// what is left on the host.
fn a_hundred_come_and_go() {
    let config = daemon::shared().directory().join("config.toml").display().to_string();
    let is_it = |pid: &u32| host::command_line(*pid).contains(&config);
    let containerd = host::processes().into_iter().find(is_it).expect("containerd runs");
    let descriptors = || fs::read_dir(format!("/proc/{containerd}/fd")).map_or(0, Iterator::count);
    let number = |variable| std::env::var(variable).ok().and_then(|number| number.parse().ok());
    let each = number("E2E_CONTAINERS").unwrap_or(96) / 12;
    let one = || drop(container::run(&[], &["true"]).ok());
    one();
    let before = descriptors();
    (0..4 * each).for_each(|_| one());
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..each).for_each(|_| one()))).collect();
        lanes.into_iter().for_each(|lane| lane.join().expect("each one ends with 0"));
    });
    wait::until("the last shim ends", || daemon::shared().shims().is_empty().then_some(()));
    // A few are kept for later by Go.
    wait::until("containerd lets go", || (descriptors() < before + 8).then_some(()));
}

/// How many moments. Sweeping up after containerd's own shim takes its time.
fn moments() -> u32 {
    let few = if daemon::shared().is_rtn() { 12 } else { 4 };
    std::env::var("E2E_MOMENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(few)
}

/// Delays from nothing to a little more than `whole`.
fn delays(whole: Duration) -> impl Iterator<Item = Duration> {
    (0..moments()).map(move |number| whole * 11 / 10 * number / moments())
}

/// How long it takes when nobody is killed.
fn duration(what: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    what();
    begin.elapsed()
}

fn sleep(delay: Duration) {
    // Nothing to wait for: any moment will do.
    let delay = Timespec { tv_sec: 0, tv_nsec: i64::from(delay.subsec_nanos()) };
    let _ = poll(&mut [], Some(&delay));
}

fn run(name: &str, flags: &[&str]) -> Running {
    let mut command = ctr::command();
    command.args(["run", "-d", "--runtime", daemon::shared().runtime()]).args(container::shares());
    command.args(flags).args([IMAGE, name, "sleep", "10000"]);
    Running::start(command, b"")
}

fn remove(name: &str) {
    // It may have none, or be gone.
    ctr::ctr(&["task", "rm", "--force", name]);
    wait::until("the name is free", || {
        let output = ctr::ctr(&["container", "rm", name]);
        let free = output.status == Some(0) || output.err().contains("not found");
        // What is being made when its maker dies has a task a moment later.
        (free || ctr::ctr(&["task", "rm", "--force", name]).status.is_none()).then_some(())
    });
    // `ctr` makes it before the container, and may not get further.
    ctr::ctr(&["snapshots", "rm", name]);
}

/// Whatever there is of a container on the host.
fn traces(name: &str) -> Vec<String> {
    let daemon = daemon::shared();
    let cgroup = format!("/{}/{name}", daemon.namespace());
    let inside = |pid: &u32| host::proc(*pid, "cgroup").lines().any(|line| line.ends_with(&cgroup));
    let alive = |pid: &u32| host::is_alive(*pid);
    let processes = host::processes().into_iter().filter(inside).filter(alive);
    let processes = processes.map(|pid| format!("process {pid} {:?}", host::command_line(pid)));
    let shims = shims(name).into_iter().map(|pid| format!("shim {pid}"));
    let bundle = daemon.bundles().join(name);
    let in_bundle = bundle.display().to_string();
    let mounts = daemon.mounts().into_iter().filter(|line| line.contains(&in_bundle));
    let cgroups = daemon.cgroups().into_iter().filter(|path| path.ends_with(name));
    let states = ["rtn", "runc"].map(|runtime| {
        Path::new("/run/containerd").join(runtime).join(daemon.namespace()).join(name)
    });
    let paths = states.into_iter().chain([bundle]).filter(|path| path.exists()).chain(cgroups);
    let paths = paths.map(|path| path.display().to_string());
    processes.chain(shims).chain(mounts).chain(paths).collect()
}

fn shims(name: &str) -> Vec<u32> {
    let of = |pid: &u32| host::command_line(*pid).windows(2).any(|pair| pair == ["-id", name]);
    daemon::shared().shims().into_iter().filter(of).collect()
}

#[track_caller]
fn nothing_is_left(name: &str, when: Duration) {
    let is_rtn = daemon::shared().is_rtn();
    let deadline = Instant::now() + Duration::from_secs(if is_rtn { 20 } else { 3 });
    while !traces(name).is_empty() {
        if !is_rtn && Instant::now() > deadline {
            return sweep(name);
        }
        assert!(Instant::now() < deadline, "{name}, after {when:?}: {:#?}", traces(name));
        sleep(Duration::from_millis(10));
    }
}

/// containerd's own shim leaves a container or a cgroup of runc's that died early, and itself where it
/// was started and never told what to create.
fn sweep(name: &str) {
    shims(name).into_iter().for_each(kill);
    let daemon = daemon::shared();
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(Path::new("/run/containerd/runc").join(daemon.namespace()));
    runc.args(["delete", "--force", name]);
    Running::start(runc, b"").end();
    for cgroup in daemon.cgroups().into_iter().filter(|path| path.ends_with(name)) {
        wait::until("its processes end", || fs::remove_dir(&cgroup).ok());
    }
    let bundle = daemon.bundles().join(name);
    // Whether there is a mount, or still a bundle, depends on the moment.
    let _ = rustix::mount::unmount(bundle.join("rootfs"), rustix::mount::UnmountFlags::DETACH);
    let _ = fs::remove_dir_all(bundle);
}

fn is_usable(name: &str, flags: &[&str]) {
    run(name, flags).end().code(0);
    let words = ["task", "exec", "--exec-id", "check", name, "echo", "inside"];
    assert_eq!(ctr::ctr(&words).ok(), "inside");
    remove(name);
}

/// The one that the shim would use.
fn runtime() -> PathBuf {
    match daemon::shared().is_rtn() {
        true => {
            let container = Container::idle();
            fs::read_link(format!("/proc/{}/exe", container.shim()))
                .expect("a program")
                .with_file_name("rtn")
        }
        false => "runc".into(),
    }
}

/// A runtime that is killed, when it is called for `verb`, as long after its start as the file says.
struct Victim {
    delay: PathBuf,
    flags: [String; 2],
}

impl Victim {
    fn of(verb: &str) -> Self {
        let directory = daemon::shared().directory().join(container::name("victim"));
        fs::create_dir_all(&directory).expect("a directory");
        let (script, delay) = (directory.join("runtime"), directory.join("delay"));
        let runtime = runtime();
        let text = format!(
            "#!/bin/sh\ncase \" $* \" in\n*\" {verb} \"*) read -r delay <{delay:?}\n\
             [ \"$delay\" != - ] || exec {runtime:?} \"$@\"\n\
             {runtime:?} \"$@\" & pid=$!; busybox usleep \"$delay\"; kill -9 $pid 2>/dev/null; wait $pid ;;\n\
             *) exec {runtime:?} \"$@\" ;;\nesac\n"
        );
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an owner");
        let options = directory.join("options.toml");
        fs::write(&options, format!("BinaryName = {script:?}\n")).expect("a file");
        let [flag, file] = match daemon::shared().is_rtn() {
            true => ["--runtime-config-path", &options.to_string_lossy()].map(str::to_owned),
            false => ["--runc-binary", &script.to_string_lossy()].map(str::to_owned),
        };
        let victim = Self { delay, flags: [flag, file] };
        victim.spare();
        victim
    }

    fn flags(&self) -> [&str; 2] {
        self.flags.each_ref().map(String::as_str)
    }

    fn spare(&self) {
        fs::write(&self.delay, "-\n").expect("a file");
    }

    fn kill_after(&self, delay: Duration) {
        fs::write(&self.delay, format!("{}\n", delay.as_micros())).expect("a file");
    }
}

/// Longer than `create` and `exec` take.
const WORK: Duration = Duration::from_millis(20);

fn the_runtime_is_killed_while_it_creates() {
    let victim = Victim::of("create");
    let name = container::name("killed");
    for delay in delays(WORK) {
        victim.kill_after(delay);
        run(&name, &victim.flags()).end();
        remove(&name);
        nothing_is_left(&name, delay);
    }
    victim.spare();
    is_usable(&name, &victim.flags());
}

fn the_runtime_is_killed_while_it_executes() {
    let victim = Victim::of("exec");
    let name = container::name("killed");
    run(&name, &victim.flags()).end().code(0);
    for (number, delay) in delays(WORK).enumerate() {
        victim.kill_after(delay);
        let id = format!("e{number}");
        ctr::ctr(&["task", "exec", "--exec-id", &id, &name, "true"]);
        victim.spare();
        let id = format!("f{number}");
        ctr::ctr(&["task", "exec", "--exec-id", &id, &name, "true"]).code(0);
    }
    remove(&name);
    nothing_is_left(&name, WORK);
}

fn the_shim_is_killed_while_a_container_is_made() {
    let name = container::name("killed");
    let whole = duration(|| {
        run(&name, &[]).end().code(0);
    });
    remove(&name);
    for delay in delays(whole) {
        let running = run(&name, &[]);
        sleep(delay);
        shims(&name).into_iter().for_each(kill);
        running.end();
        remove(&name);
        nothing_is_left(&name, delay);
    }
    is_usable(&name, &[]);
}

fn the_shim_is_killed_while_a_container_is_removed() {
    let name = container::name("killed");
    run(&name, &[]).end().code(0);
    let whole = duration(|| remove(&name));
    for delay in delays(whole) {
        run(&name, &[]).end().code(0);
        let mut command = ctr::command();
        command.args(["task", "rm", "--force", &name]);
        let removing = Running::start(command, b"");
        sleep(delay);
        shims(&name).into_iter().for_each(kill);
        removing.end();
        remove(&name);
        nothing_is_left(&name, delay);
    }
    is_usable(&name, &[]);
}

fn containerd_is_killed_while_a_container_is_made() {
    let name = container::name("killed");
    let whole = duration(|| {
        run(&name, &[]).end().code(0);
    });
    remove(&name);
    for delay in delays(whole) {
        let running = run(&name, &[]);
        sleep(delay);
        daemon::shared().down(Signal::KILL);
        running.end();
        daemon::shared().up();
        remove(&name);
        nothing_is_left(&name, delay);
    }
    is_usable(&name, &[]);
}

fn kill(pid: u32) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).expect("a pid"), Signal::KILL);
}
