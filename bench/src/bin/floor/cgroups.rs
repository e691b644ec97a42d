//! One directory per hierarchy, made and entered.

use std::{
    fs::{self, File},
    io::Write,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open};

use crate::{Options, calls::ok};

pub(crate) const CGROUP: &str = "/sys/fs/cgroup";
/// runc's defaults for a container whose only device rule is "deny everything".
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:8 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:5 rwm",
    "c 1:9 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
];

/// The container's directory in every hierarchy of this view.
pub(crate) struct Cgroups(pub(crate) Vec<PathBuf>);

impl Cgroups {
    /// v1: every directory below /sys/fs/cgroup is a hierarchy (links are aliases).
    pub(crate) fn new(options: &Options) -> Self {
        let name = &options.rest[1];
        if options.v2 {
            return Self(vec![Path::new(CGROUP).join(name)]);
        }
        let entries = ok("readdir", fs::read_dir(CGROUP)).flatten();
        let hierarchies = entries
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && e.file_name() != "unified");
        Self(hierarchies.map(|e| e.path().join(name)).collect())
    }

    pub(crate) fn create(&self, options: &Options) {
        for path in &self.0 {
            ok("mkdir", fs::create_dir(path));
            match path
                .strip_prefix(CGROUP)
                .ok()
                .and_then(|p| p.iter().next())
                .map(OsStrExt::as_bytes)
            {
                Some(b"cpuset") => inherit(path, ["cpuset.cpus", "cpuset.mems"]),
                Some(b"devices") => devices(path),
                Some(b"memory") if options.filter.is_some() => {
                    write(path, "memory.limit_in_bytes", "209715200");
                    write(path, "memory.memsw.limit_in_bytes", "419430400");
                }
                Some(b"cpu") if options.filter.is_some() => write(path, "cpu.shares", "512"),
                _ => {}
            }
        }
    }

    /// Through `tasks`: `cgroup.procs` would wait for an RCU grace period (10 ms and more).
    pub(crate) fn enter(&self) {
        self.0.iter().for_each(|path| write(path, "tasks", "0"));
    }

    pub(crate) fn handle(&self, options: &Options) -> Option<OwnedFd> {
        options.v2.then(|| {
            ok("open", open(&self.0[0], OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
        })
    }

    pub(crate) fn remove(&self) {
        self.0.iter().for_each(|path| ok("rmdir", fs::remove_dir(path)));
    }
}

fn inherit(path: &Path, files: [&str; 2]) {
    for file in files {
        let above = path.parent().unwrap_or(path).join(file);
        write(path, file, ok("read", fs::read_to_string(above)).trim_end());
    }
}

fn devices(path: &Path) {
    write(path, "devices.deny", "a");
    DEVICES.iter().for_each(|rule| write(path, "devices.allow", rule));
}

fn write(directory: &Path, file: &str, value: &str) {
    let path = directory.join(file);
    let mut file = ok("open", File::options().write(true).open(path));
    ok(value, file.write_all(value.as_bytes()));
}
