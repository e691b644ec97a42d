//! Lists of tests, and the runtime that they judge.

use std::{
    any::Any,
    cell::RefCell,
    env, fs,
    panic::{self, catch_unwind, resume_unwind},
    path::PathBuf,
    process::Command,
    sync::{
        LazyLock, Mutex, Once, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

pub use libtest_mimic::{Arguments, Conclusion, Trial};
use libtest_mimic::{Completion, Failed};

use crate::{Running, host::Skip};

/// The list of a module's tests; a function that is missing in it is reported as dead code.
#[macro_export]
macro_rules! tests {
    ($($test:ident)*) => {
        pub(crate) fn tests() -> Vec<$crate::list::Trial> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$($crate::trial(module, stringify!($test), $test)),*]
        }
    };
}

/// What a test function may give back.
pub trait Verdict {
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

pub fn trial<V: Verdict + 'static>(module: &str, name: &str, test: fn() -> V) -> Trial {
    let name = format!("{module}::{name}");
    Trial::ignorable_test(name.clone(), move || judge(&name, test).completion())
}

/// Tells a failure that the engine is known to make by itself, whatever the runtime, by the words
/// of the test that failed.
pub type Excuse = fn(&str) -> bool;

static EXCUSE: OnceLock<Excuse> = OnceLock::new();

/// A test that fails with words that `excuse` knows is run once more, which is told.
pub fn once_more_if(excuse: Excuse) {
    EXCUSE.get_or_init(|| excuse);
}

/// An [`Excuse`]: words were expected of a command that said none at all. Where more programs want to
/// run than there are processors, containerd's client, which dockerd is as well, can give up a stream
/// that it has not finished opening (docs/docker.md).
pub fn said_nothing(words: &str) -> bool {
    let said = words.split_once("\nstatus Some(").and_then(|(_, rest)| rest.split_once(')'));
    words.contains("\n  left: \"\"\n") || said.is_some_and(|(_, said)| said.trim().is_empty())
}

/// How many tests may fail once for anything else: `RTN_AGAIN`, by default none.
static SPARE: LazyLock<AtomicU32> = LazyLock::new(|| {
    let spare = env::var("RTN_AGAIN").ok().and_then(|number| number.parse().ok());
    spare.unwrap_or(0).into()
});

/// First tries are made side by side, a second one by itself.
static TRIES: RwLock<()> = RwLock::new(());

/// What is told of second tries at the end of a list: between its lines it would cut them in two.
static AGAIN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs `tests` as `arguments` say.
pub fn run(arguments: &Arguments, tests: Vec<Trial>) -> Conclusion {
    let conclusion = libtest_mimic::run(arguments, tests);
    let mut again = AGAIN.lock().unwrap_or_else(PoisonError::into_inner);
    again.drain(..).for_each(|line| println!("{line}"));
    conclusion
}

fn judge<V>(name: &str, test: fn() -> V) -> V {
    let (first, told) = {
        let _beside_others = TRIES.read().unwrap_or_else(PoisonError::into_inner);
        hushed(test)
    };
    first.unwrap_or_else(|panic| {
        let words = words(&*panic);
        let excused = EXCUSE.get().is_some_and(|excuse| excuse(words));
        let spared = || SPARE.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if !excused && !spared() {
            resume_unwind(Box::new(told));
        }
        let again = format!("again {name}, which failed once: {}", told.replace('\n', " "));
        AGAIN.lock().unwrap_or_else(PoisonError::into_inner).push(again);
        let _alone = TRIES.write().unwrap_or_else(PoisonError::into_inner);
        test()
    })
}

/// Calls `test`, and gives what a panic of it would have printed: for the end of the list, and for
/// a first try not as a failure.
fn hushed<V>(test: fn() -> V) -> (thread::Result<V>, String) {
    thread_local!(static TOLD: RefCell<Option<String>> = const { RefCell::new(None) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match TOLD.take() {
            Some(_) => TOLD.set(Some(panic.to_string())),
            None => others(panic),
        }));
    });
    TOLD.set(Some(String::new()));
    let result = catch_unwind(test);
    (result, TOLD.take().unwrap_or_default())
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

