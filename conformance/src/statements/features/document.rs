//! features.md: the structure itself, its versions and annotations.

use integration::{Test, wait};
use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;

use super::{feature, features, strings};
use crate::{Statement, may, must, must_not, optional, required, should, skip};

const FEATURES: &str = r#"features.md "Features Structure""#;
const VERSION: &str = r#"features.md "Specification version""#;
const PLATFORM: &str = r#"features.md "Platform-specific features""#;
const ANNOTATIONS: &str = r#"features.md "Annotations""#;
const UNSAFE: &str = r#"features.md "Unsafe annotations in config.json""#;

pub(super) const STATEMENTS: &[Statement] = &[
    may(
        "features.structure",
        FEATURES,
        "A runtime MAY provide a JSON structure about its implemented features to runtime callers.",
    )
    .test(|test| match features(test) {
        None => skip!("the runtime has no features structure"),
        Some(document) => assert!(document.is_object(), "{document}"),
    }),
    should(
        "features.compilation-time",
        FEATURES,
        "the content of the Features structure SHOULD be determined on the compilation time of the \
         runtime, not on the execution time.",
    )
    .test(the_structure_does_not_depend_on_the_host),
    may(
        "features.absent-properties",
        FEATURES,
        "All properties in the Features structure except ociVersionMin and ociVersionMax MAY either be \
         absent or have the null value.",
    )
    .untestable("it allows something and asks for nothing"),
    must_not(
        "features.null",
        FEATURES,
        "The null value MUST NOT be confused with an empty value such as 0, false, \"\", [], and {}.",
    )
    .untestable("this binds those who read the structure"),
    required(
        "features.version.min",
        VERSION,
        "ociVersionMin (string, REQUIRED) The minimum recognized version of the Open Container \
         Initiative Runtime Specification.",
    )
    .test(|test| has_a_version(test, "/ociVersionMin")),
    must(
        "features.version.min-accepted",
        VERSION,
        "The runtime MUST accept this value as the ociVersion property of config.json.",
    )
    .test(|test| accepts(test, "/ociVersionMin")),
    required(
        "features.version.max",
        VERSION,
        "ociVersionMax (string, REQUIRED) The maximum recognized version of the Open Container \
         Initiative Runtime Specification.",
    )
    .test(|test| has_a_version(test, "/ociVersionMax")),
    must(
        "features.version.max-accepted",
        VERSION,
        "The runtime MUST accept this value as the ociVersion property of config.json.",
    )
    .test(|test| accepts(test, "/ociVersionMax")),
    must_not(
        "features.version.order",
        VERSION,
        "The value MUST NOT be less than the value of the ociVersionMin property.",
    )
    .test(the_maximum_is_no_less_than_the_minimum),
    must_not(
        "features.version.properties",
        VERSION,
        "The Features structure MUST NOT contain properties that are not defined in this version of the \
         Open Container Initiative Runtime Specification.",
    )
    .test(every_property_is_known_to_the_maximum),
    optional(
        "features.linux",
        PLATFORM,
        "linux (object, OPTIONAL) Linux-specific features. This MAY be set if the runtime supports linux \
         platform.",
    )
    .test(|test| match features(test).map(|document| document["linux"].clone()) {
        None | Some(Value::Null) => skip!("the runtime does not tell linux"),
        Some(linux) => assert!(linux.is_object(), "{linux}"),
    }),
    must(
        "features.annotations",
        ANNOTATIONS,
        "Annotations MUST be a key-value map that follows the same convention as the Key and Values of \
         the annotations property of config.json.",
    )
    .test(annotations_are_strings_by_name),
    optional(
        "features.unsafe-annotations",
        UNSAFE,
        "potentiallyUnsafeConfigAnnotations (array of strings, OPTIONAL) contains values of annotations \
         property of config.json that may potentially change the behavior of the runtime.",
    )
    .test(|test| match feature(test, "/potentiallyUnsafeConfigAnnotations") {
        Value::Null => skip!("the runtime does not tell potentiallyUnsafeConfigAnnotations"),
        list => assert!(strings(&list).iter().all(|name| !name.is_empty()), "{list}"),
    }),
];

