//! The watch on the host sees what is left there; without this, every other test would be blind.

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
};

use integration::{Feature, Test, host, needs};
use nix::mount::{MsFlags, mount, umount};

#[test]
fn a_mount_is_seen() {
    let test = Test::new();
    let target = test.dir().join("mnt");
    fs::create_dir(&target).expect("a directory");
    mount(Some("tmpfs"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    let found = test.differences();
    umount(&target).expect("umount");
    assert!(found.iter().any(|line| line.contains("mount is new")), "{found:?}");
}

#[test]
fn a_changed_mount_is_seen() {
    let test = Test::new();
    let none = None::<&str>;
    mount(none, "/dev/shm", none, MsFlags::MS_PRIVATE, none).expect("mount");
    let found = test.differences();
    assert!(found.iter().any(|line| line.contains("mount is gone")), "{found:?}");
    // Shared again, it would be in another peer group: the view cannot be made what it was.
    fs::remove_dir_all(test.dir()).expect("the test's directory");
    std::mem::forget(test);
}

#[test]
fn a_cgroup_is_seen() {
    let test = Test::new();
    needs!(Feature::Controller("pids"));
    let mount = host::hierarchy("pids").or_else(|| host::hierarchy("")).expect("pids");
    let directory = PathBuf::from(mount.target).join(test.id());
    fs::create_dir(&directory).expect("a cgroup");
    let found = test.differences();
    fs::remove_dir(&directory).expect("the cgroup");
    assert!(found.iter().any(|line| line.starts_with("cgroup")), "{found:?}");
}

#[test]
fn a_state_directory_and_a_file_are_seen() {
    let test = Test::new();
    let state = test.root().join("x");
    fs::create_dir_all(&state).expect("a directory");
    let file = PathBuf::from("/dev/shm").join(test.id());
    fs::write(&file, "").expect("a file");
    let found = test.differences();
    fs::remove_file(&file).expect("the file");
    fs::remove_dir(&state).expect("the directory");
    assert!(found.iter().any(|line| line.starts_with("state")), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("file")), "{found:?}");
}

#[test]
fn a_process_is_seen() {
    let test = Test::new();
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-c", "echo; read line; exit", test.id()]);
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
    // Its parent goes on before it has its command line.
    process.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("it runs");
    let found = test.differences();
    process.kill().and_then(|()| process.wait()).expect("the process ends");
    assert!(found.iter().any(|line| line.starts_with("process")), "{found:?}");
}
