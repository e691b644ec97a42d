//! config.md "Linux Process": what is neither a capability nor scheduling.

use std::{fs, path::Path, process::Command};

use integration::{Feature, Test, needs, test::parse, wait};
use serde_json::json;

use super::{process, refuses, remove};
use crate::{Statement, must, must_not, optional};

pub(super) const LINUX: &str = r#"config.md "Linux Process""#;

pub(super) const APPARMOR: &[Statement] = &[
    optional(
        "config.apparmor-profile",
        LINUX,
        "apparmorProfile (string, OPTIONAL) specifies the name of the AppArmor profile for the \
         process.",
    )
    .test(|test| {
        needs!(Feature::AppArmor);
        let label = "/proc/self/attr/current";
        let bundle = process(test.bundle(), "apparmorProfile", json!("unconfined"));
        let facts = test.facts_with(&["--read", label], bundle);
        assert_eq!(facts.files[label].as_deref().map(str::trim), Ok("unconfined"));
    }),
    optional(
        "config.apparmor-profile.unknown",
        LINUX,
        "apparmorProfile (string, OPTIONAL) specifies the name of the AppArmor profile for the \
         process.",
    )
    .test(|test| refuses(test, &process(test.bundle(), "apparmorProfile", json!("no-such-one")))),
];

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config.no-new-privileges.true",
        LINUX,
        "noNewPrivileges (bool, OPTIONAL) setting noNewPrivileges to true prevents the process \
         from gaining additional privileges.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "noNewPrivileges", json!(true));
        assert!(test.facts(&bundle).no_new_privs);
    }),
    optional(
        "config.no-new-privileges.false",
        LINUX,
        "noNewPrivileges (bool, OPTIONAL) setting noNewPrivileges to true prevents the process \
         from gaining additional privileges.",
    )
    .test(|test| {
        let bundle = process(test.bundle_named("false"), "noNewPrivileges", json!(false));
        assert!(!test.facts(&bundle).no_new_privs);
        let unset = test.bundle_named("unset");
        let unset = unset.edit(|config| remove(&mut config["process"], "noNewPrivileges"));
        assert!(!test.facts(&unset).no_new_privs, "nothing asks for it");
    }),
    must(
        "config.oom-score-adj.set",
        LINUX,
        "If oomScoreAdj is set, the runtime MUST set oom_score_adj to the given value.",
    )
    .test(|test| {
        for value in [1000, 500, own_oom_score()] {
            let bundle = test.bundle_named(&format!("score-{value}"));
            let facts = test.facts(&process(bundle, "oomScoreAdj", json!(value)));
            assert_eq!(facts.oom_score_adj, value);
        }
    }),
    must(
        "config.oom-score-adj.zero",
        LINUX,
        "If oomScoreAdj is set, the runtime MUST set oom_score_adj to the given value.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "oomScoreAdj", json!(0));
        let facts = parse(run_with_oom_score(test, 321, &bundle.dir).ok());
        assert_eq!(facts.oom_score_adj, 0, "0 is a value and not the absence of one");
    }),
    must_not(
        "config.oom-score-adj.unset",
        LINUX,
        "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj.",
    )
    .test(|test| {
        let facts = parse(run_with_oom_score(test, 321, &test.bundle().dir).ok());
        assert_eq!(facts.oom_score_adj, 321, "the caller's");
    }),
];

pub(super) const SELINUX: &[Statement] = &[optional(
    "config.selinux-label",
    LINUX,
    "selinuxLabel (string, OPTIONAL) specifies the SELinux label for the process.",
)
.test(|test| {
    needs!(Feature::SeLinux);
    let label = "/proc/self/attr/current";
    let wanted = "system_u:system_r:container_t:s0:c1,c2";
    let bundle = process(test.bundle(), "selinuxLabel", json!(wanted));
    let facts = test.facts_with(&["--read", label], bundle);
    let found = facts.files[label].as_deref().map(|text| text.trim_end_matches(['\0', '\n']));
    assert_eq!(found, Ok(wanted));
})];

fn own_oom_score() -> i32 {
    let text = fs::read_to_string("/proc/self/oom_score_adj").expect("the own score");
    text.trim().parse().expect("a number")
}

/// Runs the bundle in `dir` by a runtime whose own score is `score`.
fn run_with_oom_score(test: &Test, score: i32, dir: &Path) -> integration::Output {
    let mut command = Command::new("/bin/sh");
    let script = format!("echo {score} >/proc/self/oom_score_adj && exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(test.program()).arg("--root").arg(test.root());
    command.args(["run", "--bundle"]).arg(dir).arg(test.id());
    wait::output(&mut command)
}
