use std::{ops::RangeInclusive, process::Command};

use clap::Args;
use libcontainer::{Error, Kind, Result, container::Container, error::Context};

use crate::{
    cli::{Verb, flags::Order},
    globals::Globals,
    output,
};

#[derive(Args, Debug)]
pub(crate) struct Ps {
    /// select one of: table or json
    #[arg(short, long, default_value = "table")]
    format: String,
    id: String,
    ps_options: Vec<String>,
}

impl Verb for Ps {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "ps displays the processes running inside a container";
    const USAGE: &'static str = "<container-id> [ps options]";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    const ORDER: Order = Order::FlagsFirst;

    fn run(self, globals: &Globals) -> Result<u8> {
        let pids = Container::load(&globals.root, &self.id)?.cgroup().pids()?;
        match self.format.as_str() {
            "json" => output::json(&pids)?,
            "table" => output::write(&rows_of(&pids, &table(&self.ps_options)?)?)?,
            _ => return Err(Error::new(Kind::InvalidConfig, "invalid format option")),
        }
        Ok(0)
    }
}

/// What the host's ps(1) says of all processes.
fn table(options: &[String]) -> Result<String> {
    let mut ps = Command::new("ps");
    match options {
        [] => ps.arg("-ef"),
        options => ps.args(options),
    };
    let output = ps.output().doing(|| "cannot run ps")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Kind::Os, format!("ps failed with {}: {said}", output.status)))
}

/// The head of ps' table and the rows of `pids`.
fn rows_of(pids: &[i32], table: &str) -> Result<String> {
    let head = table.lines().next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Error::new(Kind::InvalidConfig, "couldn't find PID field in ps output")
            .hint("give ps options that show it, such as -o pid,args")
    })?;
    let ours = |row: &&str| {
        let pid = row.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let rows = table.lines().skip(1).filter(ours);
    Ok(std::iter::once(head).chain(rows).map(|row| format!("{row}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_rows_are_left() {
        let table = "UID  PID PPID CMD\nroot  1  0 init\nroot 12  1 sh 34\nroot 34 1 x\n";
        assert_eq!(rows_of(&[12], table).unwrap(), "UID  PID PPID CMD\nroot 12  1 sh 34\n");
        assert_eq!(rows_of(&[], table).unwrap(), "UID  PID PPID CMD\n");
        assert!(rows_of(&[1], "UID CMD\n").is_err());
    }
}
