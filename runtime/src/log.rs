//! Warnings and errors, for people or for the engine that called, in the forms of logrus, which
//! containerd, CRI-O, conmon and Podman read from runc.
//!
//! An error goes to the log. If that is not the standard error, it goes there as well, in plain
//! words: not every caller that names a log file reads it.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use libcontainer::{Error, Kind, Result, error::Context};
use serde::Serialize;

/// The words of `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    Warning,
    Error,
}

/// One line of the log. The order of the fields is logrus' (`msg` before `time`).
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    level: Level,
    msg: &'a str,
    time: String,
}

#[derive(Debug, Default)]
struct Log {
    /// The standard error if there is none.
    file: Option<File>,
    format: Format,
    debug: bool,
}

/// Set once, by [`open`]; what is said before goes to the standard error.
static LOG: OnceLock<Log> = OnceLock::new();

/// Sends what is said from now on to `path`, which is made if it is missing and appended to.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let open = |path: &Path| {
        let mut options = OpenOptions::new();
        // Several calls for one container may share the file; O_APPEND keeps their lines whole.
        options.append(true).create(true).mode(0o644);
        options.open(path).doing(|| format!("cannot open log file {path:?}"))
    };
    let file = path.map(open).transpose()?;
    let _ = LOG.set(Log { file, format, debug });
    Ok(())
}

/// Something that the caller should know, and that stops nothing.
pub(crate) fn warning(message: &str) {
    say(Level::Warning, message, None);
}

/// What happens, step by step, if `--debug` was given.
pub(crate) fn debug(message: impl FnOnce() -> String) {
    debug_each(|| [message()]);
}

/// As [`debug`], in as many lines as there are messages.
pub(crate) fn debug_each<T: IntoIterator<Item = String>>(messages: impl FnOnce() -> T) {
    if LOG.get().is_some_and(|log| log.debug) {
        messages().into_iter().for_each(|message| say(Level::Debug, &message, None));
    }
}

/// Why the call failed.
pub(crate) fn failure(error: &Error) {
    let message = error.to_string();
    say(Level::Error, &message, Some(error));
    if LOG.get().is_some_and(|log| log.file.is_some()) {
        let hint = error.hint_text().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        // There is nobody left to tell if the standard error is gone.
        let _ = writeln!(io::stderr(), "{message}{hint}");
    }
}

fn say(level: Level, msg: &str, error: Option<&Error>) {
    let hint = error.and_then(Error::hint_text);
    let line = Line { hint, kind: error.map(Error::kind), level, msg, time: now() };
    let silent = Log::default();
    let log = LOG.get().unwrap_or(&silent);
    let text = match log.format {
        Format::Json => serde_json::to_string(&line).unwrap_or_default() + "\n",
        Format::Text if log.file.is_none() && io::stderr().is_terminal() => for_terminal(&line),
        Format::Text => text(&line),
    };
    let _ = match &log.file {
        Some(file) => (&*file).write_all(text.as_bytes()),
        None => io::stderr().write_all(text.as_bytes()),
    };
}

/// `time="…" level=error msg="…"`; the kind is for programs, which ask for JSON.
fn text(line: &Line<'_>) -> String {
    let level = match line.level {
        Level::Debug => "debug",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let mut text = format!("time={:?} level={level} msg={}", line.time, quoted(line.msg));
    if let Some(hint) = line.hint {
        let _ = write!(text, " hint={}", quoted(hint));
    }
    text + "\n"
}

/// logrus quotes what is more than one word of letters, digits and `-._/@^+`.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
    match !value.is_empty() && value.bytes().all(plain) {
        true => value.to_owned(),
        false => format!("{value:?}"),
    }
}

/// `ERRO[0000] …`, the hint below it. logrus counts seconds since the start, which for us is now.
fn for_terminal(line: &Line<'_>) -> String {
    let (colour, level) = match line.level {
        Level::Debug => (37, "DEBU"),
        Level::Warning => (33, "WARN"),
        Level::Error => (31, "ERRO"),
    };
    let hint = line.hint.map(|hint| format!("           hint: {hint}\n")).unwrap_or_default();
    format!("\x1b[{colour}m{level}\x1b[0m[0000] {}\n{hint}", line.msg)
}

fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    rfc3339(since.unwrap_or_default())
}

/// A time since 1970 in RFC 3339, UTC, to the second.
fn rfc3339(since: Duration) -> String {
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970-01-01. Years are counted from March, so that the leap day is the
/// last one of a year; 719 468 days lie between 0000-03-01 and 1970-01-01.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(msg: &str) -> Line<'_> {
        let (hint, kind) = (Some("run as root"), Some(Kind::Denied));
        Line { hint, kind, level: Level::Error, msg, time: rfc3339(Duration::ZERO) }
    }

    #[test]
    fn text_is_quoted_as_logrus_quotes_it() {
        assert_eq!(
            text(&line("cannot mount \"proc\"\n")),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=\"cannot mount \\\"proc\\\"\\n\" \
             hint=\"run as root\"\n"
        );
        assert_eq!(quoted("word"), "word");
        assert_eq!(quoted(""), "\"\"");
    }

    #[test]
    fn json_has_the_keys_that_containerd_reads_and_kind_and_hint() {
        assert_eq!(
            serde_json::to_string(&line("m")).unwrap(),
            r#"{"hint":"run as root","kind":"denied","level":"error","msg":"m","time":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn dates_know_leap_years() {
        let at = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
