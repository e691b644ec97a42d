//! bundle.md: what a runtime is given.

use std::fs;

use integration::{Bundle, Output, Test};

use crate::{Statement, must, required};

const FORMAT: &str = r#"bundle.md "Container Format""#;

pub const LISTS: &[&[Statement]] = &[STATEMENTS];

const STATEMENTS: &[Statement] = &[
    required(
        "bundle.config-json.required",
        FORMAT,
        "This REQUIRED file MUST reside in the root of the bundle directory",
    )
    .test(|test| {
        let bundle = test.bundle();
        fs::remove_file(bundle.dir.join("config.json")).expect("the file is there");
        create(test, &bundle).fails();
        test.assert_clean();
    }),
    must(
        "bundle.config-json.root",
        FORMAT,
        "This REQUIRED file MUST reside in the root of the bundle directory",
    )
    .test(|test| {
        let bundle = test.bundle();
        fs::create_dir(bundle.dir.join("below")).expect("a directory");
        rename(&bundle, "below/config.json");
        create(test, &bundle).fails();
        test.assert_clean();
    }),
    must("bundle.config-json.name", FORMAT, "and MUST be named config.json.").test(|test| {
        let bundle = test.bundle();
        rename(&bundle, "Config.json");
        create(test, &bundle).fails();
        test.assert_clean();
    }),
    must(
        "bundle.directory",
        FORMAT,
        "When supplied, while these artifacts MUST all be present in a single directory on the \
         local filesystem, that directory itself is not part of the bundle.",
    )
    .test(|test| {
        let bundle = test.bundle();
        let elsewhere = test.dir().join("another name");
        fs::rename(&bundle.dir, &elsewhere).expect("a bundle can be moved");
        test.facts(&Bundle { dir: elsewhere, ..bundle });
    }),
];

fn rename(bundle: &Bundle, name: &str) {
    fs::rename(bundle.dir.join("config.json"), bundle.dir.join(name)).expect("a rename");
}

fn create(test: &Test, bundle: &Bundle) -> Output {
    test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()])
}
