//! Is the host as it was? A [`HostView`] is taken before a test and compared after it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Mode, host, wait};

/// How long what is about to go may take, on a machine with other things to do. Nothing that a test
/// runs ends by itself that soon.
const SOON: Duration = Duration::from_secs(20);

/// What a runtime could leave behind or change. Mounts are those of the test's own mount namespace
/// and have to be exactly the same; cgroups, files and processes of other tests come and go at the
/// same time, so these count only if they bear the test's id or refer to its directory.
#[derive(Debug)]
pub struct HostView {
    mounts: Vec<String>,
    devices: BTreeSet<String>,
}

impl HostView {
    pub fn take() -> Self {
        Self { mounts: mount_lines(), devices: names(Path::new("/dev")) }
    }

    /// Everything that is different now; empty when the host is clean.
    pub fn differences(&self, id: &str, dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mounts = mount_lines();
        found.extend(missing(&self.mounts, &mounts).map(|line| format!("mount is gone: {line}")));
        found.extend(missing(&mounts, &self.mounts).map(|line| format!("mount is new: {line}")));
        let devices = names(Path::new("/dev"));
        found
            .extend(self.devices.symmetric_difference(&devices).map(|name| format!("/dev/{name}")));
        found.extend(state_entries(dir).map(|path| format!("state: {}", path.display())));
        found.extend(cgroups(id).into_iter().map(|path| format!("cgroup: {}", path.display())));
        found.extend(units(id).into_iter().map(|path| format!("unit: {}", path.display())));
        found.extend(files(id, dir).map(|path| format!("file: {}", path.display())));
        found.extend(processes(id, dir).filter(|pid| !ends(*pid)).map(process_line));
        found
    }
}

fn mount_lines() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    text.lines().map(str::to_owned).collect()
}

fn missing<'a>(from: &'a [String], others: &'a [String]) -> impl Iterator<Item = &'a String> {
    from.iter().filter(move |line| !others.contains(line))
}

/// Entries of a directory, without block devices: disks come and go by themselves.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_block_device()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What is hidden there belongs to no container: crun keeps an empty directory to mask others with.
fn state_entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir.join("state")).into_iter().flatten().flatten();
    let shown = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    entries.filter(shown).map(|entry| entry.path())
}

/// Directories with `id` in their name, in any hierarchy.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in host::hierarchies() {
        walk(Path::new(&mount.target), &mut |path| {
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains(id)) {
                found.push(path.to_owned());
            }
        });
    }
    found
}

fn walk(directory: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            walk(&entry.path(), visit);
        }
    }
}

/// Units of systemd's that a runtime made. One that has ended is forgotten soon, not at once.
fn units(id: &str) -> Vec<PathBuf> {
    let Some(place) = Mode::current().units() else { return Vec::new() };
    let find = || {
        let entries = fs::read_dir(&place).into_iter().flatten().flatten();
        let entries = entries.filter(|e| e.file_name().to_string_lossy().contains(id));
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    if !find().is_empty() {
        wait::changes(&place, SOON, || find().is_empty());
    }
    find()
}

/// Files named after the test where temporary and state files are put.
fn files(id: &str, dir: &Path) -> impl Iterator<Item = PathBuf> {
    let places = [
        "/run",
        "/run/rtn",
        "/run/runc",
        "/run/crun",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/dev/mqueue",
    ];
    let entries =
        places.into_iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let own = dir.to_owned();
    entries
        .filter(move |entry| entry.file_name().to_string_lossy().contains(id))
        .map(|entry| entry.path())
        .filter(move |path| *path != own)
}

/// Processes that still have the test's directory mounted, its id in their command line, or are in
/// one of its cgroups. It is most of what a small test does, so it asks for no more than it must.
pub fn processes(id: &str, dir: &Path) -> impl Iterator<Item = i32> {
    let (id, dir) = (id.to_owned(), dir.to_string_lossy().into_owned());
    let own = std::process::id() as i32;
    let mut text = Vec::with_capacity(32 << 10);
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(move |pid| *pid != own)
        .filter(move |pid| {
            let mut holds = |file: &str, wanted: &str| {
                text.clear();
                if let Ok(mut file) = File::open(format!("/proc/{pid}/{file}")) {
                    // What has been read until a process goes is good enough.
                    let _ = file.read_to_end(&mut text);
                }
                (String::from_utf8_lossy(&text).contains(wanted), text.is_empty())
            };
            let (named, nameless) = holds("cmdline", &id);
            // Threads of the kernel have no command line, and no mounts of their own.
            named || holds("cgroup", &id).0 || !nameless && holds("mountinfo", &dir).0
        })
}

/// Ends the processes and removes the cgroups that a failed test left, for the sake of the others.
pub fn remove(id: &str, dir: &Path) {
    for pid in processes(id, dir) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        ends(pid);
    }
    let directories = cgroups(id).into_iter().flat_map(|directory| cgroups_below(&directory));
    directories.for_each(|directory| drop(fs::remove_dir(directory)));
}

/// `directory` and all below it, in the order in which they can be removed.
pub fn cgroups_below(directory: &Path) -> Vec<PathBuf> {
    let mut directories = vec![directory.to_owned()];
    walk(directory, &mut |path| directories.push(path.to_owned()));
    directories.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    directories
}

/// Removes everything of all tests whose ids begin with `prefix`, for a test that died before it
/// could do so itself.
pub fn remove_all(prefix: &str) {
    let tests = fs::read_dir("/tmp").into_iter().flatten().flatten();
    for test in tests.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
        remove(&test.file_name().to_string_lossy(), &test.path());
        // What was mounted there went with the mount namespace of the test.
        let _ = fs::remove_dir_all(test.path());
    }
}

/// A process that has been killed may take its time to go, and that is nobody's leftover.
pub fn ends(pid: i32) -> bool {
    wait::pidfd(pid).is_none_or(|pidfd| wait::readable(pidfd, SOON))
}

fn process_line(pid: i32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    format!("process {pid}: {} {}", read("cmdline").replace('\0', " "), read("wchan"))
}
