//! An ordinary user with a systemd of its own, as rootless podman finds it: from where containers
//! are made and entered, how that systemd is found, and where it ends. What is the same for root is
//! in systemd.rs, and both run in this mode.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use integration::{
    Bundle, Feature, Mode, Output, Test, host,
    mode::{USER, runtime_dir},
    needs, only_on, wait,
};
use serde_json::json;

const PRINT: &str = "grep ^0:: /proc/self/cgroup";

/// Where a user is who has logged in: beside its systemd, in a cgroup of root's.
struct Session(PathBuf);

impl Session {
    fn new(test: &Test) -> Self {
        let above = Mode::Rootless.slices();
        let path = above.parent().expect("a slice").join(format!("{}-session.scope", test.id()));
        fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    /// The runtime, called from here.
    fn call(&self, test: &Test, arguments: &[&str]) -> Output {
        wait::output(&mut self.command(test, arguments))
    }

    fn command(&self, test: &Test, arguments: &[&str]) -> Command {
        test.give();
        let script = "echo $$ >\"$1\"; shift; exec /usr/bin/setpriv --reuid \"$USER\" --regid \"$USER\" \
                      --clear-groups --inh-caps=-all \"$@\"";
        let mut command = Command::new("/bin/busybox");
        command.args(["sh", "-ec", script, "sh"]).arg(self.0.join("cgroup.procs"));
        command.arg(test.program()).arg("--root").arg(test.root()).arg("--systemd-cgroup");
        command.args(arguments).stdin(Stdio::null()).env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.env("USER", USER.to_string()).env("XDG_RUNTIME_DIR", runtime_dir());
        command
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn dir(bundle: &Bundle) -> String {
    bundle.dir.to_string_lossy().into_owned()
}

/// The end of the path that a process in the container's scope has.
fn scope(test: &Test) -> String {
    format!("/user@{USER}.service/user.slice/runc-{}.scope", test.id())
}

#[test]
fn a_container_is_made_from_a_session() {
    let test = Test::new();
    needs!(Feature::UserManager);
    let session = Session::new(&test);
    let bundle = test.bundle().shell(PRINT);
    let output = session.call(&test, &["run", "--bundle", &dir(&bundle), test.id()]);
    drop(session);
    assert!(output.ok().trim().ends_with(&scope(&test)), "{output:?}");
}

/// The kernel lets nobody cross from a session into what systemd delegated beside it; systemd moves
/// the process (AttachProcessesToUnit).
#[test]
fn a_container_is_entered_from_a_session() {
    let test = Test::new();
    needs!(Feature::UserManager);
    only_on!(test, [Rtn], "runc 1.1 leaves it in the session, and crun is refused");
    let container = test.serve(test.bundle());
    let sub = container.cgroup("").join("sub/below");
    fs::create_dir_all(&sub).expect("cgroups");
    Mode::current().give(&container.cgroup("").join("sub"));
    let session = Session::new(&test);
    let print = ["/bin/sh", "-c", PRINT];
    for (options, below) in [
        (&[][..], ""),
        (&["--user", "1000:1000"], ""),
        (&["--cgroup", "sub"], "/sub"),
        (&["--cgroup", "/sub/below"], "/sub/below"),
    ] {
        let exec = [&["exec"], options, &[test.id()], &print[..]].concat();
        let output = session.call(&test, &exec);
        let expected = scope(&test) + below;
        assert!(output.ok().trim().ends_with(&expected), "{options:?}: {output:?}");
    }
    session.call(&test, &["exec", "--cgroup", "none", test.id(), "/bin/true"]).fails();
    drop(session);
    container.remove();
}

/// As a container is that has a systemd: its own cgroup takes no process any more.
#[test]
fn a_container_that_handed_its_controllers_on_is_entered_from_a_session() {
    let test = Test::new();
    needs!(Feature::UserManager, Feature::CgroupV2("pids"));
    only_on!(test, [Rtn], "runc 1.1 leaves it in the session, and crun is refused");
    let bundle = test.bundle().namespace("cgroup", None).mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"],
    }));
    let script = "mkdir /sys/fs/cgroup/init && echo 0 >/sys/fs/cgroup/init/cgroup.procs && \
                  echo +pids >/sys/fs/cgroup/cgroup.subtree_control && exec probe serve";
    let mut container = test.start(&bundle.shell(script));
    container.expect("ready");
    let session = Session::new(&test);
    let output = session.call(&test, &["exec", test.id(), "/bin/cat", "/proc/self/cgroup"]);
    drop(session);
    container.remove();
    assert_eq!(output.ok(), "0::/init\n");
}

