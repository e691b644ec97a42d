//! config.md "Hostname" and "Domainname".

use integration::{collect, host};
use serde_json::json;

use crate::{Statement, optional};

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config.hostname",
        r#"config.md "Hostname""#,
        "hostname (string, OPTIONAL) specifies the container's hostname as seen by processes \
         running inside the container.",
    )
    .test(|test| {
        let bundle = test.bundle().edit(|config| config["hostname"] = json!("mrsdalloway"));
        assert_eq!(test.facts(&bundle).hostname, "mrsdalloway");
    }),
    optional(
        "config.hostname.of-the-container",
        r#"config.md "Hostname""#,
        "hostname (string, OPTIONAL) […] On Linux, for example, this will change the hostname in \
         the container UTS namespace.",
    )
    .test(|test| {
        let before = collect::facts(&[], &[]).hostname;
        let bundle = test.bundle().edit(|config| config["hostname"] = json!("mrsdalloway"));
        let container = test.serve(bundle);
        let own = host::namespaces(std::process::id() as i32);
        assert_ne!(host::namespaces(container.pid)["uts"], own["uts"]);
        assert_eq!(container.exec_facts(&[]).hostname, "mrsdalloway");
        assert_eq!(collect::facts(&[], &[]).hostname, before, "the host keeps its name");
        container.remove();
    }),
    optional(
        "config.domainname",
        r#"config.md "Domainname""#,
        "domainname (string, OPTIONAL) specifies the container's domainname as seen by processes \
         running inside the container.",
    )
    .test(|test| {
        let bundle = test.bundle().edit(|config| config["domainname"] = json!("foobarbaz.test"));
        assert_eq!(test.facts(&bundle).domainname, "foobarbaz.test");
    }),
    optional(
        "config.domainname.of-the-container",
        r#"config.md "Domainname""#,
        "domainname (string, OPTIONAL) […] On Linux, for example, this will change the domainname \
         in the container UTS namespace.",
    )
    .test(|test| {
        let before = collect::facts(&[], &[]).domainname;
        let bundle = test.bundle().edit(|config| config["domainname"] = json!("foobarbaz.test"));
        assert_eq!(test.facts(&bundle).domainname, "foobarbaz.test");
        assert_eq!(collect::facts(&[], &[]).domainname, before, "the host keeps its name");
    }),
];
