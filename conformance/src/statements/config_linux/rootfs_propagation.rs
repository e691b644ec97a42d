//! config-linux.md "Rootfs Mount Propagation".
//!
//! The mounts of a check are its own, and shared with one another as systemd has them.

use std::fs;

use integration::{Bundle, Container, Test, host};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use crate::{Statement, optional};

const SECTION: &str = r#"config-linux.md "Rootfs Mount Propagation""#;

pub(super) const STATEMENTS: &[Statement] = &[
    optional(
        "config-linux.rootfs-propagation.shared",
        SECTION,
        "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation. shared: the rootfs mount belongs \
         to a new peer group.",
    )
    .test(shared_is_a_new_peer_group),
    optional(
        "config-linux.rootfs-propagation.slave",
        SECTION,
        "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation. slave: the rootfs mount receives \
         propagation events from the host (e.g. if something is mounted on the host it will also appear in the \
         container) but not the other way around.",
    )
    .test(a_slave_sees_what_the_host_mounts),
    optional(
        "config-linux.rootfs-propagation.slave.one-way",
        SECTION,
        "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation. slave: the rootfs mount receives \
         propagation events from the host but not the other way around.",
    )
    .test(the_host_does_not_see_what_a_slave_mounts),
    optional(
        "config-linux.rootfs-propagation.private",
        SECTION,
        "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation. private: the rootfs mount doesn't \
         receive mount propagation events from the host",
    )
    .test(a_private_root_sees_nothing_of_the_host),
    optional(
        "config-linux.rootfs-propagation.unbindable",
        SECTION,
        "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation. unbindable: the rootfs mount is a \
         private mount that cannot be bind-mounted.",
    )
    .test(an_unbindable_root_cannot_be_bound),
    optional(
        "config-linux.rootfs-propagation.unknown",
        SECTION,
        "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation. Its value is either shared, \
         slave, private or unbindable.",
    )
    .test(|test| {
        test.create_fails(&with(test.bundle(), "sideways"));
    }),
];

fn with(bundle: Bundle, propagation: &str) -> Bundle {
    bundle.edit(|config| config["linux"]["rootfsPropagation"] = json!(propagation))
}

/// A container that may mount, with an empty /mnt. Its root filesystem is a mount of its own, as
/// engines have it.
fn serve<'t>(test: &'t Test, propagation: &str) -> Container<'t> {
    let bundle = bundle(test, propagation);
    let (none, rootfs) = (None::<&str>, bundle.rootfs());
    mount(Some(&rootfs), &rootfs, none, MsFlags::MS_BIND, none).expect("a bind mount");
    test.serve(bundle)
}

fn bundle(test: &Test, propagation: &str) -> Bundle {
    let bundle = with(test.bundle().capabilities(&["CAP_SYS_ADMIN"]), propagation);
    fs::create_dir(bundle.rootfs().join("mnt")).expect("a directory");
    bundle
}

/// Ends what [`serve`] began.
fn end(test: &Test, container: &Container<'_>) {
    container.remove();
    umount2(&test.dir().join("bundle/rootfs"), MntFlags::MNT_DETACH).expect("umount");
}

/// The fields of the root in the container's mountinfo: `shared:1`, `master:2`, `unbindable`.
fn root(container: &Container<'_>) -> Vec<String> {
    let facts = container.exec_facts(&[]);
    facts.mount("/").expect("a root").propagation.clone()
}

/// True if the container sees what is mounted into its root from the outside, after it was made.
fn sees_a_mount_of_the_host(test: &Test, container: &Container<'_>) -> bool {
    let (none, target) = (None::<&str>, test.dir().join("bundle/rootfs/mnt"));
    mount(Some("tmpfs"), &target, Some("tmpfs"), MsFlags::empty(), none).expect("a tmpfs");
    let seen = container.exec_facts(&[]).mount("/mnt").is_some();
    umount2(&target, MntFlags::MNT_DETACH).expect("umount");
    seen
}

/// True if the host sees what the container mounts into its root.
fn shows_a_mount_to_the_host(test: &Test, container: &Container<'_>) -> bool {
    let script = "mount -t tmpfs tmpfs /mnt && echo mounted";
    let output = container.exec(&["/bin/sh", "-c", script]);
    assert_eq!(output.stdout, "mounted\n", "{output:?}");
    let target = test.dir().join("bundle/rootfs/mnt");
    host::mounts().iter().any(|mount| target == std::path::Path::new(&mount.target))
}

fn peer_group(fields: &[String]) -> Option<&str> {
    fields.iter().find_map(|field| field.strip_prefix("shared:"))
}

fn shared_is_a_new_peer_group(test: &Test) {
    let container = serve(test, "shared");
    let (fields, shown) = (root(&container), shows_a_mount_to_the_host(test, &container));
    end(test, &container);
    let group = peer_group(&fields).unwrap_or_else(|| panic!("the root is {fields:?}"));
    let taken = host::mounts().iter().any(|mount| peer_group(&mount.propagation) == Some(group));
    assert!(!taken && !shown, "the peer group {group} is shared with the host");
}

fn a_slave_sees_what_the_host_mounts(test: &Test) {
    let container = serve(test, "slave");
    let (fields, seen) = (root(&container), sees_a_mount_of_the_host(test, &container));
    end(test, &container);
    assert!(fields.iter().any(|field| field.starts_with("master:")), "the root is {fields:?}");
    assert!(seen, "a mount of the host does not appear");
}

fn the_host_does_not_see_what_a_slave_mounts(test: &Test) {
    let container = serve(test, "slave");
    let shown = shows_a_mount_to_the_host(test, &container);
    end(test, &container);
    assert!(!shown);
}

fn a_private_root_sees_nothing_of_the_host(test: &Test) {
    let container = serve(test, "private");
    let (fields, seen) = (root(&container), sees_a_mount_of_the_host(test, &container));
    let shown = shows_a_mount_to_the_host(test, &container);
    end(test, &container);
    assert_eq!(fields, Vec::<String>::new(), "the root");
    assert_eq!((seen, shown), (false, false), "mounts that are seen inside and outside");
}

fn an_unbindable_root_cannot_be_bound(test: &Test) {
    let container = serve(test, "unbindable");
    let fields = root(&container);
    let bound = container.exec(&["/bin/sh", "-c", "mount -o bind / /mnt"]);
    end(test, &container);
    assert_eq!(fields, ["unbindable"], "the root");
    assert_ne!(bound.status, 0, "it was bound");
}
