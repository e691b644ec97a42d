//! The container's view of files: volumes, tmpfs, devices, the root itself.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use e2e_docker::{Container, IDLE, cgroup, daemon, docker, host, run};

e2e_common::tests! {
    volume_is_written_by_the_container
    volume_read_only
    volume_of_one_file
    volume_made_by_docker_outlives_the_container
    volume_takes_over_what_the_image_has
    volumes_from_another_container
    volumes_from_another_container_read_only
    volume_with_nested_mounts
    volume_target_through_a_link_stays_in_the_container
    volume_propagation_is_private_by_default
    volume_propagation_shared_and_slave
    mounts_of_the_container_stay_in_it
    mount_with_long_options
    tmpfs_with_options
    tmpfs_by_default_is_noexec
    read_only_root
    read_only_root_with_tmpfs_and_volume
    root_is_an_overlay_and_the_old_root_is_gone
    shm_size
    default_devices
    device_with_permissions
    device_under_another_name
    device_directory
    device_cgroup_rule
    mqueue_devpts_and_sysfs_are_there
    cgroups_are_visible_and_read_only
    files_that_docker_provides
}

/// A directory of the host.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = daemon::shared().place().file("volume");
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    /// As the argument of `-v`.
    fn at(&self, target: &str) -> String {
        format!("{}:{target}", self.0.display())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

fn volume_is_written_by_the_container() {
    let directory = Directory::new();
    directory.write("from-host", "hello");
    let script = "cat /data/from-host; echo back > /data/from-container";
    assert_eq!(run(&["-v", &directory.at("/data")], &["sh", "-c", script]).ok(), "hello");
    assert_eq!(directory.read("from-container"), "back\n");
}

fn volume_read_only() {
    let directory = Directory::new();
    let container = Container::start(&["-v", &directory.at("/data:ro")], IDLE);
    container.exec(&[], &["touch", "/data/file"]).fails("read-only file system");
    assert!(host::mount_on(container.pid(), "/data").has("ro"));
    assert!(!directory.0.join("file").exists());
}

fn volume_of_one_file() {
    let directory = Directory::new();
    directory.write("file", "content");
    let file = format!("{}/file:/etc/new/file:ro", directory.0.display());
    assert_eq!(run(&["-v", &file], &["cat", "/etc/new/file"]).ok(), "content");
    let file = format!("{}/file:/etc/passwd", directory.0.display());
    assert_eq!(run(&["-v", &file, "-u", "0"], &["cat", "/etc/passwd"]).ok(), "content");
}

fn volume_made_by_docker_outlives_the_container() {
    let volume = format!("volume-{}", std::process::id());
    let target = format!("{volume}:/data");
    run(&["-v", &target], &["sh", "-c", "echo kept > /data/file"]).ok();
    let kept = run(&["-v", &target], &["cat", "/data/file"]).ok();
    docker(&["volume", "rm", &volume]).ok();
    assert_eq!(kept, "kept");
}

fn volume_takes_over_what_the_image_has() {
    assert_eq!(run(&["-v", "/home"], &["ls", "/home"]).ok(), "user");
}

fn volumes_from_another_container() {
    let directory = Directory::new();
    let owner = Container::start(&["-v", &directory.at("/bound"), "-v", "/anonymous"], IDLE);
    owner.exec(&[], &["sh", "-c", "echo a > /anonymous/file; echo b > /bound/file"]).ok();
    let seen = run(&["--volumes-from", owner.name()], &["cat", "/anonymous/file", "/bound/file"]);
    assert_eq!(seen.ok(), "a\nb");
    assert_eq!(directory.read("file"), "b\n");
}

fn volumes_from_another_container_read_only() {
    let owner = Container::start(&["-v", "/anonymous"], IDLE);
    let from = format!("{}:ro", owner.name());
    run(&["--volumes-from", &from], &["touch", "/anonymous/x"]).fails("read-only file system");
}

fn volume_with_nested_mounts() {
    let (outer, inner) = (Directory::new(), Directory::new());
    inner.write("file", "inner");
    let flags = ["-v", &inner.at("/data/inner"), "-v", &outer.at("/data")];
    assert_eq!(run(&flags, &["cat", "/data/inner/file"]).ok(), "inner");
}

fn volume_target_through_a_link_stays_in_the_container() {
    let directory = Directory::new();
    directory.write("file", "linked");
    // /link of the image points to /tmp: to the container's, whoever resolves it.
    let container = Container::start(&["-v", &directory.at("/link/below")], IDLE);
    assert_eq!(container.exec(&[], &["cat", "/tmp/below/file"]).ok(), "linked");
    assert!(host::mount_on(container.pid(), "/tmp/below").has("rw"));
    assert!(!Path::new("/tmp/below").exists());
}

fn volume_propagation_is_private_by_default() {
    let directory = Directory::new();
    let container = Container::start(&["-v", &directory.at("/data")], IDLE);
    assert!(host::mount_on(container.pid(), "/data").propagation.is_empty());
    assert!(!host::mount_on(container.pid(), "/").propagation.join(" ").contains("shared"));
}

fn volume_propagation_shared_and_slave() {
    let source = daemon::shared().place().private();
    let propagation = |mode: &str| {
        let volume = format!("{}:/data:{mode}", source.display());
        let container = Container::start(&["-v", &volume], IDLE);
        host::mount_on(container.pid(), "/data").propagation.join(" ")
    };
    let (shared, slave) = (propagation("rshared"), propagation("rslave"));
    assert!(shared.starts_with("shared:"), "{shared:?}");
    assert!(slave.starts_with("master:"), "{slave:?}");
}

fn mounts_of_the_container_stay_in_it() {
    let container = Container::start(&["-v", "/anonymous", "--tmpfs", "/t"], IDLE);
    let id = container.id();
    let mut seen = daemon::shared().new_mounts();
    seen.retain(|mount| mount.target.contains("/merged/") || mount.target.contains(&id));
    // What dockerd itself has mounted for it: the root and /dev/shm.
    seen.retain(|mount| {
        !mount.target.ends_with("/merged") && !mount.target.ends_with("/mounts/shm")
    });
    assert!(seen.is_empty(), "{seen:#?}");
}

fn mount_with_long_options() {
    let directory = Directory::new();
    let bind = format!("type=bind,src={},dst=/bound,readonly", directory.0.display());
    let tmpfs = "type=tmpfs,dst=/memory,tmpfs-size=1048576,tmpfs-mode=1770";
    let container = Container::start(&["--mount", &bind, "--mount", tmpfs], IDLE);
    assert!(host::mount_on(container.pid(), "/bound").has("ro"));
    let memory = host::mount_on(container.pid(), "/memory");
    assert!(
        memory.kind == "tmpfs" && memory.has("size=1024k") && memory.has("mode=1770"),
        "{memory:?}"
    );
}

fn tmpfs_with_options() {
    let container = Container::start(&["--tmpfs", "/t:rw,exec,size=2m,mode=700,uid=1000"], IDLE);
    let mount = host::mount_on(container.pid(), "/t");
    for option in ["rw", "size=2048k", "mode=700", "uid=1000", "nosuid", "nodev"] {
        assert!(mount.has(option), "{option}: {mount:?}");
    }
    assert!(!mount.has("noexec"), "{mount:?}");
    container
        .exec(&[], &["dd", "if=/dev/zero", "of=/t/f", "bs=1M", "count=3"])
        .fails("no space left");
}

fn tmpfs_by_default_is_noexec() {
    let container = Container::start(&["--tmpfs", "/t"], IDLE);
    let mount = host::mount_on(container.pid(), "/t");
    assert!(["noexec", "nosuid", "nodev"].iter().all(|option| mount.has(option)), "{mount:?}");
}

fn read_only_root() {
    let container = Container::start(&["--read-only"], IDLE);
    assert!(host::mount_on(container.pid(), "/").has("ro"));
    container.exec(&[], &["touch", "/file"]).fails("read-only file system");
    container.exec(&[], &["touch", "/dev/shm/file"]).ok();
}

fn read_only_root_with_tmpfs_and_volume() {
    let flags = ["--read-only", "--tmpfs", "/tmp", "-v", "/new/volume"];
    run(&flags, &["touch", "/tmp/file", "/new/volume/file"]).ok();
}

fn root_is_an_overlay_and_the_old_root_is_gone() {
    let container = Container::start(&[], IDLE);
    let mounts = host::mounts(container.pid());
    assert_eq!(
        (mounts[0].target.as_str(), mounts[0].kind.as_str()),
        ("/", "overlay"),
        "{mounts:?}"
    );
    let outside = daemon::shared().place().directory().to_string_lossy().into_owned();
    let leaked = |mount: &&host::Mount| mount.target.starts_with(&outside);
    assert_eq!(mounts.iter().find(leaked), None);
    container.exec(&[], &["ls", &outside]).fails("no such file");
}

fn shm_size() {
    let size = |flags: &[&str]| {
        let container = Container::start(flags, IDLE);
        let mount = host::mount_on(container.pid(), "/dev/shm");
        mount.options.into_iter().find(|option| option.starts_with("size=")).unwrap_or_default()
    };
    assert_eq!(size(&[]), "size=65536k");
    assert_eq!(size(&["--shm-size", "3m"]), "size=3072k");
}

/// Kind, number and permissions of a node in a container's /dev.
fn node(container: &Container, name: &str) -> (char, (u32, u32), u32) {
    let path = host::root(container.pid()).join("dev").join(name);
    let node = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let kind = if node.file_type().is_block_device() { 'b' } else { 'c' };
    let number = (rustix::fs::major(node.rdev()), rustix::fs::minor(node.rdev()));
    assert!(node.file_type().is_char_device() || kind == 'b', "{name} is no device");
    (kind, number, node.mode() & 0o7777)
}

fn default_devices() {
    let container = Container::start(&[], IDLE);
    let numbers = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in numbers {
        assert_eq!(node(&container, name), ('c', (major, minor), 0o666), "{name}");
    }
    let dev = host::root(container.pid()).join("dev");
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        assert_eq!(fs::read_link(dev.join(name)).unwrap_or_default(), Path::new(target), "{name}");
    }
    container.exec(&[], &["dd", "if=/dev/zero", "of=/dev/null", "count=1"]).ok();
}

