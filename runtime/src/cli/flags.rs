//! The grammar of flags that callers of runc speak: Go's `flag` package, as urfave/cli uses it.
//!
//! * `-name`, `--name`, `-n` and `--n` are all the same: one dash is as good as two.
//! * A value follows as `--name=value` or as the next argument, whatever that looks like (`-1`).
//! * A switch takes its value only with `=`: `--detach=false`.
//! * Short names do not cluster: `-it` is the flag `it`.
//! * `--` ends the flags; `-` is an argument.
//!
//! [`split`] turns that into the form that clap takes.

use std::{
    any::TypeId,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use clap::{Arg, ArgAction, Command};

/// Where flags may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Anywhere before `--`.
    Mixed,
    /// Before the first argument, which with all behind it belongs to somebody else:
    /// `exec ID sh -c 'exit 1'`.
    FlagsFirst,
}

/// A command line taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// `--name=value` and `--switch`, with the long names.
    pub(crate) flags: Vec<OsString>,
    pub(crate) arguments: Vec<OsString>,
    /// `-h` or `--help` was there.
    pub(crate) help: bool,
}

/// Takes `args` apart by the flags of `command`.
///
/// # Errors
/// The words of Go's `flag` package, which scripts look for.
pub(crate) fn split(
    args: impl IntoIterator<Item = OsString>,
    command: &Command,
    order: Order,
) -> Result<Split, String> {
    let mut split = Split::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            split.arguments.extend(args);
            break;
        }
        if arg == "-" || !arg.as_bytes().starts_with(b"-") {
            split.arguments.push(arg);
            if order == Order::FlagsFirst {
                split.arguments.extend(args);
                break;
            }
            continue;
        }
        let (name, value) = name_and_value(&arg)?;
        let Some(flag) = find(command, name) else {
            if !matches!(name, "h" | "help") {
                return Err(format!("flag provided but not defined: -{name}"));
            }
            split.help = value.is_none_or(|value| boolean(name, value).unwrap_or(true));
            continue;
        };
        if is_switch(flag) {
            let on = value.map_or(Ok(true), |value| boolean(name, value))?;
            split.set_switch(flag, on);
        } else {
            let value = value.map(OsStr::to_owned).or_else(|| args.next());
            let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
            split.flags.push(assignment(flag, &value));
        }
    }
    Ok(split)
}

impl Split {
    /// A plain switch of clap's has no value; it is on when it is there.
    fn set_switch(&mut self, flag: &Arg, on: bool) {
        if !matches!(flag.get_action(), ArgAction::SetTrue) {
            let value = if on { "true" } else { "false" };
            self.flags.push(assignment(flag, OsStr::new(value)));
            return;
        }
        let name = format!("--{}", long(flag));
        self.flags.retain(|earlier| *earlier != *name);
        if on {
            self.flags.push(name.into());
        }
    }
}

/// `--name=value` as name and value.
fn name_and_value(arg: &OsStr) -> Result<(&str, Option<&OsStr>), String> {
    let bytes = arg.as_bytes();
    let bytes = bytes.strip_prefix(b"--").or(bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let end = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
    let value = bytes.get(end + 1..).map(OsStr::from_bytes);
    match str::from_utf8(&bytes[..end]) {
        Ok(name) if !name.is_empty() && !name.starts_with('-') => Ok((name, value)),
        _ => Err(format!("bad flag syntax: {}", arg.to_string_lossy())),
    }
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.as_str().is_empty());
    command.get_opts().find(|flag| {
        flag.get_long() == Some(name) || (letter.is_some() && flag.get_short() == letter)
    })
}

fn is_switch(flag: &Arg) -> bool {
    flag.get_value_parser().type_id() == TypeId::of::<bool>()
}

fn long(flag: &Arg) -> &str {
    flag.get_long().unwrap_or(flag.get_id().as_str())
}

fn assignment(flag: &Arg, value: &OsStr) -> OsString {
    let mut text = OsString::from(format!("--{}=", long(flag)));
    text.push(value);
    text
}

/// The spellings of Go's `strconv.ParseBool`.
fn boolean(name: &str, value: &OsStr) -> Result<bool, String> {
    parse_bool(value.as_bytes()).ok_or_else(|| {
        format!("invalid boolean value {:?} for -{name}: parse error", value.to_string_lossy())
    })
}

