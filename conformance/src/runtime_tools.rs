//! The validation programs of OCI runtime-tools, <https://github.com/opencontainers/runtime-tools>,
//! which the user has built: each is run by itself, with a time limit, and its TAP is counted.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use integration::{Output, wait};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// What one program printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Tap {
    pub passed: usize,
    pub skipped: usize,
    /// The descriptions of those that are not ok.
    pub failed: Vec<String>,
    /// How many results the plan promises, if there is one.
    pub planned: Option<usize>,
    pub bailed_out: bool,
}

impl Tap {
    /// Reads the lines of the outermost level; a subtest is indented and its result follows.
    pub fn parse(text: &str) -> Self {
        let mut tap =
            Self { passed: 0, skipped: 0, failed: Vec::new(), planned: None, bailed_out: false };
        text.lines().for_each(|line| tap.read(line));
        tap
    }

    fn read(&mut self, line: &str) {
        let directive = line.split_once(" # ").map_or("", |(_, text)| text).to_ascii_lowercase();
        let excused = directive.starts_with("skip") || directive.starts_with("todo");
        if let Some(plan) = line.strip_prefix("1..") {
            self.planned = plan.split(' ').next().and_then(|number| number.parse().ok());
        } else if line.starts_with("Bail out!") {
            self.bailed_out = true;
        } else if is_result(line, "ok") || is_result(line, "not ok") && excused {
            *(if excused { &mut self.skipped } else { &mut self.passed }) += 1;
        } else if is_result(line, "not ok") {
            self.failed.push(line["not ok".len()..].trim().to_owned());
        }
    }

    fn results(&self) -> usize {
        self.passed + self.skipped + self.failed.len()
    }

    /// What is wrong, or nothing.
    fn fault(&self) -> Option<String> {
        if let Some(first) = self.failed.first() {
            return Some(first.clone());
        }
        if self.bailed_out {
            return Some("it bailed out".into());
        }
        let planned = self.planned.filter(|planned| *planned != self.results());
        planned.map(|planned| format!("{} of {planned} results", self.results()))
    }
}

fn is_result(line: &str, word: &str) -> bool {
    line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    Pass,
    /// What was wrong first.
    Fail(String),
    Timeout,
}

/// The programs below `directory`, in the order of their paths: `validation/NAME/NAME.t`.
///
/// # Errors
///
/// When there is no such directory, or no program in it.
pub fn programs(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let validation = directory.join("validation");
    let mut found = Vec::new();
    for entry in fs::read_dir(&validation).map_err(|error| explain(&validation, &error))? {
        let entries = fs::read_dir(entry?.path()).into_iter().flatten().flatten();
        found.extend(entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "t")));
    }
    found.sort();
    if found.is_empty() {
        return Err(io::Error::other(format!("no program in {}/*/*.t", validation.display())));
    }
    Ok(found)
}

fn explain(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot list {}: {error}", path.display()))
}

/// Runs one of them in `directory`, where it looks for its root filesystem, to judge `runtime`.
///
/// # Errors
///
/// When it cannot be run.
pub fn run(
    program: &Path,
    directory: &Path,
    runtime: &Path,
    limit: Duration,
) -> io::Result<(Ending, Tap)> {
    let stdout = Output::sink();
    let mut command = Command::new(program);
    command.current_dir(directory).env("RUNTIME", runtime).process_group(0);
    command.stdin(Stdio::null()).stdout(Output::dup(&stdout)).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let pidfd = wait::pidfd(child.id() as i32).expect("a child that nobody has reaped");
    let in_time = wait::readable(&pidfd, limit);
    if !in_time {
        killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL)?;
    }
    let status = child.wait()?;
    let tap = Tap::parse(&Output::text(&stdout));
    let ending = match tap.fault() {
        _ if !in_time => Ending::Timeout,
        Some(fault) => Ending::Fail(fault),
        None if !status.success() => Ending::Fail(status.to_string()),
        None => Ending::Pass,
    };
    Ok((ending, tap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_the_outermost_level_are_counted() {
        let tap = Tap::parse(
            "TAP version 13\nok 1 - a\n    not ok 1 - inner\nnot ok 2 - b\nok 3 - c # SKIP no x\n\
             not ok 4 # TODO later\n1..4\n# not ok\n",
        );
        assert_eq!((tap.passed, tap.skipped, tap.planned), (1, 2, Some(4)));
        assert_eq!(tap.failed, ["2 - b"]);
        assert_eq!(tap.fault().as_deref(), Some("2 - b"));
    }

    #[test]
    fn a_plan_that_is_not_kept_is_a_fault() {
        assert_eq!(Tap::parse("1..2\nok 1\n").fault().as_deref(), Some("1 of 2 results"));
        assert_eq!(Tap::parse("1..1\nok 1\n").fault(), None);
        assert_eq!(Tap::parse("ok 1\nBail out!\n").fault().as_deref(), Some("it bailed out"));
    }
}