/// What the devices controller lets the container do; v2 has programs in its place, not files.
fn has_device_rule(container: &Container, rule: &str) -> bool {
    !cgroup::is_v1() || container.limit("devices/devices.list").lines().any(|line| line == rule)
}

fn device_with_permissions() {
    let container = Container::start(&["--device", "/dev/fuse:/dev/fuse:r"], IDLE);
    assert_eq!(node(&container, "fuse").1, (10, 229));
    assert!(has_device_rule(&container, "c 10:229 r"));
    container.exec(&[], &["sh", "-c", ": < /dev/fuse"]).ok();
    container.exec(&[], &["sh", "-c", ": > /dev/fuse"]).fails("operation not permitted");
}

fn device_under_another_name() {
    let container = Container::start(&["--device", "/dev/fuse:/dev/deep/er/name"], IDLE);
    assert_eq!(node(&container, "deep/er/name").1, (10, 229));
    assert!(has_device_rule(&container, "c 10:229 rwm"));
}

fn device_directory() {
    let container = Container::start(&["--device", "/dev/net"], IDLE);
    let ours = fs::metadata("/dev/net/tun").expect("the device is there").mode() & 0o7777;
    assert_eq!(node(&container, "net/tun"), ('c', (10, 200), ours));
}

fn device_cgroup_rule() {
    let container = Container::start(&["--device-cgroup-rule", "c 10:229 rw"], IDLE);
    assert!(has_device_rule(&container, "c 10:229 rw"));
    container.exec(&[], &["sh", "-c", "mknod /tmp/fuse c 10 229 && : < /tmp/fuse"]).ok();
}

