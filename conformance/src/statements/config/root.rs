//! config.md "Root".

use std::fs;

use integration::{Bundle, Test};
use serde_json::json;

use super::{AUTHOR, WINDOWS, refuses, remove};
use crate::{Statement, must, must_not, optional, required, should};

const ROOT: &str = r#"config.md "Root""#;

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config.root.windows-required",
        ROOT,
        "On Windows, for Windows Server Containers, this field is REQUIRED.",
    )
    .untestable(WINDOWS),
    must_not("config.root.hyperv", ROOT, "For Hyper-V Containers, this field MUST NOT be set.")
        .untestable(WINDOWS),
    required("config.root.required", ROOT, "On all other platforms, this field is REQUIRED.")
        .test(|test| refuses(test, &test.bundle().edit(|config| remove(config, "root")))),
    required(
        "config.root.path.required",
        ROOT,
        "path (string, REQUIRED) Specifies the path to the root filesystem for the container.",
    )
    .test(|test| refuses(test, &test.bundle().edit(|c| remove(&mut c["root"], "path")))),
    must("config.root.path.windows", ROOT, "On Windows, path MUST be a volume GUID path.")
        .untestable(WINDOWS),
    required(
        "config.root.path.absolute",
        ROOT,
        "path (string, REQUIRED) […] On POSIX platforms, path is either an absolute path or a \
         relative path to the bundle.",
    )
    .test(|test| {
        let elsewhere = test.dir().join("elsewhere");
        is_the_root(test, test.bundle(), &elsewhere.to_string_lossy());
    }),
    required(
        "config.root.path.relative",
        ROOT,
        "path (string, REQUIRED) […] On POSIX platforms, path is either an absolute path or a \
         relative path to the bundle.",
    )
    .test(|test| is_the_root(test, test.bundle(), "below/the/bundle")),
    should("config.root.path.conventional", ROOT, "The value SHOULD be the conventional rootfs.")
        .untestable(AUTHOR),
    must(
        "config.root.path.exists",
        ROOT,
        "A directory MUST exist at the path declared by the field.",
    )
    .test(|test| {
        let root = |path: &str| test.bundle_named(path).edit(|c| c["root"]["path"] = json!(path));
        refuses(test, &root("missing"));
        let file = root("file");
        fs::write(file.dir.join("file"), "").expect("a file in the bundle");
        refuses(test, &file);
    }),
    must(
        "config.root.readonly.true",
        ROOT,
        "readonly (bool, OPTIONAL) If true then the root filesystem MUST be read-only inside the \
         container, defaults to false.",
    )
    .test(|test| {
        let bundle = test.bundle().edit(|config| config["root"]["readonly"] = json!(true));
        let output = test.run(&bundle.args(&["/bin/probe", "write", "/file", "text"]));
        assert_eq!(output.stdout.trim(), "EROFS", "{output:?}");
    }),
    optional(
        "config.root.readonly.default",
        ROOT,
        "readonly (bool, OPTIONAL) If true then the root filesystem MUST be read-only inside the \
         container, defaults to false.",
    )
    .test(|test| {
        let bundle = test.bundle().edit(|config| remove(&mut config["root"], "readonly"));
        let rootfs = bundle.rootfs();
        test.run(&bundle.args(&["/bin/probe", "write", "/file", "text"])).ok();
        assert_eq!(fs::read_to_string(rootfs.join("file")).expect("the file"), "text");
    }),
    must("config.root.readonly.windows", ROOT, "On Windows, this field MUST be omitted or false.")
        .untestable(WINDOWS),
];

/// Moves the root filesystem to `path` and runs a program that finds a file in it; what is left at
/// the usual place is another one.
fn is_the_root(test: &Test, bundle: Bundle, path: &str) {
    let (usual, place) = (bundle.rootfs(), bundle.dir.join(path));
    fs::create_dir_all(place.parent().expect("a parent")).expect("a directory");
    fs::rename(&usual, &place).expect("the root filesystem can be moved");
    fs::create_dir(usual).expect("a directory");
    fs::write(place.join("marker"), "here").expect("a file");
    let bundle = bundle.edit(|config| config["root"]["path"] = json!(path));
    let facts = test.facts_with(&["--read", "/marker"], bundle);
    assert_eq!(facts.files["/marker"].as_deref(), Ok("here"));
}
