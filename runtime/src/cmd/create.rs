use clap::Args;
use libcontainer::{Result, container};

use crate::{
    birth::{BirthFlags, Mode},
    cli::Verb,
    globals::Globals,
    log,
};

#[derive(Args, Debug)]
pub(crate) struct Create {
    #[command(flatten)]
    birth: BirthFlags,
    id: String,
}

impl Verb for Create {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "create a container";
    const USAGE: &'static str = r#"<container-id>

Where "<container-id>" is your name for the instance of the container that you
are starting. The name you provide for the container instance must be unique on
your host."#;
    const DESCRIPTION: &'static str = r#"The create command creates an instance of a container for a bundle. The bundle
is a directory with a specification file named "config.json" and a root
filesystem.

The specification file includes an args parameter. The args parameter is used
to specify command(s) that get run when the container is started. To change the
command(s) that get executed on start, edit the args parameter of the spec. See
"rtn spec --help" for more explanation."#;
    const GOES_INSIDE: bool = true;

    fn run(self, globals: &Globals) -> Result<u8> {
        let (options, _) = self.birth.options(globals, self.id, Mode::Create)?;
        log::debug(|| {
            format!("nsexec container setup: {} in {:?}", options.id, options.bundle.dir)
        });
        let created = container::create(options, || Ok(()))?;
        log::debug(|| format!("child process in init(): {}", created.process.pid));
        created.warnings.iter().for_each(|warning| log::warning(warning));
        Ok(0)
    }
}
