use clap::Args;
use libcontainer::{Result, container::Container};

use crate::{cli::Verb, globals::Globals};

#[derive(Args, Debug)]
pub(crate) struct Resume {
    id: String,
}

impl Verb for Resume {
    const NAME: &'static str = "resume";
    const ABOUT: &'static str = "resumes all processes that have been previously paused";
    const USAGE: &'static str = r#"<container-id>

Where "<container-id>" is the name for the instance of the container to be
resumed."#;
    const DESCRIPTION: &'static str = r#"The resume command resumes all processes in the instance of the container.

Use rtn list to identify instances of containers and their current status."#;

    fn run(self, globals: &Globals) -> Result<u8> {
        Container::load(&globals.root, &self.id)?.resume()?;
        Ok(0)
    }
}
