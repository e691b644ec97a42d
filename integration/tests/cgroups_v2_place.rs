//! Where a container's cgroup is on a host with cgroup v2 alone, what is in it and who may change
//! it: paths, namespaces, delegation, exec, freezing and the end. Its limits are cgroups_v2.rs.

use std::{
    fs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    thread,
};

use integration::{Bundle, Feature, Kind, Mode, Test, host, leftovers, needs, only_on};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

fn resources(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["resources"][key] = value)
}

fn cgroups_path(bundle: Bundle, path: &str) -> Bundle {
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path))
}

/// A cgroup of the test's own in [`Mode::parent`], with nothing but the controllers of its parent.
struct Parent(PathBuf);

impl Parent {
    fn new(test: &Test) -> Self {
        let path = Mode::current().parent().join(format!("{}-parent", test.id()));
        fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect("a file of a cgroup").trim().to_owned()
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).expect("a file of a cgroup");
    }

    /// For `linux.cgroupsPath`: `name` below it.
    fn below(&self, name: &str) -> String {
        let root = host::hierarchy("").expect("cgroup2").target;
        format!("/{}/{name}", self.0.strip_prefix(root).expect("below the mount").display())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for path in leftovers::cgroups_below(&self.0) {
            let _ = fs::remove_dir(path);
        }
    }
}

#[test]
fn the_default_path_is_beside_the_runtimes_own_cgroup() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cgroup"));
    let container = test.create(&test.bundle().serve());
    let found = container.cgroup("");
    container.remove();
    if test.excuses(&[Kind::Crun], "crun makes it in the root") {
        return;
    }
    let mode = Mode::current();
    assert_eq!(found, mode.parent().join(mode.cgroup_name(test.id())));
}

#[test]
fn an_absolute_path_counts_from_the_root_of_the_hierarchy() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("cgroup"));
    let wanted = format!("/{}-x", test.id());
    let container = test.create(&cgroups_path(test.bundle(), &wanted).serve());
    let found = container.cgroup("");
    container.remove();
    let root = host::hierarchy("").expect("cgroup2").target;
    assert_eq!(found, PathBuf::from(root + &wanted));
}

#[test]
fn controllers_are_handed_down_to_the_leaf_and_only_the_leaf_is_removed() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("memory"), Feature::CgroupV2("pids"));
    let parent = Parent::new(&test);
    let bundle = cgroups_path(test.bundle(), &parent.below("a/b"));
    let bundle = resources(bundle, "memory", json!({ "limit": 64 << 20 }));
    let container = test.create(&bundle.serve());
    let leaf = container.cgroup("");
    let read = |file| fs::read_to_string(leaf.join(file)).expect("a file of the cgroup");
    let (enabled, handed_on) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let limit = read("memory.max");
    container.remove();
    assert_eq!(leaf, parent.0.join("a/b"));
    assert_eq!(limit.trim(), "67108864");
    for controller in ["cpu", "memory", "pids", "io"] {
        assert!(enabled.contains(controller), "{controller} for the statistics: {enabled}");
    }
    assert_eq!(handed_on.trim(), "", "what is below the leaf is the container's business");
    assert!(!leaf.exists() && parent.0.join("a").exists());
}

/// Who comes second finds a controller named that the first one is still enabling.
#[test]
fn neighbours_below_a_new_cgroup_all_get_their_limits() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("hugetlb"));
    let limits = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
    let named = |name: &String| {
        let bundle = resources(test.bundle_named(name), "hugepageLimits", limits.clone());
        cgroups_path(bundle.serve(), &Parent::new(&test).below(name))
    };
    let names: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let bundles: Vec<Bundle> = names.iter().map(named).collect();
    for _ in 0..8 {
        let parent = Parent::new(&test);
        let create = |(name, bundle)| test.create_as(&format!("-{name}"), &[], bundle);
        let containers: Vec<_> = thread::scope(|scope| {
            let pairs = names.iter().zip(&bundles);
            let threads: Vec<_> = pairs.map(|pair| scope.spawn(move || create(pair))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it is created")).collect()
        });
        for (name, container) in names.iter().zip(containers) {
            assert_eq!(parent.read(&format!("{name}/hugetlb.2MB.max")), "4194304");
            container.remove();
        }
    }
}

