//! An image with a systemd: a root filesystem of symbolic links and a few files of /etc, for
//! which this machine's own /usr is mounted.

use std::{fs, io, os::unix::fs::symlink, path::Path, process::Command};

use e2e_common::{Engine, Running};

use crate::{Place, Podman};

/// The image.
pub const MACHINE: &str = "machine";

/// What `run` needs beside it.
pub const FLAGS: &[&str] = &["--systemd=always", "-v", "/usr:/usr:ro"];

/// Units that are enabled without anybody's asking, and that a container has nothing for.
const MASKED: &[&str] =
    &["getty.target", "systemd-networkd-wait-online.service", "modprobe@.service"];

/// The whole of its /etc.
const FILES: &[(&str, &str)] = &[
    ("passwd", "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:990:990::/:/usr/sbin/nologin\n"),
    ("group", "root:x:0:\nmessagebus:x:990:\n"),
    ("shadow", "root:*:20000:0:99999:7:::\n"),
    // Of a machine that has been started before: nothing is enabled by itself.
    ("machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("hostname", "machine\n"),
];

/// Makes the image.
///
/// # Panics
/// When the files cannot be written, or podman refuses them.
pub fn import() {
    let root = Place::shared().file("machine-root");
    populate(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let archive = root.with_extension("tar");
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "-C"]).arg(&root).arg("-cf").arg(&archive).arg(".");
    Running::start(tar, b"").end().ok();
    let init = "CMD [\"/sbin/init\"]";
    Podman::call(&["import", "-q", "--change", init, &archive.to_string_lossy(), MACHINE]).ok();
    fs::remove_dir_all(&root).expect("a directory of ours");
}

fn populate(root: &Path) -> io::Result<()> {
    for directory in
        ["dev", "proc", "root", "run", "sys", "tmp", "usr", "var", "etc/systemd/system"]
    {
        fs::create_dir_all(root.join(directory))?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(Path::new("usr").join(link), root.join(link))?;
    }
    for (name, text) in FILES {
        fs::write(root.join("etc").join(name), text)?;
    }
    let units = root.join("etc/systemd/system");
    symlink("/usr/lib/systemd/system/multi-user.target", units.join("default.target"))?;
    MASKED.iter().try_for_each(|unit| symlink("/dev/null", units.join(unit)))
}
