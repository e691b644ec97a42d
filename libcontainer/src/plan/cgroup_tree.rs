//! A mount of type cgroup on a host with cgroup v1.

use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::LinuxNamespaceType;

use super::mounts::{Action, Mount, Surroundings, text};

/// A cgroup v1 tree: a tmpfs with a directory for each hierarchy. In a cgroup namespace each is
/// mounted anew and shows the container's cgroup as its root; else the container's own directory
/// of the host's tree is bound there.
pub(super) fn mounts(mount: Mount, around: &Surroundings<'_>) -> Vec<Mount> {
    let private = around.namespaces.private(LinuxNamespaceType::Cgroup);
    let (index, readonly) = (mount.index, mount.set & libc::MS_RDONLY);
    let below = |name: &str, source: &[u8], action, set| Mount {
        index,
        destination: mount.destination.join(name),
        source: text(source),
        action,
        set,
        clear: 0,
        set_all: 0,
        clear_all: 0,
        propagation: Vec::new(),
        late_readonly: false,
        of_cgroup: true,
    };
    let mut mounts = vec![Mount {
        action: Action::Filesystem {
            fstype: text(b"tmpfs"),
            data: text(b"mode=755"),
            copy_up: false,
        },
        source: text(b"tmpfs"),
        destination: mount.destination.clone(),
        set: mount.set & !libc::MS_RDONLY,
        late_readonly: readonly != 0,
        propagation: Vec::new(),
        ..mount
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
                mount.set,
            ),
            Some(path) => below(
                name,
                path.as_os_str().as_bytes(),
                Action::Bind { recursive: false },
                mount.set,
            ),
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
