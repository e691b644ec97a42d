use std::{collections::HashMap, fmt::Write, fs, ops::RangeInclusive};

use clap::Args;
use libcontainer::{Error, Kind, Result, container::Container};

use crate::{cli::Verb, globals::Globals, log, output, report::Report};

#[derive(Args, Debug)]
pub(crate) struct List {
    /// select one of: table or json
    #[arg(short, long, default_value = "table")]
    format: String,
    /// display only container IDs
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for List {
    const NAME: &'static str = "list";
    const ABOUT: &'static str = "lists containers started by rtn with the given root";
    const USAGE: &'static str = r#"

Where the given root is specified via the global option "--root"
(default: "/run/rtn").

EXAMPLE 1:
To list containers created via the default "--root":
       # rtn list

EXAMPLE 2:
To list containers created using a non-default value for "--root":
       # rtn --root value list"#;
    const ARGUMENTS: RangeInclusive<usize> = 0..=0;

    fn run(self, globals: &Globals) -> Result<u8> {
        let (containers, damaged) = Container::list(&globals.root)?;
        damaged.iter().for_each(|error| log::warning(&error.to_string()));
        let users = users(&fs::read_to_string("/etc/passwd").unwrap_or_default());
        let owner = |id: u32| users.get(&id).cloned().unwrap_or_else(|| format!("#{id}"));
        let reports: Vec<_> = containers
            .iter()
            .map(|container| Report::new(container, owner(container.state().owner)))
            .collect();
        let text = match self.format.as_str() {
            _ if self.quiet => reports.iter().map(|report| format!("{}\n", report.id)).collect(),
            "table" => table(&reports),
            "json" => return output::json(&reports).map(|()| 0),
            _ => return Err(Error::new(Kind::InvalidConfig, "invalid format option")),
        };
        output::write(&text).map(|()| 0)
    }
}

/// User names by id (passwd(5)); the first line with an id wins.
fn users(passwd: &str) -> HashMap<u32, String> {
    let entries = passwd.lines().rev().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    });
    entries.collect()
}

/// runc's columns: at least 12 wide, 3 between them.
fn table(reports: &[Report<'_>]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = reports.iter().map(|report| {
        [
            report.id.to_owned(),
            report.pid.to_string(),
            report.status.word().to_owned(),
            report.bundle.display().to_string(),
            report.created.to_owned(),
            report.owner.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].len() + 3).max().unwrap_or(0).max(12);
    let widths = [0, 1, 2, 3, 4].map(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}");
        }
        let _ = writeln!(text, "{}", row[5]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_getpwuid_reads_them() {
        let users = users("root:x:0:0:root:/root:/bin/sh\nbad line\ntoor:x:0:0::/:\na:x:7:7::/:\n");
        assert_eq!((users[&0].as_str(), users[&7].as_str(), users.len()), ("root", "a", 2));
    }

    #[test]
    fn an_empty_table_has_its_head() {
        let head = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
        assert_eq!(table(&[]), head);
    }
}
