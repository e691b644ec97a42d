//! config-linux.md "Personality".

use integration::{Bundle, Test};
use serde_json::{Value, json};

use crate::{Statement, optional, required};

const SECTION: &str = r#"config-linux.md "Personality""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.personality.linux",
        SECTION,
        "personality (object, OPTIONAL) sets the Linux execution personality.",
    )
    .test(|test| assert_eq!(machine(test, json!({ "domain": "LINUX" })), (0, "x86_64".into()))),
    required(
        "config-linux.personality.linux32",
        SECTION,
        "domain (string, REQUIRED) - the execution domain. LINUX32 will set the uname system call to show a 32 bit \
         CPU type, such as i686.",
    )
    .test(|test| assert_eq!(machine(test, json!({ "domain": "LINUX32" })), (8, "i686".into()))),
    required(
        "config-linux.personality.domain",
        SECTION,
        "domain (string, REQUIRED) - the execution domain. The valid list of constants is shown below.",
    )
    .test(another_domain_is_refused),
    optional(
        "config-linux.personality.flags",
        SECTION,
        "flags (array of strings, OPTIONAL) - the additional flags to apply. Currently no flag values are supported.",
    )
    .test(a_flag_is_refused),
];

fn personality(bundle: Bundle, value: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["personality"] = value)
}

/// personality(2) and the machine of uname(2).
fn machine(test: &Test, value: Value) -> (u64, String) {
    let bundle = personality(test.bundle(), value);
    let facts = test.facts(&bundle);
    let uname = test.run(&bundle.args(&["/bin/uname", "-m"]));
    (facts.personality, uname.ok().trim().to_owned())
}

fn another_domain_is_refused(test: &Test) {
    test.create_fails(&personality(test.bundle_named("unknown"), json!({ "domain": "HPUX" })));
    test.create_fails(&personality(test.bundle_named("none"), json!({})));
}

fn a_flag_is_refused(test: &Test) {
    let flag = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
    test.create_fails(&personality(test.bundle(), flag));
}
