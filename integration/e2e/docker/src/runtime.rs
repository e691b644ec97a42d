//! How dockerd comes by the runtime that is judged.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

/// How dockerd calls the runtime that is judged ("runc" is a reserved name).
pub const RUNTIME: &str = "judged";

/// The same behind a script, as dockerd itself puts one before a runtime with `runtimeArgs`.
pub const WRAPPED: &str = "wrapped";

/// The type of rtn's shim: `docker run --runtime` takes it without any configuration.
pub const TYPE: &str = "io.containerd.rtn.v2";

const SHIM: &str = "containerd-shim-rtn-v2";

/// Who makes the containers: the variable `DOCKER_RUNTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `path`: containerd's own shim, which calls the runtime as a program.
    Path,
    /// `shim`: rtn's, by the `runtimeType` of daemon.json, which dockerd knows since 23.0.
    Shim,
    /// `renamed`: rtn's, which dockerd takes for containerd's own.
    Renamed,
}

impl Way {
    /// # Panics
    /// When the variable names none.
    pub fn chosen() -> Self {
        match std::env::var("DOCKER_RUNTIME").as_deref() {
            Err(_) | Ok("path") => Self::Path,
            Ok("shim") => Self::Shim,
            Ok("renamed") => Self::Renamed,
            Ok(other) => panic!("DOCKER_RUNTIME={other}: path, shim and renamed are known"),
        }
    }

    /// Where the states of containers are.
    pub fn root(self, exec_root: &Path) -> PathBuf {
        match self {
            Self::Path | Self::Renamed => exec_root.join(format!("runtime-{RUNTIME}/moby")),
            Self::Shim => "/run/containerd/rtn/moby".into(),
        }
    }

    /// Lets `dockerd` have `runtime` as its default. Its shim is in the same directory. `private` is
    /// for files.
    ///
    /// # Errors
    /// Of the filesystem.
    pub fn tell(self, dockerd: &mut Command, private: &Path, runtime: &Path) -> io::Result<()> {
        let runtime = std::path::absolute(runtime)?;
        let wrapper = wrap(private, &runtime)?;
        let shims = runtime.parent().unwrap_or(Path::new("/"));
        let file = private.join("daemon.json");
        match self {
            Self::Path => fs::write(&file, by_path(&runtime, &wrapper))?,
            Self::Shim => {
                let options = private.join("options.toml");
                fs::write(&options, format!("BinaryName = {:?}\n", wrapper.display().to_string()))?;
                fs::write(&file, by_type(&shims.join(SHIM), &options))?;
                dockerd.env("PATH", before_path(shims));
            }
            Self::Renamed => {
                let directory = private.join("shims");
                match fs::create_dir(&directory) {
                    Ok(()) => symlink(shims.join(SHIM), directory.join("containerd-shim-runc-v2")),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    Err(error) => Err(error),
                }?;
                fs::write(&file, by_path(&runtime, &wrapper))?;
                dockerd.env("PATH", before_path(&directory));
            }
        }
        dockerd.arg("--config-file").arg(file);
        Ok(())
    }
}

fn by_path(runtime: &Path, wrapper: &Path) -> String {
    let runtimes = json!({RUNTIME: {"path": runtime}, WRAPPED: {"path": wrapper}});
    json!({"default-runtime": RUNTIME, "runtimes": runtimes}).to_string()
}

/// The shim once by its type and without options, and once by its path, with `options` in a file:
/// daemon.json has no place for those of a shim that dockerd does not know.
fn by_type(shim: &Path, options: &Path) -> String {
    let judged = json!({"runtimeType": TYPE});
    let wrapped = json!({"runtimeType": shim, "options": {"ConfigPath": options}});
    json!({"default-runtime": RUNTIME, "runtimes": {RUNTIME: judged, WRAPPED: wrapped}}).to_string()
}

/// The script of moby's `daemon/runtime_unix.go`, which does not exec either.
fn wrap(private: &Path, runtime: &Path) -> io::Result<PathBuf> {
    let script = private.join(WRAPPED);
    fs::write(&script, format!("#!/bin/sh\n{} --debug $@\n", runtime.display()))?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    Ok(script)
}

fn before_path(directory: &Path) -> String {
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default())
}
