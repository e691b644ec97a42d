//! config-linux.md "Control groups", "Cgroups Path" and "Cgroup ownership".

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use integration::{Bundle, Container, Feature, Output, Test, host, leftovers, needs, wait};
use serde_json::{Value, json};

use super::limits::{call, directory};
use crate::{Statement, may, must, must_not, should, should_not, skip};

const GROUPS: &str = r#"config-linux.md "Control groups""#;
const PATH: &str = r#"config-linux.md "Cgroups Path""#;
const OWNER: &str = r#"config-linux.md "Cgroup ownership""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.cgroups.fit.frozen",
        GROUPS,
        "A runtime MAY, during a particular container operation, such as create, start, or exec, check if the \
         container cgroup is fit for purpose, and MUST generate an error if such a check fails. For example, a \
         frozen cgroup",
    )
    .test(a_frozen_cgroup_does_not_hang_create),
    must(
        "config-linux.cgroups.fit.not-empty",
        GROUPS,
        "A runtime MAY, during a particular container operation, such as create, start, or exec, check if the \
         container cgroup is fit for purpose, and MUST generate an error if such a check fails. For example, a \
         frozen cgroup or (for create operation) a non-empty cgroup.",
    )
    .test(what_is_in_a_cgroup_survives_a_failed_create),
    must(
        "config-linux.cgroups-path.either",
        PATH,
        "The value of cgroupsPath MUST be either an absolute path or a relative path.",
    )
    .untestable("every text is one or the other"),
    must(
        "config-linux.cgroups-path.absolute",
        PATH,
        "In the case of an absolute path (starting with /), the runtime MUST take the path to be relative to the \
         cgroups mount point.",
    )
    .test(an_absolute_path_counts_from_the_mount_point),
    may(
        "config-linux.cgroups-path.relative",
        PATH,
        "In the case of a relative path (not starting with /), the runtime MAY interpret the path relative to a \
         runtime-determined location in the cgroups hierarchy.",
    )
    .test(a_relative_path_is_somewhere_in_the_hierarchy),
    must(
        "config-linux.cgroups-path.consistent.absolute",
        PATH,
        "If the value is specified, the runtime MUST consistently attach to the same place in the cgroups hierarchy \
         given the same value of cgroupsPath.",
    )
    .test(|test| consistent(test, &format!("/{}-same", test.id()))),
    must(
        "config-linux.cgroups-path.consistent.relative",
        PATH,
        "If the value is specified, the runtime MUST consistently attach to the same place in the cgroups hierarchy \
         given the same value of cgroupsPath.",
    )
    .test(|test| consistent(test, &format!("{}-same", test.id()))),
    may(
        "config-linux.cgroups-path.default",
        PATH,
        "If the value is not specified, the runtime MAY define the default cgroups path.",
    )
    .untestable("it leaves the choice to the runtime"),
    must(
        "config-linux.cgroups-path.invalid",
        PATH,
        "Runtimes MAY consider certain cgroupsPath values to be invalid, and MUST generate an error if this is the \
         case.",
    )
    .test(a_path_that_leads_out_of_the_hierarchy_leads_nowhere),
    may(
        "config-linux.cgroups-path.additional",
        PATH,
        "Runtimes MAY attach the container process to additional cgroup controllers beyond those necessary to \
         fulfill the resources settings.",
    )
    .untestable("it leaves the choice to the runtime"),
    may(
        "config-linux.cgroup-ownership.changed",
        OWNER,
        "Runtimes MAY, according to the following rules, change (or cause to be changed) the owner of the \
         container's cgroup to the host uid that maps to the value of process.user.uid in the container namespace",
    )
    .untestable("it leaves the choice to the runtime; the rules are judged one by one"),
    should_not(
        "config-linux.cgroup-ownership.v1",
        OWNER,
        "Runtimes SHOULD NOT change the ownership of container cgroups when cgroups v1 is in use.",
    )
    .test(nothing_is_delegated_in_v1),
    should_not(
        "config-linux.cgroup-ownership.without-namespace",
        OWNER,
        "A runtime SHOULD NOT change the ownership of a container cgroup unless it will also create a new cgroup \
         namespace for the container.",
    )
    .test(without_a_namespace_nothing_is_delegated),
    should(
        "config-linux.cgroup-ownership.read-write",
        OWNER,
        "Runtimes SHOULD change the cgroup ownership if and only if the cgroup filesystem is to be mounted read/write",
    )
    .test(a_writable_cgroup_is_delegated),
    should(
        "config-linux.cgroup-ownership.read-only",
        OWNER,
        "Runtimes SHOULD change the cgroup ownership if and only if the cgroup filesystem is to be mounted read/write",
    )
    .test(|test| not_delegated(test, |bundle| remount(bundle, json!(["ro"])))),
    should_not(
        "config-linux.cgroup-ownership.not-mounted",
        OWNER,
        "If the configuration does not specify such a mount, the runtime SHOULD NOT change the cgroup ownership.",
    )
    .test(|test| not_delegated(test, |bundle| bundle.without_mount("/sys/fs/cgroup"))),
    should(
        "config-linux.cgroup-ownership.listed-files",
        OWNER,
        "A runtime that changes the cgroup ownership SHOULD only change the ownership of the container's cgroup \
         directory and files within that directory that are listed in /sys/kernel/cgroup/delegate.",
    )
    .test(only_what_the_kernel_lists_is_delegated),
    must_not(
        "config-linux.cgroup-ownership.missing-files",
        OWNER,
        "Note that not all files listed in /sys/kernel/cgroup/delegate necessarily exist in every cgroup. Runtimes \
         MUST NOT fail in this scenario",
    )
    .test(a_listed_file_that_is_not_there_is_no_error),
    should(
        "config-linux.cgroup-ownership.existing-files",
        OWNER,
        "and SHOULD change the ownership of the listed files that do exist in the cgroup.",
    )
    .test(every_listed_file_is_delegated),
    must(
        "config-linux.cgroup-ownership.no-list",
        OWNER,
        "If the /sys/kernel/cgroup/delegate file does not exist, the runtime MUST fall back to using the following \
         list of files: cgroup.procs, cgroup.subtree_control, cgroup.threads",
    )
    .untestable("every kernel since 4.15 has the file, and a test that hides it would have to hide all of sysfs"),
    should_not(
        "config-linux.cgroup-ownership.other-files",
        OWNER,
        "The runtime SHOULD NOT change the ownership of any other files.",
    )
    .test(no_limit_of_a_delegated_cgroup_is),
];