#[test]
fn a_parent_with_processes_cannot_hand_limits_down() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("memory"));
    let parent = Parent::new(&test);
    let mut sleeper = std::process::Command::new("/bin/busybox");
    let mut sleeper = sleeper.args(["sleep", "1000"]).spawn().expect("a process");
    parent.write("cgroup.procs", &sleeper.id().to_string());
    let bundle = cgroups_path(test.bundle(), &parent.below("leaf"));
    let bundle = resources(bundle, "memory", json!({ "limit": 64 << 20 }));
    let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    sleeper.kill().and_then(|()| sleeper.wait()).expect("the process ends");
    output.fails();
    if !test.excuses(&[Kind::Runc, Kind::Crun], "tells the errno alone") {
        output.fails_with("memory controller is not enabled here");
        assert!(output.stderr.contains("has processes of its own"), "{output:?}");
    }
    if !test.excuses(&[Kind::Runc, Kind::Crun], "leaves what it could enable") {
        assert_eq!(parent.read("cgroup.subtree_control"), "");
    }
    assert!(!parent.0.join("leaf").exists() || test.excuses(&[Kind::Crun], "stays"));
    drop(parent);
    test.assert_clean();
}

#[test]
fn below_a_threaded_cgroup_there_is_no_place_for_a_process() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("cgroup"));
    let parent = Parent::new(&test);
    fs::create_dir(parent.0.join("threads")).expect("a cgroup");
    fs::write(parent.0.join("threads/cgroup.type"), "threaded").expect("a threaded cgroup");
    let bundle = cgroups_path(test.bundle(), &parent.below("leaf")).serve();
    let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    if output.status == 0 {
        let excused = test.excuses(&[Kind::Runc, Kind::Crun], "makes it a threaded one, and runs");
        assert!(excused, "{output:?}");
        test.call(&["delete", "--force", test.id()]).ok();
        return;
    }
    output.fails();
    if !test.excuses(&[Kind::Runc, Kind::Crun], "tells the errno alone") {
        output.fails_with("domain invalid");
    }
    drop(parent);
    test.assert_clean();
}

#[test]
fn a_cgroup_that_is_frozen_is_refused() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("cgroup"));
    only_on!(test, [Rtn, Runc], "crun waits for ever");
    let parent = Parent::new(&test);
    let leaf = parent.0.join("leaf");
    fs::create_dir(&leaf).expect("a cgroup");
    fs::write(leaf.join("cgroup.freeze"), "1").expect("a frozen cgroup");
    let bundle = cgroups_path(test.bundle(), &parent.below("leaf")).serve();
    let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    output.fails_with("frozen");
    assert!(leaf.exists() || test.excuses(&[Kind::Runc], "removes what it did not make"));
    drop(parent);
    test.assert_clean();
}

#[test]
fn a_cgroup_that_would_freeze_is_refused() {
    let test = Test::new();
    needs!(Feature::CgroupV2("freezer"));
    only_on!(test, [Rtn], "runc and crun wait for ever");
    let frozen = resources(test.bundle(), "unified", json!({ "cgroup.freeze": "1" }));
    test.create_fails(&frozen).fails_with("linux.resources.unified.cgroup.freeze");
    let running = resources(test.bundle_named("0"), "unified", json!({ "cgroup.freeze": "0" }));
    test.run(&running.args(&["/bin/true"])).ok();
}

#[test]
fn two_containers_may_not_share_a_cgroup_that_has_processes() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("cgroup"));
    only_on!(test, [Rtn], "older runtimes warn at most, and delete ends both");
    let shared = format!("{}-shared", test.id());
    let with_path = |name: &str| cgroups_path(test.bundle_named(name).serve(), &shared);
    let first = test.create_as("-first", &[], &with_path("first"));
    let second = with_path("second");
    let output = test.call(&["create", "--bundle", &second.dir.to_string_lossy(), test.id()]);
    output.fails_with("not empty");
    assert_eq!(first.status(), "created");
    first.remove();
}

#[test]
fn a_stale_empty_cgroup_does_not_disturb() {
    let test = Test::new();
    needs!(Feature::Cgroupfs, Feature::CgroupV2("cgroup"));
    let parent = Parent::new(&test);
    fs::create_dir(parent.0.join("stale")).expect("a cgroup");
    let bundle = cgroups_path(test.bundle(), &parent.below("stale"));
    test.run(&bundle.args(&["/bin/true"])).ok();
    assert!(!parent.0.join("stale").exists());
}

