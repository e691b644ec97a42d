//! A bundle: a directory with config.json and a root filesystem that holds busybox and the probe.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::Mode;

/// The static program that is built with these tests.
pub const PROBE: &str = env!("PROBE");

/// A bundle in the making; every test owns its copy of everything, so it may break it.
#[derive(Debug)]
pub struct Bundle {
    pub dir: PathBuf,
    pub config: Value,
}

impl Bundle {
    /// Makes `dir` with a root filesystem and a config.json like `runc spec`'s, without a terminal,
    /// that runs `probe facts`.
    pub(crate) fn new(dir: PathBuf) -> Self {
        fill_rootfs(&dir.join("rootfs"));
        let mut config = default_config();
        Mode::current().adapt(&mut config);
        let bundle = Self { dir, config };
        bundle.write();
        bundle
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Changes config.json.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self.write();
        self
    }

    /// Sets `process.args`.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// The same bundle, changed to run something else from now on.
    #[must_use]
    pub fn clone_with(&self, args: &[&str]) -> Self {
        Self { dir: self.dir.clone(), config: self.config.clone() }.args(args)
    }

    /// `/bin/sh -c script`.
    #[must_use]
    pub fn shell(self, script: &str) -> Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Runs `probe serve`: prints `ready`, ends on SIGTERM.
    #[must_use]
    pub fn serve(self) -> Self {
        self.args(&["/bin/probe", "serve"])
    }

    /// Appends to `mounts`.
    #[must_use]
    pub fn mount(self, mount: Value) -> Self {
        self.edit(|config| push(&mut config["mounts"], mount))
    }

    /// Removes the default mount on `destination`.
    #[must_use]
    pub fn without_mount(self, destination: &str) -> Self {
        self.edit(|config| remove(&mut config["mounts"], "destination", destination))
    }

    /// Takes the namespace out of the list, so that the host's is kept.
    #[must_use]
    pub fn without_namespace(self, kind: &str) -> Self {
        self.edit(|config| {
            remove(&mut config["linux"]["namespaces"], "type", kind);
            Mode::current().share(kind, config);
        })
    }

    /// Adds a namespace; `path` null makes a new one.
    #[must_use]
    pub fn namespace(self, kind: &str, path: Option<&Path>) -> Self {
        self.edit(|config| {
            remove(&mut config["linux"]["namespaces"], "type", kind);
            let mut entry = json!({ "type": kind });
            if let Some(path) = path {
                entry["path"] = json!(path);
            }
            push(&mut config["linux"]["namespaces"], entry);
        })
    }

    /// Gives the process `names` in the effective, permitted and bounding sets.
    #[must_use]
    pub fn capabilities(self, names: &[&str]) -> Self {
        self.edit(|config| {
            for set in ["effective", "permitted", "bounding"] {
                config["process"]["capabilities"][set] = json!(names);
            }
        })
    }

    /// A new user namespace in which 0 is `host_id` outside, with `size` ids; the files of the root
    /// filesystem are given to it.
    #[must_use]
    pub fn user_namespace(self, host_id: u32, size: u32) -> Self {
        chown_tree(&self.rootfs(), host_id);
        self.namespace("user", None).edit(|config| {
            let map = json!([{ "containerID": 0, "hostID": host_id, "size": size }]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        })
    }

    /// Writes a file into the root filesystem, for what images hold.
    #[must_use]
    pub fn file(self, path: &str, text: &str) -> Self {
        let file = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().expect("a parent")).expect("a directory in the rootfs");
        fs::write(file, text).expect("a file in the rootfs");
        self
    }

    fn write(&self) {
        self.write_text(&serde_json::to_string_pretty(&self.config).expect("plain JSON"));
    }

    /// Writes any text as config.json.
    pub fn write_text(&self, text: &str) {
        fs::write(self.dir.join("config.json"), text).expect("config.json can be written");
    }
}

/// An entry of `mounts`: a new tmpfs.
pub fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options })
}

/// An entry of `mounts`: what the host has at `source`.
pub fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

/// Appends to an array that may not exist yet.
pub fn push(array: &mut Value, item: Value) {
    if array.is_null() {
        *array = json!([]);
    }
    array.as_array_mut().expect("an array").push(item);
}

fn remove(array: &mut Value, key: &str, value: &str) {
    array.as_array_mut().expect("an array").retain(|item| item[key] != value);
}

/// Changes the owner of everything below `root`.
pub fn chown_tree(root: &Path, id: u32) {
    std::os::unix::fs::lchown(root, Some(id), Some(id)).expect("chown");
    if root.is_symlink() || !root.is_dir() {
        return;
    }
    for entry in fs::read_dir(root).expect("a directory").flatten() {
        chown_tree(&entry.path(), id);
    }
}

fn fill_rootfs(rootfs: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
        fs::create_dir_all(rootfs.join(directory)).expect("a directory for the rootfs");
    }
    fs::copy(PROBE, rootfs.join("bin/probe")).expect("the probe");
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("a static busybox on this host");
    // Hundreds of symlinks, each an inode of its own, would take longer than the whole test.
    for applet in applets() {
        fs::hard_link(rootfs.join("bin/busybox"), rootfs.join("bin").join(applet)).expect("a link");
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )
    .expect("passwd");
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
        .expect("group");
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let list = Command::new("/bin/busybox").arg("--list").output().expect("busybox");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        list.lines().filter(|name| *name != "busybox").map(str::to_owned).collect()
    })
}

fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/probe", "facts"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "container",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