/// With the kernel's files out of sight nothing of this machine can be seen.
fn the_structure_does_not_depend_on_the_host(test: &Test) {
    let Some(before) = features(test) else { skip!("the runtime has no features structure") };
    mount(None::<&str>, "/sys", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    let blind = wait::output(&mut test.command(&["features"]));
    umount("/sys").expect("the tmpfs can go");
    assert_eq!(before, blind.json());
}

fn has_a_version(test: &Test, pointer: &str) {
    let Some(document) = features(test) else { skip!("the runtime has no features structure") };
    version(document.pointer(pointer).unwrap_or(&Value::Null));
}

/// The three numbers of a semantic version, without what follows a hyphen or a plus sign.
#[track_caller]
fn version(value: &Value) -> (u32, u32, u32) {
    let text = value.as_str().unwrap_or_else(|| panic!("no version: {value}"));
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<u32> = core.split('.').flat_map(str::parse).collect();
    let [major, minor, patch] = numbers[..] else { panic!("no version: {text}") };
    (major, minor, patch)
}

fn accepts(test: &Test, pointer: &str) {
    let version = feature(test, pointer);
    if version.is_null() {
        skip!("the runtime does not tell {pointer}");
    }
    let bundle = test.bundle().args(&["/bin/true"]);
    test.run(&bundle.edit(|config| config["ociVersion"] = version)).ok();
}

fn the_maximum_is_no_less_than_the_minimum(test: &Test) {
    let Some(document) = features(test) else { skip!("the runtime has no features structure") };
    let (min, max) = (version(&document["ociVersionMin"]), version(&document["ociVersionMax"]));
    assert!(min <= max, "{min:?} is greater than {max:?}");
}

/// The properties that a version 1.x brought, by x. The structure itself is of 1.1, but runtimes
/// whose last version is 1.0.2 have it. memoryPolicy came after 1.3.0; the object in config.json
/// that it is about is of that version.
const PROPERTIES: [(u32, &[&str]); 4] = [
    (
        0,
        &[
            "/ociVersionMin",
            "/ociVersionMax",
            "/hooks",
            "/mountOptions",
            "/annotations",
            "/linux",
            "/linux/namespaces",
            "/linux/capabilities",
            "/linux/cgroup",
            "/linux/cgroup/v1",
            "/linux/cgroup/v2",
            "/linux/cgroup/systemd",
            "/linux/cgroup/systemdUser",
            "/linux/cgroup/rdma",
            "/linux/seccomp",
            "/linux/seccomp/enabled",
            "/linux/seccomp/actions",
            "/linux/seccomp/operators",
            "/linux/seccomp/archs",
            "/linux/apparmor",
            "/linux/apparmor/enabled",
            "/linux/selinux",
            "/linux/selinux/enabled",
        ],
    ),
    (
        1,
        &[
            "/linux/seccomp/knownFlags",
            "/linux/seccomp/supportedFlags",
            "/linux/intelRdt",
            "/linux/intelRdt/enabled",
        ],
    ),
    (
        2,
        &[
            "/potentiallyUnsafeConfigAnnotations",
            "/linux/mountExtensions",
            "/linux/mountExtensions/idmap",
            "/linux/mountExtensions/idmap/enabled",
        ],
    ),
    (
        3,
        &[
            "/linux/intelRdt/schemata",
            "/linux/intelRdt/monitoring",
            "/linux/netDevices",
            "/linux/netDevices/enabled",
            "/linux/memoryPolicy",
            "/linux/memoryPolicy/modes",
            "/linux/memoryPolicy/flags",
        ],
    ),
];

fn every_property_is_known_to_the_maximum(test: &Test) {
    let Some(document) = features(test) else { skip!("the runtime has no features structure") };
    let (_, minor, _) = version(&document["ociVersionMax"]);
    let known: Vec<&str> = PROPERTIES
        .iter()
        .filter(|(since, _)| *since <= minor)
        .flat_map(|(_, p)| *p)
        .copied()
        .collect();
    let unknown: Vec<String> = properties("", &document)
        .into_iter()
        .filter(|path| !known.contains(&path.as_str()))
        .collect();
    assert!(unknown.is_empty(), "not in version 1.{minor}: {}", unknown.join(", "));
}

/// The paths of all properties below `path`; what annotations hold are no properties.
fn properties(path: &str, value: &Value) -> Vec<String> {
    let object = value.as_object().filter(|_| path != "/annotations");
    let children = object.into_iter().flatten().flat_map(|(name, value)| {
        let path = format!("{path}/{name}");
        let below = properties(&path, value);
        std::iter::once(path).chain(below)
    });
    children.collect()
}

fn annotations_are_strings_by_name(test: &Test) {
    let annotations = feature(test, "/annotations");
    if annotations.is_null() {
        skip!("the runtime does not tell annotations");
    }
    let map = annotations.as_object().unwrap_or_else(|| panic!("no object: {annotations}"));
    assert!(map.iter().all(|(key, value)| !key.is_empty() && value.is_string()), "{annotations}");
}
