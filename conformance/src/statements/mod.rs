//! The statements: one module per document of the specification, one list per file.

use crate::Statement;

pub mod bundle;
pub mod config;
pub mod config_linux;
pub mod features;
pub mod runtime;

/// The documents, in the order of reports.
pub const DOCUMENTS: [&str; 7] = [
    "bundle.md",
    "config.md",
    "config-linux.md",
    "runtime.md",
    "runtime-linux.md",
    "features.md",
    "features-linux.md",
];

/// Every statement, in the order of reports.
pub fn all() -> impl Iterator<Item = &'static Statement> {
    let lists =
        [bundle::LISTS, config::LISTS, config_linux::LISTS, runtime::LISTS, features::LISTS];
    lists.into_iter().flatten().copied().flatten()
}

/// The statement with this id.
pub fn find(id: &str) -> Option<&'static Statement> {
    all().find(|statement| statement.id == id)
}

/// Returns from a check that cannot judge this runtime, with the reason; for what the specification
/// leaves to the runtime. What the machine lacks is [`integration::needs`].
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        integration::host::skipped(&format!($($reason)+));
        return;
    }};
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::Check;

    #[test]
    fn ids_are_unique_and_plain() {
        let mut seen = BTreeSet::new();
        for statement in all() {
            let id = statement.id;
            assert!(seen.insert(id), "{id} is there twice");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            assert!(id.chars().all(plain) && id.contains('.'), "{id}");
        }
        assert!(!seen.is_empty());
    }

    #[test]
    fn an_id_begins_with_its_document() {
        for statement in all() {
            let document = statement.document();
            assert!(DOCUMENTS.contains(&document), "{}: {}", statement.id, statement.section);
            let stem = document.trim_end_matches(".md");
            assert_eq!(statement.id.split('.').next(), Some(stem), "{}", statement.id);
            let heading = statement.section.strip_prefix(document).unwrap_or_default();
            assert!(heading.starts_with(" \"") && heading.ends_with('"'), "{}", statement.section);
        }
    }

    #[test]
    fn a_quote_holds_the_word_of_its_level() {
        for statement in all() {
            let Check::Test(_) = statement.check else { continue };
            let (quote, word) = (statement.quote, statement.level.word());
            assert!(quote.contains(word), "{}: no {word} in {quote:?}", statement.id);
        }
    }

    #[test]
    fn a_reason_is_a_sentence() {
        for statement in all() {
            assert!(!statement.quote.trim().is_empty(), "{}", statement.id);
            if let Check::Untestable(reason) = statement.check {
                assert!(reason.split(' ').count() > 2, "{}: {reason:?}", statement.id);
            }
        }
    }

    #[test]
    fn the_statements_of_a_section_stand_together() {
        let mut ended: BTreeMap<&str, bool> = BTreeMap::new();
        let sections: Vec<&str> = all().map(|statement| statement.section).collect();
        for pair in sections.windows(2).filter(|pair| pair[0] != pair[1]) {
            assert_eq!(ended.insert(pair[0], true), None, "{} comes back", pair[0]);
        }
    }
}
