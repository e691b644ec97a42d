//! User namespaces. `rootless.rs` is about making them without being root.

use std::{fs, path::Path};

use integration::{Feature, Kind, Test, host, needs, only_on, test::parse};
use serde_json::json;

const HOST_ID: u32 = 100_000;
const SIZE: u32 = 65_536;

#[test]
fn root_inside_is_somebody_else_outside() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let container = test.serve(test.bundle().user_namespace(HOST_ID, SIZE));
    let status =
        fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("the process");
    assert!(
        status.contains(&format!("Uid:\t{HOST_ID}\t{HOST_ID}\t{HOST_ID}\t{HOST_ID}")),
        "{status}"
    );
    assert_ne!(
        host::namespaces(container.pid)["user"],
        host::namespaces(std::process::id() as i32)["user"]
    );
    let facts = container.exec_facts(&[]);
    assert_eq!((facts.uids, facts.gids), ([0; 4], [0; 4]));
    assert_eq!(
        (&facts.uid_map, &facts.gid_map),
        (&vec![(0, HOST_ID, SIZE)], &vec![(0, HOST_ID, SIZE)])
    );
    assert_eq!(facts.namespaces["user"], host::namespaces(container.pid)["user"]);
    container.remove();
}

#[test]
fn several_ranges_are_mapped() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    let ranges = json!([
        { "containerID": 0, "hostID": HOST_ID, "size": 1000 },
        { "containerID": 1000, "hostID": 300_000, "size": 1 },
        { "containerID": 2000, "hostID": 400_000, "size": 500 },
    ]);
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).edit(|config| {
        config["linux"]["uidMappings"] = ranges.clone();
        config["linux"]["gidMappings"] = ranges;
        config["process"]["user"] = json!({ "uid": 1000, "gid": 2001, "additionalGids": [2002] });
    });
    let facts = test.facts(&bundle);
    assert_eq!(facts.uid_map, [(0, HOST_ID, 1000), (1000, 300_000, 1), (2000, 400_000, 500)]);
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [2001; 4]));
    assert!(facts.groups.contains(&2002));
}

#[test]
fn all_the_usual_mounts_and_devices_work() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).namespace("cgroup", None);
    let script = "echo x >/dev/null && head -c 3 /dev/zero | wc -c && ls /dev/pts /dev/mqueue /sys /dev/shm >/dev/null \
                  && touch /dev/shm/x /file && exec probe facts --stat /dev/null --stat /dev/ptmx --stat /file";
    let output = test.run(&bundle.shell(script));
    let (count, facts) = output.ok().split_once('\n').expect("two lines");
    assert_eq!(count.trim(), "3");
    let facts = parse(facts);
    let null = facts.stats["/dev/null"].as_ref().expect("/dev/null");
    assert_eq!((null.device, null.mode), (Some((1, 3)), 0o666));
    assert_eq!(facts.stats["/file"].as_ref().expect("a file").uid, 0);
    for target in ["/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        assert!(facts.mount(target).is_some(), "{target}");
    }
}

#[test]
fn files_that_it_makes_belong_to_the_mapped_user() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE);
    let file = bundle.rootfs().join("file");
    let bundle = bundle.edit(|config| config["process"]["user"] = json!({ "uid": 0, "gid": 5 }));
    test.run(&bundle.args(&["/bin/probe", "write", "/file", "x"])).ok();
    let owner = fs::metadata(file).expect("the file");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((owner.uid(), owner.gid()), (HOST_ID, HOST_ID + 5));
}

#[test]
fn it_has_capabilities_over_its_own_namespaces_only() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let all: Vec<&str> =
        probe::CAPABILITIES.iter().copied().filter(|cap| *cap != "CAP_SYS_RESOURCE").collect();
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).capabilities(&all);
    let script = "probe try mount-tmpfs /var; probe try sethostname inside; probe try mknod /null 1 3; \
                  probe try kill 1; echo 1 2>/dev/null >/proc/sys/vm/drop_caches || echo refused";
    let output = test.run(&bundle.shell(script));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines, ["ok", "ok", "EPERM", "ok", "refused"], "{output:?}");
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    let other = test.create_as(
        "-other",
        &[],
        &test.bundle_named("other").user_namespace(HOST_ID, SIZE).serve(),
    );
    let path = format!("/proc/{}/ns/user", other.pid);
    let bundle =
        test.bundle().user_namespace(HOST_ID, SIZE).namespace("user", Some(Path::new(&path)));
    // Newer runtimes take the maps from the namespace, older ones insist on them.
    let bundle = match test.runtime.kind {
        Kind::Runc | Kind::Crun => bundle,
        _ => bundle.edit(|config| {
            let linux = config["linux"].as_object_mut().expect("linux");
            linux.remove("uidMappings");
            linux.remove("gidMappings");
        }),
    };
    let facts = test.facts(&bundle);
    assert_eq!(facts.namespaces["user"], host::namespaces(other.pid)["user"]);
    assert_eq!(facts.uids, [0; 4]);
    other.remove();
}

#[test]
fn sysctls_of_a_user_namespaces_own_namespaces_are_set() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).edit(|config| {
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "81" });
    });
    let facts = test.facts_with(&["--read", path], bundle);
    assert_eq!(facts.files[path].as_deref().map(str::trim), Ok("81"));
}

#[test]
fn a_terminal_belongs_to_the_mapped_user() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let socket = integration::console::ConsoleSocket::bind(test.dir().join("console"));
    let bundle = test
        .bundle()
        .user_namespace(HOST_ID, SIZE)
        .edit(|c| c["process"]["terminal"] = json!(true));
    let bundle = bundle.args(&["/bin/probe", "facts", "--stat", "/dev/pts/0"]);
    let path = socket.path().to_string_lossy().into_owned();
    let container = test.create_as("", &["--console-socket", &path], &bundle);
    let mut terminal = socket.terminal();
    container.start();
    let facts = parse(&terminal.rest());
    assert_eq!(facts.stats["/dev/pts/0"].as_ref().expect("the terminal").uid, 0);
    container.wait();
    container.delete();
}

#[test]
fn exec_enters_it_as_a_mapped_user() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    needs!(Feature::UserNamespaces);
    let container = test.serve(test.bundle().user_namespace(HOST_ID, SIZE));
    let facts = container.exec_facts(&["--user", "1000:1000"]);
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1000; 4]));
    assert!(facts.caps.effective.is_empty());
    container.remove();
}

#[test]
fn its_cgroup_is_limited_like_any_other() {
    let test = Test::new();
    needs!(Feature::UserNamespaces, Feature::Controller("pids"));
    let bundle = test.bundle().user_namespace(HOST_ID, SIZE).edit(|config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 33 });
    });
    let container = test.serve(bundle);
    assert_eq!(container.cgroup_file("pids.max"), "33");
    container.remove();
}
