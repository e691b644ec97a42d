//! Reads a bundle: config.json, once.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Context, Error, Kind, Result};

mod dialect;
mod fields;
pub mod lists;
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
    /// What of config.json was left out, for the user to know.
    pub warnings: Vec<String>,
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
    let (spec, warnings) = read_spec(&raw)?;
    lists::check(&raw, "")?;
    Ok(Bundle { dir, spec, raw, warnings })
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
    read_spec(raw).map(|(spec, _)| spec)
}

fn read_spec(raw: &[u8]) -> Result<(Spec, Vec<String>)> {
    let (mut spec, warnings) = read(raw, "")?;
    forget_unset_pids(&mut spec, raw);
    Ok((spec, warnings))
}

/// Parses a process by itself, as `exec --process` has it, and what was left out of it.
///
/// # Errors
/// As [`load`]; the JSON path is that in a config.json.
pub fn parse_process(raw: &[u8]) -> Result<(Process, Vec<String>)> {
    let read = read(raw, "process")?;
    lists::check(raw, "process")?;
    Ok(read)
}

/// Reads what stands at the path `below` of a config.json; where the types refuse what the
/// specification allows, in their dialect.
fn read<T: DeserializeOwned>(raw: &[u8], below: &str) -> Result<(T, Vec<String>)> {
    let cause = match serde_json::from_slice(raw) {
        Ok(value) => return Ok((value, Vec::new())),
        Err(cause) => cause,
    };
    let Some((text, warnings)) = in_dialect(raw, below) else {
        let told = choice::<T>(raw, &cause).unwrap_or_else(|| cause.to_string());
        return Err(fault::<T>(raw, below, &cause, told));
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok((value, warnings)),
        Err(cause) => {
            // Lines and columns are not those of the file.
            let told = choice::<T>(&text, &cause).unwrap_or_else(|| cause.to_string());
            let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(told, _)| told);
            Err(fault::<T>(&text, below, &cause, told.to_owned()))
        }
    }
}

fn in_dialect(raw: &[u8], below: &str) -> Option<(Vec<u8>, Vec<String>)> {
    let mut document: Value = serde_json::from_slice(raw).ok()?;
    let process = if below.is_empty() { document.get_mut("process")? } else { &mut document };
    let warnings = dialect::rewrite(process)?;
    Some((document.to_string().into_bytes(), warnings))
}

