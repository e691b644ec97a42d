use clap::Args;
use libcontainer::{Result, container::Container};

use crate::{cli::Verb, globals::Globals, output, report::Report};

#[derive(Args, Debug)]
pub(crate) struct State {
    id: String,
}

impl Verb for State {
    const NAME: &'static str = "state";
    const ABOUT: &'static str = "output the state of a container";
    const USAGE: &'static str = r#"<container-id>

Where "<container-id>" is your name for the instance of the container."#;
    const DESCRIPTION: &'static str = r#"The state command outputs current state information for the
instance of a container."#;

    fn run(self, globals: &Globals) -> Result<u8> {
        let container = Container::load(&globals.root, &self.id)?;
        output::pretty(&Report::new(&container, String::new()), "  ")?;
        Ok(0)
    }
}
