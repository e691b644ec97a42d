//! The process of `exec`: the container's own, with what the flags change.

use std::{collections::HashSet, fs, path::PathBuf};

use clap::Args;
use libcontainer::{
    Error, Kind, Result, bundle,
    error::Context,
    spec::{Capability, LinuxCapabilities, Process, Spec, User},
};

use crate::{cli::value, log};

#[derive(Args, Debug, Default)]
pub(crate) struct ProcessFlags {
    /// current working directory in the container
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// set environment variables
    #[arg(short, long)]
    env: Vec<String>,
    /// allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// UID (format: <uid>[:<gid>])
    #[arg(short, long)]
    user: Option<String>,
    /// additional gids
    #[arg(short = 'g', long)]
    additional_gids: Vec<u32>,
    /// path to the process.json
    #[arg(short, long)]
    process: Option<PathBuf>,
    /// set the asm process label for the process commonly used with selinux
    #[arg(long)]
    process_label: Option<String>,
    /// set the apparmor profile for the process
    #[arg(long)]
    apparmor: Option<String>,
    /// set the no new privileges value for the process
    #[arg(long)]
    no_new_privs: Option<bool>,
    /// add a capability to the bounding set for the process
    #[arg(short, long)]
    cap: Vec<String>,
}

impl ProcessFlags {
    /// The process to run. With `--process`, that file's and nothing else.
    ///
    /// # Errors
    /// What cannot be read or does not parse.
    pub(crate) fn apply(
        self,
        command: Vec<String>,
        spec: impl FnOnce() -> Result<Spec>,
    ) -> Result<Process> {
        if let Some(path) = &self.process {
            let text = fs::read(path).doing(|| format!("cannot read {path:?}"))?;
            let (process, warnings) = bundle::parse_process(&text).map_err(|error| {
                let what = format!("cannot use the process in {path:?}");
                Error::new(Kind::InvalidConfig, what).because(error)
            })?;
            warnings.iter().for_each(|warning| log::warning(warning));
            return Ok(process);
        }
        if command.is_empty() {
            return Err(bad("process args cannot be empty".into())
                .hint("name a command, or give --process with a file"));
        }
        // The specification's default process has capabilities that the container may not have.
        let own = spec()?.process().clone();
        let mut process = own.ok_or_else(|| bad("the container has no process".into()))?;
        process.set_args(Some(command));
        self.change(&mut process)?;
        Ok(process)
    }

    fn change(self, process: &mut Process) -> Result<()> {
        process.set_terminal(Some(self.tty));
        if let Some(cwd) = self.cwd {
            process.set_cwd(cwd);
        }
        if !self.env.is_empty() {
            process.env_mut().get_or_insert_default().extend(self.env);
        }
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor);
        }
        if self.process_label.is_some() {
            process.set_selinux_label(self.process_label);
        }
        if self.no_new_privs.is_some() {
            process.set_no_new_privileges(self.no_new_privs);
        }
        set_user(process.user_mut(), self.user.as_deref(), self.additional_gids)?;
        if !self.cap.is_empty() {
            let caps = self.cap.iter().map(|name| capability(name)).collect::<Result<_>>()?;
            let sets = with(process.capabilities().as_ref(), &caps);
            process.set_capabilities(Some(sets));
        }
        Ok(())
    }
}

fn set_user(user: &mut User, given: Option<&str>, additional_gids: Vec<u32>) -> Result<()> {
    if let Some(given) = given {
        let hint = "give numbers: <uid>[:<gid>]";
        let (uid, gid) = value::user(given).map_err(|fault| bad(fault).hint(hint))?;
        user.set_uid(uid);
        user.set_gid(gid.unwrap_or(user.gid()));
    }
    if !additional_gids.is_empty() {
        user.additional_gids_mut().get_or_insert_default().extend(additional_gids);
    }
    Ok(())
}

fn capability(name: &str) -> Result<Capability> {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).parse().map_err(|_| {
        bad(format!("unknown capability {name:?}")).hint("capabilities(7) lists the names")
    })
}

