//! An ordinary user with a manager of their own, and this program once more as that user.

use std::{
    env, fs,
    io::{self, ErrorKind},
    process::{Command, ExitStatus},
};

use e2e_common::host::Skip;

/// The first ordinary user of Debian, who has subordinate ids (`useradd`).
const UID: u32 = 1000;

/// Their name.
///
/// # Errors
/// Why there is no such user, or none that can have containers.
pub fn name() -> Result<String, Skip> {
    let skip = |reason: &str| Skip(format!("{reason}: nothing is run as an ordinary user"));
    let name = field("/etc/passwd", 2, &UID.to_string()).ok_or_else(|| skip("no user 1000"))?;
    field("/etc/subuid", 0, &name).ok_or_else(|| skip("no subordinate ids"))?;
    match fs::exists("/run/systemd/system") {
        Ok(true) => Ok(name),
        _ => Err(skip("no systemd")),
    }
}

/// Runs this program with its arguments in a unit of the user's manager, to its end.
///
/// # Errors
/// Of the commands of systemd.
pub fn run_again(name: &str, runtime: &str) -> io::Result<ExitStatus> {
    let lingers = Command::new("loginctl").args(["enable-linger", name]).status()?;
    if !lingers.success() {
        return Err(io::Error::new(ErrorKind::Unsupported, format!("enable-linger: {lingers}")));
    }
    Command::new("systemd-run")
        .args(["--quiet", "--pipe", "--wait", "--collect", "--user", "-M"])
        .arg(format!("{name}@"))
        .args(["-p", "Delegate=yes", "--working-directory=/"])
        .args(["-E", &format!("RUNTIME={runtime}"), "-E", "RTN_VM_ONLY"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .status()
}

/// The first word of the line whose field `index` is `value`.
fn field(file: &str, index: usize, value: &str) -> Option<String> {
    let lines = fs::read_to_string(file).ok()?;
    let line = lines.lines().find(|line| line.split(':').nth(index) == Some(value))?;
    line.split(':').next().map(str::to_owned)
}
