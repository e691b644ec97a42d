//! The image, made on the spot: busybox under all its names, and a few accounts.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::wait;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    user:x:1000:1000:A User:/home/user:/bin/sh\n\
    nobody:x:65534:65534:nobody:/:/bin/false\n";

const GROUP: &str = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnogroup:x:65534:\n";

/// Makes the root filesystem below `directory`, hands its archive to `import` as standard input,
/// and removes it again.
///
/// # Errors
/// Of the filesystem; or that one of the commands failed or did not end.
pub fn import(directory: &Path, mut import: Command) -> io::Result<()> {
    let rootfs = directory.join("rootfs");
    populate(&rootfs)?;
    let mut tar = Command::new("tar");
    // Root's, whoever has made them: an id that a container's map lacks would be nobody's.
    tar.args(["--owner=0", "--group=0", "-c", "-C"]).arg(&rootfs).arg(".");
    let mut tar = tar.stdout(Stdio::piped()).spawn()?;
    let archive = tar.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    import.stdin(archive).stdout(Stdio::null());
    end(import.spawn()?, "import")?;
    end(tar, "tar")?;
    fs::remove_dir_all(&rootfs)
}

fn end(mut child: Child, name: &str) -> io::Result<()> {
    match wait::exit(&mut child, wait::PATIENCE)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("{name}: {status}"))),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{name} does not end"))),
    }
}

/// Fills the root filesystem.
///
/// # Errors
/// Of the filesystem; or that there is no busybox.
pub fn populate(rootfs: &Path) -> io::Result<()> {
    for directory in ["bin", "dev", "etc", "home/user", "proc", "root", "sys", "tmp", "var"] {
        fs::create_dir_all(rootfs.join(directory))?;
    }
    let bin = rootfs.join("bin");
    fs::copy(busybox()?, bin.join("busybox"))?;
    let applets = Command::new(bin.join("busybox")).arg("--list").output()?.stdout;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(applet))?;
    }
    fs::write(rootfs.join("etc/passwd"), PASSWD)?;
    fs::write(rootfs.join("etc/group"), GROUP)?;
    fs::write(bin.join("not-executable"), "#!/bin/sh\n")?;
    // A mount below it must stay inside the container's root.
    symlink("/tmp", rootfs.join("link"))
}

/// The statically linked one of Debian's busybox-static.
fn busybox() -> io::Result<&'static Path> {
    let path = Path::new("/bin/busybox");
    match path.exists() {
        true => Ok(path),
        false => Err(io::Error::other("/bin/busybox is missing: apt-get install busybox-static")),
    }
}
