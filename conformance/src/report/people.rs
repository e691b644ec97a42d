//! For people: a line for each statement, the words for those that failed, and the numbers.

use std::io::{self, Write};

use super::Count;
use crate::{Statement, runner::Verdict};

/// One statement and its verdict.
pub fn line(out: &mut dyn Write, statement: &Statement, verdict: &Verdict) -> io::Result<()> {
    let word = verdict.word(statement);
    match verdict {
        Verdict::Pass => writeln!(out, "{word}  {}", statement.id),
        Verdict::Skip { reason } => writeln!(out, "{word}  {}: {reason}", statement.id),
        Verdict::Fail { reason, place } => {
            writeln!(out, "{word}  {}", statement.id)?;
            writeln!(out, "      {}: {}", statement.section, statement.quote)?;
            reason.lines().try_for_each(|line| writeln!(out, "      > {line}"))?;
            writeln!(out, "      at {place}")
        }
    }
}

/// How many passed, failed and were skipped.
pub fn summary(out: &mut dyn Write, count: Count) -> io::Result<()> {
    let Count { passed, failed, advice, skipped } = count;
    writeln!(out, "{passed} passed, {failed} failed, {advice} failed as advice, {skipped} skipped")
}
