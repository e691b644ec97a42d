//! An array where an object belongs is a wrong value (config.md "Valid values"), but the parser
//! takes its elements for the members in their order.

use std::borrow::Cow;

use super::fields::{Why, strays};
use crate::error::{Error, Result};

/// Names that are an array's in every place of a config.json where they are known. One that is
/// missing here costs time and nothing else.
const ARRAYS: [&[u8]; 35] = [
    b"additionalGids",
    b"ambient",
    b"architectures",
    b"args",
    b"bounding",
    b"createContainer",
    b"createRuntime",
    b"devices",
    b"effective",
    b"env",
    b"flags",
    b"gidMappings",
    b"hugepageLimits",
    b"inheritable",
    b"maskedPaths",
    b"mounts",
    b"names",
    b"namespaces",
    b"options",
    b"permitted",
    b"poststart",
    b"poststop",
    b"prestart",
    b"priorities",
    b"readonlyPaths",
    b"rlimits",
    b"schemata",
    b"startContainer",
    b"syscalls",
    b"throttleReadBpsDevice",
    b"throttleReadIOPSDevice",
    b"throttleWriteBpsDevice",
    b"throttleWriteIOPSDevice",
    b"uidMappings",
    b"weightDevice",
];

/// # Errors
/// The JSON path of the first such array in `raw`, as [`misplaced`] finds it.
pub(super) fn check(raw: &[u8], below: &str) -> Result<()> {
    match misplaced(raw, below) {
        Some(path) => Err(Error::config(
            path,
            "cannot parse config.json: invalid type: sequence, expected an object",
        )),
        None => Ok(()),
    }
}

/// The JSON path of the first such array in `raw`, which the parser takes for what stands at the path
/// `below` of a config.json (`linux.resources`; it itself if that is empty).
pub fn misplaced(raw: &[u8], below: &str) -> Option<String> {
    if !is_doubtful(raw) {
        return None;
    }
    let mut strays = strays(&whole(raw, below)).into_iter();
    strays.find(|stray| stray.why == Why::Array).map(|stray| stray.path)
}

/// A config.json that has nothing but `raw`, at the path `below`.
fn whole<'a>(raw: &'a [u8], below: &str) -> Cow<'a, [u8]> {
    let names = below.rsplit('.').filter(|name| !name.is_empty());
    names.fold(raw.into(), |inner, name| {
        [b"{\"", name.as_bytes(), b"\":", &*inner, b"}"].concat().into()
    })
}

/// Whether any array is not the value of a member that is known to have one. Brackets in strings
/// may look like that, too.
fn is_doubtful(raw: &[u8]) -> bool {
    let brackets = raw.iter().enumerate().filter(|(_, byte)| **byte == b'[');
    brackets.map(|(at, _)| raw[..at].trim_ascii_end()).any(|before| match before {
        [before @ .., b':'] => !is_array(before.trim_ascii_end()),
        [.., b'[' | b','] | [] => true,
        _ => false,
    })
}

/// Whether `before` ends with a name of [`ARRAYS`] in quotes.
fn is_array(before: &[u8]) -> bool {
    let Some(before) = before.strip_suffix(b"\"") else { return false };
    let start = before.iter().rposition(|byte| *byte == b'"').map_or(0, |quote| quote + 1);
    ARRAYS.contains(&&before[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_for_an_object_is_named_by_its_path() {
        for (json, path) in [
            (r#"{"ociVersion":"1.0.0","root":["rootfs",false]}"#, "root"),
            (r#"{"ociVersion":"1.0.0","hooks": []}"#, "hooks"),
            (
                r#"{"ociVersion":"1.0.0","mounts":[["/sys","sysfs","sysfs",["ro"],null,null]]}"#,
                "mounts[0]",
            ),
            (r#"{"ociVersion":"1.0.0","linux":{"resources" :\n []}}"#, "linux.resources"),
        ] {
            let error = check(json.replace("\\n", "\n").as_bytes(), "").expect_err(json);
            assert_eq!(error.spec_path(), Some(path), "{json}");
        }
    }

    #[test]
    fn a_part_of_a_document_has_the_path_of_the_whole() {
        let found = |raw: &str| misplaced(raw.as_bytes(), "linux.resources");
        assert_eq!(found("[]").as_deref(), Some("linux.resources"));
        assert_eq!(found(r#"{"memory":[1]}"#).as_deref(), Some("linux.resources.memory"));
        assert_eq!(found(r#"{"devices":[{"allow":true}],"memory":{}}"#), None);
    }

    #[test]
    fn other_arrays_are_fine_and_the_usual_ones_cost_nothing() {
        let usual = include_bytes!("../../../bench/docker-config.json");
        assert!(!is_doubtful(usual));
        let own = br#"{"ociVersion":"1.0.0","x":[[1],[2]],"annotations":{"a":"b,[c"}}"#;
        assert!(is_doubtful(own) && check(own, "").is_ok());
    }
}