#[test]
fn every_call_works_from_a_session() {
    let test = Test::new();
    needs!(Feature::UserManager);
    only_on!(test, [Rtn, Runc], "crun is refused");
    let session = Session::new(&test);
    let bundle = test.bundle().serve();
    let id = test.id();
    session.call(&test, &["create", "--bundle", &dir(&bundle), id]).ok();
    for call in [
        &["exec", id, "/bin/true"][..],
        &["start", id],
        &["pause", id],
        &["resume", id],
        &["exec", id, "/bin/true"],
        &["ps", id],
        &["kill", "--all", id, "USR1"],
        &["delete", "--force", id],
    ] {
        session.call(&test, call).ok();
    }
    drop(session);
    test.assert_unknown();
}

/// Nothing runs outside the container's cgroup for want of a systemd.
#[test]
fn a_process_that_nobody_moves_does_not_run() {
    let test = Test::new();
    needs!(Feature::UserManager);
    only_on!(test, [Rtn], "runc 1.1 runs it in the session, and crun has other words");
    let container = test.serve(test.bundle());
    let session = Session::new(&test);
    let mark = test.dir().join("bundle/rootfs/tmp/mark");
    let mut exec = session.command(&test, &["exec", test.id(), "/bin/touch", "/tmp/mark"]);
    let output = wait::output(exec.env("XDG_RUNTIME_DIR", test.dir()));
    drop(session);
    output.fails_with("cannot reach systemd");
    assert!(!mark.exists(), "it ran");
    container.remove();
}

#[test]
fn systemd_is_found_without_a_runtime_directory() {
    let test = Test::new();
    needs!(Feature::UserManager);
    only_on!(test, [Rtn], "runc and crun ask systemctl, which does not find it");
    let bundle = test.bundle().shell(PRINT);
    let mut run = test.command(&["run", "--bundle", &dir(&bundle), test.id()]);
    run.env_remove("XDG_RUNTIME_DIR");
    let output = wait::output(&mut run);
    assert!(output.ok().trim().ends_with(&scope(&test)), "{output:?}");
}

#[test]
fn systemd_is_found_by_the_address_of_the_bus() {
    let test = Test::new();
    needs!(Feature::UserManager);
    let bus = runtime_dir().join("bus");
    assert!(bus.exists(), "no session bus at {bus:?}");
    let path = format!("unix:path={}", bus.display());
    let escaped = path.replacen("/run/", "/%72un/", 1) + ",guid=0";
    let second = format!("unix:path=/not/there;{path}");
    let bundle = test.bundle().shell(PRINT);
    for (number, address) in [path, escaped, second].iter().enumerate() {
        let id = format!("{}{number}", test.id());
        let mut run = test.command(&["run", "--bundle", &dir(&bundle), &id]);
        // Where there is no systemd, and so no socket of its own.
        run.env("XDG_RUNTIME_DIR", test.dir()).env("DBUS_SESSION_BUS_ADDRESS", address);
        let output = wait::output(&mut run);
        assert!(output.ok().contains(&id), "{address}: {output:?}");
    }
    only_on!(test, [Rtn], "runc and crun have words of their own");
    for nobody in ["unix:path=/not/there", "unix:abstract=/not/there", "tcp:host=localhost,port=1"]
    {
        let mut run = test.command(&["run", "--bundle", &dir(&bundle), test.id()]);
        run.env("XDG_RUNTIME_DIR", test.dir()).env("DBUS_SESSION_BUS_ADDRESS", nobody);
        wait::output(&mut run).fails_with("cannot reach systemd");
    }
}

