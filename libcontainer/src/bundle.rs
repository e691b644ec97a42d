//! Reads a bundle: config.json, once.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Kind, Result};

mod fields;
mod names;
mod text;

pub use fields::{Stray, Why, strays};

/// A bundle as it lies on disk.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute, without symbolic links.
    pub dir: PathBuf,
    pub spec: Spec,
    /// The bytes of config.json; the container keeps a copy, since the bundle may change under it.
    pub raw: Vec<u8>,
}

/// Reads the bundle in `dir`.
///
/// # Errors
/// [`Kind::InvalidConfig`] with the JSON path of the first value that does not fit the
/// runtime specification's types.
pub fn load(dir: &Path) -> Result<Bundle> {
    let dir = fs::canonicalize(dir).doing(|| format!("cannot open bundle {dir:?}"))?;
    let path = dir.join("config.json");
    let raw = read_file(&path).map_err(|cause| {
        Error::os(format!("cannot read {path:?}"), cause)
            .hint("a bundle is a directory with a config.json; `rtn spec` writes one")
    })?;
    let spec = parse(&raw)?;
    Ok(Bundle { dir, spec, raw })
}

/// A fifo would make the caller wait for ever.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut raw = Vec::new();
    file.by_ref().take(SIZE_MAX + 1).read_to_end(&mut raw)?;
    match raw.len() as u64 {
        0..=SIZE_MAX => Ok(raw),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB")),
    }
}

/// 100 000 mounts take a quarter of that, and execve(2) takes 6 MiB of arguments and environment; a
/// sparse file would take all memory.
const SIZE_MAX: u64 = 64 << 20;

/// Parses the text of a config.json.
///
/// Names are compared letter by letter, unlike Go's `encoding/json`, and an object with two members
/// of one name is refused: which of them is meant would depend on the reader. `null` stands for a
/// field that is not there wherever the specification has an optional one.
///
/// # Errors
/// As [`load`].
pub fn parse(raw: &[u8]) -> Result<Spec> {
    parse_as(raw, "cannot parse config.json", "")
}

/// Parses `raw`, which stands at the path `below` of a config.json.
///
/// # Errors
/// [`Kind::InvalidConfig`] that begins with `doing`, with the JSON path of the value at fault.
pub fn parse_as<T: DeserializeOwned>(
    raw: &[u8],
    doing: &'static str,
    below: &'static str,
) -> Result<T> {
    serde_json::from_slice(raw).map_err(|cause| {
        let path = path_of::<T>(raw, &cause);
        explain(raw, doing, below, path, cause)
    })
}

/// serde_json tells the line and column where it was; what is there, the text tells.
fn path_of<T: DeserializeOwned>(raw: &[u8], cause: &serde_json::Error) -> String {
    let offset = text::offset(raw, cause.line(), cause.column());
    if !cause.is_data() {
        return text::place_at(raw, offset.saturating_sub(1));
    }
    // What a type's own check finds is noticed only at the end of the object around it; a document
    // that ends after the value at fault is already wrong.
    let wrong = |end: usize| serde_json::from_slice::<T>(&raw[..end]).is_err_and(|e| e.is_data());
    let at_end = raw.get(..offset).is_some_and(|read| read.ends_with(b"}"));
    let missing = cause.to_string().starts_with("missing field");
    let inside = if at_end && !missing { text::values_of(raw, offset) } else { Vec::new() };
    match inside.into_iter().find(|(end, _)| wrong(*end)) {
        Some((_, path)) => path,
        None => text::value_at(raw, offset),
    }
}

fn explain(
    raw: &[u8],
    doing: &'static str,
    below: &'static str,
    mut path: String,
    cause: serde_json::Error,
) -> Error {
    if !below.is_empty() {
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        path = format!("{below}{dot}{path}");
    }
    let error = Error::new(Kind::InvalidConfig, doing);
    let error = if path.is_empty() { error } else { error.at(path) };
    let error = match hint(raw) {
        Some(hint) => error.hint(hint),
        None => error,
    };
    error.because(cause)
}

