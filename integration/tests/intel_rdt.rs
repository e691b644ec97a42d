//! Intel RDT (runtime spec, config-linux.md "IntelRdt"): a group of resctrl where the machine has
//! it, and a clear word where it does not. What happens in the groups is tested with the library.

use std::{fs, path::Path};

use integration::{Feature, Kind, Test, host, needs};
use serde_json::json;

const RESCTRL: &str = "/sys/fs/resctrl";

#[test]
fn a_machine_without_resctrl_says_what_it_lacks() {
    let test = Test::new();
    if Path::new(RESCTRL).join("schemata").exists() {
        host::skipped("this machine has resctrl");
        return;
    }
    let reason = "crun 1.8 and runc 1.1 run it without a word, against the specification";
    if test.excuses(&[Kind::Crun, Kind::Runc], reason) {
        return;
    }
    let bundle = test.bundle().edit(|config| config["linux"]["intelRdt"] = json!({}));
    let failed = test.create_fails(&bundle);
    if test.runtime.is(Kind::Rtn) {
        failed.fails_with("no resctrl file system is mounted");
        failed.fails_with("(config.json: linux.intelRdt)");
        failed.fails_with("CONFIG_X86_CPU_RESCTRL");
    }
}

#[test]
fn a_bad_group_is_refused_before_anything_is_made() {
    let test = Test::new();
    if test.excuses(&[Kind::Crun], "crun 1.8 does not know intelRdt") {
        return;
    }
    let bundle = test.bundle();
    for clos in ["..", "a/b", "."] {
        let bundle = bundle.clone_with(&["/bin/true"]);
        let rdt = json!({ "closID": clos, "l3CacheSchema": "L3:0=1" });
        let bundle = bundle.edit(|config| config["linux"]["intelRdt"] = rdt);
        test.create_fails(&bundle).fails_with(clos);
    }
}

#[test]
fn schemata_of_a_container_without_a_group_cannot_change() {
    let test = Test::new();
    needs!(Feature::Controller("pids"));
    let container = test.serve(test.bundle());
    if test.excuses(&[Kind::Crun], "crun takes a schema and does nothing") {
        container.remove();
        return;
    }
    for flag in ["--l3-cache-schema", "--mem-bw-schema"] {
        let schema = if flag == "--l3-cache-schema" { "L3:0=1" } else { "MB:0=10" };
        let failed = test.call(&["update", flag, schema, &container.id]);
        failed.fails();
        if test.runtime.is(Kind::Rtn) {
            failed.fails_with("without linux.intelRdt");
        }
    }
    // Empty is not given.
    container.call(&["update", "--l3-cache-schema", "", "--pids-limit", "100"]).ok();
    container.remove();
}

#[test]
fn a_container_has_a_group_as_long_as_it_lives() {
    let test = Test::new();
    needs!(Feature::Resctrl);
    let group = Path::new(RESCTRL).join(test.id());
    let bundle = test.bundle().edit(|config| config["linux"]["intelRdt"] = json!({}));
    let container = test.serve(bundle);
    let tasks = fs::read_to_string(group.join("tasks")).expect("the group");
    assert!(tasks.lines().any(|line| line == container.pid.to_string()), "{tasks}");
    container.remove();
    assert!(!group.exists());
}
