//! Places on the host for containers to have mounted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use integration::{
    Facts, Mount, Test,
    bundle::{bind, tmpfs},
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A tmpfs on the host, in the test's directory, with another one in its directory `below`. It goes
/// when this is dropped.
pub(super) struct Source(PathBuf);

impl Source {
    /// Both get `flags`. The file `file` is in each, and says in which.
    pub(super) fn new(test: &Test, flags: MsFlags) -> Self {
        let source = Self(test.dir().join("source"));
        fs::create_dir(source.path()).expect("a directory");
        for (place, text) in [(source.0.clone(), "above"), (source.0.join("below"), "below")] {
            let plain = MsFlags::empty();
            mount(Some("tmpfs"), &place, Some("tmpfs"), plain, None::<&str>).expect("a tmpfs");
            fs::write(place.join("file"), text).expect("a file");
            fs::create_dir(place.join("below")).expect("a directory");
            let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
            mount(None::<&str>, &place, None::<&str>, flags, None::<&str>).expect("a remount");
        }
        source
    }

    /// Without flags.
    pub(super) fn plain(test: &Test) -> Self {
        Self::new(test, MsFlags::empty())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        for place in [self.0.join("below"), self.0.clone()] {
            let _ = umount2(&place, MntFlags::MNT_DETACH);
        }
    }
}

/// The mount on `target`, which must be there.
#[track_caller]
pub(super) fn on<'f>(facts: &'f Facts, target: &str) -> &'f Mount {
    facts.mount(target).unwrap_or_else(|| panic!("no mount on {target}: {:#?}", facts.mounts))
}

/// What a container sees of a [`Source`] that is bound to `/data`: that, and what is below it.
#[track_caller]
pub(super) fn bound(test: &Test, flags: MsFlags, options: &[&str]) -> [Mount; 2] {
    let source = Source::new(test, flags);
    let facts = test.facts(&test.bundle().mount(bind(source.path(), "/data", options)));
    [on(&facts, "/data").clone(), on(&facts, "/data/below").clone()]
}

/// What a container sees of its own tmpfs.
#[track_caller]
pub(super) fn own(test: &Test, options: &[&str]) -> Mount {
    on(&test.facts(&test.bundle().mount(tmpfs("/data", options))), "/data").clone()
}
