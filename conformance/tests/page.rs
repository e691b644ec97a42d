//! docs/conformance.md is the page of this suite, not of an older one.

use std::{collections::BTreeSet, fs};

use conformance::statements;

/// The ids that a row of a table or a line about a missing test begins with.
fn ids(page: &str) -> BTreeSet<String> {
    let id = |line: &str| {
        let rest = line.strip_prefix("| `").or_else(|| line.strip_prefix("* `"))?;
        rest.split_once('`').map(|(id, _)| id.to_owned())
    };
    page.lines().filter_map(id).collect()
}

#[test]
fn the_page_has_every_statement_and_no_other() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
    let page = ids(&fs::read_to_string(file).expect("docs/conformance.md"));
    let suite: BTreeSet<String> = statements::all().map(|s| s.id.to_owned()).collect();
    let different: Vec<_> = page.symmetric_difference(&suite).collect();
    assert!(different.is_empty(), "`make conformance` is due for {different:?}");
}
