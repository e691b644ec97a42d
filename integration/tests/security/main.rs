//! Attacks that have worked on container runtimes, one test for each, named after it. What counts is
//! the host: the content of a file, the entries of a directory, the table of mounts (which every
//! test compares at its end).

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use integration::{Bundle, Output, Test, host};
use serde_json::{Value, json};

mod dev;
mod mounts;
mod runtime;
mod values;

/// A directory of the host's that nobody may change, with a file in it.
struct Precious {
    dir: PathBuf,
    before: Vec<(PathBuf, u64, u32, u32, String)>,
}

impl Precious {
    fn new(test: &Test) -> Self {
        let dir = test.dir().join("precious");
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("ptmx"), "untouched").expect("a file");
        fs::write(dir.join("passwd"), "untouched").expect("a file");
        test.give();
        let before = Self::look(&dir);
        Self { dir, before }
    }

    /// Name, inode, owner, mode and content of everything inside.
    fn look(dir: &Path) -> Vec<(PathBuf, u64, u32, u32, String)> {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("the directory is there")
            .flatten()
            .map(|entry| {
                let data = fs::symlink_metadata(entry.path()).expect("an entry");
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                (entry.path(), data.ino(), data.uid(), data.mode(), text)
            })
            .collect();
        entries.sort();
        entries
    }

    fn touched(&self) -> bool {
        Self::look(&self.dir) != self.before
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::look(&self.dir), self.before, "the host was changed");
        let mounted =
            host::mounts().iter().any(|mount| Path::new(&mount.target).starts_with(&self.dir));
        assert!(!mounted, "something is mounted on the host");
    }
}

/// A message of its own instead of what the runtime says: either is fine, as long as it is said.
fn ran_or_refused(output: &Output) {
    assert!(
        output.status == 0 || !output.stderr.is_empty() || !output.stdout.is_empty(),
        "{output:?}"
    );
}

fn tmpfs(destination: &str) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" })
}

/// Without any mount at or below /dev.
fn without_dev(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts
            .retain(|mount| !mount["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
    })
}
