use clap::Args;
use libcontainer::{Result, container::Container};

use crate::{birth::notify_socket, cli::Verb, globals::Globals};

#[derive(Args, Debug)]
pub(crate) struct Start {
    id: String,
}

impl Verb for Start {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "executes the user defined process in a created container";
    const USAGE: &'static str = r#"<container-id>

Where "<container-id>" is your name for the instance of the container that you
are starting. The name you provide for the container instance must be unique on
your host."#;
    const DESCRIPTION: &'static str =
        "The start command executes the user defined process in a created container.";

    fn run(self, globals: &Globals) -> Result<u8> {
        let notify_socket = notify_socket();
        Container::load(&globals.root, &self.id)?.start(notify_socket.as_deref())?;
        Ok(0)
    }
}
