//! config.md "Linux mount options": those of mount(8) for every filesystem, and for none.

use integration::{
    Feature, Mount, Test,
    bundle::{bind, tmpfs},
    needs,
};
use nix::mount::MsFlags;

use super::{
    place::{Source, bound, on, own},
    refuses,
};
use crate::{Statement, may, must, should};

pub(super) const OPTIONS: &str = r#"config.md "Linux mount options""#;

/// A row of the table of options: `row!(MUST "ro" "what it is", check)`.
macro_rules! row {
    ($level:ident $word:literal $meaning:literal, $check:expr) => {
        super::mount_options::row!(@ $level)(
            concat!("config.mounts.options.", $word),
            super::mount_options::OPTIONS,
            concat!($word, " | ", stringify!($level), " | ", $meaning),
        )
        .test($check)
    };
    (@ MUST) => { crate::must };
    (@ SHOULD) => { crate::should };
    (@ MAY) => { crate::may };
}
pub(super) use row;

/// A row whose meaning is mount(8)'s.
macro_rules! plain {
    ($level:ident $word:literal, $check:expr) => {
        row!($level $word "Corresponds to mount(8) (filesystem-independent).", $check)
    };
}

pub(super) const STATEMENTS: &[Statement] = &[
    plain!(MUST "async", |test| without_super(test, &["sync", "async"], "sync")),
    plain!(MUST "atime", |test| without(test, &["noatime", "atime"], "noatime")),
    row!(MUST "bind" "Bind mount", |test| {
        let source = Source::plain(test);
        let bundle = test.bundle().mount(bind(source.path(), "/data", &["bind"]));
        let facts = test.facts_with(&["--read", "/data/file"], bundle);
        assert_eq!(facts.files["/data/file"].as_deref(), Ok("above"));
        assert_eq!(facts.mount("/data/below"), None, "what is below does not come along");
    }),
    plain!(MUST "defaults", |test| {
        for mount in both(test, &["defaults"]) {
            let limits = ["ro", "nosuid", "nodev", "noexec"];
            assert!(!limits.iter().any(|option| mount.has(option)), "{mount:?}");
            assert!(!mount.super_options.contains("sync"), "{mount:?}");
        }
    }),
    plain!(MUST "dev", |test| without(test, &["nodev", "dev"], "nodev")),
    plain!(MUST "diratime", |test| without(test, &["nodiratime", "diratime"], "nodiratime")),
    plain!(MUST "dirsync", |test| with_super(test, &["dirsync"], "dirsync")),
    plain!(MUST "exec", |test| without(test, &["noexec", "exec"], "noexec")),
    plain!(MUST "iversion", |test| is_known(test, &["iversion"])),
    plain!(MUST "lazytime", |test| with_super(test, &["lazytime"], "lazytime")),
    plain!(MUST "loud", |test| is_known(test, &["silent", "loud"])),
    plain!(MAY "mand", |test| is_known(test, &["mand"])),
    plain!(MUST "noatime", |test| with(test, &["noatime"], "noatime")),
    plain!(MUST "nodev", |test| with(test, &["nodev"], "nodev")),
    plain!(MUST "nodiratime", |test| with(test, &["nodiratime"], "nodiratime")),
    plain!(MUST "noexec", |test| with(test, &["noexec"], "noexec")),
    plain!(MUST "noiversion", |test| is_known(test, &["iversion", "noiversion"])),
    plain!(MUST "nolazytime", |test| without_super(test, &["lazytime", "nolazytime"], "lazytime")),
    plain!(MAY "nomand", |test| is_known(test, &["mand", "nomand"])),
    // Without MS_RELATIME a kernel since 2.6.30 falls back to it.
    plain!(MUST "norelatime", |test| with(test, &["relatime", "norelatime"], "relatime")),
    plain!(MUST "nostrictatime", |test| {
        with(test, &["strictatime", "nostrictatime"], "relatime");
    }),
    plain!(MUST "nosuid", |test| with(test, &["nosuid"], "nosuid")),
    plain!(SHOULD "nosymfollow", |test| {
        needs!(Feature::Kernel(5, 10));
        with(test, &["nosymfollow"], "nosymfollow");
    }),
    plain!(MUST "relatime", |test| {
        let [mount, _] = bound(test, MsFlags::MS_NOATIME, &["rbind", "relatime"]);
        assert!(mount.has("relatime"), "{mount:?}");
    }),
    plain!(MUST "remount", |test| {
        let bundle = test.bundle().mount(tmpfs("/data", &[]));
        let facts = test.facts(&bundle.mount(tmpfs("/data", &["remount", "ro"])));
        let mount = on(&facts, "/data");
        assert!(mount.has("ro") || mount.super_options.contains("ro"), "{mount:?}");
        let count = facts.mounts.iter().filter(|mount| mount.target == "/data").count();
        assert_eq!(count, 1, "a remount changes a mount and makes none");
    }),
    plain!(MUST "ro", |test| with(test, &["ro"], "ro")),
    plain!(MUST "rw", |test| with(test, &["ro", "rw"], "rw")),
    plain!(MUST "silent", |test| is_known(test, &["silent"])),
    plain!(MUST "strictatime", |test| {
        for mount in both(test, &["strictatime"]) {
            assert!(!mount.has("relatime") && !mount.has("noatime"), "{mount:?}");
        }
    }),
    plain!(MUST "suid", |test| without(test, &["nosuid", "suid"], "nosuid")),
    row!(SHOULD "symfollow" "Opposite of nosymfollow", |test| {
        needs!(Feature::Kernel(5, 10));
        without(test, &["nosymfollow", "symfollow"], "nosymfollow");
    }),
    plain!(MUST "sync", |test| with_super(test, &["sync"], "sync")),
    row!(MAY "tmpcopyup" "copy up the contents to a tmpfs", |test| {
        let bundle = test.bundle().file("/data/sub/file", "of the image");
        let bundle = bundle.mount(tmpfs("/data", &["tmpcopyup"]));
        let facts = test.facts_with(&["--read", "/data/sub/file"], bundle);
        assert_eq!(on(&facts, "/data").fstype, "tmpfs");
        assert_eq!(facts.files["/data/sub/file"].as_deref(), Ok("of the image"));
    }),
    must("config.mounts.options.mount-8", OPTIONS, "The \"MUST\" options correspond to mount(8).")
        .untestable("it explains the table; each of its rows is a statement of its own"),
    may(
        "config.mounts.options.custom",
        OPTIONS,
        "Runtimes MAY also implement custom option strings that are not listed in the table above.",
    )
    .untestable("it leaves a choice and asks for nothing"),
    should(
        "config.mounts.options.custom-as-mount",
        OPTIONS,
        "If a custom option string is already recognized by mount(8), the runtime SHOULD follow \
         the behavior of mount(8).",
    )
    .untestable("a runtime's own words are its own; those of mount(8) are in the table"),
    should(
        "config.mounts.options.data",
        OPTIONS,
        "Runtimes SHOULD treat unknown options as filesystem-specific ones and pass those as a \
         comma-separated string to the fifth (const void *data) argument of mount(2).",
    )
    .test(|test| {
        let options = ["size=64k", "nosuid", "nr_inodes=77", "mode=0711"];
        let mount = own(test, &options);
        for option in ["size=64k", "nr_inodes=77", "mode=711"] {
            assert!(mount.super_options.contains(option), "no {option}: {mount:?}");
        }
        assert!(mount.has("nosuid"), "{mount:?}");
    }),
    should(
        "config.mounts.options.data-refused",
        OPTIONS,
        "Runtimes SHOULD treat unknown options as filesystem-specific ones and pass those as a \
         comma-separated string to the fifth (const void *data) argument of mount(2).",
    )
    .test(|test| refuses(test, &test.bundle().mount(tmpfs("/data", &["no-such-option"])))),
];