fn fault<T: DeserializeOwned>(
    raw: &[u8],
    below: &str,
    cause: &serde_json::Error,
    told: String,
) -> Error {
    let path = path_of::<T>(raw, cause);
    let dot = if below.is_empty() || path.is_empty() || path.starts_with('[') { "" } else { "." };
    let error = Error::new(Kind::InvalidConfig, "cannot parse config.json").because(line(&told));
    let error = match format!("{below}{dot}{path}") {
        path if path.is_empty() => error,
        path => error.at(path),
    };
    match hint(raw) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// serde_json tells the line and column where it was; what is there, the text tells.
fn path_of<T: DeserializeOwned>(raw: &[u8], cause: &serde_json::Error) -> String {
    let offset = text::offset(raw, cause.line(), cause.column());
    if !cause.is_data() {
        return text::place_at(raw, offset.saturating_sub(1));
    }
    // What a type's own check finds is noticed only at the end of what is around it; a document
    // that ends after the value at fault is already wrong.
    let wrong = |end: usize| serde_json::from_slice::<T>(&raw[..end]).is_err_and(|e| e.is_data());
    let at_end = raw.get(..offset).is_some_and(|read| matches!(read.last(), Some(b'}' | b']')));
    let missing = cause.to_string().starts_with("missing field");
    let inside = if at_end && !missing { text::values_of(raw, offset) } else { Vec::new() };
    match inside.into_iter().find(|(end, _)| wrong(*end)) {
        Some((_, path)) => path,
        None => text::value_at(raw, offset),
    }
}

/// What may stand where one of a few words belongs and something else is: serde_json calls a number
/// in such a place no value at all. Of a word it says more.
fn choice<T: DeserializeOwned>(raw: &[u8], cause: &serde_json::Error) -> Option<String> {
    let message = cause.to_string();
    let at = message.strip_prefix("expected value")?;
    let before = text::offset(raw, cause.line(), cause.column()).checked_sub(1)?;
    let with_word = [&raw[..before], b"\"\""].concat();
    let told = serde_json::from_slice::<T>(&with_word).err().filter(serde_json::Error::is_data)?;
    let told = told.to_string();
    let (words, _) = told.split_once(" at line ")?;
    Some(format!("{}{at}", words.get(words.find("expected ")?..)?))
}

/// serde_json repeats an unknown word as it is: whatever its length, and with its line breaks.
fn line(told: &str) -> String {
    const LENGTH_MAX: usize = 1000;
    let mut line = String::with_capacity(told.len().min(LENGTH_MAX));
    for letter in told.chars().take(LENGTH_MAX) {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
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

/// A pids object without a limit limits nothing (runtime-spec 1.3); the types read it as 0.
fn forget_unset_pids(spec: &mut Spec, raw: &[u8]) {
    let resources = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    let Some(resources) = resources else { return };
    if resources.pids().is_none_or(|pids| pids.limit() != 0) {
        return;
    }
    let raw: Value = serde_json::from_slice(raw).unwrap_or_default();
    if raw.pointer("/linux/resources/pids/limit").is_none() {
        resources.set_pids(None);
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
            (r#"{"mounts":[{"destination":"/"},{"type":"x"} ]}"#, "mounts[1]"),
            (r#"{"annotations":{"a.b":1}}"#, r#"annotations["a.b"]"#),
            (
                r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NO"}}}"#,
                "linux.seccomp.defaultAction",
            ),
            (
                r#"{"process":{"execCPUAffinity":{"initial":"1", "final":"x"},"user":{},"cwd":"/"}}"#,
                "process.execCPUAffinity.final",
            ),
            (
                r#"{"process":{"scheduler":{"policy":"SCHED_FIFO","flags":["SCHED_FLAG_DL_OVERRUN","x"]}}}"#,
                "process.scheduler.flags[1]",
            ),
            (r#"{"hostname":"a","hostname":"b"}"#, "hostname"),
            (r#"{"process":{"user":{},"cwd":"/","args":[[1]]}}"#, "process.args[0]"),
            (r#"{"linux":{"namespaces":[{"type": 7}]}}"#, "linux.namespaces[0].type"),
            (
                r#"{"linux":{"seccomp":{"architectures":["SCMP_ARCH_X86" , 7]}}}"#,
                "linux.seccomp.architectures[1]",
            ),
            ("{\"mounts\":[\n}", "mounts"),
            ("{\"mounts\":[{\"destination\":\"/a\\x\"}]}", "mounts[0].destination"),
            (r#"{"mounts":[{"destination":"/a"}, x]}"#, "mounts[1]"),
            (r#"{"root":{"path":"a" "readonly":true}}"#, "root.path"),
            (r#"{"root":{"path":"a","#, "root.path"),
            (r#"{"root":{"path":"\ud800"}}"#, "root.path"),
        ] {
            assert_eq!(told(json).0, path, "{json}: {:?}", told(json));
        }
    }

    #[test]
    fn the_words_that_may_stand_in_a_place_are_told() {
        let (_, text) = told(r#"{"linux":{"namespaces":[{"type": 7}]}}"#);
        assert!(text.contains("expected one of `mount`, `cgroup`"), "{text}");
        let (_, text) = told(r#"{"linux":{"namespaces":[{"type": "x"}]}}"#);
        assert!(text.contains("unknown variant `x`, expected one of `mount`, `cgroup`"), "{text}");
    }

    #[test]
    fn an_unknown_word_does_not_break_the_line() {
        let json = |word: &str| format!(r#"{{"linux":{{"namespaces":[{{"type":"{word}"}}]}}}}"#);
        assert!(told(&json(r"a\n\u001b[2J")).1.contains(r"`a\n\u{1b}[2J`"));
        assert!(told(&json(&"x".repeat(1 << 20))).1.len() < 2000);
    }

    #[test]
    fn a_pids_object_without_a_limit_is_none() {
        let limit = |pids: &str| {
            let json =
                format!(r#"{{"ociVersion":"1.3.0","linux":{{"resources":{{"pids":{pids}}}}}}}"#);
            let spec = parse(json.as_bytes()).unwrap();
            let resources = spec.linux().clone().unwrap().resources().clone().unwrap();
            resources.pids().map(|pids| pids.limit())
        };
        assert_eq!(limit("{}"), None);
        assert_eq!(limit(r#"{"limit":0}"#), Some(0));
        assert_eq!(limit(r#"{"limit":-1}"#), Some(-1));
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
    fn what_the_types_refuse_and_the_specification_allows_is_read() {
        let process = r#"{"cwd":"/","capabilities":{"bounding":["CAP_X"]},
            "scheduler":{"policy":"SCHED_FIFO","flags":["SCHED_FLAG_RESET_ON_FORK"]}}"#;
        assert!(
            parse(format!(r#"{{"process":{process}}}"#).as_bytes()).unwrap().process().is_some()
        );
        let (process, warnings) = parse_process(process.as_bytes()).unwrap();
        assert_eq!((process.user().uid(), warnings.len()), (0, 1));
    }

    #[test]
    fn a_fault_beside_it_is_still_named() {
        let json = br#"{"process":{"cwd":"/","capabilities":{"bounding":["CAP_X"]},"args":[7]}}"#;
        let error = parse(json).unwrap_err();
        assert_eq!(error.spec_path(), Some("process.args[0]"));
        assert!(
            error.to_string().ends_with("invalid type: integer `7`, expected a string"),
            "{error}"
        );
        let error = parse_process(br#"{"cwd":"/","rlimits":[{"type":"X"}]}"#).unwrap_err();
        assert_eq!(error.spec_path(), Some("process.rlimits[0].type"));
        let error = parse_process(br#"{"cwd":"/","user":[0,0]}"#).unwrap_err();
        assert_eq!(error.spec_path(), Some("process.user"));
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
