//! The one error of the library: a small [`Kind`] for programs, one line for people, a hint for
//! whoever has to mend it.
//!
//! Grammar of the line: `cannot <verb> <object>[ (config.json: <json path>)]: <cause>`. The first
//! part is `doing`; callers of low-level runtimes search these lines for fixed words (`container
//! does not exist`, `container not running`, …), so such words are part of the contract.

use std::{borrow::Cow, fmt, io};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program may want to do about an error. `rtn --log-format json` prints it as `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The bundle, its config.json, or an argument is wrong; nothing was started.
    InvalidConfig,
    /// No such container.
    NotFound,
    /// The container's state cannot be read.
    Damaged,
    /// The container id is taken.
    Exists,
    /// The container's status does not allow the operation.
    WrongState,
    /// This kernel or host lacks something that the configuration asks for.
    Unsupported,
    /// The caller lacks the privilege.
    Denied,
    /// A hook failed or ran out of time.
    Hook,
    /// The process to run cannot be executed (missing, a directory, not executable, …).
    Exec,
    /// The kernel refused a call.
    Os,
    /// A mistake of this program.
    Bug,
}

/// An error with its whole story; see the [module documentation](self).
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    doing: Cow<'static, str>,
    at: Option<String>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, doing: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, doing: doing.into(), at: None, hint: None, source: None }))
    }

    /// A fault of config.json at the JSON path `at` (`linux.namespaces[2].path`).
    pub fn config(at: impl Into<String>, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidConfig, what).at(at)
    }

    /// A refusal by the kernel; permission errors get [`Kind::Denied`].
    pub fn os(doing: impl Into<Cow<'static, str>>, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let kind = match cause.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Os,
        };
        Self::new(kind, doing).because(cause)
    }

    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.0.at = Some(path.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// JSON path into config.json, if the error has its root there.
    pub fn spec_path(&self) -> Option<&str> {
        self.0.at.as_deref()
    }

    /// What the user can do about it: this error's hint, or the nearest one below it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| {
            let source = self.0.source.as_deref()?;
            source.downcast_ref::<Error>()?.hint_text()
        })
    }

    /// The errno at the bottom of the chain, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        let source = self.0.source.as_deref()?;
        match source.downcast_ref::<io::Error>() {
            Some(error) => error.raw_os_error(),
            None => source.downcast_ref::<Error>()?.errno(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.doing)?;
        if let Some(at) = &self.0.at {
            write!(f, " (config.json: {at})")?;
        }
        match self.0.source.as_deref() {
            Some(source) => match source.downcast_ref::<io::Error>() {
                Some(error) => write!(f, ": {}", describe(error)),
                None => write!(f, ": {source}"),
            },
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        self.0.hint.iter().try_for_each(|hint| write!(f, " (hint: {hint})"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The kernel's words in the form that callers search for: `no such file or directory`, in lower
/// case and without the number that Rust appends.
pub fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// Attaches what was being done to a result of the kernel.
pub trait Context<T> {
    /// `doing` is only evaluated on failure.
    fn doing<D: Into<Cow<'static, str>>>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn doing<D: Into<Cow<'static, str>>>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|cause| Error::os(doing(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_object_path_and_cause() {
        let error = Error::os(
            "cannot mount \"proc\" on \"/proc\"",
            io::Error::from_raw_os_error(libc::EPERM),
        )
        .at("mounts[3]")
        .hint("run as root");
        assert_eq!(
            error.to_string(),
            "cannot mount \"proc\" on \"/proc\" (config.json: mounts[3]): operation not permitted"
        );
        assert_eq!((error.kind(), error.errno()), (Kind::Denied, Some(libc::EPERM)));
    }

    #[test]
    fn a_hint_below_is_found() {
        let inner = Error::new(Kind::Hook, "hook failed").hint("look at its log");
        assert_eq!(
            Error::new(Kind::Os, "cannot start").because(inner).hint_text(),
            Some("look at its log")
        );
    }
}
