use clap::Args;
use libcontainer::{Kind, Result, container::Container};

use crate::{cli::Verb, globals::Globals, log};

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Forcibly deletes the container if it is still running (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    id: String,
}

impl Verb for Delete {
    const NAME: &'static str = "delete";
    const ABOUT: &'static str =
        "delete any resources held by the container often used with detached container";
    const USAGE: &'static str = r#"<container-id>

Where "<container-id>" is the name for the instance of the container.

EXAMPLE:
For example, if the container id is "ubuntu01" and rtn list currently shows the
status of "ubuntu01" as "stopped" the following will delete resources held for
"ubuntu01" removing "ubuntu01" from the rtn list of containers:

       # rtn delete ubuntu01"#;

    fn run(self, globals: &Globals) -> Result<u8> {
        let deleted = Container::load(&globals.root, &self.id)
            .and_then(|container| delete(container, self.force));
        match deleted {
            Err(error) if self.force && error.kind() == Kind::NotFound => {
                // What a create that was killed at its very beginning left, if anything.
                let discarded = Container::discard(&globals.root, &self.id);
                discarded.or_else(|error| match error.kind() {
                    Kind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
            }
            // Its state is damaged; the id can be freed all the same.
            Err(error) if self.force && error.kind() == Kind::Damaged => {
                Container::discard(&globals.root, &self.id)?;
            }
            other => other?,
        }
        Ok(0)
    }
}

/// Deletes. What may be left is told; a poststop hook that fails is told, too, and stops nothing
/// (runtime-spec, runtime.md "Lifecycle").
pub(super) fn delete(container: Container, force: bool) -> Result<()> {
    let failures = container.delete(force)?;
    failures.iter().for_each(|failure| log::warning(&failure.to_string()));
    Ok(())
}