/// A bool in one of the spellings of Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Sample {
        #[arg(short, long)]
        detach: bool,
        #[arg(short, long)]
        tty: Option<bool>,
        #[arg(short, long)]
        env: Vec<String>,
        #[arg(long)]
        memory_swap: Option<String>,
    }

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn parse(text: &str, order: Order) -> Result<String, String> {
        let split = split(words(text), &Sample::command(), order)?;
        let join = |words: &[OsString]| words.join(OsStr::new(" ")).into_string().unwrap();
        let help = if split.help { " help" } else { "" };
        Ok(format!("[{}] [{}]{help}", join(&split.flags), join(&split.arguments)))
    }

    #[track_caller]
    fn mixed(text: &str, expected: &str) {
        assert_eq!(parse(text, Order::Mixed).as_deref(), Ok(expected));
    }

    #[track_caller]
    fn first(text: &str, expected: &str) {
        assert_eq!(parse(text, Order::FlagsFirst).as_deref(), Ok(expected));
    }

    #[track_caller]
    fn fault(text: &str, expected: &str) {
        assert_eq!(parse(text, Order::Mixed), Err(expected.to_owned()));
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for text in ["-detach", "--detach", "-d", "--d"] {
            mixed(text, "[--detach] []");
        }
        mixed("-memory-swap=5", "[--memory-swap=5] []");
        mixed("--e A=1", "[--env=A=1] []");
    }

    #[test]
    fn a_value_is_the_next_argument_whatever_it_looks_like() {
        mixed("--memory-swap -1 id", "[--memory-swap=-1] [id]");
        mixed("-e --detach", "[--env=--detach] []");
        mixed("-e -- id", "[--env=--] [id]");
        mixed("-e A=b=c", "[--env=A=b=c] []");
        mixed("-e=A=b", "[--env=A=b] []");
        mixed("-e=", "[--env=] []");
    }

    #[test]
    fn a_switch_takes_its_value_with_an_equals_sign_only() {
        mixed("--detach=false", "[] []");
        mixed("-d --detach=F", "[] []");
        mixed("--detach=0 -d=1", "[--detach] []");
        mixed("--detach false", "[--detach] [false]");
        mixed("-tty", "[--tty=true] []");
        mixed("-t=False", "[--tty=false] []");
        fault("--detach=yes", "invalid boolean value \"yes\" for -detach: parse error");
        fault("-d=", "invalid boolean value \"\" for -d: parse error");
    }

    #[test]
    fn short_names_do_not_cluster() {
        fault("-dt", "flag provided but not defined: -dt");
        fault("-eA=1", "flag provided but not defined: -eA");
    }

    #[test]
    fn flags_may_stand_behind_arguments_unless_those_are_a_command_line() {
        mixed("id -d x -e A", "[--detach --env=A] [id x]");
        first("-d id sh -c -e", "[--detach] [id sh -c -e]");
        first("id -h", "[] [id -h]");
        mixed("-d -- -e id", "[--detach] [-e id]");
        first("-d -- id -e", "[--detach] [id -e]");
        mixed("- -d", "[--detach] [-]");
    }

    #[test]
    fn faults_have_the_words_of_go() {
        fault("--frob", "flag provided but not defined: -frob");
        fault("--frob=1", "flag provided but not defined: -frob");
        fault("id --memory-swap", "flag needs an argument: -memory-swap");
        fault("-e", "flag needs an argument: -e");
        for text in ["---d", "--=x", "-=x"] {
            fault(text, &format!("bad flag syntax: {text}"));
        }
    }

    #[test]
    fn help_is_a_switch_of_every_verb() {
        mixed("id -h", "[] [id] help");
        mixed("--help --detach", "[--detach] [] help");
        mixed("--help=false", "[] []");
    }

    #[test]
    fn bytes_that_are_not_text_pass() {
        let value = OsStr::from_bytes(b"A=\xff").to_owned();
        let split = split(["-e".into(), value], &Sample::command(), Order::Mixed).unwrap();
        assert_eq!(split.flags, [OsStr::from_bytes(b"--env=A=\xff")]);
    }
}
