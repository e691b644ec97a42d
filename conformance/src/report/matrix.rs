//! The page that sets runtimes side by side, `docs/conformance.md`: the same statements and
//! verdicts give the same text, so that a difference between two pages is one between runtimes or
//! machines.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use integration::host;

use super::{Count, version};
use crate::{
    Check, Statement, runner::Verdict, statement::SPEC, statements::DOCUMENTS, text::without_times,
};

/// One runtime's column.
#[derive(Debug)]
pub struct Column {
    /// The name of its file and the version that it prints: `runc 1.3.6`.
    pub name: String,
    /// What else it prints for `--version`, but the commit: `spec: 1.2.1, go: go1.26.5`.
    pub about: String,
    /// Those of the statements that have a test, in their order.
    pub verdicts: Vec<Verdict>,
}

impl Column {
    pub fn new(program: &Path, verdicts: Vec<Verdict>) -> Self {
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        let text = version(program);
        let mut lines = text.lines();
        let number = lines.next().and_then(|line| line.split(' ').next_back()).unwrap_or_default();
        let about: Vec<&str> = lines.filter(|line| !line.starts_with("commit:")).collect();
        let name = format!("{file} {number}").trim_end().to_owned();
        Self { name, about: about.join(", "), verdicts }
    }
}

/// The whole page.
pub fn page(statements: &[&'static Statement], columns: &[Column]) -> String {
    let tested: Vec<_> = statements.iter().copied().filter(|s| s.is_tested()).collect();
    let mut page = head(&tested, columns, statements.len());
    for document in DOCUMENTS {
        let inside = |statement: &Statement| statement.document() == document;
        let rows: Vec<Row<'_>> = tested
            .iter()
            .enumerate()
            .filter(|(_, statement)| inside(statement))
            .map(|(index, statement)| Row::new(statement, columns, index))
            .collect();
        let untested = statements.iter().copied().filter(|s| inside(s));
        let untested: Vec<_> = untested.filter(|s| !s.is_tested()).collect();
        if !rows.is_empty() || !untested.is_empty() {
            write!(page, "\n## {document}\n").expect("a string takes everything");
            page += &tables(&rows, columns);
            page += &reasons(&rows, columns);
            page += &untestable(&untested);
        }
    }
    page
}

/// A statement and its verdicts, one per column.
struct Row<'a> {
    statement: &'static Statement,
    verdicts: Vec<&'a Verdict>,
}

impl<'a> Row<'a> {
    fn new(statement: &'static Statement, columns: &'a [Column], index: usize) -> Self {
        Self { statement, verdicts: columns.iter().map(|c| &c.verdicts[index]).collect() }
    }
}

