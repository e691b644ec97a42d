//! config.md "Specification version".

use integration::Test;
use serde_json::json;

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

fn every_version_of_the_major_version_runs(test: &Test) {
    for version in ["1.0.0", "1.0.2", "1.1.0", "1.2.1", "1.3.0", "1.0.2-dev", "1.2.0+build"] {
        let bundle = test.bundle_named(version);
        test.facts(&bundle.edit(|config| config["ociVersion"] = json!(version)));
    }
}
