//! The runtimes and how each is called.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use libcontainer::{Error, Kind, Result, error::Context};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// The command line of runc.
    Oci,
    /// bench/src/bin/floor.rs, which is told on its command line what others find in config.json.
    Floor,
}

#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    pub(crate) interface: Interface,
}

impl Runtime {
    fn new(name: &str, program: PathBuf) -> Result<Self> {
        let interface = if name == "floor" { Interface::Floor } else { Interface::Oci };
        let version = match interface {
            Interface::Oci => version(&program)?,
            Interface::Floor => "the kernel's work alone".into(),
        };
        Ok(Self { name: name.into(), program, version, interface })
    }

    pub(crate) fn command(&self, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Vec<OsString> {
        let args = args.iter().map(|arg| arg.as_ref().to_owned());
        std::iter::once(self.program.clone().into_os_string()).chain(args).collect()
    }
}

/// rtn, crun, runc and the floor, with the replacements and additions `NAME=PROGRAM`, or those of
/// them that `only` names.
pub(crate) fn choose(replaced: &[String], only: &[String]) -> Result<Vec<Runtime>> {
    let mut programs: Vec<(String, PathBuf)> =
        ["rtn", "crun", "runc", "floor"].map(|name| (name.into(), PathBuf::from(name))).into();
    for pair in replaced {
        let (name, program) = pair.split_once('=').ok_or_else(|| {
            Error::new(
                Kind::InvalidConfig,
                format!("cannot understand --runtime \"{pair}\": no NAME=PROGRAM"),
            )
        })?;
        programs.retain(|(known, _)| known != name);
        programs.insert(programs.len() - 1, (name.into(), program.into()));
    }
    if let Some(name) = only.iter().find(|name| !programs.iter().any(|(known, _)| known == *name)) {
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("cannot measure \"{name}\": unknown runtime"),
        )
        .hint("name its program with --runtime NAME=PROGRAM"));
    }
    programs.retain(|(name, _)| only.is_empty() || only.contains(name));
    programs.iter().map(|(name, program)| Runtime::new(name, find(program)?)).collect()
}

/// A program with a slash is taken as it is; any other is looked up beside this one, then in PATH.
fn find(program: &Path) -> Result<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = env::var_os("PATH").unwrap_or_default();
    let candidates = match program.components().count() {
        1 => {
            beside.into_iter().chain(env::split_paths(&path)).map(|dir| dir.join(program)).collect()
        }
        _ => vec![program.to_owned()],
    };
    candidates.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("cannot find runtime {}", program.display())).hint(
            "build or install it, name it with --runtime NAME=PROGRAM, or choose with --runtimes",
        )
    })
}

fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .doing(|| format!("cannot run {} --version", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("version unknown").into())
}
