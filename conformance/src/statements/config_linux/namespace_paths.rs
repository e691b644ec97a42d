//! config-linux.md "Namespaces": `path`, and types that are not in the list.

use std::{fs, path::Path, process::Command};

use integration::{Bundle, Container, Feature, Test, bundle::push, host, needs};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use serde_json::{Value, json};

use super::namespaces::SECTION;
use crate::{Statement, must};

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.namespaces.path.absolute",
        SECTION,
        "path (string, OPTIONAL) - namespace file. This value MUST be an absolute path in the runtime mount namespace.",
    )
    .test(a_relative_path_is_refused),
    must("config-linux.namespaces.path.pid", SECTION, JOINED).test(|test| joined(test, "pid", "pid")),
    must("config-linux.namespaces.path.network", SECTION, JOINED)
        .test(|test| joined(test, "network", "net")),
    must("config-linux.namespaces.path.mount", SECTION, JOINED).test(a_mount_namespace_is_joined),
    must("config-linux.namespaces.path.ipc", SECTION, JOINED).test(|test| joined(test, "ipc", "ipc")),
    must("config-linux.namespaces.path.uts", SECTION, JOINED).test(|test| joined(test, "uts", "uts")),
    must("config-linux.namespaces.path.user", SECTION, JOINED).test(a_user_namespace_is_joined),
    must("config-linux.namespaces.path.cgroup", SECTION, JOINED)
        .test(|test| joined(test, "cgroup", "cgroup")),
    must("config-linux.namespaces.path.time", SECTION, JOINED).test(|test| {
        needs!(Feature::TimeNamespaces);
        joined(test, "time", "time");
    }),
    must(
        "config-linux.namespaces.path.of-another-type",
        SECTION,
        "The runtime MUST generate an error if path is not associated with a namespace of type type.",
    )
    .test(a_namespace_of_another_type_is_refused),
    must(
        "config-linux.namespaces.path.of-no-type",
        SECTION,
        "The runtime MUST generate an error if path is not associated with a namespace of type type.",
    )
    .test(a_file_that_is_no_namespace_is_refused),
    must(
        "config-linux.namespaces.path.none",
        SECTION,
        "If path is not specified, the runtime MUST create a new container namespace of type type.",
    )
    .test(without_a_path_it_is_new),
    must("config-linux.namespaces.inherited.pid", SECTION, INHERITED)
        .test(|test| inherited(test, "pid", "pid")),
    must("config-linux.namespaces.inherited.network", SECTION, INHERITED)
        .test(|test| inherited(test, "network", "net")),
    must("config-linux.namespaces.inherited.mount", SECTION, INHERITED)
        .test(the_mount_namespace_is_inherited),
    must("config-linux.namespaces.inherited.ipc", SECTION, INHERITED)
        .test(|test| inherited(test, "ipc", "ipc")),
    must("config-linux.namespaces.inherited.uts", SECTION, INHERITED)
        .test(|test| inherited(test, "uts", "uts")),
    must("config-linux.namespaces.inherited.user", SECTION, INHERITED)
        .test(|test| inherited(test, "user", "user")),
    must("config-linux.namespaces.inherited.cgroup", SECTION, INHERITED)
        .test(|test| inherited(test, "cgroup", "cgroup")),
    must("config-linux.namespaces.inherited.time", SECTION, INHERITED).test(|test| {
        needs!(Feature::TimeNamespaces);
        inherited(test, "time", "time");
    }),
    must(
        "config-linux.namespaces.duplicates",
        SECTION,
        "If a namespaces field contains duplicated namespaces with same type, the runtime MUST generate an error.",
    )
    .test(duplicates_are_refused),
];

const JOINED: &str =
    "The runtime MUST place the container process in the namespace associated with that path.";

const INHERITED: &str = "If a namespace type is not specified in the namespaces array, the container MUST inherit \
    the runtime namespace of that type.";

/// Each type of the specification with its name in /proc/PID/ns.
const TYPES: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(name: &str) -> u64 {
    host::namespaces(std::process::id() as i32)[name]
}

fn theirs(pid: i32, name: &str) -> u64 {
    host::namespaces(pid)[name]
}

/// A container cannot have a name in a namespace that is not its own.
fn nameless(bundle: Bundle) -> Bundle {
    bundle.edit(|config| config["hostname"] = Value::Null)
}

/// The path would lead to the right file from the working directory of the call.
fn a_relative_path_is_refused(test: &Test) {
    let path = format!("proc/{}/ns/net", std::process::id());
    let bundle = test.bundle().namespace("network", Some(Path::new(&path)));
    let dir = bundle.dir.to_string_lossy().into_owned();
    let mut command = test.command(&["create", "--bundle", &dir, test.id()]);
    integration::wait::output(command.current_dir("/")).fails();
}

fn file(pid: i32, name: &str) -> String {
    format!("/proc/{pid}/ns/{name}")
}

/// A container with a new namespace of every type but `user`.
fn neighbour<'t>(test: &'t Test, kind: &str) -> Container<'t> {
    let bundle = test.bundle_named("neighbour").namespace(kind, None);
    test.create_as("-neighbour", &[], &bundle.serve())
}

