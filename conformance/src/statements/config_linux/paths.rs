//! config-linux.md "Masked Paths", "Readonly Paths" and "Mount Label".

use integration::{Feature, Test, needs};
use serde_json::json;

use crate::{Statement, must, optional};

const MASKED: &str = r#"config-linux.md "Masked Paths""#;
const READONLY: &str = r#"config-linux.md "Readonly Paths""#;
const LABEL: &str = r#"config-linux.md "Mount Label""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.masked-paths.file",
        MASKED,
        "maskedPaths (array of strings, OPTIONAL) will mask over the provided paths inside the container so that \
         they cannot be read.",
    )
    .test(a_masked_file_cannot_be_read),
    optional(
        "config-linux.masked-paths.directory",
        MASKED,
        "maskedPaths (array of strings, OPTIONAL) will mask over the provided paths inside the container so that \
         they cannot be read.",
    )
    .test(a_masked_directory_is_empty),
    optional(
        "config-linux.masked-paths.missing",
        MASKED,
        "maskedPaths (array of strings, OPTIONAL) will mask over the provided paths inside the container so that \
         they cannot be read.",
    )
    .test(|test| missing(test, "maskedPaths")),
    must(
        "config-linux.masked-paths.absolute",
        MASKED,
        "The values MUST be absolute paths in the container namespace.",
    )
    .test(|test| relative(test, "maskedPaths")),
    optional(
        "config-linux.readonly-paths.directory",
        READONLY,
        "readonlyPaths (array of strings, OPTIONAL) will set the provided paths as readonly inside the container.",
    )
    .test(nothing_in_a_readonly_directory_can_be_written),
    optional(
        "config-linux.readonly-paths.file",
        READONLY,
        "readonlyPaths (array of strings, OPTIONAL) will set the provided paths as readonly inside the container.",
    )
    .test(a_readonly_file_cannot_be_written),
    optional(
        "config-linux.readonly-paths.below",
        READONLY,
        "readonlyPaths (array of strings, OPTIONAL) will set the provided paths as readonly inside the container.",
    )
    .test(what_is_mounted_below_stays_what_it_is),
    optional(
        "config-linux.readonly-paths.missing",
        READONLY,
        "readonlyPaths (array of strings, OPTIONAL) will set the provided paths as readonly inside the container.",
    )
    .test(|test| missing(test, "readonlyPaths")),
    must(
        "config-linux.readonly-paths.absolute",
        READONLY,
        "The values MUST be absolute paths in the container namespace.",
    )
    .test(|test| relative(test, "readonlyPaths")),
    optional(
        "config-linux.mount-label",
        LABEL,
        "mountLabel (string, OPTIONAL) will set the Selinux context for the mounts in the container.",
    )
    .test(mounts_have_the_label),
];

/// What a script in a container prints that has a secret in /etc, with these paths.
fn shell(test: &Test, key: &str, paths: &[&str], script: &str) -> String {
    let bundle = test.bundle().file("/etc/secret", "secret").file("/etc/safe/key", "secret");
    let bundle = bundle.edit(|config| config["linux"][key] = json!(paths)).shell(script);
    test.run(&bundle).stdout
}

fn a_masked_file_cannot_be_read(test: &Test) {
    let script = "cat /etc/secret; echo end; cat /etc/safe/key";
    assert_eq!(shell(test, "maskedPaths", &["/etc/secret"], script), "end\nsecret");
}

fn a_masked_directory_is_empty(test: &Test) {
    let script = "ls -A /etc/safe; cat /etc/safe/key; echo end; cat /etc/secret";
    assert_eq!(shell(test, "maskedPaths", &["/etc/safe"], script), "end\nsecret");
}

/// Not every kernel has every file in /proc, so that lists name more than there is.
fn missing(test: &Test, key: &str) {
    let script = "ls -d /proc/not-there /etc/not-there 2>/dev/null; cat /etc/secret";
    assert_eq!(shell(test, key, &["/proc/not-there", "/etc/not-there"], script), "secret");
}

fn relative(test: &Test, key: &str) {
    let bundle = test.bundle().file("/etc/secret", "secret");
    test.create_fails(&bundle.edit(|config| config["linux"][key] = json!(["etc/secret"])));
}

fn nothing_in_a_readonly_directory_can_be_written(test: &Test) {
    let script =
        "probe write /etc/safe/key x; probe write /etc/safe/new x; probe write /etc/secret x";
    assert_eq!(shell(test, "readonlyPaths", &["/etc/safe"], script), "EROFS\nEROFS\nok\n");
}

fn a_readonly_file_cannot_be_written(test: &Test) {
    let script = "probe write /etc/secret x; cat /etc/secret; probe write /etc/safe/key x";
    assert_eq!(shell(test, "readonlyPaths", &["/etc/secret"], script), "EROFS\nsecretok\n");
}

/// The flags of the mount that is made read-only are those of the one it covers.
fn what_is_mounted_below_stays_what_it_is(test: &Test) {
    let bundle = test.bundle().edit(|config| {
        config["linux"]["readonlyPaths"] = json!(["/dev/shm"]);
    });
    let facts = test.facts(&bundle);
    let mount = facts.mount("/dev/shm").expect("a mount");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(mount.has(flag), "no {flag}: {mount:?}");
    }
}

fn mounts_have_the_label(test: &Test) {
    needs!(Feature::SeLinux);
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let bundle = test.bundle().edit(|config| config["linux"]["mountLabel"] = json!(label));
    let facts = test.facts(&bundle);
    let mount = facts.mount("/dev/shm").expect("a mount");
    // The kernel quotes a context that holds a comma.
    let options: Vec<&str> = mount.super_options.iter().map(String::as_str).collect();
    assert!(options.iter().any(|option| option.starts_with("context=")), "{options:?}");
}
