use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use clap::Args;
use libcontainer::{
    Error, Kind, Result, bundle,
    container::Rootless,
    host::Host,
    plan::{self, check_id},
    spec::{LinuxNamespaceType, Spec},
};
use serde_json::{Value, json};

use crate::{cli::Verb, globals::Globals, output, page};

#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// select one of: text or json
    #[arg(short, long, default_value = "text")]
    format: String,
    /// fail if there are warnings, too
    #[arg(long)]
    strict: bool,
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
config.json and what to do about it, and the exit status is 1.

Warnings tell what create ignores or adapts: fields that the specification does not
have, fields for other platforms, what this host cannot give. With --strict they are
shown and the exit status is 1."#;
    const ARGUMENTS: RangeInclusive<usize> = 0..=1;

    fn run(self, globals: &Globals) -> Result<u8> {
        let json = match self.format.as_str() {
            "text" => false,
            "json" => true,
            _ => return Err(Error::new(Kind::InvalidConfig, "invalid format option")),
        };
        let strict = self.strict;
        let answer = self.ask(globals)?;
        answer.show(json)?;
        let count = |list: usize, one: &str| match list {
            1 => format!("1 {one}"),
            many => format!("{many} {one}s"),
        };
        let what = match (&answer.plan, answer.warnings.len()) {
            (Err(faults), _) => count(faults.len(), "fault"),
            (Ok(_), warnings @ 1..) if strict => count(warnings, "warning"),
            (Ok(_), _) => return Ok(0),
        };
        Err(Error::new(Kind::InvalidConfig, format!("config.json has {what}")))
    }
}

/// What there is to say about a bundle.
struct Answer {
    plan: Result<plan::Plan, Vec<Error>>,
    warnings: Vec<String>,
}

impl Answer {
    fn show(&self, json: bool) -> Result<()> {
        match (&self.plan, json) {
            (Ok(plan), true) => output::pretty(&self.with_warnings(plan)?, "  "),
            (Ok(plan), false) => output::write(&page::plan(&self.with_warnings(plan)?)),
            (Err(faults), true) => {
                let faults: Vec<_> = faults.iter().map(fault).collect();
                output::pretty(&json!({"faults": faults, "warnings": self.warnings}), "  ")
            }
            (Err(faults), false) => {
                let warnings = self.warnings.iter().map(|warning| format!("warning: {warning}\n"));
                let lines: String = faults.iter().map(line).chain(warnings).collect();
                output::write(&lines)
            }
        }
    }

    fn with_warnings(&self, plan: &plan::Plan) -> Result<Value> {
        let mut document = serde_json::to_value(plan)
            .map_err(|cause| Error::new(Kind::Bug, "cannot show the plan").because(cause))?;
        document["warnings"] = json!(self.warnings);
        Ok(document)
    }
}

impl Plan {
    /// The plan, or every fault of the configuration.
    ///
    /// # Errors
    /// When there is no configuration to look at, or no way to look at the host.
    fn ask(self, globals: &Globals) -> Result<Answer> {
        let bundle = match bundle::load(self.bundle.as_deref().unwrap_or(Path::new("."))) {
            Ok(bundle) => bundle,
            Err(error) if error.spec_path().is_some() => {
                return Ok(Answer { plan: Err(vec![error]), warnings: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let mut warnings: Vec<_> =
            bundle::strays(&bundle.raw).iter().map(ToString::to_string).collect();
        let host = host_for(&bundle.spec)?;
        let plan = plan::Plan::new(&bundle.spec, &self.options(&bundle.dir, globals, &host), &host);
        warnings.extend(bundle.warnings);
        warnings.extend(plan.iter().flat_map(|plan| plan.warnings.iter().cloned()));
        Ok(Answer { plan, warnings })
    }

    fn options(self, bundle: &Path, globals: &Globals, host: &Host) -> plan::Options {
        let name = bundle.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|name| check_id(name).is_ok()).unwrap_or_else(|| "container".into());
        plan::Options {
            id: self.id.unwrap_or(name),
            bundle: bundle.to_owned(),
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
        }
    }
}

/// Nothing will be run: a bundle for the machine's root may be looked at by anybody.
fn host_for(spec: &Spec) -> Result<Host> {
    let host = Host::probe()?;
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let user = LinuxNamespaceType::User;
    let for_user = namespaces.into_iter().flatten().any(|namespace| namespace.typ() == user);
    Ok(if for_user { host } else { host.as_root() })
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
