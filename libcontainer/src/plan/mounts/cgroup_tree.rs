//! Mounts of type cgroup.

use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::LinuxNamespaceType;

use super::{Action, Mount, Surroundings, label::with_label, text};
use crate::cgroup::Hierarchy;

/// A cgroup v1 tree: a tmpfs with a directory for each hierarchy. In a cgroup namespace each is
/// mounted anew and shows the container's cgroup as its root; else the container's own directory
/// of the host's tree is bound there.
pub(super) fn mounts(mount: Mount, around: &Surroundings<'_>) -> Vec<Mount> {
    // What is to hold for all of the tree holds for each mount of it.
    let set = (mount.set | mount.set_all) & !mount.clear_all;
    let top = Mount {
        source: text(b"tmpfs"),
        set: set & !libc::MS_RDONLY,
        late_readonly: set & libc::MS_RDONLY != 0,
        ..Mount::plain(
            mount.index,
            mount.destination.clone(),
            filesystem("tmpfs", &with_label("mode=755".to_owned(), "tmpfs", around.mount_label)),
        )
    };
    let hierarchies = &around.hierarchies.v1;
    let below = hierarchies.iter().flat_map(|it| hierarchy(it, &mount, set, around));
    std::iter::once(top).chain(below).collect()
}

/// The mount of a hierarchy, and a link for each of its controllers that has another name.
fn hierarchy(
    hierarchy: &Hierarchy,
    tree: &Mount,
    set: u64,
    around: &Surroundings<'_>,
) -> Vec<Mount> {
    let name = hierarchy.mount.file_name().and_then(|name| name.to_str());
    let Some(name) = name else { return Vec::new() };
    let below = |name: &str, source: &[u8], action, set| Mount {
        source: text(source),
        set,
        of_cgroup: true,
        ..Mount::plain(tree.index, tree.destination.join(name), action)
    };
    let controllers = &hierarchy.controllers;
    let mounted = match around.cgroup.place.paths().get(&controllers[0]) {
        _ if around.namespaces.private(LinuxNamespaceType::Cgroup) => {
            below(name, b"cgroup", filesystem("cgroup", &controllers.join(",")), set)
        }
        Some(path) => below(name, path.as_os_str().as_bytes(), Action::bind(false), set),
        None => return Vec::new(),
    };
    let others = controllers.iter().filter(|other| controllers.len() > 1 && *other != name);
    let links = others.map(|other| below(other, name.as_bytes(), Action::Symlink, 0));
    std::iter::once(mounted).chain(links).collect()
}

fn filesystem(kind: &str, data: &str) -> Action {
    Action::Filesystem {
        fstype: text(kind.as_bytes()),
        data: text(data.as_bytes()),
        copy_up: false,
    }
}

/// Without a cgroup namespace of its own a container gets the host's v2 tree, bound: to mount
/// cgroup2 in the host's namespace sets nsdelegate and memory_recursiveprot of the whole host to
/// what the new mount's options say (opencontainers/runc issue 5258), and in a user namespace the
/// kernel refuses it. There it gets its own cgroup alone, as under runc.
pub(super) fn of_host(mount: Mount, around: &Surroundings<'_>) -> Mount {
    let Some(unified) = &around.hierarchies.unified else { return mount };
    let private = around.namespaces.private(LinuxNamespaceType::Cgroup);
    if private || !mount.action.is_of(&["cgroup2"]) {
        return mount;
    }
    let own = around.cgroup.place.paths().get("");
    let own = own.filter(|_| around.namespaces.private(LinuxNamespaceType::User));
    let source = own.unwrap_or(&unified.mount);
    Mount {
        source: text(source.as_os_str().as_bytes()),
        action: Action::bind(false),
        of_cgroup: own.is_some(),
        ..mount
    }
}
