//! What users of Docker run, through a real dockerd whose runtime is `RUNTIME` (default `rtn`; a
//! name or a path). Run with `RUNTIME=runc`, the same tests show that they are right.

use std::{path::Path, process::ExitCode};

use e2e_common::list;
use e2e_docker::daemon;

mod build;
mod crowd;
mod exec;
mod files;
mod lifecycle;
mod namespaces;
mod resources;
mod rest;
mod restart;
mod run;
mod security;

fn main() -> ExitCode {
    let arguments = list::arguments();
    let tests = [
        run::tests(),
        files::tests(),
        namespaces::tests(),
        security::tests(),
        resources::tests(),
        exec::tests(),
        lifecycle::tests(),
        build::tests(),
        crowd::tests(),
    ];
    let tests = list::chosen("docker", tests.into_iter().flatten().collect());
    if arguments.list {
        let all = tests.into_iter().chain(list::chosen("docker", restart::tests())).collect();
        return list::run(&arguments, all).exit_code();
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("runtime: {}", runtime.display());
    list::once_more_if(list::said_nothing);
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dockerd.log");
    daemon::start(Path::new(env!("CARGO_BIN_EXE_private-dockerd")), &runtime, &log);
    let passed = !list::run(&arguments, tests).has_failed();
    // One after the other: no other test can go on without dockerd.
    let alone = list::Arguments { test_threads: Some(1), ..arguments };
    let restart = list::chosen("docker", restart::tests());
    let passed = list::all(alone, restart, rest::tests()) && passed;
    let stopped = daemon::stop().is_some_and(|status| status.success());
    if !(passed && stopped) {
        eprintln!("dockerd's messages are in {}", log.display());
    }
    ExitCode::from(u8::from(!(passed && stopped)))
}

fn runtime() -> Result<std::path::PathBuf, String> {
    match rustix::process::geteuid().is_root() {
        true => list::runtime(),
        false => Err("these tests run a dockerd of their own, which takes root".to_owned()),
    }
}
