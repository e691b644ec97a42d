//! The figures as a table for people, as Markdown and as JSON.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use libcontainer::{Result, error::Context};
use serde_json::{Value, json};

use crate::{job::Workload, runtime::Runtime, sample::Sample, stats, view::View};

/// Figures are compared with these two, in this order.
const PEERS: [&str; 2] = ["crun", "runc"];

/// One runtime's part of a workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) runtime: String,
    pub(crate) samples: Vec<Sample>,
    /// KiB; `None` without a memory controller.
    pub(crate) peak: Option<f64>,
}

impl Row {
    /// The `q`-quantile of the wall time, in milliseconds.
    fn wall(&self, q: f64) -> f64 {
        let walls: Vec<_> = self.samples.iter().map(|sample| milliseconds(sample.wall)).collect();
        stats::quantile(&walls, q)
    }

    /// The kernel may count CPU time in ticks that are longer than a run: only the mean tells.
    fn cpu(&self, part: impl Fn(&Sample) -> std::time::Duration) -> f64 {
        stats::mean(
            &self.samples.iter().map(|sample| milliseconds(part(sample))).collect::<Vec<_>>(),
        )
    }
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[derive(Debug)]
pub(crate) struct Section {
    workload: Workload,
    rows: Vec<Row>,
}

impl Section {
    pub(crate) fn new(workload: Workload, rows: Vec<Row>) -> Self {
        Self { workload, rows }
    }

    /// Columns aligned by spaces.
    pub(crate) fn table(&self) -> String {
        let cells = self.cells();
        let widths: Vec<_> = (0..cells[0].len())
            .map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!("\n{}\n", self.workload.title());
        for row in &cells {
            let _ = write!(text, "  {:<width$}", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let cells = self.cells();
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let ruler = format!("|---|{}\n", "---:|".repeat(cells[0].len() - 1));
        let body: String = cells[1..].iter().map(line).collect();
        format!("\n### {}\n\n{}{ruler}{body}", self.workload.title(), line(&cells[0]))
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let peers: Vec<_> = PEERS.iter().filter(|peer| self.row(peer).is_some()).collect();
        let mut head: Vec<String> = ["", "median", "p10", "p90"].map(String::from).to_vec();
        head.extend(peers.iter().map(|peer| format!("× {peer}")));
        head.extend(["user", "system", "peak memory"].map(String::from));
        let mut cells = vec![head];
        cells.extend(self.rows.iter().map(|row| {
            let mut line = vec![row.runtime.clone()];
            line.extend([0.5, 0.1, 0.9].map(|q| format!("{:.2} ms", row.wall(q))));
            line.extend(
                peers
                    .iter()
                    .filter_map(|peer| self.ratio(row, peer))
                    .map(|ratio| format!("{ratio:.2}")),
            );
            line.extend(
                [row.cpu(|s| s.user), row.cpu(|s| s.system)].map(|time| format!("{time:.1} ms")),
            );
            line.push(row.peak.map_or("-".into(), |kib| format!("{kib:.0} KiB")));
            line
        }));
        cells
    }

    fn row(&self, runtime: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.runtime == runtime)
    }

    fn ratio(&self, row: &Row, peer: &str) -> Option<f64> {
        Some(row.wall(0.5) / self.row(peer)?.wall(0.5))
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "runtime": row.runtime,
                "wallMs": { "median": row.wall(0.5), "p10": row.wall(0.1), "p90": row.wall(0.9) },
                "ratio": PEERS.map(|peer| (peer, self.ratio(row, peer))).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                "cpuMs": { "user": row.cpu(|s| s.user), "system": row.cpu(|s| s.system) },
                "peakKiB": row.peak,
            })
        });
        json!({ "workload": self.workload.title(), "rows": rows.collect::<Vec<_>>() })
    }
}

