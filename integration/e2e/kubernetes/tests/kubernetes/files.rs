//! What a container finds: words, directories, mounts, devices.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use e2e_common::{Running, host::Skip};
use e2e_kubernetes::{
    Pod, daemon,
    message::{Device, KeyValue, Mount, MountPropagation},
    pod, wait,
};

e2e_common::tests! {
    words_and_places
    volumes
    mounts_of_the_host_arrive
    mounts_of_the_container_arrive
    nothing_arrives_uncalled
    read_only_to_the_ground
    a_device
}

fn words_and_places() {
    let pod = Pod::run();
    let script = "echo \"$0 $KEY $PATH $(pwd)\"; exec sleep 1000";
    let container = pod.start_with(&["sh", "-c", script], |config| {
        config.args = vec!["argument".to_owned()];
        config.working_dir = "/made/for/it".to_owned();
        config.envs = vec![KeyValue { key: "KEY".to_owned(), value: "a=b c".to_owned() }];
    });
    let line = wait::until("its line", || container.log().first().cloned());
    assert_eq!(line.text, "argument a=b c /bin /made/for/it");
    assert_eq!(container.shell("echo $KEY; pwd"), "a=b c\n/made/for/it");
}

/// A directory of the host with a mount of its own on it, whose mounts others may see.
struct Shared(PathBuf);

fn mount(arguments: &[&str]) {
    let mut command = Command::new("mount");
    command.args(arguments);
    Running::start(command, b"").end().code(0);
}

impl Shared {
    fn new() -> Self {
        let name = pod::config().metadata.unwrap_or_default().name;
        let path = daemon::shared().directory().join("volumes").join(name);
        fs::create_dir_all(&path).expect("a directory");
        mount(&["-t", "tmpfs", "tmpfs", &path.to_string_lossy()]);
        mount(&["--make-shared", &path.to_string_lossy()]);
        fs::create_dir(path.join("inner")).expect("a directory");
        Self(path)
    }

    fn mount_inside(&self) {
        let inner = self.0.join("inner");
        mount(&["-t", "tmpfs", "tmpfs", &inner.to_string_lossy()]);
        fs::write(inner.join("file"), "inside").expect("a file");
    }

    /// It as a volume on /volume.
    fn volume(&self, propagation: MountPropagation) -> Mount {
        Mount {
            container_path: "/volume".to_owned(),
            host_path: self.0.display().to_string(),
            propagation: propagation as i32,
            ..Default::default()
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("-R").arg(&self.0);
        Running::start(command, b"").end();
    }
}

fn volumes() {
    let pod = Pod::run();
    let (one, other) = (Shared::new(), Shared::new());
    fs::write(other.0.join("file"), "of the host").expect("a file");
    let container = pod.start_with(&["sleep", "1000"], |config| {
        let writable = one.volume(MountPropagation::Private);
        let mut fixed = other.volume(MountPropagation::Private);
        (fixed.container_path, fixed.readonly) = ("/fixed".to_owned(), true);
        let mut file = fixed.clone();
        file.container_path = "/etc/of-the-host".to_owned();
        file.host_path = other.0.join("file").display().to_string();
        config.mounts = vec![writable, fixed, file];
    });
    container.shell("echo written >/volume/file");
    assert_eq!(fs::read_to_string(one.0.join("file")).expect("it is there"), "written\n");
    assert_eq!(container.shell("cat /fixed/file /etc/of-the-host"), "of the hostof the host");
    assert!(container.exec(&["touch", "/fixed/file"]).stderr.contains("Read-only"));
}

fn mounts_of_the_host_arrive() {
    let pod = Pod::run();
    let shared = Shared::new();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.mounts = vec![shared.volume(MountPropagation::HostToContainer)];
    });
    shared.mount_inside();
    assert_eq!(container.shell("cat /volume/inner/file"), "inside");
}

fn nothing_arrives_uncalled() {
    let pod = Pod::run();
    let shared = Shared::new();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.mounts = vec![shared.volume(MountPropagation::Private)];
    });
    shared.mount_inside();
    assert_eq!(container.shell("ls /volume/inner"), "");
}

fn mounts_of_the_container_arrive() {
    let privileged = |pod: &mut e2e_kubernetes::message::PodSandboxConfig| {
        let security = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.privileged = true;
    };
    let pod = Pod::with(privileged);
    let shared = Shared::new();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.security().privileged = true;
        config.security().seccomp = None;
        config.mounts = vec![shared.volume(MountPropagation::Bidirectional)];
    });
    container.shell("mount -t tmpfs tmpfs /volume/inner && echo out >/volume/inner/file");
    let seen = fs::read_to_string(shared.0.join("inner/file")).expect("it is there");
    assert_eq!(seen, "out\n");
}

fn read_only_to_the_ground() -> Result<(), Skip> {
    daemon::since(2, 0)?;
    let is_known = daemon::shared().is_rtn();
    e2e_common::host::needs(is_known, "runtime that tells of recursive read-only mounts")?;
    let pod = Pod::run();
    let shared = Shared::new();
    shared.mount_inside();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        let mut volume = shared.volume(MountPropagation::Private);
        (volume.readonly, volume.recursive_read_only) = (true, true);
        config.mounts = vec![volume];
    });
    assert_eq!(container.shell("cat /volume/inner/file"), "inside");
    assert!(container.exec(&["touch", "/volume/inner/file"]).stderr.contains("Read-only"));
    Ok(())
}

fn a_device() {
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.devices = vec![Device {
            container_path: "/dev/mine".to_owned(),
            host_path: "/dev/zero".to_owned(),
            permissions: "r".to_owned(),
        }];
    });
    assert!(Path::new("/dev/zero").exists());
    assert_eq!(container.shell("head -c 4 /dev/mine | od -An -tx1 | tr -d ' '"), "00000000");
}