fn mqueue_devpts_and_sysfs_are_there() {
    let container = Container::start(&[], IDLE);
    let kind = |target| host::mount_on(container.pid(), target).kind;
    assert_eq!(
        ["/dev", "/dev/pts", "/dev/mqueue", "/proc", "/sys"].map(kind),
        ["tmpfs", "devpts", "mqueue", "proc", "sysfs",]
    );
    let pts = host::mount_on(container.pid(), "/dev/pts");
    assert!(pts.has("gid=5") && pts.has("mode=620") && pts.has("ptmxmode=666"), "{pts:?}");
    assert!(host::mount_on(container.pid(), "/sys").has("ro"));
}

fn cgroups_are_visible_and_read_only() {
    let container = Container::start(&[], IDLE);
    let here = if cgroup::is_v1() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let script = format!("cat {here}/cgroup.procs; mkdir {here}/new");
    let output = container.exec(&[], &["sh", "-c", &script]);
    assert!(output.fails("read-only file system").out().starts_with("1\n"), "{output:?}");
    let mounts = host::mounts(container.pid());
    let mut cgroups = mounts.iter().filter(|mount| mount.kind.starts_with("cgroup")).peekable();
    assert!(cgroups.peek().is_some());
    for mount in cgroups {
        assert!(mount.has("ro"), "{mount:?}");
        assert!(mount.root.contains(&container.id()), "only its own: {mount:?}");
    }
}

fn files_that_docker_provides() {
    let flags = ["--add-host", "some.where:192.0.2.7", "--dns", "192.0.2.53", "-h", "me"];
    let container = Container::start(&flags, IDLE);
    let text = |name: &str| container.exec(&[], &["cat", name]).ok();
    assert!(text("/etc/hosts").contains("192.0.2.7\tsome.where"));
    assert!(text("/etc/resolv.conf").contains("nameserver 192.0.2.53"));
    assert_eq!(text("/etc/hostname"), "me");
}
