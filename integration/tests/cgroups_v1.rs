//! cgroup v1 with the cgroupfs driver: where a container is put and what is written there (runtime
//! spec, config-linux.md "Control groups"). What a file holds is asked of the kernel.

use std::fs;

use integration::{Bundle, Container, Feature, Kind, Test, host, leftovers, needs, only_on};
use serde_json::{Value, json};

fn resources(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["resources"][key] = value)
}

/// Creates the container, checks each `file` (`memory.limit_in_bytes`) for its value, deletes it.
#[track_caller]
fn expect_files(test: &Test, bundle: &Bundle, expected: &[(&str, &str)]) {
    let container = test.create(bundle);
    let found: Vec<String> = expected.iter().map(|(file, _)| container.cgroup_file(file)).collect();
    container.remove();
    for ((file, value), found) in expected.iter().zip(found) {
        assert_eq!(&found, value, "{file}");
    }
}

fn path(container: &Container<'_>, controller: &str) -> String {
    container.cgroup(controller).to_string_lossy().into_owned()
}

#[test]
fn memory_limits_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let memory = json!({ "limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20 });
    let bundle = resources(test.bundle(), "memory", memory);
    expect_files(
        &test,
        &bundle,
        &[
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "100663296"),
            ("memory.soft_limit_in_bytes", "33554432"),
        ],
    );
}

#[test]
fn swappiness_and_the_oom_switch_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let memory = json!({ "limit": 64 << 20, "swappiness": 17, "disableOOMKiller": true });
    let container = test.create(&resources(test.bundle(), "memory", memory));
    let (swappiness, oom) =
        (container.cgroup_file("memory.swappiness"), container.cgroup_file("memory.oom_control"));
    container.remove();
    assert_eq!(swappiness, "17");
    assert!(oom.contains("oom_kill_disable 1"), "{oom}");
}

#[test]
fn no_limit_is_minus_one() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun writes -1 to pids.max");
    needs!(Feature::CgroupV1("memory"), Feature::CgroupV1("pids"));
    let bundle = resources(test.bundle(), "memory", json!({ "limit": -1, "swap": -1 }));
    let bundle = resources(bundle, "pids", json!({ "limit": -1 }));
    let container = test.create(&bundle);
    let (memory, pids) =
        (container.cgroup_file("memory.limit_in_bytes"), container.cgroup_file("pids.max"));
    container.remove();
    assert!(memory.len() > 15, "{memory}");
    assert_eq!(pids, "max");
}

#[test]
fn a_swap_limit_may_be_written_before_or_after_the_memory_limit() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 1 << 30, "swap": 1 << 30 }));
    expect_files(
        &test,
        &bundle,
        &[("memory.limit_in_bytes", "1073741824"), ("memory.memsw.limit_in_bytes", "1073741824")],
    );
}

#[test]
fn cpu_shares_quota_and_period_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpu"));
    let bundle = resources(
        test.bundle(),
        "cpu",
        json!({ "shares": 777, "quota": 30_000, "period": 50_000 }),
    );
    expect_files(
        &test,
        &bundle,
        &[("cpu.shares", "777"), ("cpu.cfs_quota_us", "30000"), ("cpu.cfs_period_us", "50000")],
    );
}

#[test]
fn cpu_burst_and_idle_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpu"));
    only_on!(test, [Rtn], "burst and idle came with runc 1.2");
    let cpu = json!({ "quota": 30_000, "period": 50_000, "burst": 10_000 });
    expect_files(&test, &resources(test.bundle(), "cpu", cpu), &[("cpu.cfs_burst_us", "10000")]);
    let idle = resources(test.bundle_named("idle"), "cpu", json!({ "idle": 1 }));
    expect_files(&test, &idle, &[("cpu.idle", "1")]);
}

#[test]
fn realtime_limits_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpu"), Feature::RealtimeGroups);
    let cpu = json!({ "realtimePeriod": 900_000, "realtimeRuntime": 1_000 });
    let output = test.run(&resources(test.bundle(), "cpu", cpu).args(&["/bin/true"]));
    // What the parent group has left decides; the kernel's refusal has to be told.
    if output.status != 0 {
        assert!(output.fails().contains("cpu.rt_"), "{output:?}");
    }
}

