//! What users of podman and CRI-O run, with `RUNTIME` (default `rtn`; a name or a path) as the
//! runtime; as root, and then as an ordinary user under their own systemd. Run with
//! `RUNTIME=runc`, the same tests show that they are right.

use std::{path::Path, process::ExitCode};

use e2e_common::{host::Skip, list};
use e2e_podman::{Place, user};

mod build;
mod cgroups;
mod conmon;
mod exec;
mod files;
mod lifecycle;
mod namespaces;
mod pods;
mod rest;
mod run;
mod security;
mod systemd;

fn main() -> ExitCode {
    let arguments = list::arguments();
    if arguments.list {
        return list::run(&arguments, tests()).exit_code();
    }
    let passed = list::runtime().and_then(|runtime| {
        let passed = here(arguments, &runtime)?;
        Ok(as_user(&runtime)? && passed)
    });
    match passed {
        Ok(passed) => ExitCode::from(u8::from(!passed)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn tests() -> Vec<list::Trial> {
    let tests = [
        run::tests(),
        exec::tests(),
        namespaces::tests(),
        cgroups::tests(),
        files::tests(),
        security::tests(),
        lifecycle::tests(),
        pods::tests(),
        build::tests(),
        systemd::tests(),
        conmon::tests(),
    ];
    list::chosen("podman", tests.into_iter().flatten().collect())
}

/// As whoever runs this.
fn here(arguments: list::Arguments, runtime: &Path) -> Result<bool, String> {
    let place = Place::open(runtime).map_err(|error| format!("podman does not work: {error}"))?;
    println!("runtime: {}, as {}", runtime.display(), place.who());
    let passed = list::all(arguments, tests(), rest::tests());
    place.close().map_err(|error| format!("cannot clean up: {error}"))?;
    Ok(passed)
}

/// As an ordinary user, if this was root.
fn as_user(runtime: &Path) -> Result<bool, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(true);
    }
    match user::name() {
        Ok(name) => {
            let ended = user::run_again(&name, &runtime.to_string_lossy());
            ended.map(|status| status.success()).map_err(|error| format!("as {name}: {error}"))
        }
        Err(Skip(reason)) => {
            println!("skipped: {reason}");
            Ok(true)
        }
    }
}
