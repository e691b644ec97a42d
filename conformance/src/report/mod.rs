//! What a run is told as.

use std::{path::Path, process::Command, time::Duration};

use integration::{Output, wait};

use crate::{Statement, runner::Verdict};

pub mod json;
pub mod matrix;
pub mod people;
pub mod tap;

/// The numbers of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    pub passed: usize,
    /// Statements that bind.
    pub failed: usize,
    /// Statements that advise.
    pub advice: usize,
    pub skipped: usize,
}

impl Count {
    /// The numbers of these statements with their verdicts.
    pub fn of<'a>(verdicts: impl IntoIterator<Item = (&'a Statement, &'a Verdict)>) -> Self {
        let mut count = Self::default();
        for (statement, verdict) in verdicts {
            *match verdict.word(statement) {
                "pass" => &mut count.passed,
                "FAIL" => &mut count.failed,
                "fail" => &mut count.advice,
                _ => &mut count.skipped,
            } += 1;
        }
        count
    }
}

/// What a runtime prints for `--version`; empty if that fails or takes longer than a few seconds.
pub fn version(program: &Path) -> String {
    let stdout = Output::sink();
    let mut command = Command::new(program);
    command.arg("--version").stdin(std::process::Stdio::null()).stdout(Output::dup(&stdout));
    let Ok(mut child) = command.spawn() else { return String::new() };
    let pidfd = wait::pidfd(child.id() as i32).expect("a child that nobody has reaped");
    if !wait::readable(&pidfd, Duration::from_secs(5)) {
        let _ = child.kill();
    }
    let _ = child.wait();
    Output::text(&stdout)
}
