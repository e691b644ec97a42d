//! rtn's shim beside containerd's own with runc, under one containerd that is started for this:
//! `ctr run`, `ctr task exec`, what an exec costs in processor time, and what idle pods keep in
//! memory.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use e2e_containerd::{
    daemon::{self, Setup},
    image::IMAGE,
};
use libcontainer::{Error, Kind, Result, error::Context};

use crate::{
    WARM_UP,
    bundle::prefix,
    sample::{self, Step},
    stats::{self, Shuffle},
};

const RTN: &str = "containerd-shim-rtn-v2";
/// Each with what `ctr` calls it, and its program.
const SHIMS: [(&str, &str, &str); 2] = [
    ("rtn", "io.containerd.rtn.v2", RTN),
    ("runc", "io.containerd.runc.v2", "containerd-shim-runc-v2"),
];
/// What listens on sockets of the host's own containerd, or asks for images.
const DISABLED: [&str; 4] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
];

/// One shim's figures.
#[derive(Debug)]
struct Lane {
    name: &'static str,
    runtime: &'static str,
    program: &'static str,
    /// The container that runs meanwhile.
    idle: String,
    /// Milliseconds.
    run: Vec<f64>,
    exec: Vec<f64>,
    /// Of the shim and of all processes that it waited for, in all execs.
    cpu: Duration,
    memory: Memory,
}

/// What all shims of one kind keep, in KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    shims: usize,
    threads: usize,
    rss: usize,
    pss: usize,
    anonymous: usize,
}

/// `pods` of each, and `rounds` runs and execs of each: a table.
pub(crate) fn measure(pods: usize, rounds: usize, order: &mut Shuffle) -> Result<String> {
    let namespace = prefix() + "ns";
    daemon::start(Setup {
        // Short, since sockets are in it.
        directory: std::env::temp_dir().join(prefix() + "ctrd"),
        // ctr puts the containers' cgroups into one of this name.
        cgroups: namespace.clone(),
        namespace,
        runtime: SHIMS[0].1.to_owned(),
        shims: Some(built()?),
        disabled_plugins: DISABLED.map(str::to_owned).to_vec(),
        tables: String::new(),
    });
    let measured = lanes(pods, rounds, order);
    let removed = daemon::shared().remove().doing(|| "cannot remove what containerd left");
    let _ = fs::remove_dir_all(daemon::shared().directory());
    let lanes = measured?;
    removed.map(|()| table(pods, rounds, &lanes))
}

/// Where this program is, the shim and rtn are, too.
fn built() -> Result<PathBuf> {
    let own = std::env::current_exe().doing(|| "cannot find own executable")?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    match directory.join(RTN).exists() {
        true => Ok(directory.to_owned()),
        false => Err(Error::new(Kind::NotFound, format!("cannot find {RTN} beside this program"))
            .hint("make build")),
    }
}

fn lanes(pods: usize, rounds: usize, order: &mut Shuffle) -> Result<Vec<Lane>> {
    let mut lanes: Vec<_> =
        SHIMS.map(|shim| Lane::new(shim, pods)).into_iter().collect::<Result<_>>()?;
    for (index, round) in (0..WARM_UP + rounds).enumerate() {
        for lane in order.permutation(lanes.len()) {
            lanes[lane].round(index, round >= WARM_UP)?;
        }
    }
    lanes.iter().try_for_each(Lane::remove)?;
    Ok(lanes)
}

