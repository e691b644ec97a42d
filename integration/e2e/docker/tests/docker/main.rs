//! What users of Docker run, through a real dockerd whose runtime is `RUNTIME` (default `rtn`; a
//! name or a path). Run with `RUNTIME=runc`, the same tests show that they are right.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use e2e_docker::{daemon, host::Skip};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// The list of a module's tests; a function that is missing in it is reported as dead code.
macro_rules! tests {
    ($($test:ident)*) => {
        pub(crate) fn tests() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$(crate::trial(module, stringify!($test), $test)),*]
        }
    };
}

mod build;
mod crowd;
mod exec;
mod files;
mod lifecycle;
mod namespaces;
mod resources;
mod rest;
mod run;
mod security;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Tests wait for dockerd most of the time, not for the processor.
    arguments
        .test_threads
        .get_or_insert(2 * std::thread::available_parallelism().map_or(1, usize::from));
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
    let tests = tests.into_iter().flatten().collect();
    if arguments.list {
        return libtest_mimic::run(&arguments, tests).exit_code();
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("runtime: {}", runtime.display());
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dockerd.log");
    daemon::start(Path::new(env!("CARGO_BIN_EXE_private-dockerd")), &runtime, &log);
    let passed = !libtest_mimic::run(&arguments, tests).has_failed();
    // After all tests, whichever were chosen: what they left.
    let rest = Arguments { filter: None, skip: Vec::new(), exact: false, ..arguments };
    let clean = !libtest_mimic::run(&rest, rest::tests()).has_failed();
    let stopped = daemon::stop().is_some_and(|status| status.success());
    if !(passed && clean && stopped) {
        eprintln!("dockerd's messages are in {}", log.display());
    }
    ExitCode::from(u8::from(!(passed && clean && stopped)))
}

/// The runtime named by `RUNTIME`: an absolute path, a program in PATH, or rtn as last built.
fn runtime() -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("these tests run a dockerd of their own, which takes root".to_owned());
    }
    let name = std::env::var("RUNTIME").unwrap_or_else(|_| "rtn".to_owned());
    let found = match name.as_str() {
        "rtn" => built(),
        path if path.starts_with('/') => Some(path.into()),
        name => in_path(name),
    };
    let found = found.filter(|path| path.exists());
    found.ok_or_else(|| format!("RUNTIME={name} is not built (`make build`), or not in PATH"))
}

/// The newest rtn beside this program: `<target>/<profile>/deps/docker-…`.
fn built() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let target = own.ancestors().nth(3)?;
    let builds = ["release", "debug"].map(|profile| target.join(profile).join("rtn"));
    let age = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    builds.into_iter().filter(|path| path.exists()).max_by_key(age)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|path| path.join(name)).find(|path| path.exists())
}

/// What a test function may give back.
trait Verdict {
    fn completion(self) -> Result<Completion, Failed>;
}

impl Verdict for () {
    fn completion(self) -> Result<Completion, Failed> {
        Ok(Completion::Completed)
    }
}

impl Verdict for Result<(), Skip> {
    fn completion(self) -> Result<Completion, Failed> {
        Ok(match self {
            Ok(()) => Completion::Completed,
            Err(Skip(reason)) => Completion::ignored_with(format!("skipped: {reason}")),
        })
    }
}

fn trial<V: Verdict + 'static>(module: &str, name: &str, test: fn() -> V) -> Trial {
    Trial::ignorable_test(format!("{module}::{name}"), move || test().completion())
}