#[test]
fn in_a_cgroup_namespace_its_own_cgroup_is_the_root_and_what_it_sees() {
    let test = Test::new();
    needs!(Feature::CgroupV2("pids"));
    let bundle = test.bundle().namespace("cgroup", None).mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    }));
    let bundle = resources(bundle, "pids", json!({ "limit": 21 }));
    let facts = test.facts_with(&["--read", "/sys/fs/cgroup/pids.max"], bundle);
    assert_eq!(facts.cgroups, ["0::/"]);
    let mount = facts.mount("/sys/fs/cgroup").expect("the tree");
    assert!(mount.fstype == "cgroup2" && mount.has("ro") && mount.has("nodev"), "{mount:?}");
    assert_eq!(facts.files["/sys/fs/cgroup/pids.max"].as_deref().map(str::trim), Ok("21"));
}

/// A mount of cgroup2 from the host's cgroup namespace would give nsdelegate and
/// memory_recursiveprot of the whole host the values of its own options.
#[test]
fn without_a_cgroup_namespace_it_sees_the_tree_and_the_hosts_options_stay() {
    let test = Test::new();
    needs!(Feature::Root, Feature::CgroupV2("pids"));
    only_on!(test, [Rtn], "the options are lost (opencontainers/runc issue 5258)");
    let bundle = test.bundle().mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    }));
    let bundle = resources(bundle, "pids", json!({ "limit": 22 }));
    let before = host::hierarchy("").expect("cgroup2").super_options;
    let script = "cat /sys/fs/cgroup$(sed s/0::// /proc/self/cgroup)/pids.max; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null || echo no";
    let output = test.run(&bundle.shell(script));
    assert_eq!(output.ok(), "22\nno\n");
    assert_eq!(host::hierarchy("").expect("cgroup2").super_options, before);
}

#[test]
fn a_cgroup_is_given_to_the_user_namespace_that_may_write_to_it() {
    let test = Test::new();
    needs!(Feature::Root, Feature::CgroupV2("pids"), Feature::UserNamespaces);
    let bundle = test.bundle().user_namespace(100_000, 65_536).namespace("cgroup", None);
    let bundle = bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "rw"],
    }));
    let bundle = resources(bundle, "pids", json!({ "limit": 23 }));
    let script = "mkdir /sys/fs/cgroup/init && echo 0 >/sys/fs/cgroup/init/cgroup.procs && \
                  echo +pids >/sys/fs/cgroup/cgroup.subtree_control && \
                  cat /sys/fs/cgroup/init/pids.max; echo 9 >/sys/fs/cgroup/pids.max || echo no; \
                  exec probe serve";
    let mut container = test.start(&bundle.shell(script));
    container.expect("max");
    container.expect("no");
    container.expect("ready");
    let directory = container.cgroup("").parent().expect("the container's own").to_owned();
    let owner = |file: &str| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(directory.join(file)).expect("a file of the cgroup").uid()
    };
    let delegated = fs::read_to_string("/sys/kernel/cgroup/delegate").expect("the list");
    let files: Vec<&str> = delegated.lines().filter(|file| directory.join(file).exists()).collect();
    assert!(files.contains(&"cgroup.procs") && files.contains(&"cgroup.subtree_control"));
    for file in files.into_iter().chain([""]) {
        assert_eq!(owner(file), 100_000, "{file:?}");
    }
    for file in ["pids.max", "cgroup.freeze", "memory.max"] {
        assert_eq!(owner(file), 0, "{file}");
    }
    container.remove();
}

#[test]
fn exec_follows_init_into_its_sub_cgroup() {
    let test = Test::new();
    needs!(Feature::CgroupV2("pids"));
    let bundle = test.bundle().namespace("cgroup", None).mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"],
    }));
    // From here on nobody can enter the container's own cgroup: it hands a controller down.
    let script = "mkdir /sys/fs/cgroup/init && echo 0 >/sys/fs/cgroup/init/cgroup.procs && \
                  echo +pids >/sys/fs/cgroup/cgroup.subtree_control && exec probe serve";
    let mut container = test.start(&bundle.shell(script));
    container.expect("ready");
    let output = container.exec(&["/bin/cat", "/proc/self/cgroup"]);
    container.remove();
    assert_eq!(output.ok(), "0::/init\n");
}

