//! rtn beside crun, runc and the floor: one run of each in turn, in a new order every round, so
//! that whatever the machine does meanwhile happens to all of them.
//!
//! A workload in which one invocation failed, hung or left something behind is not reported at
//! all: a fast failure would look like a fast runtime.

mod bundle;
mod crowd;
mod job;
mod memory;
mod report;
mod runtime;
mod sample;
mod shims;
mod stats;
mod traces;
mod view;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use libcontainer::{Error, Kind, Result};

use crate::{
    bundle::Bundles,
    job::{Bench, Workload},
    report::{Report, Row, Section},
    runtime::Runtime,
    stats::Shuffle,
    traces::Before,
    view::View,
};

/// Rounds that fill caches and are not counted.
const WARM_UP: usize = 3;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures container runtimes side by side; needs root")]
pub(crate) struct Options {
    /// Rounds per workload; each round runs every runtime once
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// The cgroup hierarchy that the runtimes see, in a mount namespace of the benchmark's own
    #[arg(long, value_enum, default_value_t = View::V1)]
    view: View,
    /// Nothing but this many containers at once through systemd, and PID 1's time for each
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["only", "view", "out"])]
    at_once: Option<usize>,
    /// Nothing but containerd's shims, and this many idle pods of each
    #[arg(long, value_name = "PODS", conflicts_with_all = ["at_once", "only", "view", "out"])]
    shims: Option<usize>,
    /// Only these workloads
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Workload>,
    /// Only these runtimes, of rtn, crun, runc, floor and those of --runtime
    #[arg(long, value_delimiter = ',')]
    runtimes: Vec<String>,
    /// Another runtime, or another program for a known one
    #[arg(long, value_name = "NAME=PROGRAM")]
    runtime: Vec<String>,
    /// Where to write bench.json and bench.md
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Seed of the order within the rounds
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            error.hint_text().iter().for_each(|hint| eprintln!("hint: {hint}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.rounds == 0 {
        return Err(Error::new(Kind::InvalidConfig, "cannot measure in 0 rounds"));
    }
    if let Some(pods) = options.shims {
        view::enter(View::Host)?;
        let mut order = Shuffle::new(options.seed.unwrap_or_else(stats::fresh_seed));
        print!("{}", shims::measure(pods, options.rounds, &mut order)?);
        return Ok(());
    }
    let runtimes = runtime::choose(&options.runtime, &options.runtimes)?;
    let view = match options.at_once {
        Some(_) => crowd::check().map(|()| View::Host)?,
        None => options.view,
    };
    view::enter(view)?;
    job::adopt_orphans()?;
    let bundles = Bundles::create(&runtimes)?;
    let seed = options.seed.unwrap_or_else(stats::fresh_seed);
    let mut report = Report::new(view, options.rounds, seed, &runtimes);
    print!("{}", report.head());
    let (bench, mut order) = (Bench::new(&bundles), Shuffle::new(seed));
    if let Some(size) = options.at_once {
        let before = Before::new()?;
        let table = crowd::measure(&bench, &runtimes, (size, options.rounds), &mut order)?;
        before.check(&bundles)?;
        print!("{table}{}", report.close());
        return Ok(());
    }
    for workload in job::selected(&options.only) {
        let before = Before::new()?;
        let rows = measure(&bench, workload, &runtimes, options.rounds, &mut order)
            .and_then(|rows| before.check(&bundles).map(|()| rows))
            .inspect_err(|_| traces::sweep())?;
        let section = Section::new(workload, rows);
        print!("{}", section.table());
        report.sections.push(section);
    }
    print!("{}", report.close());
    options.out.iter().try_for_each(|directory| report.write(directory))
}

/// Memory first, then the timed rounds: the whole workload or an error.
fn measure(
    bench: &Bench<'_>,
    workload: Workload,
    runtimes: &[Runtime],
    rounds: usize,
    order: &mut Shuffle,
) -> Result<Vec<Row>> {
    let mut lanes = Vec::new();
    for runtime in runtimes {
        let stage = bench.stage(workload, runtime)?;
        let peak = memory::peak(bench, workload, runtime, stage.as_ref())?;
        lanes.push((
            runtime,
            stage,
            Row { runtime: runtime.name.clone(), samples: Vec::new(), peak },
        ));
    }
    for round in 0..WARM_UP + rounds {
        for index in order.permutation(lanes.len()) {
            let (runtime, stage, row) = &mut lanes[index];
            let sample = bench.sample(workload, runtime, stage.as_ref())?;
            if round >= WARM_UP {
                row.samples.push(sample);
            }
        }
    }
    Ok(lanes.into_iter().map(|(_, _, row)| row).collect())
}
