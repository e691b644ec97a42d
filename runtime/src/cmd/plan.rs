use std::{ops::RangeInclusive, path::PathBuf};

use clap::Args;
use libcontainer::{
    Error, Kind, Result, bundle,
    container::Rootless,
    host::Host,
    plan::{self, check_id},
    spec::LinuxNamespaceType,
};
use serde_json::json;

use crate::{cli::Verb, globals::Globals, output, page};

#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// select one of: text or json
    #[arg(short, long, default_value = "text")]
    format: String,
    id: Option<String>,
}

impl Verb for Plan {
    const NAME: &'static str = "plan";
    const ABOUT: &'static str = "show what a bundle asks for and what is wrong with it";
    const USAGE: &'static str = r#"[container-id]

Where "[container-id]" is the name that a container would have; it becomes part
of its cgroup's path. The default is the name of the bundle directory."#;
    const DESCRIPTION: &'static str = r#"The plan command decides everything that create would do with the bundle on this
host, and shows it: namespaces, mounts in their order, devices, capabilities, the
seccomp filter, every value that is written to the cgroup, hooks, and the process.
Nothing is made or run, and no privilege is needed.

If the configuration has faults, each of them is shown on a line, with its place in
config.json and what to do about it, and the exit status is 1."#;
    const ARGUMENTS: RangeInclusive<usize> = 0..=1;

    fn run(self, globals: &Globals) -> Result<u8> {
        let json = match self.format.as_str() {
            "text" => false,
            "json" => true,
            _ => return Err(Error::new(Kind::InvalidConfig, "invalid format option")),
        };
        let faults = match self.plan(globals)? {
            Ok(plan) if json => return output::pretty(&plan, "  ").map(|()| 0),
            Ok(plan) => {
                let document = serde_json::to_value(&plan).map_err(|cause| {
                    Error::new(Kind::Bug, "cannot show the plan").because(cause)
                })?;
                return output::write(&page::plan(&document)).map(|()| 0);
            }
            Err(faults) => faults,
        };
        match json {
            true => output::pretty(
                &json!({"faults": faults.iter().map(fault).collect::<Vec<_>>()}),
                "  ",
            )?,
            false => output::write(&faults.iter().map(line).collect::<String>())?,
        }
        let count = faults.len();
        let what = if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") };
        Err(Error::new(Kind::InvalidConfig, format!("config.json has {what}")))
    }
}

impl Plan {
    /// The plan, or every fault of the configuration.
    ///
    /// # Errors
    /// When there is no configuration to look at, or no way to look at the host.
    fn plan(&self, globals: &Globals) -> Result<Result<plan::Plan, Vec<Error>>> {
        let dir = self.bundle.clone().unwrap_or_else(|| ".".into());
        let bundle = match bundle::load(&dir) {
            Ok(bundle) => bundle,
            Err(error) if error.spec_path().is_some() => return Ok(Err(vec![error])),
            Err(error) => return Err(error),
        };
        let host = Host::probe()?;
        // Nothing will be run: a bundle for the machine's root may be looked at by anybody.
        let namespaces = bundle.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let user = LinuxNamespaceType::User;
        let for_user = namespaces.into_iter().flatten().any(|namespace| namespace.typ() == user);
        let host = if for_user { host } else { host.as_root() };
        let name = bundle.dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|name| check_id(name).is_ok()).unwrap_or_else(|| "container".into());
        let options = plan::Options {
            id: self.id.clone().unwrap_or(name),
            bundle: bundle.dir,
            manager: globals.manager,
            rootless: match globals.rootless {
                Rootless::True => true,
                Rootless::False => false,
                Rootless::Auto => host.rootless(),
            },
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            notify_dir: None,
        };
        Ok(plan::Plan::new(&bundle.spec, &options, &host))
    }
}

fn line(error: &Error) -> String {
    let hint = error.hint_text().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    format!("{error}{hint}\n")
}

fn fault(error: &Error) -> serde_json::Value {
    json!({
        "path": error.spec_path(), "message": error.to_string(), "hint": error.hint_text(),
        "kind": error.kind(),
    })
}
