//! config.md "Platform-specific configuration".

use super::{SOLARIS, WINDOWS};
use crate::{Statement, may, must, optional};

const PLATFORM: &str = r#"config.md "Platform-specific configuration""#;

pub(super) const STATEMENTS: &[Statement] = &[
    may(
        "config.platform.freebsd",
        PLATFORM,
        "freebsd (object, OPTIONAL) […] This MAY be set if the target platform of this spec is \
         freebsd.",
    )
    .untestable("it is about another platform: FreeBSD"),
    optional(
        "config.platform.linux",
        PLATFORM,
        "linux (object, OPTIONAL) Linux-specific configuration. This MAY be set if the target \
         platform of this spec is linux.",
    )
    .test(|test| {
        let bundle = test.bundle().edit(|config| config["linux"]["maskedPaths"] = ["/etc"].into());
        let facts = test.facts_with(&["--stat", "/etc/passwd"], bundle);
        assert_eq!(facts.stats["/etc/passwd"], Err("ENOENT".to_owned()), "`linux` is read");
    }),
    may(
        "config.platform.solaris",
        PLATFORM,
        "solaris (object, OPTIONAL) […] This MAY be set if the target platform of this spec is \
         solaris.",
    )
    .untestable(SOLARIS),
    may(
        "config.platform.vm",
        PLATFORM,
        "vm (object, OPTIONAL) […] This MAY be set if the target platform and architecture of this \
         spec support hardware virtualization.",
    )
    .untestable("it is about another platform: virtual machines"),
    must(
        "config.platform.windows",
        PLATFORM,
        "windows (object, OPTIONAL) […] This MUST be set if the target platform of this spec is \
         windows.",
    )
    .untestable(WINDOWS),
    may(
        "config.platform.zos",
        PLATFORM,
        "zos (object, OPTIONAL) […] This MAY be set if the target platform of this spec is zos.",
    )
    .untestable("it is about another platform: z/OS"),
];
