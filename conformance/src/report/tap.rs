//! The Test Anything Protocol, version 13,
//! <https://testanything.org/tap-version-13-specification.html>.

use std::io::{self, Write};

use serde_json::json;

use crate::{Statement, runner::Verdict};

/// What comes before the first verdict of `count`.
pub fn plan(out: &mut dyn Write, count: usize) -> io::Result<()> {
    writeln!(out, "TAP version 13\n1..{count}")
}

/// The verdict with this number, counted from 1. A failure where the specification advises is a
/// TODO, which a consumer does not count as one.
pub fn line(
    out: &mut dyn Write,
    number: usize,
    statement: &Statement,
    verdict: &Verdict,
) -> io::Result<()> {
    let id = statement.id;
    match verdict {
        Verdict::Pass => writeln!(out, "ok {number} - {id}"),
        Verdict::Skip { reason } => writeln!(out, "ok {number} - {id} # SKIP {reason}"),
        Verdict::Fail { reason, place } => {
            let advice = if statement.level.binds() { "" } else { " # TODO advice" };
            writeln!(out, "not ok {number} - {id}{advice}\n  ---")?;
            let level = statement.level.word();
            let fields = [
                ("message", reason.as_str()),
                ("level", level),
                ("section", statement.section),
                ("quote", statement.quote),
                ("at", place),
            ];
            // A string of JSON is one of YAML.
            fields
                .iter()
                .try_for_each(|(key, value)| writeln!(out, "  {key}: {}", json!(value)))?;
            writeln!(out, "  ...")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{must, should};

    fn text(number: usize, statement: &Statement, verdict: &Verdict) -> String {
        let mut out = Vec::new();
        line(&mut out, number, statement, verdict).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_verdict_has_its_line() {
        let binding = must("a.b", "a.md \"B\"", "It MUST.").test(|_| ());
        let advice = should("a.c", "a.md \"B\"", "It SHOULD.").test(|_| ());
        let skip = Verdict::Skip { reason: "no x".into() };
        let fail = Verdict::Fail { reason: "1\n2".into(), place: "f:1".into() };
        assert_eq!(text(1, &binding, &Verdict::Pass), "ok 1 - a.b\n");
        assert_eq!(text(2, &binding, &skip), "ok 2 - a.b # SKIP no x\n");
        let diagnostic = text(3, &binding, &fail);
        assert!(diagnostic.starts_with("not ok 3 - a.b\n  ---\n  message: \"1\\n2\"\n"));
        assert!(diagnostic.ends_with("  quote: \"It MUST.\"\n  at: \"f:1\"\n  ...\n"));
        assert!(text(4, &advice, &fail).starts_with("not ok 4 - a.c # TODO advice\n"));
    }
}
