//! config.md "Specification version".

use integration::Test;
use serde_json::{Value, json};

use super::refuses;
use crate::{Statement, must, required};

const VERSION: &str = r#"config.md "Specification version""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config.version.semver",
        VERSION,
        "ociVersion (string, REQUIRED) MUST be in SemVer v2.0.0 format and specifies the version \
         of the Open Container Initiative Runtime Specification with which the bundle complies.",
    )
    .test(|test| {
        for text in ["latest", "1.0", "1.0.0.0", "v1.0.0"] {
            let bundle = test.bundle_named(text);
            refuses(test, &bundle.edit(|config| config["ociVersion"] = json!(text)));
        }
    }),
    required(
        "config.version.same-major",
        VERSION,
        "ociVersion (string, REQUIRED) […] The Open Container Initiative Runtime Specification \
         follows semantic versioning and retains forward and backward compatibility within major \
         versions.",
    )
    .test(every_version_of_the_major_version_runs),
];

/// Those up to the minor version that the runtime says it supports.
fn every_version_of_the_major_version_runs(test: &Test) {
    let versions = ["1.0.0", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.0+build", "1.2.1", "1.3.0"];
    let supported = supported_minor(test);
    for version in versions.into_iter().filter(|version| minor(version) <= supported) {
        let bundle = test.bundle_named(version);
        test.facts(&bundle.edit(|config| config["ociVersion"] = json!(version)));
    }
}

/// `ociVersionMax` of its features; a runtime that does not tell them is from before 1.1.
fn supported_minor(test: &Test) -> u32 {
    let output = test.call(&["features"]);
    let features: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    features["ociVersionMax"].as_str().map_or(0, minor)
}

/// The second number of a version.
fn minor(version: &str) -> u32 {
    version.split('.').nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}
