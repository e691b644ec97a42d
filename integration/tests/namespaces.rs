//! Namespaces: new, kept, joined by path (runtime spec, config-linux.md "Namespaces").

use std::{fs, path::PathBuf};

use integration::{Container, Feature, Mode, Test, host, needs, only_on, test::parse};
use serde_json::json;

fn ns_path(container: &Container<'_>, proc_name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/{proc_name}", container.pid))
}

#[test]
fn every_namespace_in_the_list_is_new() {
    let test = Test::new();
    let facts = test.facts(&test.bundle().namespace("cgroup", None));
    let host = host::namespaces(std::process::id() as i32);
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        assert_ne!(facts.namespaces[name], host[name], "{name}");
    }
    let shared = Mode::current().is_rootless() || facts.namespaces["user"] == host["user"];
    assert!(shared, "an ordinary user needs one");
    assert_eq!(facts.pid, 1);
}

#[test]
fn a_namespace_that_is_not_in_the_list_is_the_hosts() {
    let test = Test::new();
    let host = host::namespaces(std::process::id() as i32);
    for (kind, proc_name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        let mut bundle = test.bundle_named(kind).without_namespace(kind);
        if kind == "uts" {
            bundle = bundle.edit(|config| config["hostname"] = json!(null));
        }
        let facts = test.facts(&bundle);
        assert_eq!(facts.namespaces[proc_name], host[proc_name], "{kind}");
        assert_eq!(facts.pid == 1, kind != "pid", "{kind}");
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let test = Test::new();
    needs!(Feature::Root);
    let other = test.create_as(
        "-other",
        &[],
        &test.bundle_named("other").namespace("cgroup", None).serve(),
    );
    let theirs = host::namespaces(other.pid);
    let kinds =
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup")];
    for (kind, proc_name) in kinds {
        let bundle = test
            .bundle_named(kind)
            .namespace(kind, Some(&ns_path(&other, proc_name)))
            .edit(|config| config["hostname"] = json!(null));
        let facts = test.facts(&bundle);
        assert_eq!(facts.namespaces[proc_name], theirs[proc_name], "{kind}");
        let joined =
            facts.namespaces.iter().filter(|(name, inode)| theirs.get(*name) == Some(inode));
        let joined: Vec<&str> = joined
            .map(|(name, _)| name.as_str())
            .filter(|name| !["user", "time", "time_for_children"].contains(name))
            .collect();
        let expected: &[&str] =
            if kind == "pid" { &["pid", "pid_for_children"] } else { &[proc_name] };
        let cgroup_aside: Vec<&str> =
            joined.into_iter().filter(|name| *name != "cgroup" || kind == "cgroup").collect();
        assert_eq!(cgroup_aside, expected, "only {kind} is shared");
    }
    other.remove();
}

#[test]
fn all_namespaces_are_joined_at_once() {
    let test = Test::new();
    needs!(Feature::Root);
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    let mut bundle = test.bundle().edit(|config| config["hostname"] = json!(null));
    for (kind, proc_name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        bundle = bundle.namespace(kind, Some(&ns_path(&other, proc_name)));
    }
    let facts = test.facts(&bundle);
    let theirs = host::namespaces(other.pid);
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(facts.namespaces[name], theirs[name], "{name}");
    }
    assert_ne!(facts.namespaces["mnt"], theirs["mnt"]);
    other.remove();
}

#[test]
fn a_namespace_is_joined_through_a_bind_mount() {
    let test = Test::new();
    needs!(Feature::Root);
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    let pin = test.dir().join("netns");
    fs::write(&pin, "").expect("a file to mount on");
    let none = None::<&str>;
    nix::mount::mount(
        Some(&ns_path(&other, "net")),
        &pin,
        none,
        nix::mount::MsFlags::MS_BIND,
        none,
    )
    .expect("a pinned namespace, as CNI makes it");
    let theirs = host::namespaces(other.pid);
    other.remove();
    let facts = test.facts(&test.bundle().namespace("network", Some(&pin)));
    nix::mount::umount(&pin).expect("umount");
    assert_eq!(facts.namespaces["net"], theirs["net"]);
}

#[test]
fn a_container_in_a_joined_pid_namespace_ends_with_its_own_process() {
    let test = Test::new();
    needs!(Feature::Root);
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    let joined = test.bundle().namespace("pid", Some(&ns_path(&other, "pid")));
    let container = test.serve(joined);
    assert_eq!(other.status(), "created");
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    assert_eq!(container.status(), "stopped");
    container.delete();
    assert_eq!(other.status(), "created");
    other.remove();
}

#[test]
fn the_pid_namespaces_first_process_takes_the_others_with_it() {
    let test = Test::new();
    let mut container =
        test.start(&test.bundle().shell("sleep 1000 & echo ready; exec probe serve"));
    container.expect("ready");
    container.expect("ready");
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.delete();
}

#[test]
fn delete_ends_every_process_of_a_container_in_the_hosts_pid_namespace() {
    let test = Test::new();
    // Nothing else tells which they are.
    needs!(Feature::Controller("freezer"));
    let bundle =
        test.bundle().without_namespace("pid").shell("sleep 1000 & echo started; exec probe serve");
    let mut container = test.start(&bundle);
    container.expect("started");
    container.expect("ready");
    container.remove();
}

#[test]
fn the_loopback_device_of_a_new_network_namespace_is_up() {
    let test = Test::new();
    let bundle = test.bundle();
    let facts =
        test.facts_with(&["--read", "/sys/class/net/lo/flags", "--read", "/proc/net/dev"], bundle);
    let flags = facts.files["/sys/class/net/lo/flags"].as_ref().expect("flags");
    let flags = i64::from_str_radix(flags.trim().trim_start_matches("0x"), 16).expect("a number");
    assert_eq!(flags & 1, 1, "IFF_UP");
    let devices = facts.files["/proc/net/dev"].as_ref().expect("devices");
    assert!(!devices.contains("eth"), "{devices}");
}

