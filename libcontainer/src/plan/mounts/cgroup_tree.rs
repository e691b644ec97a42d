//! Mounts of type cgroup.

use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::LinuxNamespaceType;

use super::{Action, Mount, Surroundings, label::with_label, text};

/// A cgroup v1 tree: a tmpfs with a directory for each hierarchy. In a cgroup namespace each is
/// mounted anew and shows the container's cgroup as its root; else the container's own directory
/// of the host's tree is bound there.
pub(super) fn mounts(mount: Mount, around: &Surroundings<'_>) -> Vec<Mount> {
    let private = around.namespaces.private(LinuxNamespaceType::Cgroup);
    // What is to hold for all of the tree holds for each mount of it.
    let set = (mount.set | mount.set_all) & !mount.clear_all;
    let (index, readonly) = (mount.index, set & libc::MS_RDONLY);
    let below = |name: &str, source: &[u8], action, set| Mount {
        source: text(source),
        set,
        of_cgroup: true,
        ..Mount::plain(index, mount.destination.join(name), action)
    };
    let data = with_label("mode=755".to_owned(), "tmpfs", around.mount_label);
    let mut mounts = vec![Mount {
        source: text(b"tmpfs"),
        set: set & !libc::MS_RDONLY,
        late_readonly: readonly != 0,
        ..Mount::plain(
            index,
            mount.destination.clone(),
            Action::Filesystem {
                fstype: text(b"tmpfs"),
                data: text(data.as_bytes()),
                copy_up: false,
            },
        )
    }];
    for hierarchy in &around.hierarchies.v1 {
        let Some(name) = hierarchy.mount.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let controllers = hierarchy.controllers.join(",");
        let inside = around.cgroup.place.paths().get(&hierarchy.controllers[0]);
        mounts.push(match inside {
            _ if private => below(
                name,
                b"cgroup",
                Action::Filesystem {
                    fstype: text(b"cgroup"),
                    data: text(controllers.as_bytes()),
                    copy_up: false,
                },
                set,
            ),
            Some(path) => below(name, path.as_os_str().as_bytes(), Action::bind(false), set),
            None => continue,
        });
        for controller in hierarchy.controllers.iter().filter(|controller| *controller != name) {
            if hierarchy.controllers.len() > 1 {
                mounts.push(below(controller, name.as_bytes(), Action::Symlink, 0));
            }
        }
    }
    mounts
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
