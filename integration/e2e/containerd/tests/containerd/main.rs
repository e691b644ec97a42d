//! What users of containerd run, through a containerd of their own whose shim is `SHIM`: `rtn`, the
//! default, as last built, or `runc`, containerd's own shim with the host's runc, which shows that
//! the tests are right.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use e2e_common::list::{self, Arguments};
use e2e_containerd::daemon;

mod disaster;
mod exec;
mod idle;
mod io;
mod lifecycle;
mod rest;
mod run;

fn main() -> ExitCode {
    let arguments = list::arguments();
    let tests = [run::tests(), io::tests(), exec::tests(), lifecycle::tests(), idle::tests()];
    let tests = list::chosen("containerd", tests.into_iter().flatten().collect());
    if arguments.list {
        return list::run(&arguments, tests).exit_code();
    }
    let (runtime, shims) = match judged() {
        Ok(judged) => judged,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("runtime: {runtime}");
    // Short, since sockets are in it.
    let directory = std::env::temp_dir().join(format!("containerd.{}", std::process::id()));
    daemon::start(&runtime, shims, directory);
    let passed = !list::run(&arguments, tests).has_failed();
    // One after the other: these end containerd, or look for what all tests have left.
    let alone = Arguments { test_threads: Some(1), ..arguments.clone() };
    let survived = !list::run(&alone, list::chosen("containerd", disaster::tests())).has_failed();
    let all = Arguments { filter: None, skip: Vec::new(), exact: false, ..alone };
    let clean = !list::run(&all, rest::tests()).has_failed();
    let removed = daemon::shared().remove();
    if let Err(error) = &removed {
        eprintln!("what containerd has left cannot be removed: {error}");
    }
    let good = passed && survived && clean && removed.is_ok();
    match good {
        true => drop(std::fs::remove_dir_all(daemon::shared().directory())),
        false => eprintln!("containerd's messages are in {}", daemon::shared().log().display()),
    }
    ExitCode::from(u8::from(!good))
}

/// What `ctr` is told, and where rtn's shim is.
fn judged() -> Result<(String, Option<PathBuf>), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("these tests run a containerd of their own, which takes root".to_owned());
    }
    match std::env::var("SHIM").as_deref().unwrap_or("rtn") {
        "runc" => Ok(("io.containerd.runc.v2".to_owned(), None)),
        "rtn" => Ok(("io.containerd.rtn.v2".to_owned(), Some(built()?))),
        directory if Path::new(directory).is_dir() => {
            Ok(("io.containerd.rtn.v2".to_owned(), Some(directory.into())))
        }
        other => {
            Err(format!("SHIM={other} is neither rtn nor runc nor a directory with both programs"))
        }
    }
}

/// The directory of the newest shim beside this program, `<target>/<profile>`, which has rtn as well.
fn built() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.ancestors().nth(3).unwrap_or(Path::new("/"));
    let shim = |profile: &PathBuf| profile.join("containerd-shim-rtn-v2").metadata();
    let builds = ["release", "debug"].map(|profile| target.join(profile));
    let whole =
        builds.into_iter().filter(|build| shim(build).is_ok() && build.join("rtn").exists());
    let newest = whole.max_by_key(|build| shim(build).and_then(|file| file.modified()).ok());
    newest.ok_or_else(|| "the shim and rtn are not built: make build".to_owned())
}