/// The command line of a test program. Tests wait for the engine most of the time, not for the
/// processor, so there are more of them at once than processors.
pub fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * processors);
    arguments
}

/// Those of `tests` that `RTN_VM_ONLY` chooses, an extended regular expression on
/// `program::module::test`: `integration/vm/run --only`.
///
/// # Panics
/// When grep(1) refuses it.
pub fn chosen(program: &str, tests: Vec<Trial>) -> Vec<Trial> {
    let only = env::var("RTN_VM_ONLY").unwrap_or_default();
    if only.is_empty() {
        return tests;
    }
    let names: String = tests.iter().map(|test| format!("{program}::{}\n", test.name())).collect();
    let mut grep = Command::new("grep");
    grep.args(["-E", "--", &only]);
    let found = Running::start(grep, names.as_bytes()).end();
    assert!(found.status < Some(2), "{found:?}");
    let found = found.out();
    let found: Vec<&str> = found.lines().collect();
    let is_found = |test: &Trial| found.contains(&&*format!("{program}::{}", test.name()));
    tests.into_iter().filter(is_found).collect()
}

/// Runs `tests`, those that the command line chooses, and then `rest`, whichever were chosen: what
/// they left. True when nothing failed.
pub fn all(arguments: Arguments, tests: Vec<Trial>, rest: Vec<Trial>) -> bool {
    let passed = !run(&arguments, tests).has_failed();
    let all = Arguments { filter: None, skip: Vec::new(), exact: false, ..arguments };
    !run(&all, rest).has_failed() && passed
}

/// The runtime named by `RUNTIME`: an absolute path, a program in PATH, or rtn as last built.
///
/// # Errors
/// That there is none, for the user.
pub fn runtime() -> Result<PathBuf, String> {
    let name = env::var("RUNTIME").unwrap_or_else(|_| "rtn".to_owned());
    let found = match name.as_str() {
        // An installed one is judged where nothing was built: in the machine of integration/vm.
        "rtn" => built().or_else(|| in_path("rtn")),
        path if path.starts_with('/') => Some(path.into()),
        name => in_path(name),
    };
    let found = found.filter(|path| path.exists());
    found.ok_or_else(|| format!("RUNTIME={name} is not built (`make build`), or not in PATH"))
}

/// The newest rtn beside this program: `<target>/<profile>/deps/<test>-…`.
fn built() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let target = own.ancestors().nth(3)?;
    let builds = ["release", "debug"].map(|profile| target.join(profile).join("rtn"));
    let age = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    builds.into_iter().filter(|path| path.exists()).max_by_key(age)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let directories = env::var_os("PATH")?;
    env::split_paths(&directories).map(|path| path.join(name)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUNS: AtomicU32 = AtomicU32::new(0);

    fn is_empty_the_first_time() {
        let said = if RUNS.fetch_add(1, Relaxed) == 0 { "" } else { "hello" };
        assert_eq!(said, "hello");
    }

    fn is_wrong() {
        RUNS.fetch_add(1, Relaxed);
        panic!("left: \"other\"");
    }

    #[test]
    fn a_command_that_said_something_is_not_excused() {
        assert!(said_nothing("expected \"x\": $ docker run box y\nstatus Some(1)\n\n"));
        assert!(!said_nothing("expected \"x\": $ docker run box y\nstatus Some(1)\n\nz"));
        assert!(!said_nothing("assertion `left == right` failed\n  left: \"z\"\n right: \"x\""));
    }

    #[test]
    fn only_what_is_excused_or_spared_runs_once_more() {
        once_more_if(said_nothing);
        judge("is_empty_the_first_time", is_empty_the_first_time);
        assert_eq!(RUNS.load(Relaxed), 2);
        SPARE.store(0, Relaxed);
        catch_unwind(|| judge("is_wrong", is_wrong)).expect_err("fails for good");
        assert_eq!(RUNS.load(Relaxed), 3);
        SPARE.store(1, Relaxed);
        for runs in [5, 6] {
            catch_unwind(|| judge("is_wrong", is_wrong)).expect_err("fails for good");
            assert_eq!(RUNS.load(Relaxed), runs);
        }
    }
}
