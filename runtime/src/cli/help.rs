//! The pages of `rtn help`, in the shape that readers of runc's know.

use clap::{Arg, ArgAction, Command};

use super::Entry;

const PROGRAM: &str = r#"NAME:
   rtn - Open Container Initiative runtime

rtn is a command line client for running applications packaged according to
the Open Container Initiative (OCI) format and is a compliant implementation of the
Open Container Initiative specification. It takes the flags of runc.

Containers are configured using bundles. A bundle for a container is a directory
that includes a specification file named "config.json" and a root filesystem.
The root filesystem contains the contents of the container.

To see what a bundle asks for, and what is wrong with it, without running anything:

    $ rtn plan [ -b bundle ]

To start a new instance of a container:

    # rtn run [ -b bundle ] <container-id>

Where "<container-id>" is your name for the instance of the container that you
are starting. The name you provide for the container instance must be unique on
your host. Providing the bundle directory using "-b" is optional. The default
value for "bundle" is the current directory.

USAGE:
   rtn [global options] command [command options] [arguments...]
"#;

/// The page of the whole program.
pub(super) fn program(command: &Command, verbs: &[Entry]) -> String {
    let mut rows: Vec<_> =
        verbs.iter().map(|verb| (verb.name.to_owned(), verb.about.to_owned())).collect();
    rows.push(("help, h".into(), "shows a list of commands or help for one command".into()));
    let mut options = option_rows(command);
    options.push(("--help, -h".into(), "show help".into()));
    let (version, (commands, options)) =
        (env!("CARGO_PKG_VERSION"), (table(&rows), table(&options)));
    format!(
        "{PROGRAM}\nVERSION:\n   {version}\n\nCOMMANDS:\n{commands}\nGLOBAL OPTIONS:\n{options}"
    )
}

/// The page of one verb.
pub(super) fn verb(verb: &Entry, command: &Command) -> String {
    let Entry { name, about, usage, description, .. } = verb;
    let options = option_rows(command);
    let place = if options.is_empty() { "" } else { "[command options] " };
    let mut page =
        format!("NAME:\n   rtn {name} - {about}\n\nUSAGE:\n   rtn {name} {place}{usage}\n");
    if !description.is_empty() {
        page += &format!("\nDESCRIPTION:\n   {description}\n");
    }
    if !options.is_empty() {
        page += &format!("\nOPTIONS:\n{}", table(&options));
    }
    page
}

fn option_rows(command: &Command) -> Vec<(String, String)> {
    command.get_opts().filter(|flag| !flag.is_hide_set()).map(row).collect()
}

/// `--bundle value, -b value` and its explanation.
fn row(flag: &Arg) -> (String, String) {
    let switch = flag.get_value_parser().type_id() == std::any::TypeId::of::<bool>();
    let place = if switch { "" } else { " value" };
    let long = flag.get_long().map(|name| format!("--{name}{place}"));
    let short = flag.get_short().map(|letter| format!("-{letter}{place}"));
    let names: Vec<_> = long.into_iter().chain(short).collect();
    let mut text = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let default = flag
        .get_default_values()
        .first()
        .filter(|_| !matches!(flag.get_action(), ArgAction::SetTrue));
    if let Some(default) = default {
        text.push_str(&format!(" (default: {})", default.to_string_lossy()));
    }
    (names.join(", "), text)
}

/// Two columns, indented.
fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or_default();
    rows.iter().map(|(left, right)| format!("   {left:width$}  {right}\n")).collect()
}