/// `sets` and `more`. Never inheritable: a program that is executed could then take them from its
/// file (CVE-2022-29162). The kernel wants ambient ones inheritable, so these become ambient only
/// if the container has inheritable ones, as in runc.
fn with(sets: Option<&LinuxCapabilities>, more: &HashSet<Capability>) -> LinuxCapabilities {
    type Set = Option<HashSet<Capability>>;
    let and_more = |set: fn(&LinuxCapabilities) -> &Set| -> Set {
        Some(
            sets.and_then(|sets| set(sets).as_ref())
                .into_iter()
                .flatten()
                .chain(more)
                .copied()
                .collect(),
        )
    };
    let inheritable = sets.and_then(|sets| sets.inheritable().clone());
    let ambient = match inheritable.as_ref().is_some_and(|set| !set.is_empty()) {
        true => and_more(LinuxCapabilities::ambient),
        false => sets.and_then(|sets| sets.ambient().clone()),
    };
    // The type's default is not empty, so every set is set.
    let mut result = LinuxCapabilities::default();
    result
        .set_bounding(and_more(LinuxCapabilities::bounding))
        .set_effective(and_more(LinuxCapabilities::effective))
        .set_permitted(and_more(LinuxCapabilities::permitted))
        .set_inheritable(inheritable)
        .set_ambient(ambient);
    result
}

fn bad(what: String) -> Error {
    Error::new(Kind::InvalidConfig, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What `flags` make of a container whose process is `own`.
    fn apply(flags: ProcessFlags, own: Value) -> Result<Value> {
        let spec = json!({"ociVersion": "1.0.2", "process": own});
        let spec = || Ok(serde_json::from_value(spec).unwrap());
        let process = flags.apply(vec!["id".into()], spec)?;
        Ok(serde_json::to_value(process).unwrap())
    }

    fn own() -> Value {
        json!({
            "terminal": true, "user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "cwd": "/",
            "args": ["sh"], "env": ["A=1"], "noNewPrivileges": true,
        })
    }

    #[test]
    fn what_is_not_said_is_the_containers_but_for_the_terminal() {
        let process = apply(ProcessFlags::default(), own()).unwrap();
        let mut expected = own();
        expected["args"] = json!(["id"]);
        expected["terminal"] = json!(false);
        assert_eq!(process, expected);
    }

    #[test]
    fn flags_add_and_replace() {
        let flags = ProcessFlags {
            cwd: Some("/x".into()),
            env: vec!["B=2".into()],
            tty: true,
            user: Some("8".into()),
            additional_gids: vec![9],
            no_new_privs: Some(false),
            ..ProcessFlags::default()
        };
        let process = apply(flags, own()).unwrap();
        assert_eq!(process["user"], json!({"uid": 8, "gid": 6, "additionalGids": [7, 9]}));
        assert_eq!(process["env"], json!(["A=1", "B=2"]));
        assert_eq!(process["cwd"], "/x");
        assert_eq!(
            (&process["terminal"], &process["noNewPrivileges"]),
            (&json!(true), &json!(false))
        );
    }

    #[test]
    fn a_name_is_no_user() {
        let flags = ProcessFlags { user: Some("root".into()), ..ProcessFlags::default() };
        let error = apply(flags, own()).unwrap_err().to_string();
        assert_eq!(error, "bad uid: parsing \"root\": invalid syntax");
    }

    #[test]
    fn capabilities_are_never_added_to_the_inheritable_set() {
        let flags = || ProcessFlags { cap: vec!["cap_kill".into()], ..ProcessFlags::default() };
        let kill = json!(["CAP_KILL"]);
        let bare = apply(flags(), own()).unwrap()["capabilities"].take();
        assert_eq!(bare, json!({"bounding": kill, "effective": kill, "permitted": kill}));

        let mut with_inheritable = own();
        with_inheritable["capabilities"] = json!({"inheritable": ["CAP_CHOWN"]});
        let sets = apply(flags(), with_inheritable).unwrap()["capabilities"].take();
        assert_eq!((&sets["inheritable"], &sets["ambient"]), (&json!(["CAP_CHOWN"]), &kill));
    }
}
