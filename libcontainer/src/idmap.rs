//! Writes the maps of a new user namespace.

use std::{fs, process::Command};

use crate::{
    error::{Context, Error, Kind, Result},
    plan::namespaces::{IdMap, MapWriter, UserNamespace, map_text},
};

/// Writes uid_map and gid_map of `pid`, which must be new in its user namespace.
pub(crate) fn write(user: &UserNamespace, pid: i32) -> Result<()> {
    match user.written_by {
        MapWriter::Helpers => {
            run_helper("newuidmap", "linux.uidMappings", pid, &user.uids)?;
            run_helper("newgidmap", "linux.gidMappings", pid, &user.gids)
        }
        MapWriter::OwnId => {
            // CVE-2014-8989: whoever may leave a group could get past a "deny" for that group.
            fs::write(format!("/proc/{pid}/setgroups"), "deny")
                .doing(|| "cannot give up setgroups")?;
            write_both(user, pid)
        }
        MapWriter::Privileged => write_both(user, pid),
    }
}

fn write_both(user: &UserNamespace, pid: i32) -> Result<()> {
    let files = [
        ("uid_map", "linux.uidMappings", &user.uids),
        ("gid_map", "linux.gidMappings", &user.gids),
    ];
    files.iter().try_for_each(|(file, at, maps)| {
        fs::write(format!("/proc/{pid}/{file}"), map_text(maps))
            .doing(|| format!("cannot write {file}"))
            .map_err(|error| error.at(*at))
    })
}

/// newuidmap(1): pid, then three numbers for each range.
fn run_helper(program: &str, at: &str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let numbers = maps.iter().flat_map(|map| [map.container, map.host, map.size]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .output()
        .doing(|| format!("cannot run {program}"))
        .map_err(|error| error.at(at).hint("it is in the package uidmap (shadow-utils)"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Kind::Denied, format!("{program} refused the mappings"))
        .at(at)
        .because(said)
        .hint("an ordinary user may map its own id and its ranges in /etc/subuid and /etc/subgid"))
}
