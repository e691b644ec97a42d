//! The shim named by `SHIM`: `rtn`, as last built, `runc`, or a directory with a shim and rtn.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use e2e_common::list::{self, Arguments, Trial};

use crate::daemon;

/// From 1.7 on containerd's client closes its ends of the streams when it hears of the exit, be they
/// read to their end or not (its pkg/cio, `copyIO`): what says so may be the client's loss.
pub const CUT_OFF: &str = "the output is cut off";

/// A test runs once more, which is told, for what containerd's client is known to lose.
pub fn expect_a_hasty_client() {
    list::once_more_if(match daemon::version() >= (1, 7) {
        true => |words| words.contains(CUT_OFF) || list::said_nothing(words),
        false => list::said_nothing,
    });
}

/// What `ctr` is told, and where rtn's shim is.
///
/// # Errors
/// That there is none, for the user.
pub fn shim() -> Result<(String, Option<PathBuf>), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("these tests run a containerd of their own, which takes root".to_owned());
    }
    match std::env::var("SHIM").as_deref().unwrap_or("rtn") {
        "runc" => {
            // It loses races of its own now and then; one pass is enough to show that a test is right.
            list::once_more_if(|_| true);
            Ok(("io.containerd.runc.v2".to_owned(), None))
        }
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

/// Runs `tests` of `program` under the shared daemon, then `alone`, one after the other: these end
/// containerd; then `rest`: what all have left. Ends the daemon.
pub fn judge(
    program: &str,
    arguments: Arguments,
    tests: Vec<Trial>,
    alone: Vec<Trial>,
    rest: Vec<Trial>,
) -> ExitCode {
    let passed = !list::run(&arguments, tests).has_failed();
    let single = Arguments { test_threads: Some(1), ..arguments };
    let survived = !list::run(&single, list::chosen(program, alone)).has_failed();
    let all = Arguments { filter: None, skip: Vec::new(), exact: false, ..single };
    let clean = !list::run(&all, rest).has_failed();
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