#[test]
fn a_sub_cgroup_can_be_chosen_for_exec() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cgroup"));
    let container = test.serve(test.bundle());
    let sub = container.cgroup("").join("sub");
    fs::create_dir(&sub).expect("a cgroup below the container's");
    Mode::current().give(&sub);
    let output = container.exec_with(&["--cgroup", "sub"], &["/bin/cat", "/proc/self/cgroup"]);
    let name = Mode::current().cgroup_name(test.id());
    assert!(output.ok().trim().ends_with(&format!("{name}/sub")), "{output:?}");
    let missing = container.exec_with(&["--cgroup", "missing"], &["/bin/true"]);
    let forgets = Mode::current().is_rootless() && missing.status == 0;
    if !forgets || !test.excuses(&[Kind::Runc], "forgets it as an ordinary user's") {
        missing.fails();
    }
    for outside in ["..", "../..", "sub/../.."] {
        let output =
            container.exec_with(&["--cgroup", outside], &["/bin/cat", "/proc/self/cgroup"]);
        if output.status == 0 && test.excuses(&[Kind::Runc, Kind::Crun], "leads out") {
            continue;
        }
        output.fails();
    }
    container.remove();
}

#[test]
fn freezing_is_a_state_of_the_cgroup() {
    let test = Test::new();
    needs!(Feature::CgroupV2("freezer"));
    let mut container = test.serve(test.bundle());
    container.call(&["pause"]).ok();
    assert_eq!(container.cgroup_file("cgroup.freeze"), "1");
    assert!(container.cgroup_file("cgroup.events").contains("frozen 1"));
    assert_eq!(container.status(), "paused");
    container.kill("USR1");
    container.call(&["resume"]).ok();
    assert_eq!(container.cgroup_file("cgroup.freeze"), "0");
    container.expect("SIGUSR1");
    container.remove();
}

/// A file system whose server answers nothing: whoever looks into it sleeps until he is killed.
fn mute_file_system(at: &Path) -> fs::File {
    let server = fs::File::options().read(true).write(true).open("/dev/fuse").expect("FUSE");
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    fs::create_dir_all(at).expect("a directory");
    mount(Some("mute"), at, Some("fuse"), MsFlags::empty(), Some(&*data)).expect("a mount");
    server
}

/// opencontainers/runc#5325, containers/crun#2243.
#[test]
fn who_cannot_be_frozen_goes_on() {
    let test = Test::new();
    needs!(Feature::Root, Feature::CgroupV2("freezer"), Feature::Fuse);
    only_on!(test, [Rtn], "runc before 1.5 and crun before 1.29 leave it as it is");
    let source = test.dir().join("mute");
    let server = mute_file_system(&source.join("inside"));
    let bundle = test.bundle().shell("exec cat /mute/inside/file").mount(json!({
        "destination": "/mute", "type": "bind", "source": source, "options": ["rbind"],
    }));
    let container = test.start(&bundle);
    let sleeps_in = format!("/proc/{}/stack", container.pid);
    while !fs::read_to_string(&sleeps_in).expect("a process").contains("fuse") {
        std::thread::yield_now();
    }
    let output = container.call(&["pause"]);
    let left = (container.cgroup_file("cgroup.freeze"), container.status());
    container.remove();
    drop(server);
    umount2(&source.join("inside"), MntFlags::MNT_DETACH).expect("umount");
    output.fails_with("unable to freeze");
    assert_eq!(left, ("0".into(), "running".into()));
}

#[test]
fn delete_ends_everything_that_forks_below_it() {
    let test = Test::new();
    needs!(Feature::CgroupV2("cgroup"));
    only_on!(test, [Rtn], "older runtimes do not look below the container's own cgroup");
    let script = "(while :; do sleep 0.01 & wait; done) & (while :; do sleep 0.01 & wait; done) & \
                  exec probe serve";
    let mut container = test.start(&test.bundle().without_namespace("pid").shell(script));
    container.expect("ready");
    let directory = container.cgroup("");
    let sub = directory.join("made/inside");
    fs::create_dir_all(&sub).expect("cgroups");
    Mode::current().give(&directory);
    let pids = fs::read_to_string(directory.join("cgroup.procs")).expect("pids");
    let other = pids.lines().find(|pid| *pid != container.pid.to_string()).expect("a child");
    fs::write(sub.join("cgroup.procs"), other).expect("the process moves");
    container.remove();
    assert!(!directory.exists());
}