/// What podman makes of an ordinary user: root of a user namespace, whose containers need none.
#[test]
fn root_of_a_users_namespace_has_the_users_systemd() {
    let test = Test::new();
    needs!(Feature::UserManager);
    only_on!(test, [Rtn, Crun], "runc 1.1 wants mounts of its own");
    let bundle = test.bundle().without_namespace("user").shell(PRINT).edit(|config| {
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != "/dev/pts");
    });
    let before = ["unshare", "--user", "--map-root-user", "--mount"];
    for set in [true, false] {
        let mut run = test.command_after(&before, &["run", "--bundle", &dir(&bundle), test.id()]);
        if !set {
            run.env_remove("XDG_RUNTIME_DIR");
        }
        let output = wait::output(&mut run);
        assert!(output.ok().trim().ends_with(&scope(&test)), "{output:?}");
    }
}

/// As systemd in a container does, and exec follows it.
#[test]
fn a_container_divides_its_own_cgroup() {
    let test = Test::new();
    needs!(Feature::UserManager);
    let bundle = test.bundle().namespace("cgroup", None).mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"],
    }));
    let script = "mkdir /sys/fs/cgroup/init && echo 0 >/sys/fs/cgroup/init/cgroup.procs && \
                  exec probe serve";
    let mut container = test.start(&bundle.shell(script));
    container.expect("ready");
    let below = host::cgroup_of(container.pid, "");
    let exec = container.exec(&["/bin/cat", "/sys/fs/cgroup/init/cgroup.procs"]);
    container.remove();
    assert!(below.ends_with(format!("runc-{}.scope/init", test.id())), "{below:?}");
    assert_eq!(exec.ok().lines().next(), Some("1"));
}

#[test]
fn a_controller_that_is_not_delegated_is_told() {
    let test = Test::new();
    needs!(Feature::UserManager);
    let bundle = test.bundle().edit(|config| {
        let limits = json!([{ "pageSize": "2MB", "limit": 2 << 20 }]);
        config["linux"]["resources"]["hugepageLimits"] = limits;
    });
    let output = test.call(&["create", "--bundle", &dir(&bundle), test.id()]);
    output.fails_with("hugetlb");
    test.assert_clean();
    only_on!(test, [Rtn], "the others tell the errno alone");
    output.fails_with("(config.json: linux.resources.hugepageLimits[0])");
    output.fails_with("is not enabled here");
}

/// The runtime of the user, which makes its cgroups itself.
fn cgroupfs(test: &Test, arguments: &[&str]) -> Output {
    test.give();
    let mut command = Command::new(test.program());
    command.arg("--root").arg(test.root()).args(arguments).stdin(Stdio::null());
    Mode::current().become_user(&mut command);
    wait::output(&mut command)
}

/// The path of a cgroup as `linux.cgroupsPath` has it.
fn below_the_root(path: &Path) -> String {
    let root = host::hierarchy("").expect("cgroup2").target;
    format!("/{}", path.strip_prefix(root).expect("below the mount").display())
}

#[test]
fn what_was_delegated_is_used_without_systemd() {
    let test = Test::new();
    needs!(Feature::UserManager);
    let own = host::cgroup_of(std::process::id() as i32, "");
    let leaf = own.parent().expect("the delegated cgroup").join(format!("{}-leaf", test.id()));
    let path = below_the_root(&leaf);
    let bundle = test.bundle().serve().edit(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        config["linux"]["resources"]["unified"] = json!({ "cgroup.max.depth": "3" });
    });
    cgroupfs(&test, &["run", "--detach", "--bundle", &dir(&bundle), test.id()]).ok();
    let read = |file| fs::read_to_string(leaf.join(file)).expect("a file of the cgroup");
    assert_eq!(read("cgroup.max.depth").trim(), "3");
    let exec = cgroupfs(&test, &["exec", test.id(), "/bin/sh", "-c", PRINT]);
    assert!(exec.ok().trim().ends_with(&path), "{exec:?}");
    cgroupfs(&test, &["delete", "--force", test.id()]).ok();
    assert!(!leaf.exists());
}

#[test]
fn what_was_not_delegated_is_refused() {
    let test = Test::new();
    needs!(Feature::UserManager);
    for outside in ["/system.slice", "/user.slice", "/user.slice/user-1000.slice", ""] {
        let path = format!("{outside}/{}-outside", test.id());
        let bundle = test
            .bundle_named(&outside.replace('/', "_"))
            .edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        let output = cgroupfs(&test, &["create", "--bundle", &dir(&bundle), test.id()]);
        assert!(output.fails().to_lowercase().contains("permission denied"), "{output:?}");
        test.assert_clean();
    }
}