fn placed(bundle: Bundle, path: &str) -> Bundle {
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path))
}

/// Where the process is in the hierarchy, from its root; that of the pids controller in v1.
fn place(container: &Container<'_>) -> PathBuf {
    let found = directory(container, "pids");
    let mount = host::hierarchy(if host::unified() { "" } else { "pids" }).expect("a hierarchy");
    Path::new("/").join(found.strip_prefix(mount.target).expect("below the mount point"))
}

/// Makes the cgroup `name` itself, frozen, and thaws it when dropped.
struct Frozen(PathBuf, &'static str);

impl Frozen {
    fn new(name: &str) -> Self {
        let (controller, file, word) = match host::unified() {
            true => ("", "cgroup.freeze", "1"),
            false => ("freezer", "freezer.state", "FROZEN"),
        };
        let mount = host::hierarchy(controller).expect("a hierarchy");
        let directory = Path::new(&mount.target).join(name);
        fs::create_dir(&directory).expect("a cgroup");
        fs::write(directory.join(file), word).expect("a frozen cgroup");
        Self(directory.join(file), if host::unified() { "0" } else { "THAWED" })
    }

    fn thaw(&self) {
        fs::write(&self.0, self.1).expect("a cgroup can be thawed");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, self.1);
        let _ = fs::remove_dir(self.0.parent().expect("the cgroup"));
    }
}

