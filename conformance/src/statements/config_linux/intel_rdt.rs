//! config-linux.md "IntelRdt".
//!
//! What is refused can be judged on every machine. The rest needs a processor with RDT and its
//! filesystem, resctrl.

use std::{
    fs,
    path::{Path, PathBuf},
};

use integration::{Bundle, Container, Feature, Test, needs};
use serde_json::{Value, json};

use super::{
    limits::call,
    resctrl::{Class, default_schema, line, narrow, picture, resctrl, root, tasks},
};
use crate::{Statement, must, must_not, should, should_not};

const SECTION: &str = r#"config-linux.md "IntelRdt""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.intel-rdt.tasks",
        SECTION,
        "If intelRdt is set, the runtime MUST write the container process ID to the tasks file in a proper \
         sub-directory in a mounted resctrl pseudo-filesystem.",
    )
    .test(|test| {
        needs!(Feature::Resctrl);
        with_group(test, json!({ "l3CacheSchema": default_schema("L3") }), |container, group| {
            assert!(tasks(group).contains(&container.pid), "{:?}", tasks(group));
        });
    }),
    must(
        "config-linux.intel-rdt.not-mounted",
        SECTION,
        "If no mounted resctrl pseudo-filesystem is available in the runtime mount namespace, the runtime MUST \
         generate an error.",
    )
    .test(without_resctrl_it_is_an_error),
    must_not(
        "config-linux.intel-rdt.not-set",
        SECTION,
        "If intelRdt is not set, the runtime MUST NOT manipulate any resctrl pseudo-filesystems.",
    )
    .test(without_the_property_nothing_is_touched),
    must(
        "config-linux.intel-rdt.clos-id.default",
        SECTION,
        "As a special case, value / means that the container MUST be assigned to the default CLOS (the root of the \
         resctrl filesystem).",
    )
    .test(a_slash_is_the_root),
    should(
        "config-linux.intel-rdt.l3-cache-schema.prefix",
        SECTION,
        "l3CacheSchema (string, OPTIONAL) - The value SHOULD start with L3: and SHOULD NOT contain newlines.",
    )
    .untestable("it binds the author of the configuration, who may write L3CODE: and L3DATA: as well"),
    should_not(
        "config-linux.intel-rdt.l3-cache-schema.newlines",
        SECTION,
        "l3CacheSchema (string, OPTIONAL) - The value SHOULD start with L3: and SHOULD NOT contain newlines.",
    )
    .untestable("it binds the author of the configuration, who may write L3CODE: and L3DATA: as well"),
    must(
        "config-linux.intel-rdt.mem-bw-schema.prefix",
        SECTION,
        "memBwSchema (string, OPTIONAL) - The value MUST start with MB: and MUST NOT contain newlines.",
    )
    .test(|test| refused(test, json!({ "memBwSchema": "L3:0=f" }))),
    must_not(
        "config-linux.intel-rdt.mem-bw-schema.newlines",
        SECTION,
        "memBwSchema (string, OPTIONAL) - The value MUST start with MB: and MUST NOT contain newlines.",
    )
    .test(|test| refused(test, json!({ "memBwSchema": "MB:0=70\nL3:0=f" }))),
    must_not(
        "config-linux.intel-rdt.schemata.newlines",
        SECTION,
        "schemata (array of strings, OPTIONAL) - Each element represents one line in the schemata file. The value \
         MUST NOT contain newlines.",
    )
    .test(|test| refused(test, json!({ "schemata": ["MB:0=70\nL3:0=f"] }))),
    must(
        "config-linux.intel-rdt.both-schemas",
        SECTION,
        "If both l3CacheSchema and memBwSchema are set, runtimes MUST write the values to the schemata file in that \
         sub-directory discussed in closID.",
    )
    .test(|test| {
        needs!(Feature::Resctrl);
        let (cache, bandwidth) = (narrow("L3"), narrow("MB"));
        written(test, json!({ "l3CacheSchema": cache, "memBwSchema": bandwidth }), &[&cache, &bandwidth]);
    }),
    must(
        "config-linux.intel-rdt.both-schemas.order",
        SECTION,
        "The runtimes MUST write l3CacheSchema first and memBwSchema last.",
    )
    .test(|test| {
        needs!(Feature::Resctrl);
        // A line of the first for what the second says, too.
        let (wide, bandwidth) = (default_schema("MB"), narrow("MB"));
        let cache = format!("{}\n{wide}", narrow("L3"));
        written(test, json!({ "l3CacheSchema": cache, "memBwSchema": bandwidth }), &[&bandwidth]);
    }),
    must(
        "config-linux.intel-rdt.either-schema",
        SECTION,
        "If either l3CacheSchema or memBwSchema is set, runtimes MUST write the value to the schemata file in the \
         that sub-directory discussed in closID.",
    )
    .test(|test| {
        needs!(Feature::Resctrl);
        written(test, json!({ "l3CacheSchema": narrow("L3") }), &[&narrow("L3")]);
    }),
    must(
        "config-linux.intel-rdt.schemata",
        SECTION,
        "If schemata field is set, runtimes MUST write the value to the schemata file in the that sub-directory \
         discussed in closID.",
    )
    .test(|test| {
        needs!(Feature::Resctrl);
        written(test, json!({ "schemata": [narrow("L3")] }), &[&narrow("L3")]);
    }),
    must_not(
        "config-linux.intel-rdt.no-schema",
        SECTION,
        "If none of l3CacheSchema, memBwSchema or schemata is set, runtimes MUST NOT write to schemata files in any \
         resctrl pseudo-filesystems.",
    )
    .test(without_a_schema_none_is_written),
    must(
        "config-linux.intel-rdt.no-clos-id",
        SECTION,
        "If closID is not set, runtimes MUST use the container ID from start and create the <container-id> directory.",
    )
    .test(|test| {
        needs!(Feature::Resctrl);
        with_group(test, json!({ "schemata": [narrow("L3")] }), |container, group| {
            assert_eq!(group.file_name(), Some(container.id.as_ref()));
        });
    }),
    must(
        "config-linux.intel-rdt.clos-id.created",
        SECTION,
        "if closID directory in a mounted resctrl pseudo-filesystem doesn't exist, the runtimes MUST create it.",
    )
    .test(the_class_is_made),
    must(
        "config-linux.intel-rdt.clos-id.compared",
        SECTION,
        "if closID directory in a mounted resctrl pseudo-filesystem exists, runtimes MUST compare l3CacheSchema \
         and/or memBwSchema value with schemata file, and generate an error if doesn't match.",
    )
    .test(another_schema_of_a_class_is_an_error),
    must(
        "config-linux.intel-rdt.clos-id.assigned",
        SECTION,
        "If such pre-configured directory closID exists, runtime MUST assign container to this closID",
    )
    .test(a_class_that_is_there_is_used),
    must(
        "config-linux.intel-rdt.clos-id.missing",
        SECTION,
        "If closID is set, and none of l3CacheSchema, memBwSchema or schemata are set, runtime MUST check if \
         corresponding pre-configured directory closID is present in mounted resctrl and generate an error if \
         directory does not exist.",
    )
    .test(|test| refused(test, json!({ "closID": "conformance-missing" }))),
    must(
        "config-linux.intel-rdt.removed",
        SECTION,
        "If closID is not set and the runtime has created the sub-directory, the runtime MUST remove the \
         sub-directory when the container is deleted.",
    )
    .test(its_own_directory_goes_with_the_container),
    must_not(
        "config-linux.intel-rdt.kept",
        SECTION,
        "If closID is set or the runtime has not created the sub-directory, the runtime MUST NOT remove the \
         sub-directory when the container is deleted.",
    )
    .test(a_class_that_is_there_is_kept),
    must(
        "config-linux.intel-rdt.monitoring",
        SECTION,
        "If enableMonitoring is set, the runtime MUST create a dedicated MON group for the container.",
    )
    .test(the_container_has_a_monitoring_group),
    must(
        "config-linux.intel-rdt.monitoring.name",
        SECTION,
        "The runtime MUST use the container ID from start as the name of the MON group",
    )
    .test(the_container_has_a_monitoring_group),
    must(
        "config-linux.intel-rdt.monitoring.deleted",
        SECTION,
        "The runtime MUST delete the MON group after the container is deleted.",
    )
    .test(the_monitoring_group_goes_with_the_container),
    must(
        "config-linux.intel-rdt.monitoring.error",
        SECTION,
        "If creation of the MON group fails (e.g. the maximum number of MON groups is reached) the runtime MUST \
         return an error.",
    )
    .untestable("to use up every MON group of the machine would disturb whoever else uses them"),
];

