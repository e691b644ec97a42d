//! From argv to one call of one verb.
//!
//! `rtn [global flags] verb [flags] [arguments]`: the global flags are parsed, then the flags of
//! the one verb that was named. No other verb's are built, since every call is a process.

use std::{ffi::OsString, ops::RangeInclusive};

use clap::{ArgMatches, Args, Command, error::ContextKind};
use libcontainer::{Error, Kind, Result, exe};

use crate::{
    globals::{GlobalFlags, Globals},
    log, output,
};
use flags::{Order, Split};

pub(crate) mod flags;
mod help;
pub(crate) mod value;
mod version;

/// The exit status of a call that did not do what it was asked to.
const FAILED: u8 = 1;
/// The exit status that urfave/cli, and so runc, has for a verb that does not exist.
const NO_SUCH_VERB: u8 = 3;

/// A verb; its flags and arguments are the fields of the type.
pub(crate) trait Verb: Args {
    const NAME: &'static str;
    const ABOUT: &'static str;
    /// What follows `rtn <verb> [command options]` in the help, with its explanation.
    const USAGE: &'static str =
        "<container-id>\n\nWhere \"<container-id>\" is the name for the instance of the container.";
    const DESCRIPTION: &'static str = "";
    /// How many arguments it takes.
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;
    const ORDER: Order = Order::Mixed;
    /// The exit status when it fails.
    const FAILED: u8 = FAILED;
    /// Whether a process of this program becomes one of the container.
    const GOES_INSIDE: bool = false;

    /// Does it; the exit status is 0 unless a container's process decides.
    fn run(self, globals: &Globals) -> Result<u8>;
}

/// A row of the table of verbs. It is what [`Verb`] says, without the type: the work that is the
/// same for all verbs is in the program once.
pub(crate) struct Entry {
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    description: &'static str,
    arguments: RangeInclusive<usize>,
    order: Order,
    failed: u8,
    goes_inside: bool,
    augment: fn(Command) -> Command,
    run: fn(&Globals, &ArgMatches) -> Result<u8>,
}

impl Entry {
    pub(crate) const fn of<V: Verb>() -> Self {
        Self {
            name: V::NAME,
            about: V::ABOUT,
            usage: V::USAGE,
            description: V::DESCRIPTION,
            arguments: V::ARGUMENTS,
            order: V::ORDER,
            failed: V::FAILED,
            goes_inside: V::GOES_INSIDE,
            augment: V::augment_args,
            run: run_verb::<V>,
        }
    }

    fn command(&self) -> Command {
        command(self.name, self.augment)
    }

    fn help(&self) -> String {
        help::verb(self, &self.command())
    }
}

fn run_verb<V: Verb>(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    read::<V>(matches)?.run(globals)
}

/// A call that failed: something for the log, and for a misuse the page to read.
pub(crate) struct Failure {
    error: Error,
    status: u8,
    page: Option<String>,
}

impl Failure {
    /// `opening` and `page` go to the standard output, the fault to the log, as runc does it.
    fn misuse(opening: String, fault: String, page: &str) -> Self {
        let error = Error::new(Kind::InvalidConfig, fault);
        Self { error, status: FAILED, page: Some(format!("{opening}\n\n{page}")) }
    }
}

