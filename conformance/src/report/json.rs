//! One JSON document for a whole run, for programs.

use serde::Serialize;

use super::Count;
use crate::{Check, Level, Statement, runner::Verdict, statement::SPEC};

/// A run of the suite.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a> {
    /// The version of the runtime specification.
    pub spec: &'static str,
    /// The path of the program that was judged.
    pub runtime: String,
    /// What it prints for `--version`.
    pub version: String,
    pub summary: Count,
    pub statements: Vec<Entry<'a>>,
}

/// One statement; with a verdict, or with the reason why there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    pub id: &'static str,
    pub section: &'static str,
    pub level: Level,
    pub quote: &'static str,
    #[serde(flatten)]
    pub verdict: Option<&'a Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untestable: Option<&'static str>,
}

impl<'a> Document<'a> {
    /// `verdicts` are those of the statements that have a test, in their order.
    pub fn new(
        runtime: String,
        version: String,
        statements: &[&'static Statement],
        verdicts: &'a [Verdict],
    ) -> Self {
        let tested = statements.iter().copied().filter(|s| s.is_tested());
        let summary = Count::of(tested.zip(verdicts));
        let mut verdicts = verdicts.iter();
        let entry = |statement: &&'static Statement| {
            let &Statement { id, section, level, quote, ref check } = *statement;
            let (verdict, untestable) = match check {
                Check::Test(_) => (verdicts.next(), None),
                Check::Untestable(reason) => (None, Some(*reason)),
            };
            Entry { id, section, level, quote, verdict, untestable }
        };
        let statements = statements.iter().map(entry).collect();
        Self { spec: SPEC, runtime, version, summary, statements }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::must;

    #[test]
    fn a_statement_has_a_verdict_or_a_reason() {
        const STATEMENTS: &[Statement] = &[
            must("a.b", "a.md \"B\"", "It MUST.").untestable("nobody sees it"),
            must("a.c", "a.md \"B\"", "That MUST.").test(|_| ()),
        ];
        let verdicts = [Verdict::Skip { reason: "no x".into() }];
        let statements: Vec<&'static Statement> = STATEMENTS.iter().collect();
        let document = Document::new("/r".into(), "r 1".into(), &statements, &verdicts);
        let value = serde_json::to_value(document).expect("plain data");
        assert_eq!(value["summary"]["skipped"], 1);
        let shared = |id, quote| json!({ "id": id, "section": "a.md \"B\"", "level": "MUST", "quote": quote });
        let mut untestable = shared("a.b", "It MUST.");
        untestable["untestable"] = json!("nobody sees it");
        let mut skipped = shared("a.c", "That MUST.");
        skipped["verdict"] = json!("skip");
        skipped["reason"] = json!("no x");
        assert_eq!(value["statements"], json!([untestable, skipped]));
    }
}