fn with(bundle: Bundle, rdt: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["intelRdt"] = rdt).serve()
}

#[track_caller]
fn refused(test: &Test, rdt: Value) {
    let told = rdt.to_string();
    let output = call(test, &with(test.bundle(), rdt));
    assert_ne!(output.status, 0, "{told} was accepted");
    output.fails();
}

/// Where there is one, it is out of the way for this check.
fn without_resctrl_it_is_an_error(test: &Test) {
    if let Some(mount) = resctrl() {
        nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH).expect("umount");
    }
    refused(test, json!({ "l3CacheSchema": "L3:0=f" }));
}

/// A container with `intelRdt`, and the group that is named after it.
fn with_group(test: &Test, rdt: Value, look: impl FnOnce(&Container<'_>, &Path)) {
    needs!(Feature::Resctrl);
    let container = test.create(&with(test.bundle(), rdt));
    look(&container, &root().join(&container.id));
    container.remove();
}

/// The group of the container has these lines.
fn written(test: &Test, rdt: Value, expected: &[&str]) {
    with_group(test, rdt, |_, group| {
        for wanted in expected {
            let resource = wanted.split(':').next().expect("a resource");
            assert_eq!(line(group, resource).as_deref(), Some(*wanted));
        }
    });
}

fn without_the_property_nothing_is_touched(test: &Test) {
    needs!(Feature::Resctrl);
    let before = picture();
    let container = test.create(&test.bundle().serve());
    let during = picture();
    container.remove();
    assert_eq!(during, before);
}

fn a_slash_is_the_root(test: &Test) {
    needs!(Feature::Resctrl);
    let container = test.create(&with(test.bundle(), json!({ "closID": "/" })));
    let there = tasks(&root()).contains(&container.pid);
    container.remove();
    assert!(there);
}

fn without_a_schema_none_is_written(test: &Test) {
    needs!(Feature::Resctrl);
    let class = Class::new(test);
    fs::write(class.0.join("schemata"), format!("{}\n", narrow("L3"))).expect("schemata");
    let before = picture();
    let container = test.create(&with(test.bundle(), json!({ "closID": class.name() })));
    let during = picture();
    container.remove();
    assert_eq!(during, before);
}

fn the_class_is_made(test: &Test) {
    needs!(Feature::Resctrl);
    let class = Class(root().join(format!("{}-class", test.id())));
    let rdt = json!({ "closID": class.name(), "schemata": [narrow("L3")] });
    let container = test.create(&with(test.bundle(), rdt));
    let there = class.0.is_dir() && tasks(&class.0).contains(&container.pid);
    container.remove();
    assert!(there, "{}", class.0.display());
}

fn another_schema_of_a_class_is_an_error(test: &Test) {
    needs!(Feature::Resctrl);
    let class = Class::new(test);
    fs::write(class.0.join("schemata"), format!("{}\n", default_schema("L3"))).expect("schemata");
    refused(test, json!({ "closID": class.name(), "l3CacheSchema": narrow("L3") }));
}

fn a_class_that_is_there_is_used(test: &Test) {
    needs!(Feature::Resctrl);
    let class = Class::new(test);
    let container = test.create(&with(test.bundle(), json!({ "closID": class.name() })));
    let there = tasks(&class.0).contains(&container.pid);
    container.remove();
    assert!(there);
}

fn its_own_directory_goes_with_the_container(test: &Test) {
    needs!(Feature::Resctrl);
    let container = test.create(&with(test.bundle(), json!({ "schemata": [narrow("L3")] })));
    let group = root().join(&container.id);
    let during = group.is_dir();
    container.remove();
    assert_eq!((during, group.is_dir()), (true, false), "before and after delete");
}

fn a_class_that_is_there_is_kept(test: &Test) {
    needs!(Feature::Resctrl);
    let class = Class::new(test);
    test.create(&with(test.bundle(), json!({ "closID": class.name() }))).remove();
    assert!(class.0.is_dir());
}

fn monitoring(test: &Test) -> PathBuf {
    root().join(test.id()).join("mon_groups").join(test.id())
}

fn the_container_has_a_monitoring_group(test: &Test) {
    with_group(test, json!({ "enableMonitoring": true }), |container, _| {
        assert!(tasks(&monitoring(test)).contains(&container.pid));
    });
}

fn the_monitoring_group_goes_with_the_container(test: &Test) {
    needs!(Feature::Resctrl);
    let class = Class::new(test);
    let rdt = json!({ "closID": class.name(), "enableMonitoring": true });
    let container = test.create(&with(test.bundle(), rdt));
    let group = class.0.join("mon_groups").join(test.id());
    let during = group.is_dir();
    container.remove();
    assert_eq!((during, group.is_dir()), (true, false), "before and after delete");
}
