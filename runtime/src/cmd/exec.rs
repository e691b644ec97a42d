use std::{ops::RangeInclusive, path::PathBuf};

use clap::Args;
use libcontainer::{
    Error, Result,
    container::{Container, ExecOptions},
};

use crate::{
    birth::{check_preserved, listen_fds},
    cli::{Verb, flags::Order},
    console::Console,
    foreground::Foreground,
    globals::Globals,
    log,
    process::ProcessFlags,
};

#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end
    /// of the console's pseudoterminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the exec process
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    #[command(flatten)]
    process: ProcessFlags,
    /// detach from the container's process
    #[arg(short, long)]
    detach: bool,
    /// specify the file to write the process id to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, default_value_t = 0)]
    preserve_fds: u32,
    /// run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>.
    #[arg(long)]
    cgroup: Vec<String>,
    /// allow exec in a paused container
    #[arg(long)]
    ignore_paused: bool,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long, hide = true)]
    no_subreaper: bool,
    id: String,
    command: Vec<String>,
}

impl Verb for Exec {
    const NAME: &'static str = "exec";
    const ABOUT: &'static str = "execute new process inside the container";
    const USAGE: &'static str = r#"<container-id> <command> [command options]  || -p process.json <container-id>

Where "<container-id>" is the name for the instance of the container and
"<command>" is the command to be executed in the container.
"<command>" can't be empty unless a "-p" flag provided.

EXAMPLE:
For example, if the container is configured to run the linux ps command the
following will output a list of processes running in the container:

       # rtn exec <container-id> ps"#;
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    const ORDER: Order = Order::FlagsFirst;
    /// Not to be taken for the command's own status.
    const FAILED: u8 = 255;
    const GOES_INSIDE: bool = true;

    fn run(self, globals: &Globals) -> Result<u8> {
        self.exec(globals).map_err(|error| Error::new(error.kind(), "exec failed").because(error))
    }
}

impl Exec {
    fn exec(self, globals: &Globals) -> Result<u8> {
        let container = Container::load(&globals.root, &self.id)?;
        let process = self.process.apply(self.command, || container.spec())?;
        let listen_fds = listen_fds();
        check_preserved(listen_fds, self.preserve_fds)?;
        let terminal = process.terminal() == Some(true);
        let mut console = Console::new(terminal, self.detach, self.console_socket.as_deref())?;
        let options = ExecOptions {
            process,
            console: console.sender.take(),
            pid_file: self.pid_file,
            pidfd_socket: self.pidfd_socket,
            preserve_fds: self.preserve_fds,
            listen_fds,
            cgroup: self.cgroup,
            ignore_paused: self.ignore_paused,
        };
        let foreground = match self.detach {
            true => None,
            false => Some(Foreground::take(!self.no_subreaper)?),
        };
        log::debug(|| format!("nsexec container setup: exec in {}", container.id()));
        let mut terminal = None;
        let (process, warnings) = container.exec(options, || {
            log::debug(|| "setns_init: about to exec".to_owned());
            terminal = console.receive()?;
            Ok(())
        })?;
        log::debug(|| format!("child process in init(): {}", process.pid));
        warnings.iter().for_each(|warning| log::warning(warning));
        foreground.map_or(Ok(0), |foreground| foreground.attend(&process, terminal))
    }
}