#[test]
fn cpusets_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpuset"));
    let bundle = resources(test.bundle(), "cpu", json!({ "cpus": "0", "mems": "0" }));
    expect_files(&test, &bundle, &[("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
}

#[test]
fn without_a_cpuset_that_of_the_parent_is_taken() {
    let test = Test::new();
    needs!(Feature::CgroupV1("cpuset"));
    let path = format!("/{}/below/deep", test.id());
    let bundle = test.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    let container = test.create(&bundle);
    let cpus = container.cgroup_file("cpuset.cpus");
    container.remove();
    remove_parents(&test);
    let mount = host::hierarchy("cpuset").expect("cpuset");
    assert_eq!(
        cpus,
        fs::read_to_string(format!("{}/cpuset.cpus", mount.target)).expect("cpus").trim()
    );
}

/// Removes the parents of a nested cgroup: no runtime removes what it may share with others.
fn remove_parents(test: &Test) {
    let mut directories = leftovers::cgroups(test.id());
    for directory in directories.clone() {
        directories.extend(subdirectories(&directory));
    }
    directories.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for directory in directories {
        let _ = fs::remove_dir(directory);
    }
}

fn subdirectories(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let own: Vec<_> =
        entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
    own.iter().flat_map(|path| subdirectories(path)).chain(own.clone()).collect()
}

/// runtime-spec 1.3 makes the limit optional.
#[test]
fn a_pids_object_without_a_limit_limits_nothing() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let container = test.serve(resources(test.bundle(), "pids", json!({})));
    assert_eq!(container.cgroup_file("pids.max"), "max");
    let file = test.dir().join("resources.json");
    std::fs::write(&file, json!({ "pids": { "limit": 77 } }).to_string()).expect("a file");
    let update = || container.call(&["update", "--resources", &file.to_string_lossy()]);
    update().ok();
    assert_eq!(container.cgroup_file("pids.max"), "77");
    std::fs::write(&file, json!({ "pids": {} }).to_string()).expect("a file");
    update().ok();
    assert_eq!(container.cgroup_file("pids.max"), "77");
    container.remove();
}

#[test]
fn the_pids_limit_is_written_and_holds() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let bundle = resources(test.bundle(), "pids", json!({ "limit": 8 }));
    expect_files(&test, &bundle, &[("pids.max", "8")]);
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done";
    let output = test.run(&bundle.shell(script));
    assert!(output.stderr.contains("fork"), "{output:?}");
}

#[test]
fn block_io_throttles_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("blkio"), Feature::BlockDevice);
    let (major, minor) = host::block_device().expect("a block device");
    let one = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let throttles = json!({
        "throttleReadBpsDevice": one(1 << 20),
        "throttleWriteBpsDevice": one(2 << 20),
        "throttleReadIOPSDevice": one(300),
        "throttleWriteIOPSDevice": one(400),
    });
    let line = |rate: u64| format!("{major}:{minor} {rate}");
    expect_files(
        &test,
        &resources(test.bundle(), "blockIO", throttles),
        &[
            ("blkio.throttle.read_bps_device", &line(1 << 20)),
            ("blkio.throttle.write_bps_device", &line(2 << 20)),
            ("blkio.throttle.read_iops_device", &line(300)),
            ("blkio.throttle.write_iops_device", &line(400)),
        ],
    );
}

#[test]
fn block_io_weights_are_written() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 does not know the BFQ files");
    needs!(Feature::BlkioWeight);
    let container = test.create(&resources(test.bundle(), "blockIO", json!({ "weight": 333 })));
    let directory = container.cgroup("blkio");
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (plain, bfq) = (read("blkio.weight"), read("blkio.bfq.weight"));
    container.remove();
    assert!(plain.contains("333") || bfq.contains("333"), "{plain:?} {bfq:?}");
}

#[test]
fn network_classes_and_priorities_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("net_cls"), Feature::CgroupV1("net_prio"));
    let network = json!({ "classID": 1_048_577, "priorities": [{ "name": "lo", "priority": 5 }] });
    let container = test.create(&resources(test.bundle(), "network", network));
    let (class, priorities) =
        (container.cgroup_file("net_cls.classid"), container.cgroup_file("net_prio.ifpriomap"));
    container.remove();
    assert_eq!(class, "1048577");
    assert!(priorities.lines().any(|line| line == "lo 5"), "{priorities}");
}

