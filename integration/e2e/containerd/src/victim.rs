//! A runtime that does not live long.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use crate::{Container, container, daemon};

/// A runtime that is killed, when it is called for `verb`, as long after its start as the file says.
#[derive(Debug)]
pub struct Victim {
    delay: PathBuf,
    flags: [String; 2],
}

impl Victim {
    pub fn of(verb: &str) -> Self {
        let directory = daemon::shared().directory().join(container::name("victim"));
        fs::create_dir_all(&directory).expect("a directory");
        let (script, delay) = (directory.join("runtime"), directory.join("delay"));
        let runtime = runtime();
        let text = format!(
            "#!/bin/sh\ncase \" $* \" in\n*\" {verb} \"*) read -r delay <{delay:?}\n\
             [ \"$delay\" != - ] || exec {runtime:?} \"$@\"\n\
             {runtime:?} \"$@\" & pid=$!; busybox usleep \"$delay\"; kill -9 $pid 2>/dev/null; wait $pid ;;\n\
             *) exec {runtime:?} \"$@\" ;;\nesac\n"
        );
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an owner");
        let options = directory.join("options.toml");
        fs::write(&options, format!("BinaryName = {script:?}\n")).expect("a file");
        let [flag, file] = match daemon::shared().is_rtn() {
            true => ["--runtime-config-path", &options.to_string_lossy()].map(str::to_owned),
            false => ["--runc-binary", &script.to_string_lossy()].map(str::to_owned),
        };
        let victim = Self { delay, flags: [flag, file] };
        victim.spare();
        victim
    }

    /// What `ctr run` is told.
    pub fn flags(&self) -> [&str; 2] {
        self.flags.each_ref().map(String::as_str)
    }

    /// From now on it lives.
    pub fn spare(&self) {
        fs::write(&self.delay, "-\n").expect("a file");
    }

    /// From now on it is killed.
    pub fn kill_after(&self, delay: Duration) {
        fs::write(&self.delay, format!("{}\n", delay.as_micros())).expect("a file");
    }
}

/// The one that the shim would use.
fn runtime() -> PathBuf {
    match daemon::shared().is_rtn() {
        true => {
            let container = Container::idle();
            fs::read_link(format!("/proc/{}/exe", container.shim()))
                .expect("a program")
                .with_file_name("rtn")
        }
        false => "runc".into(),
    }
}
