//! Reads a bundle: config.json, once.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;

use crate::error::{Context, Error, Kind, Result};

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
    file.read_to_end(&mut raw)?;
    Ok(raw)
}

/// Parses the text of a config.json.
///
/// # Errors
/// As [`load`].
pub fn parse(raw: &[u8]) -> Result<Spec> {
    let mut json = serde_json::Deserializer::from_slice(raw);
    let spec = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        let error = Error::new(Kind::InvalidConfig, "cannot parse config.json");
        if path == "." { error.because(cause) } else { error.at(path).because(cause) }
    })?;
    json.end().map_err(|cause| {
        Error::new(Kind::InvalidConfig, "cannot parse config.json").because(cause)
    })?;
    Ok(spec)
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

    #[test]
    fn text_after_the_document_is_refused() {
        assert!(parse(br#"{"ociVersion":"1.2.0"} x"#).is_err());
    }
}
