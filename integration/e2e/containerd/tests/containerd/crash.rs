//! Who makes a container is killed while it does, at many moments one after the other: the runtime,
//! the shim, containerd. Nothing may be left, and the name must be free.

use std::{
    fs,
    time::{Duration, Instant},
};

use e2e_common::{Running, host};
use e2e_containerd::{
    container::{self, begin, remove},
    ctr, daemon,
    traces::{self, nothing_is_left},
    victim::Victim,
    wait,
};
use rustix::process::Signal;

e2e_common::tests! {
    a_hundred_come_and_go
    the_runtime_is_killed_while_it_creates
    the_runtime_is_killed_while_it_executes
    the_shim_is_killed_while_a_container_is_made
    the_shim_is_killed_while_a_container_is_removed
    containerd_is_killed_while_a_container_is_made
    containerd_is_killed_while_a_container_is_removed
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

fn is_usable(name: &str, flags: &[&str]) {
    begin(name, flags).end().code(0);
    let words = ["task", "exec", "--exec-id", "check", name, "echo", "inside"];
    assert_eq!(ctr::ctr(&words).ok(), "inside");
    remove(name);
}

/// Longer than `create` and `exec` take.
const WORK: Duration = Duration::from_millis(20);

fn the_runtime_is_killed_while_it_creates() {
    let victim = Victim::of("create");
    let name = container::name("killed");
    for delay in delays(WORK) {
        victim.kill_after(delay);
        begin(&name, &victim.flags()).end();
        remove(&name);
        nothing_is_left(&name, delay);
    }
    victim.spare();
    is_usable(&name, &victim.flags());
}

fn the_runtime_is_killed_while_it_executes() {
    let victim = Victim::of("exec");
    let name = container::name("killed");
    begin(&name, &victim.flags()).end().code(0);
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

/// Who is killed.
#[derive(Clone, Copy)]
enum Who {
    Shim,
    Containerd,
}

impl Who {
    fn is_killed(self, name: &str) {
        match self {
            Self::Shim => traces::kill_shims(name),
            Self::Containerd => daemon::shared().down(Signal::KILL),
        }
    }

    fn comes_back(self, name: &str) {
        match self {
            // Another one is started when it is asked for.
            Self::Shim => {}
            Self::Containerd => {
                // A bundle of which it had removed a part: it would not look at it again, and could
                // not remove the next one of this name.
                let _ = fs::remove_dir_all(daemon::shared().bundles().join(format!(".{name}")));
                daemon::shared().up();
            }
        }
    }
}

/// What is being done to a container meanwhile.
#[derive(Clone, Copy)]
enum Work {
    Making,
    Removing,
}

impl Work {
    /// What has to be there before.
    fn prepare(self, name: &str) {
        match self {
            Self::Making => {}
            Self::Removing => drop(begin(name, &[]).end().ok()),
        }
    }

    fn begin(self, name: &str) -> Running {
        match self {
            Self::Making => begin(name, &[]),
            Self::Removing => {
                let mut command = daemon::shared().client();
                command.args(["task", "rm", "--force", name]);
                Running::start(command, b"")
            }
        }
    }
}

/// `who` is killed at every moment of `work`.
fn killed(who: Who, work: Work) {
    let name = container::name("killed");
    work.prepare(&name);
    let whole = duration(|| drop(work.begin(&name).end().ok()));
    remove(&name);
    for delay in delays(whole) {
        work.prepare(&name);
        let running = work.begin(&name);
        wait::pause(delay);
        who.is_killed(&name);
        running.end();
        who.comes_back(&name);
        remove(&name);
        nothing_is_left(&name, delay);
    }
    is_usable(&name, &[]);
}

fn the_shim_is_killed_while_a_container_is_made() {
    killed(Who::Shim, Work::Making);
}

fn the_shim_is_killed_while_a_container_is_removed() {
    killed(Who::Shim, Work::Removing);
}

fn containerd_is_killed_while_a_container_is_made() {
    killed(Who::Containerd, Work::Making);
}

fn containerd_is_killed_while_a_container_is_removed() {
    if !daemon::shared().is_rtn() {
        // containerd's own shim removes it meanwhile and stays, so that containerd keeps a task that
        // it does not show and that nobody can remove.
        return;
    }
    killed(Who::Containerd, Work::Removing);
}
