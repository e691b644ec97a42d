//! features.md: hooks and mount options.

use integration::{Test, bundle::push, test::hook_calls};
use serde_json::{Value, json};

use super::{listed, recognizes};
use crate::{Statement, hook, must, optional, should_not};

const HOOKS: &str = r#"features.md "Hooks""#;
const MOUNT_OPTIONS: &str = r#"features.md "Mount Options""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "features.hooks",
        HOOKS,
        "hooks (array of strings, OPTIONAL) The recognized names of the hooks.",
    )
    .test(the_hooks_are_those_of_the_specification),
    must(
        "features.hooks.supported",
        HOOKS,
        "The runtime MUST support the elements in this array as the hooks property of config.json.",
    )
    .test(every_hook_that_is_listed_runs),
    optional(
        "features.mount-options",
        MOUNT_OPTIONS,
        "mountOptions (array of strings, OPTIONAL) The recognized names of the mount options, including \
         options that might not be supported by the host operating system.",
    )
    .test(|test| {
        let options = listed!(test, "/mountOptions");
        for option in ["bind", "rbind", "ro", "rw", "nosuid", "nodev", "noexec", "rprivate"] {
            assert!(options.iter().any(|name| name == option), "{option} is not listed");
        }
    }),
    must(
        "features.mount-options.recognized",
        MOUNT_OPTIONS,
        "The runtime MUST recognize the elements in this array as the options of mounts objects in \
         config.json.",
    )
    .test(every_mount_option_that_is_listed_is_recognized),
    should_not(
        "features.mount-options.filesystem-specific",
        MOUNT_OPTIONS,
        "Linux: this array SHOULD NOT contain filesystem-specific mount options that are passed to the \
         mount(2) syscall as const void *data.",
    )
    .test(no_mount_option_is_data),
];

fn the_hooks_are_those_of_the_specification(test: &Test) {
    let listed = listed!(test, "/hooks");
    let unknown: Vec<_> =
        listed.iter().filter(|kind| !hook::KINDS.contains(&kind.as_str())).collect();
    assert!(unknown.is_empty(), "the specification knows no hook {unknown:?}");
}

fn every_hook_that_is_listed_runs(test: &Test) {
    let (kinds, log) = (listed!(test, "/hooks"), test.dir().join("hooks.log"));
    let bundle =
        kinds.iter().fold(test.bundle(), |bundle, kind| hook::telling(bundle, kind, kind, &log));
    let inside = hook::inside_log(&bundle);
    let container = test.start(&bundle.args(&["/bin/true"]));
    container.wait();
    container.delete();
    let calls: Vec<_> = hook_calls(&log).into_iter().chain(hook_calls(&inside)).collect();
    let ran = |kind: &String| calls.iter().any(|call| call.label == *kind);
    let silent: Vec<_> = kinds.iter().filter(|kind| !ran(kind)).collect();
    assert!(silent.is_empty(), "listed, but they did not run: {silent:?}");
}

/// What a runtime does not know goes to the filesystem as data, and a tmpfs refuses what it does
/// not know either: so each option is tried on one. All at once first: that is quick.
fn every_mount_option_that_is_listed_is_recognized(test: &Test) {
    let options = listed!(test, "/mountOptions");
    let all = test.bundle_named("all").args(&["/bin/true"]).edit(|config| {
        options.iter().for_each(|option| add_mount(config, option));
    });
    if test.run(&all).status != 0 {
        recognizes(test, &options, add_mount);
    }
}

/// A mount that can have the option, on a place of its own.
fn add_mount(config: &mut Value, option: &str) {
    let mut mount = json!({
        "destination": format!("/opt/{option}"), "type": "tmpfs", "source": "tmpfs",
        "options": [option],
    });
    match option {
        "bind" | "rbind" | "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
            mount["source"] = json!("/tmp");
            mount["options"] = json!(["bind", option]);
        }
        "idmap" | "ridmap" => {
            let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
            mount["source"] = json!("/tmp");
            mount["options"] = json!(["bind", option]);
            mount["uidMappings"] = map.clone();
            mount["gidMappings"] = map;
        }
        "remount" => {
            let mut first = mount.clone();
            first["options"] = json!([]);
            push(&mut config["mounts"], first);
        }
        _ => {}
    }
    push(&mut config["mounts"], mount);
}

/// Names from tmpfs(5), proc(5), devpts, overlayfs and cgroups(7).
const DATA: [&str; 16] = [
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "huge",
    "mpol",
    "hidepid",
    "subset",
    "newinstance",
    "ptmxmode",
    "lowerdir",
    "upperdir",
    "workdir",
    "nsdelegate",
];

fn no_mount_option_is_data(test: &Test) {
    let options = listed!(test, "/mountOptions");
    let is_data = |name: &&String| name.contains('=') || DATA.contains(&name.as_str());
    let data: Vec<_> = options.iter().filter(is_data).collect();
    assert!(data.is_empty(), "filesystem-specific: {data:?}");
}
