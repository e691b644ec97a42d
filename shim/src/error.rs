//! What containerd is told when something fails: a code of gRPC, which its clients tell apart, and
//! a text, in which they look for words.

use std::{fmt, io};

use libcontainer::{Kind, error::describe};
pub(crate) use ttrpc::Code;

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

/// A refusal; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(Code::INVALID_ARGUMENT, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(Code::NOT_FOUND, text)
    }

    /// The state that something is in does not allow what was asked.
    pub(crate) fn precondition(text: impl Into<String>) -> Self {
        Self::new(Code::FAILED_PRECONDITION, text)
    }

    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self::new(Code::UNKNOWN, text)
    }

    /// The same with words before it.
    pub(crate) fn while_doing(mut self, what: &str) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }

    /// No fault for who wanted it gone.
    pub(crate) fn unless_gone(self) -> Result<()> {
        if self.code == Code::NOT_FOUND { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The code for a kind of the runtime's error.
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidConfig => Code::INVALID_ARGUMENT,
        Kind::NotFound => Code::NOT_FOUND,
        Kind::Exists => Code::ALREADY_EXISTS,
        Kind::WrongState => Code::FAILED_PRECONDITION,
        Kind::Unsupported => Code::UNIMPLEMENTED,
        Kind::Denied => Code::PERMISSION_DENIED,
        // containerd's own shim has no code for these, and clients go by the words.
        Kind::Damaged | Kind::Hook | Kind::Exec | Kind::Os | Kind::Bug => Code::UNKNOWN,
    }
}

impl From<libcontainer::Error> for Fault {
    fn from(error: libcontainer::Error) -> Self {
        Self::new(code(error.kind()), error.to_string())
    }
}

impl From<Fault> for ttrpc::Error {
    fn from(fault: Fault) -> Self {
        Self::RpcStatus(ttrpc::get_status(fault.code, fault.text))
    }
}

impl From<protobuf::Error> for Fault {
    fn from(error: protobuf::Error) -> Self {
        Self::invalid(format!("cannot read a message: {error}"))
    }
}

/// Attaches what was being done to what the kernel says.
pub(crate) trait Doing<T> {
    fn doing<D: Into<String>>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<D: Into<String>>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let code = match error.kind() {
                io::ErrorKind::NotFound => Code::NOT_FOUND,
                io::ErrorKind::PermissionDenied => Code::PERMISSION_DENIED,
                _ => Code::UNKNOWN,
            };
            Fault::new(code, format!("{}: {}", what().into(), describe(&error)))
        })
    }
}
