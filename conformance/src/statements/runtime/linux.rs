//! runtime-linux.md: descriptors and the links of /dev.

use integration::{Bundle, Test};
use serde_json::json;

use crate::{Statement, may, must};

const DESCRIPTORS: &str = r#"runtime-linux.md "File descriptors""#;
const LINKS: &str = r#"runtime-linux.md "Dev symbolic links""#;

pub(super) const STATEMENTS: &[Statement] = &[
    may(
        "runtime-linux.descriptors.additional",
        DESCRIPTORS,
        "By default, only the stdin, stdout and stderr file descriptors are kept open for the \
         application by the runtime. The runtime MAY pass additional file descriptors to the \
         application to support features such as socket activation.",
    )
    .test(only_the_standard_descriptors_are_open),
    may(
        "runtime-linux.descriptors.null",
        DESCRIPTORS,
        "Some of the file descriptors MAY be redirected to /dev/null even though they are open.",
    )
    .untestable("it allows something and asks for nothing"),
    must(
        "runtime-linux.dev-links",
        LINKS,
        "runtimes MUST create the following symlinks if the source file exists after processing mounts",
    )
    .test(the_links_are_there),
    must(
        "runtime-linux.dev-links.source",
        LINKS,
        "runtimes MUST create the following symlinks if the source file exists after processing mounts",
    )
    .test(the_links_are_there_when_a_bind_mount_brings_proc),
];

const WANTED: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

fn only_the_standard_descriptors_are_open(test: &Test) {
    let facts = test.facts(&test.bundle());
    let open: Vec<i32> = facts.fds.keys().copied().collect();
    assert_eq!(open, [0, 1, 2], "{:?}", facts.fds);
}

fn the_links_are_there(test: &Test) {
    has_the_links(test, test.bundle());
}

/// What counts is the file, not the type of the mount that brings it.
fn the_links_are_there_when_a_bind_mount_brings_proc(test: &Test) {
    let bind = json!({
        "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"],
    });
    let bundle = test.bundle().without_mount("/proc").without_namespace("pid").edit(|config| {
        config["mounts"].as_array_mut().expect("mounts").insert(0, bind);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    has_the_links(test, bundle);
}

fn has_the_links(test: &Test, bundle: Bundle) {
    let options: Vec<&str> = WANTED.iter().flat_map(|(link, _)| ["--stat", *link]).collect();
    let facts = test.facts_with(&options, bundle);
    for (link, target) in WANTED {
        let stat = facts.stats[link].as_ref().unwrap_or_else(|error| panic!("{link}: {error}"));
        assert_eq!(stat.target.as_deref(), Some(target), "{link} points elsewhere");
    }
}
