//! The flags that `create` and `run` share.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use clap::Args;
use libcontainer::{Error, Kind, Result, bundle, container::CreateOptions};

use crate::{console::Console, globals::Globals, log};

/// How the process is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It waits for `start`.
    Create,
    /// It runs on its own.
    Detached,
    /// It runs, and we stand for it.
    Foreground,
}

#[derive(Args, Debug)]
pub(crate) struct BirthFlags {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end
    /// of the console's pseudoterminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the init process
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// specify the file to write the process id to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// do not use pivot root to jail process inside rootfs.  This should be used whenever the
    /// rootfs is on top of a ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// do not create a new session keyring for the container.  This will cause the container to
    /// inherit the calling processes session key
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, default_value_t = 0)]
    preserve_fds: u32,
}

impl BirthFlags {
    /// What the library is told, and what is kept of the console.
    pub(crate) fn options(
        self,
        globals: &Globals,
        id: String,
        mode: Mode,
    ) -> Result<(CreateOptions, Console)> {
        let listen_fds = listen_fds();
        check_preserved(listen_fds, self.preserve_fds)?;
        globals.prepare_root()?;
        let bundle = bundle::load(&self.bundle.unwrap_or_else(|| ".".into()))?;
        log::debug_each(|| bundle::strays(&bundle.raw).into_iter().map(|stray| stray.to_string()));
        let terminal = bundle.spec.process().as_ref().and_then(|process| process.terminal());
        let mut console = Console::new(
            terminal == Some(true),
            mode != Mode::Foreground,
            self.console_socket.as_deref(),
        )?;
        let options = CreateOptions {
            id,
            bundle,
            root: globals.root.clone(),
            manager: globals.manager,
            rootless: globals.rootless,
            console: console.sender.take(),
            pid_file: self.pid_file,
            pidfd_socket: self.pidfd_socket,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            listen_fds,
            notify_socket: notify_socket(),
            start: mode != Mode::Create,
        };
        Ok((options, console))
    }
}

/// The service manager's socket that this call should report to (sd_notify(3)).
pub(crate) fn notify_socket() -> Option<PathBuf> {
    env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// How many descriptors from 3 on this process was activated with (sd_listen_fds(3)).
pub(crate) fn listen_fds() -> u32 {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let for_us = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0)
}

/// Whoever passes descriptors must have them: one that is missing now would be one of ours later.
///
/// # Errors
/// Names the first that is missing.
pub(crate) fn check_preserved(listen_fds: u32, preserve_fds: u32) -> Result<()> {
    match (0..preserve_fds).find(|number| !inherited(3 + listen_fds + number)) {
        None => Ok(()),
        Some(number) => Err(Error::new(
            Kind::InvalidConfig,
            format!(
                "unable to stat preserved-fd {number} (of {preserve_fds}): bad file descriptor"
            ),
        )
        .hint(format!("nothing was open as descriptor {}", 3 + listen_fds + number))),
    }
}

/// Whether the caller left `fd` open for us: descriptors of our own are close-on-exec.
fn inherited(fd: u32) -> bool {
    let path = format!("/proc/self/fdinfo/{fd}");
    fs::read_to_string(Path::new(&path)).is_ok_and(|info| !is_close_on_exec(&info))
}

/// The octal `flags:` of proc_pid_fdinfo(5).
fn is_close_on_exec(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim(), 8).unwrap_or_default();
    flags & rustix::fs::OFlags::CLOEXEC.bits() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_on_exec_is_read_from_fdinfo() {
        assert!(is_close_on_exec("pos:\t0\nflags:\t02100002\nmnt_id:\t9\n"));
        assert!(!is_close_on_exec("pos:\t0\nflags:\t0100002\n"));
        assert!(!is_close_on_exec(""));
    }
}
