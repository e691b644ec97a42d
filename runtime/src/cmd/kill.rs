use std::ops::RangeInclusive;

use clap::Args;
use libcontainer::{Error, Kind, Result, container::Container};
use nix::{libc, sys::signal::Signal};

use crate::{cli::Verb, globals::Globals, log};

#[derive(Args, Debug)]
pub(crate) struct Kill {
    /// send the specified signal to all processes inside the container
    #[arg(short, long, hide = true)]
    all: bool,
    id: String,
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

impl Verb for Kill {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str =
        "kill sends the specified signal (default: SIGTERM) to the container's init process";
    const USAGE: &'static str = r#"<container-id> [signal]

Where "<container-id>" is the name for the instance of the container and
"[signal]" is the signal to be sent to the init process.

EXAMPLE:
For example, if the container id is "ubuntu01" the following will send a "KILL"
signal to the init process of the "ubuntu01" container:

       # rtn kill ubuntu01 KILL"#;
    const ARGUMENTS: RangeInclusive<usize> = 1..=2;

    fn run(self, globals: &Globals) -> Result<u8> {
        let container = Container::load(&globals.root, &self.id)?;
        match container.kill(signal(&self.signal)?, self.all) {
            // Callers send --all to make sure, also when everything is over (go-runc does).
            Err(error) if self.all && error.kind() == Kind::WrongState => Ok(0),
            other => {
                other?.iter().for_each(|left| log::warning(&left.to_string()));
                Ok(0)
            }
        }
    }
}

/// The number of a signal by name, with or without SIG, or by number. The kernel judges numbers.
fn signal(text: &str) -> Result<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let by_name = || format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32);
    let number =
        text.parse().ok().or_else(by_name).or_else(|| alias(name)).or_else(|| real_time(name));
    number.ok_or_else(|| {
        Error::new(Kind::InvalidConfig, format!("unknown signal {text:?}"))
            .hint("`kill -l` lists the names; a number will do, too")
    })
}

fn alias(name: &str) -> Option<i32> {
    match name {
        "CLD" => Some(libc::SIGCHLD),
        "IOT" => Some(libc::SIGIOT),
        "POLL" => Some(libc::SIGPOLL),
        _ => None,
    }
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2` (signal(7)).
fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str, sign| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => libc::SIGRTMIN() + offset(rest, '+')?,
        None => libc::SIGRTMAX() - offset(name.strip_prefix("RTMAX")?, '-')?,
    };
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("KILL", 9),
            ("9", 9),
            ("0", 0),
            ("SigUsr1", 10),
            ("CLD", 17),
            ("SIGRTMIN", 34),
            ("rtmin+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "SIG", "FOO", "RTMIN+99", "RTMIN-1", "RTMAX+1", "SIGSIGTERM", "9x"] {
            assert!(signal(text).is_err(), "{text:?}");
        }
    }
}