fn head(tested: &[&'static Statement], columns: &[Column], all: usize) -> String {
    let untested = all - tested.len();
    let mut text = format!(
        "# Conformance\n\n\
         What `make conformance` found: runtimes judged by the OCI runtime specification {SPEC}, one statement\n\
         for each sentence that binds a runtime. {} have a test; {untested} have not, for a reason that stands\n\
         with them. `FAIL`: the runtime does not do what it MUST. `fail`: it does not do what it SHOULD or MAY.\n\
         `skip`: this machine or the runtime lacks what the judgement takes.\n\n",
        tested.len()
    );
    text += "| environment | |\n|---|---|\n";
    let runtimes = columns.iter().map(|column| (column.name.as_str(), column.about.clone()));
    for (name, value) in environment().into_iter().chain(runtimes) {
        writeln!(text, "| {name} | {} |", plain(&value)).expect("a string takes everything");
    }
    text += &summary(tested, columns);
    text
}

fn environment() -> [(&'static str, String); 2] {
    let release = nix::sys::utsname::uname().expect("uname");
    let kernel = format!(
        "{} {} ({})",
        release.sysname().to_string_lossy(),
        release.release().to_string_lossy(),
        release.machine().to_string_lossy()
    );
    [("kernel", kernel), ("cgroups", cgroups())]
}

fn cgroups() -> String {
    let (mut v1, mut v2) = (Vec::new(), false);
    for mount in host::hierarchies() {
        match mount.fstype.as_str() {
            "cgroup2" => v2 = true,
            _ => v1.push(mount.target.rsplit('/').next().unwrap_or_default().to_owned()),
        }
    }
    v1.sort();
    match (v1.is_empty(), v2) {
        (true, _) => "v2".into(),
        (false, false) => format!("v1: {}", v1.join(", ")),
        (false, true) => format!("v1 with a v2 hierarchy beside it: {}", v1.join(", ")),
    }
}

fn summary(tested: &[&'static Statement], columns: &[Column]) -> String {
    let mut text = format!("\n| |{}\n|---|{}\n", names(columns), "---|".repeat(columns.len()));
    let mut row = |title: &str, inside: &dyn Fn(&Statement) -> bool| {
        let cells = columns.iter().map(|column| {
            let pairs = tested.iter().copied().zip(&column.verdicts);
            let count = Count::of(pairs.filter(|(statement, _)| inside(statement)));
            format!(" {} |", counted(count))
        });
        writeln!(text, "| {title} |{}", cells.collect::<String>()).expect("a string");
    };
    let known = |document: &&str| tested.iter().any(|s| s.document() == *document);
    for document in DOCUMENTS.iter().filter(|document| known(document)) {
        row(document, &|statement| statement.document() == *document);
    }
    row("all", &|_| true);
    text
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| format!(" {} |", column.name)).collect()
}

/// `91 pass, 2 FAIL, 5 skip`, without what is zero.
fn counted(count: Count) -> String {
    let Count { passed, failed, advice, skipped } = count;
    let parts = [(passed, "pass"), (failed, "FAIL"), (advice, "fail"), (skipped, "skip")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
}

/// One table per section.
fn tables(rows: &[Row<'_>], columns: &[Column]) -> String {
    let mut text = String::new();
    for section in rows.chunk_by(|a, b| a.statement.section == b.statement.section) {
        let heading = section[0].statement.heading();
        let rule = "---|".repeat(columns.len());
        write!(
            text,
            "\n### {heading}\n\n| id | level | |{}\n|---|---|---|{rule}\n",
            names(columns)
        )
        .expect("a string takes everything");
        for row in section {
            let Statement { id, level, quote, .. } = row.statement;
            let words = row.verdicts.iter().map(|v| format!(" {} |", v.word(row.statement)));
            let words: String = words.collect();
            writeln!(text, "| `{id}` | {level} | {} |{words}", plain(&short(quote)))
                .expect("a string takes everything");
        }
    }
    text
}

/// Why a cell says something else than `pass`; those with the same reason together.
fn reasons(rows: &[Row<'_>], columns: &[Column]) -> String {
    let mut lines = String::new();
    for row in rows {
        let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (verdict, column) in row.verdicts.iter().zip(columns) {
            if let Verdict::Fail { reason, .. } | Verdict::Skip { reason } = verdict {
                let said = format!("{}: {}", verdict.word(row.statement), steady(reason));
                told.entry(said).or_default().push(&column.name);
            }
        }
        for (said, names) in told {
            writeln!(lines, "* `{}`, {}: {said}", row.statement.id, names.join(", "))
                .expect("a string takes everything");
        }
    }
    if lines.is_empty() { lines } else { format!("\nWhat did not pass, and why:\n\n{lines}") }
}

fn untestable(statements: &[&'static Statement]) -> String {
    let mut lines = String::new();
    for statement in statements {
        let Check::Untestable(reason) = statement.check else { continue };
        let Statement { id, level, quote, .. } = statement;
        writeln!(lines, "* `{id}` ({level}): {} — {reason}", plain(&short(quote)))
            .expect("a string takes everything");
    }
    if lines.is_empty() { lines } else { format!("\nWithout a test:\n\n{lines}") }
}

/// At most this many characters of a quote or a reason are worth a line.
const SHORT: usize = 180;

/// The beginning of a text, cut between two words.
fn short(text: &str) -> String {
    if text.chars().count() <= SHORT {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SHORT).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{} …", &cut[..end])
}

/// A reason on one line, without what is different in every run: times and numbers of processes.
fn steady(reason: &str) -> String {
    let mut after_process = false;
    let text = without_times(reason).replace("assertion `left == right` failed", "");
    let text = text.trim_start_matches(": ").trim();
    let words = text.split(' ').map(|word| {
        let hidden = after_process && word.starts_with(|c: char| c.is_ascii_digit());
        after_process = matches!(word, "process" | "pid");
        if hidden { "N" } else { word }
    });
    plain(&short(&words.collect::<Vec<_>>().join(" ")))
}

/// A text that Markdown shows as it is, in a table's cell as well.
fn plain(text: &str) -> String {
    let special = |c: char| matches!(c, '|' | '*' | '<' | '[' | '`' | '\\');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{must, should};

    const STATEMENTS: &[Statement] = &[
        must("config.a.b", "config.md \"A\"", "It MUST | shine.").test(|_| ()),
        should("config.a.c", "config.md \"A\"", "It SHOULD.").test(|_| ()),
        must("config.a.d", "config.md \"A\"", "They MUST.").untestable("this binds the author"),
        must("runtime.a.b", "runtime.md \"B\"", "It MUST.").test(|_| ()),
    ];

    fn fail(reason: &str) -> Verdict {
        Verdict::Fail { reason: reason.into(), place: "f:1".into() }
    }

    fn columns() -> [Column; 2] {
        let skip = Verdict::Skip { reason: "no x".into() };
        let one = vec![Verdict::Pass, fail("a\n time=\"2026-01-01T10:00:00Z\" b"), skip.clone()];
        let two = vec![fail("process 4711 is <there>"), Verdict::Pass, skip];
        [("one 1", one), ("two 2", two)].map(|(name, verdicts)| Column {
            name: name.into(),
            about: "spec: 1".into(),
            verdicts,
        })
    }

    fn text() -> String {
        page(&STATEMENTS.iter().collect::<Vec<_>>(), &columns())
    }

    #[test]
    fn the_head_tells_where_and_the_summary_counts_by_document() {
        let page = text();
        assert!(page.contains("| one 1 | spec: 1 |\n"), "{page}");
        assert!(page.contains("| | one 1 | two 2 |\n|---|---|---|\n"), "{page}");
        assert!(page.contains("| config.md | 1 pass, 1 fail | 1 pass, 1 FAIL |\n"), "{page}");
        assert!(
            page.contains("| all | 1 pass, 1 fail, 1 skip | 1 pass, 1 FAIL, 1 skip |\n"),
            "{page}"
        );
    }

    #[test]
    fn a_row_has_a_cell_for_each_runtime() {
        let page = text();
        assert!(
            page.contains("| `config.a.b` | MUST | It MUST \\| shine. | pass | FAIL |\n"),
            "{page}"
        );
        assert!(page.contains("| `config.a.c` | SHOULD | It SHOULD. | fail | pass |\n"), "{page}");
    }

    #[test]
    fn every_other_word_than_pass_has_its_reason() {
        let page = text();
        assert!(page.contains("* `config.a.b`, two 2: FAIL: process N is \\<there>\n"), "{page}");
        assert!(page.contains("* `config.a.c`, one 1: fail: a b\n"), "{page}");
        assert!(page.contains("* `runtime.a.b`, one 1, two 2: skip: no x\n"), "{page}");
        assert!(
            page.contains("* `config.a.d` (MUST): They MUST. — this binds the author\n"),
            "{page}"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_words() {
        let long = "word ".repeat(60);
        let short = short(&long);
        assert!(short.chars().count() <= SHORT + 2 && short.ends_with("word …"), "{short}");
    }
}
