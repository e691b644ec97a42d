//! The command line, in the syntax of Go's flag package: `-name value`, `--name=value`, a switch
//! without a value, and the action behind the last flag.

use std::path::PathBuf;

use crate::error::{Fault, Result};

/// What containerd asks a shim's program to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Delete,
    /// What this program asks itself: namespaces for a pod.
    Namespaces,
    /// The same: to unmount the root of the container whose bundle it stands in.
    Unmount,
}

/// The flags of containerd's pkg/shim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) debug: bool,
    pub(crate) version: bool,
    pub(crate) info: bool,
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// Path of the socket on which a running shim listens.
    pub(crate) socket: String,
    /// Of containerd's gRPC socket.
    pub(crate) address: String,
    pub(crate) bundle: PathBuf,
    pub(crate) action: Option<Action>,
}

impl Flags {
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut flags = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                flags.action = args.next().map(|word| action(&word)).transpose()?;
                break;
            }
            let Some(flag) = arg.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                flags.action = Some(action(&arg)?);
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            flags.set(name, value, &mut args)?;
        }
        Ok(flags)
    }

    fn set(
        &mut self,
        name: &str,
        value: Option<String>,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<()> {
        if let Some(switch) = self.switch(name) {
            *switch = value.map_or(Ok(true), |value| boolean(name, &value))?;
            return Ok(());
        }
        let needed = || Fault::invalid(format!("flag needs an argument: -{name}"));
        let mut value = || value.clone().or_else(|| rest.next()).ok_or_else(needed);
        match name {
            "namespace" => self.namespace = value()?,
            "id" => self.id = value()?,
            "socket" => self.socket = value()?,
            "address" => self.address = value()?,
            "bundle" => self.bundle = value()?.into(),
            // A socket for Go's profiler, and a program that publishes events where no ttrpc does.
            "debug-socket" | "publish-binary" => drop(value()?),
            _ => {
                return Err(Fault::invalid(format!("flag provided but not defined: -{name}")));
            }
        }
        Ok(())
    }

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "debug" => Some(&mut self.debug),
            "v" | "version" => Some(&mut self.version),
            "info" => Some(&mut self.info),
            _ => None,
        }
    }
}

/// As Go's strconv.ParseBool reads it.
fn boolean(name: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Fault::invalid(format!("invalid boolean value {value:?} for -{name}"))),
    }
}

fn action(word: &str) -> Result<Action> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        "namespaces" => Ok(Action::Namespaces),
        "unmount" => Ok(Action::Unmount),
        _ => Err(Fault::invalid(format!("unknown action {word:?}: neither start nor delete"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags> {
        Flags::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn one_or_two_dashes_with_or_without_equals() {
        let flags = parse("-namespace k8s.io --id=c1 -debug -address /run/c.sock start").unwrap();
        assert_eq!((&*flags.namespace, &*flags.id), ("k8s.io", "c1"));
        assert!(flags.debug && flags.action == Some(Action::Start));
        assert!(!parse("-debug=false -id x delete").unwrap().debug);
        let flags = parse("-debug=TRUE -- delete -id").unwrap();
        assert!(flags.debug && flags.action == Some(Action::Delete));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let words = |line| parse(line).unwrap_err().to_string();
        assert_eq!(words("-frob"), "flag provided but not defined: -frob");
        assert_eq!(words("-id"), "flag needs an argument: -id");
        assert_eq!(words("-debug=yes"), "invalid boolean value \"yes\" for -debug");
        assert_eq!(words("stop"), "unknown action \"stop\": neither start nor delete");
    }
}