fn joined(test: &Test, kind: &str, name: &str) {
    let other = neighbour(test, kind);
    let (wanted, path) = (theirs(other.pid, name), file(other.pid, name));
    let container = test.create(&nameless(test.bundle().namespace(kind, Some(Path::new(&path)))));
    let found = theirs(container.pid, name);
    container.remove();
    // The first process of a pid namespace ends after all others have been reaped.
    container.wait();
    other.remove();
    assert_ne!(wanted, own(name), "the neighbour's namespace is its own");
    assert_eq!(found, wanted, "{kind}");
}

/// A mount namespace that a process outside of any container keeps.
fn a_mount_namespace_is_joined(test: &Test) {
    let bundle = test.bundle();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "/bin/busybox", "sh", "-c"]);
    command.arg("echo ready; exec /bin/busybox sleep 1000");
    let (mut holder, mut output) =
        integration::wait::spawn_with_pipe(&mut command).expect("unshare");
    integration::wait::line(&mut output, "ready");
    let pid = holder.id() as i32;
    let container = test.create(&bundle.namespace("mount", Some(Path::new(&file(pid, "mnt")))));
    let (wanted, found) = (theirs(pid, "mnt"), theirs(container.pid, "mnt"));
    container.remove();
    holder.kill().and_then(|()| holder.wait()).expect("the holder ends");
    assert_eq!(found, wanted);
}

fn a_user_namespace_is_joined(test: &Test) {
    needs!(Feature::UserNamespaces);
    let bundle = test.bundle_named("neighbour").user_namespace(200_000, 65_536);
    let other = test.create_as("-neighbour", &[], &bundle.serve());
    let bundle = test.bundle().user_namespace(200_000, 65_536).edit(|config| {
        config["linux"]["uidMappings"] = Value::Null;
        config["linux"]["gidMappings"] = Value::Null;
    });
    let bundle = bundle.namespace("user", Some(Path::new(&file(other.pid, "user"))));
    let container = test.create(&bundle);
    let (wanted, found) = (theirs(other.pid, "user"), theirs(container.pid, "user"));
    container.remove();
    other.remove();
    assert_ne!(wanted, own("user"), "the neighbour's namespace is its own");
    assert_eq!(found, wanted);
}

fn a_namespace_of_another_type_is_refused(test: &Test) {
    let other = neighbour(test, "cgroup");
    for (kind, name) in TYPES {
        let wrong = if name == "uts" { "ipc" } else { "uts" };
        let path = file(other.pid, wrong);
        let bundle = nameless(test.bundle_named(kind).namespace(kind, Some(Path::new(&path))));
        let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
        assert_ne!(output.status, 0, "{kind}: {path} was accepted");
        output.fails();
    }
    other.remove();
}

fn a_file_that_is_no_namespace_is_refused(test: &Test) {
    for (kind, path) in [("network", "/etc/passwd"), ("ipc", "/dev/null"), ("uts", "/not/there")] {
        let bundle = nameless(test.bundle_named(kind).namespace(kind, Some(Path::new(path))));
        test.create_fails(&bundle);
    }
}

fn without_a_path_it_is_new(test: &Test) {
    for (kind, name) in TYPES {
        let bundle = test.bundle_named(kind);
        let bundle = match kind {
            "user" => bundle.user_namespace(200_000, 65_536),
            _ => bundle.namespace(kind, None),
        };
        let container = test.create_as(kind, &[], &bundle);
        let found = theirs(container.pid, name);
        container.remove();
        assert_ne!(found, own(name), "{kind}");
    }
}

fn inherited(test: &Test, kind: &str, name: &str) {
    let container = test.create(&nameless(test.bundle().without_namespace(kind)));
    let found = theirs(container.pid, name);
    container.remove();
    assert_eq!(found, own(name), "{kind}");
}

/// What a runtime does to the mounts of the namespace that it shares is seen in that one, which is
/// made for this check. A runtime may refuse mounts there, so that /proc is in the bundle.
fn the_mount_namespace_is_inherited(test: &Test) {
    let bundle = test.bundle().without_namespace("mount").edit(|config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let before = fs::File::open("/proc/self/ns/mnt").expect("this mount namespace");
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let (none, proc) = (None::<&str>, bundle.rootfs().join("proc"));
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount(Some("proc"), &proc, Some("proc"), MsFlags::empty(), none).expect("a proc");
    let container = test.create(&bundle);
    let (found, wanted) = (theirs(container.pid, "mnt"), own("mnt"));
    container.remove();
    setns(before, CloneFlags::CLONE_NEWNS).expect("the mount namespace of before");
    assert_eq!(found, wanted);
}

fn duplicates_are_refused(test: &Test) {
    for (kind, _) in TYPES {
        let bundle = test.bundle_named(kind);
        let bundle = match kind {
            "user" => bundle.user_namespace(200_000, 65_536),
            _ => bundle.namespace(kind, None),
        };
        let bundle =
            bundle.edit(|config| push(&mut config["linux"]["namespaces"], json!({ "type": kind })));
        let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
        assert_ne!(output.status, 0, "{kind} was accepted twice");
        output.fails();
    }
}