#[test]
fn hostname_is_set_and_the_hosts_stays() {
    let test = Test::new();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    let facts =
        test.facts(&test.bundle().edit(|config| config["hostname"] = json!("box-17.example")));
    assert_eq!(facts.hostname, "box-17.example");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname"), before);
}

#[test]
fn domainname_is_set() {
    let test = Test::new();
    only_on!(test, [Rtn], "domainname came with runtime spec 1.1");
    let facts =
        test.facts(&test.bundle().edit(|config| config["domainname"] = json!("nis.example")));
    assert_eq!(facts.domainname, "nis.example");
}

#[test]
fn in_a_cgroup_namespace_the_containers_cgroup_is_the_root() {
    let test = Test::new();
    let facts = test.facts(&test.bundle().namespace("cgroup", None));
    assert!(!facts.cgroups.is_empty());
    for line in facts.cgroups {
        // Runtimes of v1 leave the v2 tree of a hybrid host alone.
        if !line.starts_with("0::") {
            assert!(line.ends_with(":/"), "{line}");
        }
    }
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces_only() {
    let test = Test::new();
    let keys = [
        ("net.ipv4.ip_default_ttl", "/proc/sys/net/ipv4/ip_default_ttl", "77"),
        ("net.core.somaxconn", "/proc/sys/net/core/somaxconn", "321"),
        ("kernel.msgmax", "/proc/sys/kernel/msgmax", "9001"),
        ("kernel.shm_rmid_forced", "/proc/sys/kernel/shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "/proc/sys/fs/mqueue/msg_max", "9"),
    ];
    let host = keys.map(|(_, path, _)| fs::read_to_string(path).expect("a sysctl"));
    let bundle = test.bundle().edit(|config| {
        for (key, _, value) in keys {
            config["linux"]["sysctl"][key] = json!(value);
        }
    });
    let options: Vec<&str> = keys.iter().flat_map(|(_, path, _)| ["--read", path]).collect();
    let facts = test.facts_with(&options, bundle);
    for ((_, path, value), before) in keys.into_iter().zip(host) {
        assert_eq!(facts.files[path].as_deref().map(str::trim), Ok(value), "{path}");
        assert_eq!(fs::read_to_string(path).expect("a sysctl"), before, "{path} of the host");
    }
}

#[test]
fn a_new_time_namespace_has_its_offsets() {
    let test = Test::new();
    needs!(Feature::TimeNamespaces);
    only_on!(test, [Rtn], "the time namespace came with runtime spec 1.1");
    let bundle = test.bundle().namespace("time", None).edit(|config| {
        config["linux"]["timeOffsets"] =
            json!({ "monotonic": { "secs": 86400, "nanosecs": 0 }, "boottime": { "secs": -1 } });
    });
    let facts = test.facts(&bundle);
    assert_ne!(facts.namespaces["time"], host::namespaces(std::process::id() as i32)["time"]);
    assert_eq!((facts.timens["monotonic"], facts.timens["boottime"]), (86400, -1));
}

#[test]
fn a_time_namespace_is_joined_by_path_and_by_exec() {
    let test = Test::new();
    needs!(Feature::Root, Feature::TimeNamespaces);
    only_on!(test, [Rtn], "the time namespace came with runtime spec 1.1");
    let bundle = test.bundle_named("other").namespace("time", None).edit(|config| {
        config["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": 5000 } });
    });
    let other = test.create_as("-other", &[], &bundle.serve());
    let theirs = host::namespaces(other.pid)["time"];
    let facts = test.facts(&test.bundle().namespace("time", Some(&ns_path(&other, "time"))));
    assert_eq!((facts.namespaces["time"], facts.timens["monotonic"]), (theirs, 5000));
    other.start();
    let facts = parse(other.exec(&["/bin/probe", "facts"]).ok());
    assert_eq!((facts.namespaces["time"], facts.timens["monotonic"]), (theirs, 5000));
    other.remove();
}

#[test]
fn a_mount_namespace_is_joined_by_path() {
    let test = Test::new();
    needs!(Feature::Root);
    let bundle = test.bundle();
    let mut holder = std::process::Command::new("unshare");
    holder.args([
        "-m",
        "--propagation",
        "private",
        "/bin/busybox",
        "sh",
        "-c",
        "echo ready; exec /bin/busybox sleep 1000",
    ]);
    let (mut holder, mut output) =
        integration::wait::spawn_with_pipe(&mut holder).expect("unshare");
    integration::wait::line(&mut output, "ready");
    let path = PathBuf::from(format!("/proc/{}/ns/mnt", holder.id()));
    let theirs = host::namespaces(holder.id() as i32)["mnt"];
    let output = test.run(&bundle.namespace("mount", Some(&path)));
    holder.kill().and_then(|()| holder.wait()).expect("the holder ends");
    assert_eq!(parse(output.ok()).namespaces["mnt"], theirs);
}

#[test]
fn without_a_mount_namespace_the_host_keeps_its_mounts() {
    let test = Test::new();
    only_on!(test, [Rtn, Crun], "runc leaves its bind mount of the root filesystem behind");
    let bundle = test.bundle().without_namespace("mount").edit(|config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    // Refused or run in a changed root: either way the host's table, which the test compares at
    // its end, is the same.
    let output = test.run(&bundle.args(&["/bin/true"]));
    if output.status != 0 {
        output.fails();
    }
}
