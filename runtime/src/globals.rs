//! What holds for every verb: the flags before it.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf, absolute},
};

use clap::Args;
use libcontainer::{Error, Kind, Result, cgroup::Manager, container::Rootless, error::Context};

use crate::{cli::flags::parse_bool, log};

/// The global flags as they are written.
#[derive(Args, Debug)]
pub(crate) struct GlobalFlags {
    /// enable debug logging
    #[arg(long)]
    debug: bool,
    /// set the log file to write rtn logs to (default is '/dev/stderr')
    #[arg(long)]
    log: Option<PathBuf>,
    /// set the log format ('text' (default), or 'json')
    #[arg(long, default_value = "text")]
    log_format: String,
    /// root directory for storage of container state (this should be located in tmpfs)
    /// (default: "/run/rtn", rootless "$XDG_RUNTIME_DIR/rtn")
    #[arg(long)]
    root: Option<PathBuf>,
    /// (ignored: the criu of $PATH is used)
    #[arg(long, hide = true)]
    criu: Option<PathBuf>,
    /// enable systemd cgroup support, expects cgroupsPath to be of form "slice:prefix:name" for
    /// e.g. "system.slice:rtn:434234"
    #[arg(long)]
    systemd_cgroup: bool,
    /// who makes the cgroup ('cgroupfs', 'systemd', or 'disabled'); wins over --systemd-cgroup
    #[arg(long)]
    cgroup_manager: Option<String>,
    /// ignore cgroup permission errors ('true', 'false', or 'auto')
    #[arg(long, default_value = "auto")]
    rootless: String,
    /// print the version
    #[arg(short, long)]
    pub(crate) version: bool,
}

/// The global flags as the verbs use them.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Absolute; one directory below it for each container.
    pub(crate) root: PathBuf,
    pub(crate) manager: Manager,
    pub(crate) rootless: Rootless,
    /// Whether `root` is ours to make, in the user's runtime directory.
    root_in_xdg: bool,
}

impl GlobalFlags {
    /// Opens the log, then reads what the flags mean.
    pub(crate) fn resolve(self) -> Result<Globals> {
        let format = log_format(&self.log_format)?;
        log::open(self.log.as_deref(), format, self.debug)?;
        if self.criu.is_some() {
            log::warning("--criu ignored (criu binary from $PATH is used); do not use");
        }
        let (root, root_in_xdg) = match self.root {
            Some(root) => (root, false),
            None => default_root(),
        };
        Ok(Globals {
            root: absolute(&root).doing(|| format!("cannot resolve --root {root:?}"))?,
            root_in_xdg,
            manager: manager(self.cgroup_manager.as_deref(), self.systemd_cgroup)?,
            rootless: rootless(&self.rootless)?,
        })
    }
}

impl Globals {
    /// Makes the default root of a rootless user. The sticky bit keeps those who tidy
    /// $XDG_RUNTIME_DIR away from it (XDG Base Directory Specification).
    pub(crate) fn prepare_root(&self) -> Result<()> {
        if !self.root_in_xdg {
            return Ok(());
        }
        let doing = || format!("cannot make {:?} in $XDG_RUNTIME_DIR", self.root);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).doing(doing)?;
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o1700)).doing(doing)
    }
}

fn log_format(word: &str) -> Result<log::Format> {
    match word {
        "text" | "" => Ok(log::Format::Text),
        "json" => Ok(log::Format::Json),
        _ => Err(bad(format!("invalid log-format: {word}"), "give 'text' or 'json'")),
    }
}

fn manager(word: Option<&str>, systemd: bool) -> Result<Manager> {
    match (word, systemd) {
        (None, true) | (Some("systemd"), _) => Ok(Manager::Systemd),
        (None, false) | (Some("cgroupfs"), _) => Ok(Manager::Cgroupfs),
        (Some("disabled"), _) => Ok(Manager::Disabled),
        (Some(word), _) => Err(bad(
            format!("invalid cgroup-manager: {word}"),
            "give 'cgroupfs', 'systemd' or 'disabled'",
        )),
    }
}

fn rootless(word: &str) -> Result<Rootless> {
    match (word, parse_bool(word.as_bytes())) {
        (_, Some(true)) => Ok(Rootless::True),
        (_, Some(false)) => Ok(Rootless::False),
        ("" | "auto", None) => Ok(Rootless::Auto),
        _ => Err(bad(format!("invalid rootless: {word}"), "give 'true', 'false' or 'auto'")),
    }
}

fn bad(what: String, hint: &'static str) -> Error {
    Error::new(Kind::InvalidConfig, what).hint(hint)
}

/// The default of `--root`, and whether it is in the user's runtime directory. Root uses /run/rtn
/// even where a login gave it $XDG_RUNTIME_DIR, except as root of a user's own user namespace.
fn default_root() -> (PathBuf, bool) {
    let home = || env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match home() {
        Some(dir) if is_rootless() => (Path::new(&dir).join("rtn"), true),
        _ => ("/run/rtn".into(), false),
    }
}

fn is_rootless() -> bool {
    let root = rustix::process::geteuid().is_root();
    !root || (env::var_os("USER").is_none_or(|user| user != "root") && in_user_namespace())
}

/// The initial user namespace maps all ids to themselves in one line (user_namespaces(7)).
fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_flag_wins() {
        assert_eq!(manager(None, true).unwrap(), Manager::Systemd);
        assert_eq!(manager(Some("disabled"), true).unwrap(), Manager::Disabled);
        assert_eq!(manager(None, false).unwrap(), Manager::Cgroupfs);
        assert!(manager(Some("x"), false).is_err());
    }

    #[test]
    fn rootless_is_a_bool_or_auto() {
        assert_eq!(rootless("1").unwrap(), Rootless::True);
        assert_eq!(rootless("auto").unwrap(), Rootless::Auto);
        assert!(rootless("maybe").is_err());
    }
}
