//! The standard output. `println!` would panic when the reader has gone (`rtn list | head -1`).

use std::io::{self, ErrorKind, Write};

use libcontainer::{Error, Result};
use serde::Serialize;

/// Writes `text` as it is.
///
/// # Errors
/// When it could not be written, a reader that has gone excepted: it has seen what it wanted.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::os("cannot write to the standard output", error))
        }
        _ => Ok(()),
    }
}

/// Writes `value` as one line of JSON.
///
/// # Errors
/// As [`write()`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    write(&(to_json(serde_json::to_string(value))? + "\n"))
}

/// Writes `value` as JSON for people, indented by `indent`.
///
/// # Errors
/// As [`write()`].
pub(crate) fn pretty(value: &impl Serialize, indent: &str) -> Result<()> {
    write(&(indented(value, indent)? + "\n"))
}

/// `value` as JSON, indented by `indent`.
///
/// # Errors
/// A mistake of the value's type only, such as a map whose keys are not text.
pub(crate) fn indented(value: &impl Serialize, indent: &str) -> Result<String> {
    let mut text = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let done = value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, style));
    to_json(done.map(|()| String::from_utf8_lossy(&text).into_owned()))
}

fn to_json(text: serde_json::Result<String>) -> Result<String> {
    text.map_err(|cause| Error::new(libcontainer::Kind::Bug, "cannot write JSON").because(cause))
}

/// Shows a page of help; there is nobody to tell if that fails.
pub(crate) fn page(text: &str) {
    let _ = write(text);
}