/// To refuse it is right, and so is to thaw it; to wait for a process that does not run is not.
fn a_frozen_cgroup_does_not_hang_create(test: &Test) {
    needs!(Feature::Controller("freezer"));
    let name = format!("{}-frozen", test.id());
    let frozen = Frozen::new(&name);
    let bundle = placed(test.bundle().serve(), &format!("/{name}"));
    let stderr = Output::sink();
    let mut command =
        test.command(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let mut child = command.stderr(Output::dup(&stderr)).spawn().expect("the runtime can be run");
    let pidfd = wait::pidfd(child.id() as i32).expect("the runtime");
    let ended = wait::readable(&pidfd, Duration::from_secs(20));
    frozen.thaw();
    let status = wait::exit_status(&mut child, &command);
    test.call(&["delete", "--force", test.id()]);
    assert!(ended, "create waits for the cgroup to be thawed");
    assert!(status == 0 || !Output::text(&stderr).is_empty(), "it failed without a word");
}

fn what_is_in_a_cgroup_survives_a_failed_create(test: &Test) {
    let path = format!("/{}-shared", test.id());
    let first = placed(test.bundle_named("first"), &path).serve();
    let first = test.create_as("-first", &[], &first);
    let bundle = placed(test.bundle(), &path).args(&["/not/there"]);
    let output = call(test, &bundle);
    let status = first.status();
    first.remove();
    output.fails();
    assert_eq!(status, "created", "the container that was there first");
}

fn an_absolute_path_counts_from_the_mount_point(test: &Test) {
    needs!(Feature::Controller("pids"));
    let path = format!("/{}-x", test.id());
    let container = test.create(&placed(test.bundle().serve(), &path));
    let found = place(&container);
    container.remove();
    assert_eq!(found, Path::new(&path));
}

fn a_relative_path_is_somewhere_in_the_hierarchy(test: &Test) {
    needs!(Feature::Controller("pids"));
    let path = format!("{}-x", test.id());
    let container = test.create(&placed(test.bundle().serve(), &path));
    let found = place(&container);
    container.remove();
    assert!(found.ends_with(&path), "{path} became {}", found.display());
}

fn consistent(test: &Test, path: &str) {
    needs!(Feature::Controller("pids"));
    let places = ["-one", "-two"].map(|suffix| {
        let bundle = placed(test.bundle_named(&suffix[1..]).serve(), path);
        let container = test.create_as(suffix, &[], &bundle);
        let found = place(&container);
        container.remove();
        found
    });
    assert_eq!(places[0], places[1], "{path}");
}

/// An error is right; so is to read `..` as `/` does it, at the root of the hierarchy.
fn a_path_that_leads_out_of_the_hierarchy_leads_nowhere(test: &Test) {
    needs!(Feature::Controller("pids"));
    let outside = test.dir().join("outside");
    fs::create_dir(&outside).expect("a directory");
    let path = format!("/../../../../../../..{}", outside.display());
    let output = call(test, &placed(test.bundle().serve(), &path));
    let made = fs::read_dir(&outside).expect("a directory").count();
    if output.status == 0 {
        test.call(&["delete", "--force", test.id()]).ok();
        remove_parents(test, &outside);
    } else {
        output.fails();
    }
    assert_eq!(made, 0, "files outside of the hierarchy");
}

/// The parents of a nested cgroup, which no runtime removes.
fn remove_parents(test: &Test, path: &Path) {
    let relative = path.strip_prefix("/").expect("an absolute path");
    for mount in host::hierarchies() {
        for parent in relative.ancestors().filter(|p| !p.as_os_str().is_empty()) {
            let _ = fs::remove_dir(Path::new(&mount.target).join(parent));
        }
    }
    assert_eq!(leftovers::cgroups(test.id()), Vec::<PathBuf>::new());
}

/// A container whose root is 200000 outside and which may write its cgroup.
fn delegated(test: &Test) -> Bundle {
    let bundle = test.bundle().user_namespace(200_000, 65_536).namespace("cgroup", None);
    remount(bundle.serve(), json!(["nosuid", "noexec", "nodev"]))
}

fn remount(bundle: Bundle, options: Value) -> Bundle {
    bundle.without_mount("/sys/fs/cgroup").mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options,
    }))
}