impl Lane {
    /// The memory first, before anything else has run in the shims.
    fn new(
        (name, runtime, program): (&'static str, &'static str, &'static str),
        pods: usize,
    ) -> Result<Self> {
        let idle = |number: usize| format!("{name}-idle-{number}");
        for number in 0..pods.max(1) {
            take(&["run", "-d", "--runtime", runtime, IMAGE, &idle(number), "sleep", "100000"])?;
        }
        let memory = Memory::of(program)?;
        (1..pods).try_for_each(|number| remove(&idle(number)))?;
        let (run, exec) = (Vec::new(), Vec::new());
        Ok(Self { name, runtime, program, idle: idle(0), run, exec, cpu: Duration::ZERO, memory })
    }

    fn round(&mut self, index: usize, counts: bool) -> Result<()> {
        let name = format!("{}-{index}", self.name);
        let run = take(&["run", "--rm", "--runtime", self.runtime, IMAGE, &name, "true"])?;
        let [shim] = shims(self.program)[..] else {
            return Err(Error::new(
                Kind::Os,
                format!("cannot report runs that leave a {} behind", self.program),
            ));
        };
        let before = cpu_time(shim)?;
        let exec = take(&["task", "exec", "--exec-id", &name, &self.idle, "true"])?;
        if counts {
            self.run.push(run);
            self.exec.push(exec);
            self.cpu += cpu_time(shim)?.saturating_sub(before);
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        remove(&self.idle)
    }
}

fn remove(container: &str) -> Result<()> {
    take(&["task", "delete", "--force", container])?;
    take(&["container", "delete", container]).map(drop)
}

/// `ctr WORDS`, which must succeed: milliseconds.
fn take(words: &[&str]) -> Result<f64> {
    let ctr = daemon::shared().client();
    let mut line: Vec<OsString> = vec![ctr.get_program().to_owned()];
    line.extend(ctr.get_args().map(OsString::from));
    line.extend(words.iter().map(OsString::from));
    Ok(sample::take(&[Step::Run(line)])?.wall.as_secs_f64() * 1000.0)
}

/// The pids of this containerd's shims of one kind.
fn shims(program: &str) -> Vec<u32> {
    let is_it = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let called = Path::new(line.split('\0').next().unwrap_or_default()).file_name();
        called.is_some_and(|name| name == program)
    };
    daemon::shared().shims().into_iter().filter(is_it).collect()
}

/// utime, stime, cutime and cstime of /proc/PID/stat (proc(5)): the kernel adds up nanoseconds and
/// shows ticks, so only the sum over many runs tells.
fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).doing(|| format!("cannot read {path}"))?;
    let (_, fields) = text.rsplit_once(')').unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32)
}

impl Memory {
    fn of(program: &str) -> Result<Self> {
        let mut sum = Self::default();
        for pid in shims(program) {
            let read = |file: &str| {
                let path = format!("/proc/{pid}/{file}");
                fs::read_to_string(&path).doing(|| format!("cannot read {path}"))
            };
            let (rollup, status) = (read("smaps_rollup")?, read("status")?);
            sum.shims += 1;
            sum.threads += number(&status, "Threads:");
            sum.rss += number(&rollup, "Rss:");
            sum.pss += number(&rollup, "Pss:");
            sum.anonymous += number(&rollup, "Anonymous:");
        }
        Ok(sum)
    }
}

/// The number after `key` at the beginning of a line.
fn number(text: &str, key: &str) -> usize {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn table(pods: usize, rounds: usize, lanes: &[Lane]) -> String {
    let figures = |lane: &Lane| {
        let each = |sum: usize| sum as f64 / lane.memory.shims.max(1) as f64 / 1024.0;
        [
            stats::quantile(&lane.run, 0.5),
            stats::quantile(&lane.exec, 0.5),
            lane.cpu.as_secs_f64() * 1000.0 / rounds as f64,
            lane.memory.pss as f64 / 1024.0,
            each(lane.memory.rss),
            each(lane.memory.anonymous),
            lane.memory.threads as f64 / lane.memory.shims.max(1) as f64,
        ]
    };
    let titles = [
        "ctr run --rm true, median ms".to_owned(),
        "ctr task exec true, median ms".to_owned(),
        "processor time of shim, runtime and true for an exec, ms".to_owned(),
        format!("PSS of the shims of {pods} idle pods, MB"),
        "RSS of an idle shim, MB".to_owned(),
        "its anonymous memory, MB".to_owned(),
        "its threads".to_owned(),
    ];
    let lines: Vec<_> = lanes.iter().map(figures).collect();
    let [rtn, runc] = &lines[..] else { return String::new() };
    let mut text =
        format!("\n  {:<58}{:>10}{:>10}{:>8}\n", "", lanes[0].name, lanes[1].name, "ratio");
    for ((title, rtn), runc) in titles.iter().zip(rtn).zip(runc) {
        text.push_str(&format!("  {title:<58}{rtn:>10.2}{runc:>10.2}{:>8.2}\n", rtn / runc));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_after_its_key() {
        let text = "Rss:                 120 kB\nPss_Anon: 7 kB\nPss:                  33 kB\n";
        assert_eq!(
            [number(text, "Pss:"), number(text, "Rss:"), number(text, "Swap:")],
            [33, 120, 0]
        );
    }

    #[test]
    fn processor_time_grows_with_work() {
        let own = std::process::id();
        let before = cpu_time(own).expect("own time");
        let busy = std::time::Instant::now();
        while cpu_time(own).expect("own time") == before && busy.elapsed().as_secs() < 60 {}
        assert!(cpu_time(own).expect("own time") > before);
    }
}
