//! Runs the checks: each in a process of its own, several at a time, none for ever.

use std::{
    env,
    os::unix::process::CommandExt,
    panic::PanicHookInfo,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use integration::{Output, Test, leftovers, wait};
use serde::Serialize;

use crate::{Check, Statement};

/// What a check said of a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum Verdict {
    Pass,
    /// What was expected and what came, and where in this suite: `file:line`, empty if unknown.
    Fail {
        reason: String,
        place: String,
    },
    /// What was missing for a judgement.
    Skip {
        reason: String,
    },
}

impl Verdict {
    /// The word of a report. A runtime that fails where the sentence is advice only is compliant,
    /// and its `fail` is in small letters.
    pub fn word(&self, statement: &Statement) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip { .. } => "skip",
            Self::Fail { .. } if statement.level.binds() => "FAIL",
            Self::Fail { .. } => "fail",
        }
    }
}

/// What all checks of one run have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to judge; it becomes `RUNTIME` of the checks.
    pub runtime: PathBuf,
    /// How many checks run at a time.
    pub jobs: usize,
    /// After this a check counts as hung.
    pub timeout: Duration,
    /// Ids of statements that the runtime breaks on purpose.
    pub deviates: Vec<String>,
    /// How many checks may fail once, which is told: `RTN_AGAIN`, by default none.
    pub spare: u32,
}

/// Judges a runtime by `statements`, which all have a test; the verdicts are in their order. `tell`
/// hears each as soon as it and all before it are known.
pub fn run(
    statements: &[&'static Statement],
    options: &Options,
    tell: impl FnMut(&'static Statement, &Verdict) + Send,
) -> Vec<Verdict> {
    let (next, spare) = (AtomicUsize::new(0), AtomicU32::new(options.spare));
    let board = Mutex::new(Board { verdicts: vec![None; statements.len()], told: 0, tell });
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(statement) = statements.get(index) else { return };
            let mut verdict = judge(statement, options);
            if is_spared(statement, &verdict, options, &spare) {
                verdict = judge(statement, options);
            }
            board.lock().expect("no worker panics").post(statements, index, verdict);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(work);
        }
    });
    let verdicts = board.into_inner().expect("no worker panics").verdicts;
    verdicts.into_iter().map(|verdict| verdict.expect("a verdict for each")).collect()
}

/// Whether a failure may be one that no second run shows.
fn is_spared(
    statement: &Statement,
    verdict: &Verdict,
    options: &Options,
    spare: &AtomicU32,
) -> bool {
    let Verdict::Fail { reason, place } = verdict else { return false };
    let counts = statement.level.binds() && !options.deviates.iter().any(|id| id == statement.id);
    let less = |left: u32| left.checked_sub(1);
    let spared = counts && spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
    if spared {
        let reason = reason.replace('\n', " ");
        eprintln!("again {}, which failed once: {reason} ({place})", statement.id);
    }
    spared
}

/// Where the workers post their verdicts, and which have been told.
struct Board<T> {
    verdicts: Vec<Option<Verdict>>,
    told: usize,
    tell: T,
}

impl<T: FnMut(&'static Statement, &Verdict)> Board<T> {
    fn post(&mut self, statements: &[&'static Statement], index: usize, verdict: Verdict) {
        self.verdicts[index] = Some(verdict);
        while let Some(Some(verdict)) = self.verdicts.get(self.told) {
            (self.tell)(statements[self.told], verdict);
            self.told += 1;
        }
    }
}

/// Runs one check in a process of its own and removes whatever that left on the host.
fn judge(statement: &Statement, options: &Options) -> Verdict {
    let stderr = Output::sink();
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args(["case", statement.id]).env("RUNTIME", &options.runtime);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Output::dup(&stderr));
    // Whoever interrupts the suite does not interrupt a check, which then cleans up after itself.
    command.process_group(0);
    let mut child = command.spawn().expect("this program can be run");
    let own = format!("it{}-", child.id());
    let status = end(&mut child, options.timeout);
    // The number of the process is another in every run.
    let said = Output::text(&stderr).replace(&own, "it-");
    let verdict = verdict(status, &said, options.timeout);
    if let Verdict::Fail { .. } = verdict {
        leftovers::remove_all(&own);
    }
    verdict
}

/// The exit status of `child`, or `None` if it had to be killed.
fn end(child: &mut Child, timeout: Duration) -> Option<i32> {
    let pidfd = wait::pidfd(child.id() as i32).expect("a child that nobody has reaped");
    let in_time = wait::readable(&pidfd, timeout);
    if !in_time {
        child.kill().expect("a child can be killed");
    }
    let status = child.wait().expect("a child can be waited for");
    in_time.then(|| status.code().unwrap_or(-1))
}

/// The words with which a check's process begins what it has to say.
const FAILED: &str = "failed: ";
const PLACE: &str = "\nplace: ";
const SKIPPED: &str = "skipped: ";

fn verdict(status: Option<i32>, stderr: &str, timeout: Duration) -> Verdict {
    let said = |word: &str| stderr.split_once(word).map(|(_, text)| text);
    match (status, said(SKIPPED), said(FAILED)) {
        (Some(0), None, _) => Verdict::Pass,
        (Some(0), Some(text), _) => {
            Verdict::Skip { reason: text.lines().next().unwrap_or_default().to_owned() }
        }
        (Some(_), _, Some(text)) => {
            let (reason, place) = text.split_once(PLACE).unwrap_or((text, ""));
            failure(reason.trim_end(), place.lines().next().unwrap_or_default())
        }
        (Some(_), _, None) => failure(&format!("the check crashed: {}", stderr.trim_end()), ""),
        (None, _, _) => failure(&format!("did not end within {} s", timeout.as_secs()), ""),
    }
}

fn failure(reason: &str, place: &str) -> Verdict {
    Verdict::Fail { reason: reason.to_owned(), place: place.to_owned() }
}

/// The life of a check's process: judges by one statement and returns, or panics.
pub fn case(statement: &Statement) {
    let Check::Test(check) = statement.check else {
        panic!("{} has no test", statement.id);
    };
    std::panic::set_hook(Box::new(tell_failure));
    let test = Test::new();
    check(&test);
}

fn tell_failure(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a panic without words");
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
    eprintln!("{FAILED}{message}{PLACE}{}", place.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: Option<i32>, stderr: &str) -> Verdict {
        verdict(status, stderr, Duration::from_secs(7))
    }

    #[test]
    fn a_status_and_the_last_words_make_a_verdict() {
        assert_eq!(of(Some(0), ""), Verdict::Pass);
        let skip = Verdict::Skip { reason: "no x".into() };
        assert_eq!(of(Some(0), "noise\nskipped: no x\nmore"), skip);
        assert_eq!(of(Some(101), "failed: a\n b\nplace: f:1\n"), failure("a\n b", "f:1"));
        assert_eq!(of(Some(-1), "boom\n"), failure("the check crashed: boom", ""));
        assert_eq!(of(None, ""), failure("did not end within 7 s", ""));
    }

    #[test]
    fn a_failure_wins_over_a_skip() {
        assert_eq!(of(Some(101), "skipped: x\nfailed: y"), failure("y", ""));
    }
}
