//! config.md "Linux mount options": bind mounts of whole trees, and mount propagation.

use integration::{Mount, Test, bundle::bind};
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use super::{
    mount_options::row,
    place::{Source, bound, on},
};
use crate::Statement;

/// A row about mount propagation.
macro_rules! propagation {
    ($word:literal, $check:expr) => {
        row!(MUST $word "Bind mount propagation", $check)
    };
}

pub(super) const STATEMENTS: &[Statement] = &[
    propagation!("private", |test| assert_eq!(above(test, "private").propagation, [""; 0])),
    row!(MUST "rbind" "Recursive bind mount", |test| {
        let source = Source::plain(test);
        let bundle = test.bundle().mount(bind(source.path(), "/data", &["rbind"]));
        let options = ["--read", "/data/file", "--read", "/data/below/file"];
        let facts = test.facts_with(&options, bundle);
        assert_eq!(facts.files["/data/file"].as_deref(), Ok("above"));
        assert_eq!(facts.files["/data/below/file"].as_deref(), Ok("below"));
    }),
    propagation!("rprivate", |test| {
        for mount in bound(test, MsFlags::empty(), &["rbind", "rprivate"]) {
            assert_eq!(mount.propagation, [""; 0], "{}", mount.target);
        }
    }),
    propagation!("rshared", |test| {
        for mount in bound(test, MsFlags::empty(), &["rbind", "rshared"]) {
            assert!(is_shared(&mount), "{} is not shared", mount.target);
        }
    }),
    propagation!("rslave", |test| receives(test, "rbind", "rslave", "below/below")),
    propagation!("runbindable", |test| {
        for mount in bound(test, MsFlags::empty(), &["rbind", "runbindable"]) {
            assert_eq!(mount.propagation, ["unbindable"], "{}", mount.target);
        }
    }),
    row!(MUST "shared" "Corresponds to mount(8) (filesystem-independent).", |test| {
        let mount = above(test, "shared");
        assert!(is_shared(&mount), "{} is not shared", mount.target);
    }),
    propagation!("slave", |test| receives(test, "bind", "slave", "late")),
    propagation!("unbindable", |test| {
        assert_eq!(above(test, "unbindable").propagation, ["unbindable"]);
    }),
];

/// A bind mount of a shared mount of the host.
#[track_caller]
fn above(test: &Test, option: &str) -> Mount {
    let [above, _] = bound(test, MsFlags::empty(), &["rbind", option]);
    above
}

fn is_shared(mount: &Mount) -> bool {
    mount.propagation.iter().any(|field| field.starts_with("shared:"))
}

/// Mounts something on the host, at `late` of the source, while a container whose other mounts are
/// shared has the source: it has to come in, and there is no way out.
#[track_caller]
fn receives(test: &Test, kind: &str, option: &str, late: &str) {
    let source = Source::plain(test);
    std::fs::create_dir_all(source.path().join(late)).expect("a directory");
    let bundle = test
        .bundle()
        .edit(|config| config["linux"]["rootfsPropagation"] = json!("shared"))
        .mount(bind(source.path(), "/data", &[kind, option]));
    let container = test.serve(bundle);
    let place = source.path().join(late);
    mount(Some("late"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    let facts = container.exec_facts(&[]);
    umount(&place).expect("umount");
    container.remove();
    assert!(
        facts.mount(&format!("/data/{late}")).is_some(),
        "a mount of the host does not come in"
    );
    assert!(!is_shared(on(&facts, "/data")), "the mount is shared, there is a way out");
}
