//! What the snapshotter has a root made of: mounts, some of them with other users.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, Mount},
    ttrpc::Code,
};

use crate::common::{Shim, code, needs_root, refusal};

/// A directory with a file of its name, of user and group 3.
fn layer(directory: &Path, name: &str) -> PathBuf {
    let layer = directory.join(name);
    fs::create_dir(&layer).expect("a directory");
    fs::write(layer.join(name), name).expect("a file");
    chown(layer.join(name), Some(3), Some(3)).expect("a user");
    layer
}

/// The lines that `script` prints in the bundle while the root is mounted: it is run as a logger,
/// which does not become one, so that no container comes of it.
fn while_mounted(shim: &Shim, rootfs: Vec<Mount>, script: &str) -> Vec<String> {
    let (program, said) = (shim.bundle.join("program"), shim.bundle.join("said"));
    let directory = shim.bundle.display();
    fs::write(&program, format!("#!/bin/sh\ncd {directory} && ({script}) >said 2>&1\n"))
        .expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
    let stdout = format!("binary-v2://{}", program.display());
    let refused = refusal(shim.create(CreateTaskRequest { rootfs, stdout, ..Default::default() }));
    let said = fs::read_to_string(said).unwrap_or_else(|_| panic!("not mounted: {refused:?}"));
    shim.bundle.has_no_mount();
    said.lines().map(str::to_owned).collect()
}

const MAPS: [&str; 2] = ["uidmap=0:1000:10", "gidmap=0:2000:3,3:5000:1"];

#[test]
fn a_root_that_cannot_be_mounted_leaves_nothing() {
    needs_root!("mounting");
    let shim = Shim::start();
    let mount =
        |kind: &str| Mount { type_: kind.into(), source: kind.into(), ..Default::default() };
    let rootfs = vec![mount("tmpfs"), mount("no-such-filesystem")];
    let (_, text) = refusal(shim.create(CreateTaskRequest { rootfs, ..Default::default() }));
    assert!(text.contains("no-such-filesystem"), "{text}");
    shim.bundle.has_no_mount();
    shim.is_well();
}

#[test]
fn layers_are_mapped_and_nothing_of_their_stage_is_left() {
    needs_root!("mounting");
    let shim = Shim::start();
    let directory = &shim.bundle;
    let (first, second) = (layer(directory, "first"), layer(directory, "second"));
    let [upper, work] = ["upper", "work"].map(|name| directory.join(name));
    [&upper, &work].into_iter().for_each(|dir| fs::create_dir(dir).expect("a directory"));
    let overlay = |lower: String| {
        let upper = format!("upperdir={},workdir={}", upper.display(), work.display());
        let options = MAPS.map(str::to_owned).into_iter().chain([lower, upper]);
        let options = options.collect();
        Mount { type_: "overlay".into(), source: "overlay".into(), options, ..Default::default() }
    };
    let both = overlay(format!("lowerdir={}:{}", second.display(), first.display()));
    let script = "stat -c %u:%g rootfs/first rootfs/second; : >rootfs/new && stat -c %u upper/new; \
                  grep -c $PWD/ /proc/self/mounts";
    let said = while_mounted(&shim, vec![both], script);
    assert_eq!(said, ["1003:5000", "1003:5000", "0", "1"]);
    let missing = overlay(format!("lowerdir={}:/missing", second.display()));
    let missing = CreateTaskRequest { rootfs: vec![missing], ..Default::default() };
    assert_eq!(code(shim.create(missing)), Code::NOT_FOUND);
    shim.bundle.has_no_mount();
    shim.is_well();
}

#[test]
fn a_bind_mount_is_mapped() {
    needs_root!("mounting");
    let shim = Shim::start();
    let source = layer(&shim.bundle, "source").display().to_string();
    let options = MAPS.into_iter().chain(["rbind", "ro"]).map(str::to_owned).collect();
    let bind = Mount { type_: "bind".into(), source, options, ..Default::default() };
    let script = "stat -c %u:%g rootfs/source; : >rootfs/new";
    let said = while_mounted(&shim, vec![bind], script);
    assert_eq!(said[0], "1003:5000");
    assert!(said[1].contains("Read-only file system"), "{said:?}");
    shim.is_well();
}