/// Where, when and between whom; then the sections.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sections: Vec<Section>,
    facts: Vec<(&'static str, String)>,
    runtimes: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new(view: View, rounds: usize, seed: u64, runtimes: &[Runtime]) -> Self {
        let uname = rustix::system::uname();
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut facts = vec![
            ("kernel", uname.release().to_string_lossy().into_owned()),
            ("cpus", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
            ("view", view.describe().into()),
            ("rounds", rounds.to_string()),
            ("seed", seed.to_string()),
            ("time", seconds.to_string()),
            ("load before", load()),
        ];
        let runtimes = runtimes
            .iter()
            .map(|runtime| (runtime.name.clone(), runtime.version.clone()))
            .collect();
        if busy() {
            facts.push(("warning", "the machine was busy before: not figures to quote".into()));
        }
        Self { sections: Vec::new(), facts, runtimes }
    }

    pub(crate) fn head(&self) -> String {
        let lines = self.facts.iter().map(|(name, value)| format!("{name}: {value}\n"));
        lines
            .chain(self.runtimes.iter().map(|(name, version)| format!("{name}: {version}\n")))
            .collect()
    }

    /// The load again: a machine that was busy meanwhile shows here.
    pub(crate) fn close(&mut self) -> String {
        let load = load();
        self.facts.push(("load after", load.clone()));
        format!("\nload after: {load}\n")
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).doing(|| format!("cannot make {}", directory.display()))?;
        for (name, text) in
            [("bench.json", format!("{:#}\n", self.json())), ("bench.md", self.markdown())]
        {
            let path = directory.join(name);
            fs::write(&path, text).doing(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let pairs = |pairs: Vec<(&str, &str)>| {
            pairs.into_iter().map(|(k, v)| (k.into(), json!(v))).collect::<serde_json::Map<_, _>>()
        };
        json!({
            "machine": pairs(self.facts.iter().map(|(k, v)| (*k, v.as_str())).collect()),
            "runtimes": pairs(self.runtimes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()),
            "sections": self.sections.iter().map(Section::json).collect::<Vec<_>>(),
        })
    }

    fn markdown(&self) -> String {
        let head: String = self.head().lines().map(|line| format!("- {line}\n")).collect();
        std::iter::once(head).chain(self.sections.iter().map(Section::markdown)).collect()
    }
}

/// Whether others ran in the last minute: the benchmark's own load is not in it yet.
fn busy() -> bool {
    let average = load().split(' ').next().and_then(|one| one.parse::<f64>().ok());
    average.is_some_and(|average| average > 0.7)
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg")
        .map_or_else(|error| error.to_string(), |text| text.trim_end().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(runtime: &str, walls: &[u64], peak: Option<f64>) -> Row {
        let sample = |&ms| Sample {
            wall: Duration::from_millis(ms),
            user: Duration::from_millis(1),
            system: Duration::from_millis(2),
        };
        Row { runtime: runtime.into(), samples: walls.iter().map(sample).collect(), peak }
    }

    fn section() -> Section {
        Section::new(
            Workload::State,
            vec![row("rtn", &[3, 1, 2], Some(700.0)), row("crun", &[8, 8, 8], None)],
        )
    }

    #[test]
    fn the_table_compares_with_the_peers_that_ran() {
        let lines = [
            "",
            "state",
            "         median      p10      p90  × crun    user  system  peak memory",
            "  rtn   2.00 ms  1.20 ms  2.80 ms    0.25  1.0 ms  2.0 ms      700 KiB",
            "  crun  8.00 ms  8.00 ms  8.00 ms    1.00  1.0 ms  2.0 ms            -",
        ];
        assert_eq!(section().table().lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn markdown_has_as_many_cells_in_every_line() {
        let text = section().markdown();
        let bars: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.matches('|').count())
            .collect();
        assert_eq!(bars, [9; 4], "{text}");
    }

    #[test]
    fn json_holds_the_same_figures() {
        let json = section().json();
        assert_eq!(json["rows"][0]["wallMs"]["median"], 2.0);
        assert_eq!(json["rows"][0]["ratio"]["crun"], 0.25);
        assert_eq!(json["rows"][0]["ratio"]["runc"], Value::Null);
        assert_eq!(json["rows"][1]["peakKiB"], Value::Null);
    }
}