/// The owner of each file of the container's cgroup; that of the directory is called `.`.
fn owners(test: &Test, bundle: &Bundle) -> Vec<(String, u32)> {
    let container = test.create(bundle);
    let group = directory(&container, "pids");
    let entries = fs::read_dir(&group).expect("the cgroup").flatten();
    let names = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_file()));
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let owners = names.chain([".".to_owned()]).map(|name| {
        let owner = fs::metadata(group.join(&name)).map_or(u32::MAX, |data| data.uid());
        (name, owner)
    });
    let owners: Vec<_> = owners.collect();
    container.remove();
    owners
}

/// The files that are not root's.
fn given_away(test: &Test, bundle: &Bundle) -> Vec<(String, u32)> {
    owners(test, bundle).into_iter().filter(|(_, owner)| *owner != 0).collect()
}

fn nothing_is_delegated_in_v1(test: &Test) {
    needs!(Feature::CgroupV1("pids"), Feature::UserNamespaces);
    assert_eq!(given_away(test, &delegated(test)), []);
}

fn not_delegated(test: &Test, change: impl FnOnce(Bundle) -> Bundle) {
    needs!(Feature::CgroupV2("cgroup"), Feature::UserNamespaces);
    assert_eq!(given_away(test, &change(delegated(test))), []);
}

/// A user namespace could not mount the hierarchy of a cgroup namespace that is not its own, so it
/// is an ordinary user of the host's that could be given something.
fn without_a_namespace_nothing_is_delegated(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"));
    let bundle = test.bundle().without_namespace("cgroup").edit(|config| {
        config["process"]["user"] = json!({ "uid": 1234, "gid": 1234 });
    });
    let bundle = remount(bundle.serve(), json!(["nosuid", "noexec", "nodev"]));
    assert_eq!(given_away(test, &bundle), []);
}

/// The names in /sys/kernel/cgroup/delegate.
fn listed() -> Vec<String> {
    let text = fs::read_to_string("/sys/kernel/cgroup/delegate").expect("a list since Linux 4.15");
    text.lines().map(str::to_owned).collect()
}

fn a_writable_cgroup_is_delegated(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"), Feature::UserNamespaces);
    let given = given_away(test, &delegated(test));
    assert!(given.contains(&(".".to_owned(), 200_000)), "the directory is root's; {given:?}");
}

fn only_what_the_kernel_lists_is_delegated(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"), Feature::UserNamespaces);
    let given = given_away(test, &delegated(test));
    if given.is_empty() {
        skip!("the runtime does not change the ownership of cgroups");
    }
    let listed = listed();
    let others = given.iter().filter(|(name, _)| name != "." && !listed.contains(name));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&(String, u32)>::new());
}

/// memory.oom.group and others are only there with their controllers.
fn a_listed_file_that_is_not_there_is_no_error(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"), Feature::UserNamespaces);
    let owners = owners(test, &delegated(test));
    if listed().iter().all(|name| owners.iter().any(|(found, _)| found == name)) {
        skip!("every listed file is in the container's cgroup");
    }
}

fn every_listed_file_is_delegated(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"), Feature::UserNamespaces);
    let owners = owners(test, &delegated(test));
    if owners.iter().all(|(_, owner)| *owner == 0) {
        skip!("the runtime does not change the ownership of cgroups");
    }
    let listed = listed();
    for (name, owner) in owners.iter().filter(|(name, _)| listed.contains(name)) {
        assert_eq!(*owner, 200_000, "{name}");
    }
}

fn no_limit_of_a_delegated_cgroup_is(test: &Test) {
    needs!(Feature::CgroupV2("cgroup"), Feature::UserNamespaces);
    let owners = owners(test, &delegated(test));
    let limits = owners.iter().filter(|(name, _)| name.ends_with(".max"));
    let limits: Vec<_> = limits.collect();
    assert!(!limits.is_empty(), "the cgroup has no controllers: {owners:?}");
    for (name, owner) in limits {
        assert_eq!(*owner, 0, "{name}");
    }
}
