use clap::Args;
use libcontainer::{Result, container};

use crate::{
    birth::{BirthFlags, Mode},
    cli::Verb,
    foreground::Foreground,
    globals::Globals,
    log,
};

#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    birth: BirthFlags,
    /// detach from the container's process
    #[arg(short, long)]
    detach: bool,
    /// do not delete the container after it exits
    #[arg(long)]
    keep: bool,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    no_subreaper: bool,
    id: String,
}

impl Verb for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "create and run a container";
    const USAGE: &'static str = super::create::Create::USAGE;
    const DESCRIPTION: &'static str = r#"The run command creates an instance of a container for a bundle. The bundle
is a directory with a specification file named "config.json" and a root
filesystem.

The specification file includes an args parameter. The args parameter is used
to specify command(s) that get run when the container is started. To change the
command(s) that get executed on start, edit the args parameter of the spec. See
"rtn spec --help" for more explanation."#;
    const GOES_INSIDE: bool = true;

    fn run(self, globals: &Globals) -> Result<u8> {
        let mode = if self.detach { Mode::Detached } else { Mode::Foreground };
        let (options, console) = self.birth.options(globals, self.id, mode)?;
        let foreground = match self.detach {
            true => None,
            false => Some(Foreground::take(!self.no_subreaper)?),
        };
        let mut terminal = None;
        log::debug(|| {
            format!("nsexec container setup: {} in {:?}", options.id, options.bundle.dir)
        });
        let created = container::create(options, || {
            terminal = console.receive()?;
            Ok(())
        })?;
        log::debug(|| format!("child process in init(): {}", created.process.pid));
        created.warnings.iter().for_each(|warning| log::warning(warning));
        let Some(foreground) = foreground else { return Ok(0) };
        let status = foreground.attend(&created.process, terminal);
        if !self.keep {
            // The status is the process's, whatever becomes of the rest.
            let deleted = super::delete::delete(created.container, true);
            deleted.unwrap_or_else(|error| log::failure(&error));
        }
        status
    }
}