#[test]
fn huge_page_limits_are_written() {
    let test = Test::new();
    needs!(Feature::CgroupV1("hugetlb"));
    let bundle = resources(
        test.bundle(),
        "hugepageLimits",
        json!([{ "pageSize": "2MB", "limit": 4 << 20 }]),
    );
    expect_files(&test, &bundle, &[("hugetlb.2MB.limit_in_bytes", "4194304")]);
}

#[test]
fn devices_are_denied_by_default_and_allowed_by_rule() {
    let test = Test::new();
    needs!(Feature::CgroupV1("devices"));
    let bundle = test.bundle().capabilities(&["CAP_MKNOD"]).edit(|config| {
        config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rm" },
        ]);
    });
    let script = "probe try mknod /kmsg 1 11; probe try open /kmsg; probe try open-write /kmsg; \
                  probe try mknod /mem 1 1; probe try open /mem; probe try open /dev/null";
    let output = test.run(&bundle.shell(script));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "ok", "mknod of the allowed device");
    assert_eq!(lines[2], "EPERM", "it is allowed for reading only");
    assert!(lines[4] == "EPERM", "everything else is denied: {lines:?}");
    assert_eq!(lines[5], "ok", "the default devices are always allowed");
}

#[test]
fn the_device_list_is_what_the_rules_say() {
    let test = Test::new();
    needs!(Feature::CgroupV1("devices"));
    let bundle = test.bundle().edit(|config| {
        config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "b", "major": 259, "access": "r" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
        ]);
    });
    let container = test.create(&bundle);
    let list = container.cgroup_file("devices.list");
    container.remove();
    let has = |rule: &str| list.lines().any(|line| line == rule);
    assert!(
        has("b 259:* r") && has("c 10:229 rw") && has("c 1:3 rwm") && has("c 136:* rwm"),
        "{list}"
    );
    if !test.excuses(&[Kind::Crun], "allows tunnels through systemd alone") {
        assert!(has("c 10:200 rwm"), "{list}");
    }
    assert!(!has("a *:* rwm"), "{list}");
}

#[test]
fn the_default_path_is_named_after_the_container() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let container = test.create(&test.bundle().serve());
    let found = path(&container, "pids");
    container.remove();
    assert!(found.ends_with(&format!("/{}", test.id())), "{found}");
}

#[test]
fn an_absolute_path_counts_from_the_root_of_the_hierarchy() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let wanted = format!("/{}-x", test.id());
    let bundle = test.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(wanted));
    let container = test.create(&bundle.serve());
    for controller in ["memory", "pids", "cpu", "name=systemd"] {
        let mount = host::hierarchy(controller).expect("a hierarchy");
        assert_eq!(
            path(&container, controller),
            format!("{}{wanted}", mount.target),
            "{controller}"
        );
    }
    container.remove();
}

#[test]
fn a_relative_path_counts_from_the_runtimes_own_cgroup() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    only_on!(test, [Rtn, Runc], "crun counts every path from the root");
    let bundle = test
        .bundle()
        .edit(|config| config["linux"]["cgroupsPath"] = json!(format!("{}-x", test.id())));
    let container = test.create(&bundle.serve());
    let own = host::cgroup_of(std::process::id() as i32, "memory");
    let found = container.cgroup("memory");
    container.remove();
    assert_eq!(found, own.join(format!("{}-x", test.id())));
}

#[test]
fn a_nested_path_is_made_and_its_leaf_removed() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let parent = host::hierarchy("pids").expect("pids").target + &format!("/{}", test.id());
    fs::create_dir(&parent).expect("a cgroup");
    let wanted = format!("/{}/a/b", test.id());
    let bundle = test.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(wanted));
    let container = test.create(&bundle.serve());
    assert!(path(&container, "pids").ends_with(&wanted));
    let directory = container.cgroup("pids");
    container.remove();
    assert!(!directory.exists());
    remove_parents(&test);
}

#[test]
fn every_hierarchy_is_entered() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let container = test.create(&test.bundle().serve());
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).expect("cgroups");
    container.remove();
    for line in text.lines().filter(|line| !line.starts_with("0::")) {
        assert!(line.ends_with(test.id()), "{line}");
    }
}

#[test]
fn sub_cgroups_of_the_container_are_removed_with_it() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let container = test.serve(test.bundle());
    for controller in ["pids", "memory"] {
        fs::create_dir_all(container.cgroup(controller).join("made/inside")).expect("cgroups");
    }
    container.remove();
}