/// What a container sees of a tmpfs and of a bind mount with the same options.
#[track_caller]
fn both(test: &Test, options: &[&str]) -> [Mount; 2] {
    let place = test.dir().join("place");
    std::fs::create_dir(&place).expect("a directory");
    let bound = bind(&place, "/bound", &[&["bind"], options].concat());
    let facts = test.facts(&test.bundle().mount(tmpfs("/own", options)).mount(bound));
    [on(&facts, "/own").clone(), on(&facts, "/bound").clone()]
}

#[track_caller]
fn with(test: &Test, options: &[&str], wanted: &str) {
    for mount in both(test, options) {
        assert!(mount.has(wanted), "no {wanted} after {options:?}: {mount:?}");
    }
}

#[track_caller]
fn without(test: &Test, options: &[&str], unwanted: &str) {
    for mount in both(test, options) {
        assert!(!mount.has(unwanted), "{unwanted} after {options:?}: {mount:?}");
    }
}

#[track_caller]
fn with_super(test: &Test, options: &[&str], wanted: &str) {
    let mount = own(test, options);
    assert!(mount.super_options.contains(wanted), "no {wanted} after {options:?}: {mount:?}");
}

#[track_caller]
fn without_super(test: &Test, options: &[&str], unwanted: &str) {
    let mount = own(test, options);
    assert!(!mount.super_options.contains(unwanted), "{unwanted} after {options:?}: {mount:?}");
}

/// For a word whose effect cannot be seen: tmpfs refuses a word that it does not know, so the mount
/// is there only if the runtime knows it.
#[track_caller]
fn is_known(test: &Test, options: &[&str]) {
    assert_eq!(own(test, options).fstype, "tmpfs");
}
