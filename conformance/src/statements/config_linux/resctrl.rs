//! The filesystem of RDT on a machine that has it: its groups and their schemata.

use std::{
    fs,
    path::{Path, PathBuf},
};

use integration::{Test, host};

pub(super) fn resctrl() -> Option<PathBuf> {
    let found = host::mounts().into_iter().find(|mount| mount.fstype == "resctrl");
    found.map(|mount| mount.target.into())
}

pub(super) fn root() -> PathBuf {
    resctrl().expect("the check needs it")
}

/// The line of the root's schemata: all of the resource.
pub(super) fn default_schema(resource: &str) -> String {
    line(&root(), resource).unwrap_or_else(|| panic!("this machine has no {resource}"))
}

pub(super) fn line(group: &Path, resource: &str) -> Option<String> {
    let text = fs::read_to_string(group.join("schemata")).expect("schemata");
    let prefix = format!("{resource}:");
    text.lines().map(str::trim).find(|line| line.starts_with(&prefix)).map(str::to_owned)
}

/// Half of the cache, or half of the bandwidth, of every domain.
pub(super) fn narrow(resource: &str) -> String {
    let all = default_schema(resource);
    let (name, domains) = all.split_once(':').expect("a resource");
    let halves = domains.split(';').map(|domain| {
        let (id, value) = domain.split_once('=').expect("a domain");
        match resource {
            "MB" => format!("{id}=50"),
            _ => format!("{id}={:x}", u64::from_str_radix(value, 16).expect("a mask") >> 1),
        }
    });
    format!("{name}:{}", halves.collect::<Vec<_>>().join(";"))
}

pub(super) fn tasks(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("tasks")).expect("tasks");
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Every group and its schemata.
pub(super) fn picture() -> Vec<(PathBuf, String)> {
    let groups = fs::read_dir(root()).expect("resctrl").flatten().map(|entry| entry.path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(path.join("schemata")).ok()?;
        Some((path, text))
    };
    let mut groups: Vec<_> = groups.chain([root()]).filter_map(read).collect();
    groups.sort();
    groups
}

/// A class of service that this check makes and removes.
pub(super) struct Class(pub(super) PathBuf);

impl Class {
    pub(super) fn new(test: &Test) -> Self {
        let directory = root().join(format!("{}-class", test.id()));
        fs::create_dir(&directory).expect("a class of service");
        Self(directory)
    }

    pub(super) fn name(&self) -> String {
        self.0.file_name().expect("a name").to_string_lossy().into_owned()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
