//! The shim's log: the fifo `log` in the bundle of its first container, which containerd copies into
//! its own, in logrus' form.

use std::{fs::File, io::Write, path::Path, sync::OnceLock};

use rustix::fs::{CWD, Mode, OFlags, openat};

static LOG: OnceLock<(File, bool)> = OnceLock::new();

/// Opens `bundle/log`. Held for both directions and without waiting: a containerd that is away, or
/// slow, takes no line, but stops nothing either.
pub(crate) fn open(bundle: &Path, debug: bool) {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(fifo) = openat(CWD, bundle.join("log"), flags, Mode::empty()) {
        let _ = LOG.set((fifo.into(), debug));
    }
}

pub(crate) fn error(message: &str) {
    say("error", message);
}

pub(crate) fn warning(message: &str) {
    say("warning", message);
}

pub(crate) fn debug(message: impl FnOnce() -> String) {
    if LOG.get().is_some_and(|(_, debug)| *debug) {
        say("debug", &message());
    }
}

fn say(level: &str, message: &str) {
    if let Some((file, _)) = LOG.get() {
        // One write, so that lines stay whole; what has no room is lost.
        let _ = (&*file).write(format!("level={level} msg={message:?}\n").as_bytes());
    }
}
