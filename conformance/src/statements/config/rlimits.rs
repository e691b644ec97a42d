//! config.md "POSIX process".

use std::collections::BTreeMap;

use integration::Test;
use serde_json::{Value, json};

use super::{AUTHOR, SOLARIS, process, refuses, remove};
use crate::{Statement, must, required};

const POSIX: &str = r#"config.md "POSIX process""#;

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config.rlimits.type.required",
        POSIX,
        "type (string, REQUIRED) the platform resource being limited.",
    )
    .test(|test| {
        let mut entry = limit("RLIMIT_NOFILE", 10, 20);
        remove(&mut entry, "type");
        refuses(test, &process(test.bundle(), "rlimits", json!([entry])));
    }),
    required(
        "config.rlimits.type.solaris",
        POSIX,
        "type (string, REQUIRED) […] Solaris: valid values are defined in the getrlimit(3) man \
         page, such as RLIMIT_CORE.",
    )
    .untestable(SOLARIS),
    must(
        "config.rlimits.type.unmappable",
        POSIX,
        "The runtime MUST generate an error for any values which cannot be mapped to a relevant \
         kernel interface.",
    )
    .test(|test| {
        for name in ["RLIMIT_NO_SUCH", "NOFILE", "nofile", ""] {
            let bundle = test.bundle_named(&format!("limit-{name}"));
            refuses(test, &process(bundle, "rlimits", json!([limit(name, 10, 20)])));
        }
    }),
    must(
        "config.rlimits.type.known",
        POSIX,
        "For each entry in rlimits, a getrlimit(3) on type MUST succeed.",
    )
    .test(|test| {
        let limits = lower_limits();
        let found = set(test, &limits);
        assert!(limits.keys().eq(found.keys()), "{found:?}");
    }),
    required(
        "config.rlimits.soft.required",
        POSIX,
        "soft (uint64, REQUIRED) the value of the limit enforced for the corresponding resource.",
    )
    .untestable(AUTHOR),
    must(
        "config.rlimits.soft",
        POSIX,
        "soft (uint64, REQUIRED) […] rlim.rlim_cur MUST match the configured value.",
    )
    .test(|test| {
        let limits = lower_limits();
        let found = set(test, &limits);
        for (name, (soft, _)) in limits {
            assert_eq!(found[&name].0, soft, "{name}");
        }
    }),
    required(
        "config.rlimits.hard.required",
        POSIX,
        "hard (uint64, REQUIRED) the ceiling for the soft limit that could be set by an \
         unprivileged process.",
    )
    .untestable(AUTHOR),
    must(
        "config.rlimits.hard",
        POSIX,
        "hard (uint64, REQUIRED) […] rlim.rlim_max MUST match the configured value.",
    )
    .test(|test| {
        let limits = lower_limits();
        let found = set(test, &limits);
        for (name, (_, hard)) in limits {
            assert_eq!(found[&name].1, hard, "{name}");
        }
    }),
    must(
        "config.rlimits.soft-above-hard",
        POSIX,
        "The runtime MUST generate an error for any values which cannot be mapped to a relevant \
         kernel interface.",
    )
    .test(|test| {
        let limits = json!([limit("RLIMIT_NOFILE", 20, 10)]);
        refuses(test, &process(test.bundle(), "rlimits", limits));
    }),
    must(
        "config.rlimits.duplicates",
        POSIX,
        "If rlimits contains duplicated entries with same type, the runtime MUST generate an \
         error.",
    )
    .test(|test| {
        let entry = limit("RLIMIT_NOFILE", 10, 20);
        for (name, other) in [("equal", entry.clone()), ("other", limit("RLIMIT_NOFILE", 5, 6))] {
            let limits = json!([entry, limit("RLIMIT_CORE", 0, 0), other]);
            refuses(test, &process(test.bundle_named(name), "rlimits", limits));
        }
    }),
];

fn limit(kind: &str, soft: u64, hard: u64) -> Value {
    json!({ "type": kind, "soft": soft, "hard": hard })
}

/// Soft and hard limits for every resource, somewhat below those of this process, so that they need
/// no privilege and differ from what a runtime that does nothing leaves.
fn lower_limits() -> BTreeMap<String, (u64, u64)> {
    let lower = |value: u64| if value == u64::MAX { 1 << 40 } else { value - value / 8 };
    let own = integration::collect::facts(&[], &[]).rlimits;
    own.into_iter().map(|(name, (_, hard))| (name, (lower(lower(hard)), lower(hard)))).collect()
}

/// The limits that a container has which is given these; names as in [`integration::Facts`].
#[track_caller]
fn set(test: &Test, limits: &BTreeMap<String, (u64, u64)>) -> BTreeMap<String, (u64, u64)> {
    let entry = |(name, (soft, hard)): (&String, &(u64, u64))| {
        limit(&format!("RLIMIT_{}", name.to_uppercase()), *soft, *hard)
    };
    let entries: Vec<Value> = limits.iter().map(entry).collect();
    test.facts(&process(test.bundle(), "rlimits", json!(entries))).rlimits
}