#[test]
fn a_process_in_a_sub_cgroup_is_ended_by_delete() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    only_on!(test, [Rtn, Runc], "crun 1.8 leaves it running");
    let bundle =
        test.bundle().without_namespace("pid").shell("sleep 1000 & echo $!; exec probe serve");
    let mut container = test.start(&bundle);
    container.expect("ready");
    let sleeper = fs::read_to_string(container.cgroup("pids").join("cgroup.procs")).expect("pids");
    let sleeper = sleeper
        .lines()
        .find(|pid| *pid != container.pid.to_string())
        .expect("a second process")
        .to_owned();
    for mount in host::hierarchies().collect::<Vec<_>>() {
        let name =
            mount.super_options.iter().find(|o| host::hierarchy(o).is_some_and(|m| m == mount));
        let Some(name) = name.filter(|_| mount.fstype == "cgroup") else { continue };
        let sub = container.cgroup(name).join("sub");
        fs::create_dir(&sub).expect("a cgroup");
        if name == "cpuset" {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::copy(container.cgroup(name).join(file), sub.join(file)).expect("a cpuset");
            }
        }
        fs::write(sub.join("cgroup.procs"), &sleeper).expect("the process moves");
    }
    container.remove();
}

#[test]
fn exec_enters_every_hierarchy() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let container = test.serve(test.bundle());
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).expect("cgroups");
    let exec = container.exec(&["/bin/cat", "/proc/self/cgroup"]);
    container.remove();
    assert_eq!(exec.ok(), init);
}

#[test]
fn a_container_that_needs_more_memory_than_its_limit_is_killed() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 16 << 20, "swap": 16 << 20 }));
    let output = test.run(&bundle.args(&["/bin/probe", "alloc", &(64 << 20).to_string()]));
    assert_eq!(output.status, 137, "{output:?}");
}

#[test]
fn a_small_limit_is_enough_for_a_small_program() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    only_on!(test, [Rtn, Crun], "runc needs more than 6 MiB itself");
    let bundle = resources(test.bundle(), "memory", json!({ "limit": 1 << 20, "swap": 1 << 20 }));
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn the_pids_of_a_container_are_all_in_its_cgroup() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let mut container =
        test.start(&test.bundle().shell("sleep 1000 & sleep 1000 & exec probe serve"));
    container.expect("ready");
    let directory = container.cgroup("pids");
    let count = fs::read_to_string(directory.join("cgroup.procs")).expect("pids").lines().count();
    let listed = container.call(&["ps", "--format", "json"]).json();
    container.remove();
    assert_eq!(count, 3);
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
}

#[test]
fn two_containers_may_not_share_a_cgroup_that_has_processes() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "deleting the second one ends the first one with crun");
    needs!(Feature::CgroupV1("pids"));
    let shared = format!("/{}-shared", test.id());
    let with_path = |name: &str| {
        test.bundle_named(name)
            .serve()
            .edit(|config| config["linux"]["cgroupsPath"] = json!(shared))
    };
    let first = test.create_as("-first", &[], &with_path("first"));
    let second = with_path("second");
    let output = test.call(&["create", "--bundle", &second.dir.to_string_lossy(), test.id()]);
    if output.status == 0 {
        // runc before 1.2 warns only; both then have to go one after the other.
        assert!(
            test.excuses(&[Kind::Runc, Kind::Crun], "a cgroup in use is taken all the same"),
            "{output:?}"
        );
        test.call(&["delete", "--force", test.id()]).ok();
    }
    // The first one must not have been touched.
    assert_eq!(first.status(), "created");
    first.remove();
}

#[test]
fn stale_empty_cgroups_do_not_disturb() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let stale = format!("{}/{}", host::hierarchy("pids").expect("pids").target, test.id());
    fs::create_dir(&stale).expect("a cgroup");
    test.run(&test.bundle().args(&["/bin/true"])).ok();
}

#[test]
fn unified_keys_are_for_v2_only() {
    let test = Test::new();
    needs!(Feature::CgroupV1("memory"));
    only_on!(test, [Rtn, Runc], "crun ignores them on v1");
    let bundle = resources(test.bundle(), "unified", json!({ "memory.max": "1000000000" }));
    test.create_fails(&bundle).stderr.contains("unified");
}
