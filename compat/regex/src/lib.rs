//! oci-spec checks one field of config.json, `execCPUAffinity`, by a regular expression of digits
//! and commas. The `regex` crate brings about a megabyte of automata and Unicode tables into the
//! static binary for it; `regex-lite`, by the same authors and with the same interface, a tenth.
//! The workspace replaces the one by the other (`[patch.crates-io]`).

pub use regex_lite::Regex;
