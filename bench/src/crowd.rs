//! Many containers at once through systemd, and what that costs PID 1: it makes one scope after the
//! other, so its time bounds how fast a machine can start containers.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use libcontainer::{Error, Kind, Result, error::Context};
use rustix::event::{Timespec, poll};

use crate::{
    bundle::{Settings, prefix},
    job::Bench,
    runtime::{Interface, Runtime},
    sample::{self, Step},
    stats::{self, Shuffle},
};

/// How long PID 1 must do nothing before it is taken to be done.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// What it may do meanwhile: the rest of the machine lives, too.
const NOTHING: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// CPU time for one container, and the time for all of them.
#[derive(Clone, Copy, Debug)]
struct Cost {
    manager: f64,
    bus: f64,
    wall: Duration,
}

/// # Errors
/// [`Kind::Unsupported`] when PID 1 is no systemd.
pub(crate) fn check() -> Result<()> {
    let comm = fs::read_to_string("/proc/1/comm").doing(|| "cannot read /proc/1/comm")?;
    match comm.trim_end() {
        "systemd" => Ok(()),
        other => Err(Error::new(
            Kind::Unsupported,
            format!("cannot measure systemd's time: PID 1 is {other:?}"),
        )
        .hint("run it in a machine that systemd has booted: see integration/vm/README.md")),
    }
}

/// `rounds` crowds of each runtime, and their costs as a table.
pub(crate) fn measure(
    bench: &Bench<'_>,
    runtimes: &[Runtime],
    (size, rounds): (usize, usize),
    order: &mut Shuffle,
) -> Result<String> {
    let runtimes: Vec<_> =
        runtimes.iter().filter(|runtime| runtime.interface == Interface::Oci).collect();
    let mut lanes: Vec<_> = runtimes.iter().map(|runtime| (*runtime, Vec::new())).collect();
    for _ in 0..rounds {
        for index in order.permutation(lanes.len()) {
            let (runtime, costs) = &mut lanes[index];
            costs.push(one(bench, runtime, size)?);
        }
    }
    Ok(table(size, &lanes))
}

fn one(bench: &Bench<'_>, runtime: &Runtime, size: usize) -> Result<Cost> {
    let bus = message_bus();
    quiet()?;
    let (manager_before, bus_before, clock) = (cpu_time(1)?, bus_time(bus)?, Instant::now());
    let ids: Vec<_> = (0..size).map(|_| bench.id()).collect();
    let all = |verb: &str, flags: &dyn Fn(&str) -> Vec<String>| {
        let steps: Vec<_> = ids
            .iter()
            .map(|id| {
                let mut arguments = vec!["--systemd-cgroup".to_owned(), verb.to_owned()];
                arguments.extend(flags(id));
                arguments.push(id.clone());
                bench.oci_command(
                    runtime,
                    &arguments.iter().map(|word| word as _).collect::<Vec<_>>(),
                )
            })
            .collect();
        sample::all_at_once(&steps)
    };
    let bundle = bench.bundles.bundle(Settings::Crowd, false).display().to_string();
    let pid_file = |id: &str| bench.pid_file(id).display().to_string();
    all("create", &|id| {
        vec!["--bundle".into(), bundle.clone(), "--pid-file".into(), pid_file(id)]
    })?;
    all("start", &|_| Vec::new())?;
    let ends: Vec<_> = ids.iter().map(|id| Step::Await(bench.pid_file(id))).collect();
    sample::take(&ends)?;
    all("delete", &|_| Vec::new())?;
    let wall = clock.elapsed();
    quiet()?;
    no_unit_is_left()?;
    let each = |spent: Duration| spent.as_secs_f64() * 1000.0 / size as f64;
    Ok(Cost {
        manager: each(cpu_time(1)?.saturating_sub(manager_before)),
        bus: each(bus_time(bus)?.saturating_sub(bus_before)),
        wall,
    })
}

/// Waits until PID 1 has done all that it was asked for.
fn quiet() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = cpu_time(1)?;
    loop {
        poll(&mut [], Some(&QUIET)).doing(|| "cannot wait")?;
        let now = cpu_time(1)?;
        if now - before < NOTHING {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                Kind::Os,
                format!("cannot measure systemd's time: it is busy for {PATIENCE:?}"),
            ));
        }
        before = now;
    }
}

/// The first number of /proc/PID/schedstat: nanoseconds on a processor. /proc/PID/stat counts ticks,
/// of which a container takes less than one.
fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).doing(|| format!("cannot read {path}"))?;
    let first = text.split_ascii_whitespace().next().and_then(|number| number.parse().ok());
    first.map(Duration::from_nanos).ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("cannot use {path}: {:?}", text.trim_end()))
    })
}

fn bus_time(bus: Option<u32>) -> Result<Duration> {
    bus.map_or(Ok(Duration::ZERO), cpu_time)
}

/// The system's message bus, if there is one.
fn message_bus() -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split('\0').next().unwrap_or_default();
        let name = Path::new(program).file_name().unwrap_or_default();
        (name == "dbus-daemon" && line.contains("\0--system\0")) || name == "dbus-broker"
    })
}

fn no_unit_is_left() -> Result<()> {
    let pattern = format!("*{}*", prefix());
    let output = Command::new("systemctl")
        .args(["list-units", "--all", "--plain", "--no-legend", &pattern])
        .output()
        .doing(|| "cannot run systemctl")?;
    let left = String::from_utf8_lossy(&output.stdout).into_owned();
    match left.trim() {
        "" => Ok(()),
        left => {
            Err(Error::new(Kind::Os, format!("cannot report runs that left units behind: {left}")))
        }
    }
}

fn table(size: usize, lanes: &[(&Runtime, Vec<Cost>)]) -> String {
    let median = |costs: &[Cost], part: &dyn Fn(&Cost) -> f64| {
        stats::quantile(&costs.iter().map(part).collect::<Vec<_>>(), 0.5)
    };
    let peer = lanes.iter().find(|(runtime, _)| runtime.name == "crun");
    let peer = peer.map(|(_, costs)| median(costs, &|cost| cost.manager));
    let mut text = format!(
        "\n{size} at once: create, start, end, delete through systemd\n  {:<8}{:>16}{:>8}{:>16}{:>10}\n",
        "", "PID 1, each", "× crun", "bus, each", "all"
    );
    for (runtime, costs) in lanes {
        let manager = median(costs, &|cost| cost.manager);
        let ratio = peer.map_or("-".into(), |peer| format!("{:.2}", manager / peer));
        text.push_str(&format!(
            "  {:<8}{manager:>13.2} ms{ratio:>8}{:>13.2} ms{:>8.2} s\n",
            runtime.name,
            median(costs, &|cost| cost.bus),
            median(costs, &|cost| cost.wall.as_secs_f64()),
        ));
    }
    text
}