/// The program, as the verbs that it has.
#[derive(Clone, Copy)]
pub(crate) struct Program(pub(crate) &'static [Entry]);

impl Program {
    /// Runs it with the words after its name; returns its exit status.
    pub(crate) fn run(self, args: impl IntoIterator<Item = OsString>) -> u8 {
        self.call(args).unwrap_or_else(|failure| {
            failure.page.iter().for_each(|page| output::page(page));
            log::failure(&failure.error);
            failure.status
        })
    }

    fn call(self, args: impl IntoIterator<Item = OsString>) -> Result<u8, Failure> {
        let args: Vec<_> = args.into_iter().collect();
        if args.iter().any(|word| self.goes_inside(word)) {
            exe::run_sealed()?;
        }
        let command = command("rtn", GlobalFlags::augment_args);
        let page = || help::program(&command, self.0);
        let misuse =
            |fault: String| Failure::misuse(format!("Incorrect Usage. {fault}"), fault, &page());
        let Split { flags, arguments, help } =
            flags::split(args, &command, Order::FlagsFirst).map_err(misuse)?;
        let given: GlobalFlags = read(&parse(command.clone(), flags).map_err(misuse)?)?;
        let version = given.version;
        let globals = given.resolve()?;
        let mut words = arguments.into_iter();
        match words.next() {
            _ if version => output::page(&version::text()),
            Some(verb) if !help => {
                return self.dispatch(&verb.to_string_lossy(), words, &globals, page);
            }
            _ => output::page(&page()),
        }
        Ok(0)
    }

    /// Told before the flags are understood: all that is done before [`exe::run_sealed`] is done
    /// twice. A flag's value that reads like such a verb costs time and nothing else.
    fn goes_inside(self, word: &OsString) -> bool {
        self.0.iter().any(|verb| verb.goes_inside && word == verb.name)
    }

    fn dispatch(
        self,
        verb: &str,
        mut words: impl Iterator<Item = OsString>,
        globals: &Globals,
        page: impl Fn() -> String,
    ) -> Result<u8, Failure> {
        if !matches!(verb, "help" | "h") {
            return invoke(self.find(verb)?, globals, words.collect());
        }
        output::page(&match words.next() {
            Some(verb) => self.find(&verb.to_string_lossy())?.help(),
            None => page(),
        });
        Ok(0)
    }

    fn find(self, verb: &str) -> Result<&'static Entry, Failure> {
        self.0.iter().find(|entry| entry.name == verb).ok_or_else(|| Failure {
            error: Error::new(Kind::InvalidConfig, format!("No help topic for '{verb}'"))
                .hint("`rtn help` lists the commands"),
            status: NO_SUCH_VERB,
            page: None,
        })
    }
}

/// Parses the flags and arguments of a verb, then runs it.
fn invoke(verb: &Entry, globals: &Globals, words: Vec<OsString>) -> Result<u8, Failure> {
    let command = verb.command();
    let misuse =
        |fault: String| Failure::misuse(format!("Incorrect Usage: {fault}"), fault, &verb.help());
    let Split { mut flags, arguments, help } =
        flags::split(words, &command, verb.order).map_err(misuse)?;
    if help {
        output::page(&verb.help());
        return Ok(0);
    }
    if let Some(fault) = miscount(verb.name, &verb.arguments, arguments.len()) {
        return Err(Failure::misuse("Incorrect Usage.".into(), fault, &verb.help()));
    }
    flags.push("--".into());
    flags.extend(arguments);
    let matches = parse(command, flags).map_err(misuse)?;
    let done = (verb.run)(globals, &matches);
    done.map_err(|error| Failure { status: verb.failed, ..Failure::from(error) })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, status: FAILED, page: None }
    }
}

/// Flags as clap sees them. Help is ours, and the last of two values wins.
fn command(name: &'static str, augment: fn(Command) -> Command) -> Command {
    let command = Command::new(name).disable_help_flag(true).args_override_self(true);
    augment(command).no_binary_name(true)
}

fn parse(command: Command, words: Vec<OsString>) -> Result<ArgMatches, String> {
    command.try_get_matches_from(words).map_err(|error| fault_of(&error))
}

fn read<A: Args>(matches: &ArgMatches) -> Result<A> {
    A::from_arg_matches(matches)
        .map_err(|error| Error::new(Kind::Bug, "cannot read the flags").because(error))
}

/// A value that does not fit its flag, in the words of Go's `flag` package.
fn fault_of(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    match (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue)) {
        (Some(flag), Some(value)) => {
            let name = flag.trim_start_matches('-').split(' ').next().unwrap_or_default();
            format!("invalid value {value:?} for flag -{name}: parse error")
        }
        _ => error.kind().to_string(),
    }
}

fn miscount(verb: &str, expected: &RangeInclusive<usize>, count: usize) -> Option<String> {
    let (least, most) = (*expected.start(), *expected.end());
    let rule = match () {
        () if expected.contains(&count) => return None,
        () if least == most => format!("exactly {least}"),
        () if count < least => format!("a minimum of {least}"),
        () => format!("a maximum of {most}"),
    };
    Some(format!("rtn: {verb:?} requires {rule} argument(s)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_arguments_is_told_in_the_words_of_runc() {
        let told = |expected, count| miscount("kill", &expected, count);
        assert_eq!(told(1..=2, 1), None);
        assert_eq!(told(1..=1, 0).unwrap(), "rtn: \"kill\" requires exactly 1 argument(s)");
        assert_eq!(told(1..=2, 0).unwrap(), "rtn: \"kill\" requires a minimum of 1 argument(s)");
        assert_eq!(told(1..=2, 3).unwrap(), "rtn: \"kill\" requires a maximum of 2 argument(s)");
    }
}
