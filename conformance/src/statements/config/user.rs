//! config.md "POSIX-platform User" and "Windows User".

use std::{collections::BTreeSet, fs};

use integration::{Bundle, Feature, Test, needs, test::parse};
use serde_json::{Value, json};

use super::{WINDOWS, process, run_by};
use crate::{Statement, optional, required, should_not, skip};

const USER: &str = r#"config.md "POSIX-platform User""#;

pub(super) const ZOS: &[Statement] = &[optional(
    "config.zos.no-new-privileges",
    r#"config.md "z/OS Process""#,
    "noNewPrivileges (bool, OPTIONAL) setting noNewPrivileges to true prevents the process from \
     gaining additional privileges.",
)
.untestable("it is about another platform: z/OS")];

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config.user.uid",
        USER,
        "uid (int, REQUIRED) specifies the user ID in the container namespace.",
    )
    .test(|test| {
        let facts = test.facts(&user(test.bundle(), json!({ "uid": 1234, "gid": 5678 })));
        assert_eq!(facts.uids, [1234; 4], "real, effective, saved, filesystem");
    }),
    required(
        "config.user.uid.in-user-namespace",
        USER,
        "uid (int, REQUIRED) specifies the user ID in the container namespace.",
    )
    .test(|test| {
        needs!(Feature::UserNamespaces);
        let bundle = user(in_a_user_namespace(test), json!({ "uid": 1234, "gid": 5678 }));
        let container = test.serve(bundle);
        assert_eq!(container.exec_facts(&["--user", "1234:5678"]).uids, [1234; 4]);
        assert_eq!(ids_on_the_host(container.pid, "Uid"), [101_234; 4]);
        container.remove();
    }),
    required(
        "config.user.gid",
        USER,
        "gid (int, REQUIRED) specifies the group ID in the container namespace.",
    )
    .test(|test| {
        let facts = test.facts(&user(test.bundle(), json!({ "uid": 1234, "gid": 5678 })));
        assert_eq!(facts.gids, [5678; 4], "real, effective, saved, filesystem");
    }),
    required(
        "config.user.gid.in-user-namespace",
        USER,
        "gid (int, REQUIRED) specifies the group ID in the container namespace.",
    )
    .test(|test| {
        needs!(Feature::UserNamespaces);
        let bundle = user(in_a_user_namespace(test), json!({ "uid": 1234, "gid": 5678 }));
        let container = test.serve(bundle);
        assert_eq!(ids_on_the_host(container.pid, "Gid"), [105_678; 4]);
        container.remove();
    }),
    optional("config.user.umask", USER, "umask (int, OPTIONAL) specifies the umask of the user.")
        .test(|test| {
            for mask in [0o077, 0o027, 0o000] {
                let bundle = test.bundle_named(&format!("umask-{mask}"));
                let bundle = user(bundle, json!({ "uid": 0, "gid": 0, "umask": mask }));
                assert_eq!(test.facts(&bundle).umask, mask);
            }
        }),
    should_not(
        "config.user.umask.unspecified",
        USER,
        "If unspecified, the umask should not be changed from the calling process' umask.",
    )
    .untestable(
        "it says `should not` in small letters, and a runtime that takes 0022 instead keeps the \
         umask of a daemon out of its containers",
    ),
    optional(
        "config.user.additional-gids",
        USER,
        "additionalGids (array of ints, OPTIONAL) specifies additional group IDs in the container \
         namespace to be added to the process.",
    )
    .test(|test| {
        let ids = json!({ "uid": 1234, "gid": 5678, "additionalGids": [7, 2000, 99_999] });
        let facts = test.facts(&user(test.bundle(), ids));
        assert_eq!(without(facts.groups, 5678), BTreeSet::from([7, 2000, 99_999]));
    }),
    optional(
        "config.user.additional-gids.none",
        USER,
        "additionalGids (array of ints, OPTIONAL) specifies additional group IDs in the container \
         namespace to be added to the process.",
    )
    .test(|test| {
        let bundle = user(test.bundle(), json!({ "uid": 1234, "gid": 5678 }));
        let Some(output) = run_by(test, &["setpriv", "--groups", "4242"], &bundle) else {
            skip!("no setpriv(1) here")
        };
        let groups = without(parse(output.ok()).groups, 5678);
        assert_eq!(groups, BTreeSet::new(), "none of the caller's");
    }),
    optional(
        "config.user.username",
        r#"config.md "Windows User""#,
        "username (string, OPTIONAL) specifies the user name for the process.",
    )
    .untestable(WINDOWS),
];

fn user(bundle: Bundle, user: Value) -> Bundle {
    process(bundle, "user", user)
}

/// In which 0 is 100000 of the host.
fn in_a_user_namespace(test: &Test) -> Bundle {
    test.bundle().user_namespace(100_000, 65536)
}

/// The four ids in /proc/<pid>/status.
fn ids_on_the_host(pid: i32, name: &str) -> [u32; 4] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line");
    let ids: Vec<u32> =
        line.trim_start_matches(':').split_whitespace().filter_map(|id| id.parse().ok()).collect();
    ids.try_into().expect("four ids")
}

/// A process may have its own group among the additional ones.
fn without(mut groups: BTreeSet<u32>, own: u32) -> BTreeSet<u32> {
    groups.remove(&own);
    groups
}
