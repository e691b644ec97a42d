use clap::Args;
use libcontainer::{Result, container::Container};

use crate::{cli::Verb, globals::Globals};

#[derive(Args, Debug)]
pub(crate) struct Pause {
    id: String,
}

impl Verb for Pause {
    const NAME: &'static str = "pause";
    const ABOUT: &'static str = "pause suspends all processes inside the container";
    const USAGE: &'static str = r#"<container-id>

Where "<container-id>" is the name for the instance of the container to be
paused."#;
    const DESCRIPTION: &'static str = r#"The pause command suspends all processes in the instance of the container.

Use rtn list to identify instances of containers and their current status."#;

    fn run(self, globals: &Globals) -> Result<u8> {
        Container::load(&globals.root, &self.id)?.pause()?;
        Ok(0)
    }
}
