//! What a name for an output means.

use std::path::PathBuf;

use crate::error::{Fault, Result};

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Null,
    Fifo(PathBuf),
    /// Appended to.
    File(PathBuf),
    Logger(Program),
}

/// `binary://PATH?key=value&…`: a program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    /// `binary-v2://`: the logger says that it is ready, instead of just closing the descriptor.
    pub(crate) answers: bool,
}

impl Target {
    /// # Errors
    /// INVALID_ARGUMENT for a scheme that is not known and for what is not a URI.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(if name.is_empty() { Self::Null } else { Self::Fifo(name.into()) });
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path: PathBuf = decode(path, false)?.into();
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path)),
            "binary" | "binary-v2" => {
                let args = arguments(query)?;
                Ok(Self::Logger(Program { path, args, answers: scheme == "binary-v2" }))
            }
            _ => Err(Fault::invalid(format!("unknown scheme {scheme:?} for standard streams"))),
        }
    }
}

/// The keys and values, one after the other; a key without a value stands alone. Go sorts nothing
/// here either: the order is the URI's.
fn arguments(query: &str) -> Result<Vec<String>> {
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        args.push(decode(key, true)?);
        if !value.is_empty() {
            args.push(decode(value, true)?);
        }
    }
    Ok(args)
}

/// Percent encoding (RFC 3986, 2.1), and in a query `+` for a space.
fn decode(text: &str, query: bool) -> Result<String> {
    let invalid = || Fault::invalid(format!("invalid URL escape in {text:?}"));
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(invalid)?, digit().ok_or_else(invalid)?);
                u8::try_from(high * 16 + low).map_err(|_| invalid())?
            }
            b'+' if query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let parse = |name| Target::parse(name).unwrap();
        assert_eq!(parse(""), Target::Null);
        assert_eq!(parse("/run/f"), Target::Fifo("/run/f".into()));
        assert_eq!(parse("fifo:///run/f"), Target::Fifo("/run/f".into()));
        assert_eq!(parse("file:///var/log/a%20b"), Target::File("/var/log/a b".into()));
        let program = |uri| match parse(uri) {
            Target::Logger(program) => program,
            other => panic!("{other:?}"),
        };
        let logger = program("binary:///bin/log?--to=%2Ftmp%2Fx+y&-v");
        assert_eq!((logger.args.join("|"), logger.answers), ("--to|/tmp/x y|-v".into(), false));
        assert!(program("binary-v2:///bin/log").answers);
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        assert!(Target::parse("tcp://host:1").unwrap_err().text.contains("scheme \"tcp\""));
        assert!(Target::parse("file:///a%2").unwrap_err().text.contains("escape"));
    }
}