/// What else may be seen from a text that does not parse.
fn hint(raw: &[u8]) -> Option<&'static str> {
    match raw {
        [0xef, 0xbb, 0xbf, ..] => Some("the file begins with a byte order mark: remove it"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("the file is UTF-16: convert it to UTF-8"),
        raw if raw.trim_ascii().is_empty() => Some("the file is empty; `rtn spec` writes one"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_its_path() {
        let error = parse(br#"{"ociVersion":"1.2.0","mounts":[{"destination":7}]}"#).unwrap_err();
        assert_eq!(error.spec_path(), Some("mounts[0].destination"));
        assert_eq!(error.kind(), Kind::InvalidConfig);
    }

    #[test]
    fn an_unknown_namespace_is_named_by_its_path() {
        let json =
            br#"{"ociVersion":"1.2.0","linux":{"namespaces":[{"type":"pid"},{"type":"x"}]}}"#;
        let error = parse(json).unwrap_err();
        assert_eq!(error.spec_path(), Some("linux.namespaces[1].type"));
    }

    fn told(json: &str) -> (String, String) {
        let error = parse(json.as_bytes()).unwrap_err();
        (error.spec_path().unwrap_or_default().to_owned(), error.to_string())
    }

    #[test]
    fn every_kind_of_wrong_value_is_named_by_its_path() {
        for (json, path) in [
            (r#"{"hostname":7}"#, "hostname"),
            (r#"{"hostname": {"a":1} }"#, "hostname"),
            (r#"{"hostname": [], "x":1}"#, "hostname"),
            (r#"{"mounts": {} }"#, "mounts"),
            ("{\"mounts\":\n [ {\"destination\":\"/\"} , null]}", "mounts[1]"),
            (r#"{"mounts":[{"destination":"/","options":["a",1]}]}"#, "mounts[0].options[1]"),
            (r#"{"process":{"user":{"uid":-1},"cwd":"/"}}"#, "process.user.uid"),
            (r#"{"process":{"user":{"uid":4294967296},"cwd":"/"}}"#, "process.user.uid"),
            (r#"{"process":{"user":{"uid":1.0},"cwd":"/"}}"#, "process.user.uid"),
            (r#"{"process":{"user":{"uid":1e400},"cwd":"/"}}"#, "process.user.uid"),
            (r#"{"process":{"user":{}, "args":[] } , "x":1}"#, "process"),
            (r#"{"annotations":{"a.b":1}}"#, r#"annotations["a.b"]"#),
            (
                r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NO"}}}"#,
                "linux.seccomp.defaultAction",
            ),
            (
                r#"{"process":{"execCPUAffinity":{"initial":"1", "final":"x"},"user":{},"cwd":"/"}}"#,
                "process.execCPUAffinity.final",
            ),
            (r#"{"hostname":"a","hostname":"b"}"#, "hostname"),
            (r#"{"root":{"path":"a" "readonly":true}}"#, "root.path"),
            (r#"{"root":{"path":"a","#, "root.path"),
            (r#"{"root":{"path":"\ud800"}}"#, "root.path"),
        ] {
            assert_eq!(told(json).0, path, "{json}: {:?}", told(json));
        }
    }

    #[test]
    fn text_after_the_document_is_refused() {
        assert!(told(r#"{"ociVersion":"1.2.0"} x"#).1.contains("trailing characters"));
    }

    #[test]
    fn null_stands_for_an_optional_field_that_is_not_there() {
        let json = r#"{"ociVersion":"1.0.0","mounts":null,"hooks":null,"linux":null,"annotations":null,
            "process":{"user":{"additionalGids":null,"umask":null},"args":null,"env":null,
            "capabilities":null,"rlimits":null,"cwd":"/","consoleSize":null,"noNewPrivileges":null}}"#;
        parse(json.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for (raw, hint) in [
            (b"\xef\xbb\xbf{}".as_slice(), "byte order mark"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b" \n", "empty"),
        ] {
            let error = parse(raw).unwrap_err();
            assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
        }
        assert!(parse(b"{\"hostname\":\"\xff\"}").unwrap_err().spec_path() == Some("hostname"));
    }

    #[test]
    fn a_document_of_any_depth_ends() {
        let deep = |open: &str| format!(r#"{{"ociVersion":"1.0.0","x":{}"#, open.repeat(1 << 20));
        for open in ["[", r#"{"a":"#] {
            assert!(parse(deep(open).as_bytes()).is_err());
        }
        let closed = format!("{}{}}}", deep("["), "]".repeat(1 << 20));
        parse(closed.as_bytes()).unwrap();
        assert_eq!(strays(closed.as_bytes()).len(), 1);
    }
}
