//! Attacks that have worked on container runtimes, one test for each, named after it. What counts is
//! the host: the content of a file, the entries of a directory, the table of mounts (which every
//! test compares at its end).

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use integration::{
    Bundle, Container, Feature, Kind, Output, Test,
    bundle::{PROBE, push},
    console::ConsoleSocket,
    host, needs, only_on,
    test::parse,
    wait,
};
use serde_json::{Value, json};

/// A directory of the host's that nobody may change, with a file in it.
struct Precious {
    dir: PathBuf,
    before: Vec<(PathBuf, u64, u32, u32, String)>,
}

impl Precious {
    fn new(test: &Test) -> Self {
        let dir = test.dir().join("precious");
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("ptmx"), "untouched").expect("a file");
        fs::write(dir.join("passwd"), "untouched").expect("a file");
        test.give();
        let before = Self::look(&dir);
        Self { dir, before }
    }

    /// Name, inode, owner, mode and content of everything inside.
    fn look(dir: &Path) -> Vec<(PathBuf, u64, u32, u32, String)> {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("the directory is there")
            .flatten()
            .map(|entry| {
                let data = fs::symlink_metadata(entry.path()).expect("an entry");
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                (entry.path(), data.ino(), data.uid(), data.mode(), text)
            })
            .collect();
        entries.sort();
        entries
    }

    fn touched(&self) -> bool {
        Self::look(&self.dir) != self.before
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::look(&self.dir), self.before, "the host was changed");
        let mounted =
            host::mounts().iter().any(|mount| Path::new(&mount.target).starts_with(&self.dir));
        assert!(!mounted, "something is mounted on the host");
    }
}

/// A message of its own instead of what the runtime says: either is fine, as long as it is said.
fn ran_or_refused(output: &Output) {
    assert!(
        output.status == 0 || !output.stderr.is_empty() || !output.stdout.is_empty(),
        "{output:?}"
    );
}

/// Exchanges two names for as long as it lives.
struct Swapper(Child);

impl Swapper {
    fn start(a: &Path, b: &Path) -> Self {
        let mut command = Command::new(PROBE);
        let (child, mut output) =
            wait::spawn_with_pipe(command.arg("swap").args([a, b])).expect("the probe");
        wait::line(&mut output, "ready");
        Self(child)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tmpfs(destination: &str) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" })
}

/// Without any mount at or below /dev.
fn without_dev(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts
            .retain(|mount| !mount["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
    })
}

#[test]
fn cve_2019_5736_the_program_is_the_runtime_itself() {
    let test = Test::new().with_copied_runtime();
    let before = fs::read(test.program()).expect("the runtime");
    let bundle = test.bundle();
    symlink("/proc/self/exe", bundle.rootfs().join("bin/evil")).expect("a link");
    for args in [&["/bin/evil", "--version"] as &[&str], &["/proc/self/exe", "--version"]] {
        ran_or_refused(&test.run(&bundle.clone_with(args)));
    }
    assert!(
        fs::read(test.program()).expect("the runtime") == before,
        "the runtime was overwritten"
    );
}

/// A container that attacks every other process it sees; see `probe hunt`.
struct Hunter<'t> {
    container: Container<'t>,
    log: PathBuf,
    program: Vec<u8>,
}

impl<'t> Hunter<'t> {
    /// With no more than a debugger has: CAP_SYS_PTRACE.
    fn start(test: &'t Test, bundle: Bundle) -> Self {
        Self::with_capabilities(test, bundle, &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"])
    }

    /// With everything that root of a user namespace can have.
    fn almighty(test: &'t Test, bundle: Bundle) -> Self {
        let all: Vec<&str> =
            probe::CAPABILITIES.iter().copied().filter(|cap| *cap != "CAP_SYS_RESOURCE").collect();
        Self::with_capabilities(test, bundle.user_namespace(100_000, 65_536), &all)
    }

    fn with_capabilities(test: &'t Test, bundle: Bundle, names: &[&str]) -> Self {
        let outside = test.dir().join("outside");
        fs::write(&outside, "").expect("a file of the host's");
        // Relative, to be appended to a way out.
        let outside = outside.to_string_lossy().trim_start_matches('/').to_owned();
        let bundle =
            bundle.capabilities(names).args(&["/bin/probe", "hunt", "/tmp/hunt.log", &outside]);
        let log = bundle.rootfs().join("tmp/hunt.log");
        let mut container = test.create_as("-hunter", &[], &bundle);
        container.start();
        container.expect("ready");
        Self { container, log, program: fs::read(test.program()).expect("the runtime") }
    }

    /// Asserts that no attack has come through.
    fn end(self, test: &Test) {
        let log = self.end_undamaged(test);
        let reason = "a neighbour with CAP_SYS_PTRACE reaches the host while a container is made";
        if log.contains("outside") && !test.excuses(&[Kind::Runc, Kind::Crun], reason) {
            panic!("a file of the host's was reached: {log}");
        }
    }

    /// Asserts that the runtime's own file is as it was and out of reach; returns what the hunter
    /// wrote.
    fn end_undamaged(self, test: &Test) -> String {
        self.container.remove();
        let now = fs::read(test.program()).expect("the runtime");
        assert!(now == self.program, "the runtime was overwritten");
        let log = fs::read_to_string(self.log).unwrap_or_default();
        assert!(!log.contains("written"), "a program was overwritten: {log}");
        let own = fs::metadata(test.program()).expect("the runtime");
        let reason = "a read-only bind mount of the host's own file is shown";
        if !test.excuses(&[Kind::Runc, Kind::Crun], reason) {
            let inode = format!("{}:{} ", own.dev(), own.ino());
            assert!(!log.contains(&inode), "the host's file can be opened from inside: {log}");
        }
        log
    }
}

/// The file is not that of the image's either: what is executed is the attacker's own program.
const HARMLESS: [&str; 3] = ["/bin/probe", "exit", "0"];

#[test]
fn cve_2019_5736_a_container_waits_for_an_exec() {
    let test = Test::new().with_copied_runtime();
    let hunter = Hunter::start(&test, test.bundle());
    for _ in 0..30 {
        hunter.container.exec(&HARMLESS).ok();
    }
    hunter.end(&test);
}

/// Runs containers that join these namespaces of the hunter, and end at once.
fn visit(test: &Test, hunter: &Hunter<'_>, bundle: Bundle, kinds: &[&str]) {
    let bundle = kinds.iter().fold(bundle, |bundle, kind| {
        let path = PathBuf::from(format!("/proc/{}/ns/{kind}", hunter.container.pid));
        bundle.namespace(kind, Some(&path))
    });
    // Both run the same file, or the attacker would destroy the other's.
    let program = bundle.rootfs().join("bin/probe");
    fs::remove_file(&program).expect("the probe");
    fs::hard_link(test.dir().join("hunter/rootfs/bin/probe"), &program).expect("a link");
    let bundle = bundle.args(&HARMLESS);
    for _ in 0..15 {
        let directory = bundle.dir.to_string_lossy().into_owned();
        wait::output(&mut test.command(&["run", "--bundle", &directory, test.id()])).ok();
    }
}

#[test]
fn cve_2019_5736_a_container_waits_for_another_in_its_pid_namespace() {
    needs!(Feature::Root);
    let test = Test::new().with_copied_runtime();
    let hunter = Hunter::start(&test, test.bundle_named("hunter"));
    visit(&test, &hunter, test.bundle(), &["pid"]);
    // That a neighbour with CAP_SYS_PTRACE may look at the host in that moment is a known limit:
    // docs/threats.md.
    hunter.end_undamaged(&test);
}

#[test]
fn cve_2016_9962_a_container_waits_for_another_in_its_pid_and_user_namespaces() {
    let test = Test::new().with_copied_runtime();
    needs!(Feature::UserNamespaces);
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    // A pod with a user namespace of its own and shared processes.
    let hunter = Hunter::almighty(&test, test.bundle_named("hunter"));
    visit(&test, &hunter, test.bundle().user_namespace(100_000, 65_536), &["pid", "user"]);
    hunter.end(&test);
}

#[test]
fn cve_2016_9962_a_container_with_a_user_namespace_waits_for_an_exec() {
    let test = Test::new().with_copied_runtime();
    needs!(Feature::UserNamespaces);
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    let hunter = Hunter::almighty(&test, test.bundle());
    for _ in 0..30 {
        hunter.container.exec(&HARMLESS).ok();
    }
    hunter.end(&test);
}

#[test]
fn cve_2019_16884_a_volume_over_proc() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bind = |destination: &str| json!({ "destination": destination, "type": "bind", "source": precious.dir, "options": ["rbind"] });
    let fakes = [
        bind("/proc"),
        tmpfs("/proc"),
        bind("/proc/self/attr"),
        bind("/proc/sys"),
        tmpfs("/proc/1"),
        bind("/proc/../proc/sys"),
    ];
    for (number, fake) in fakes.into_iter().enumerate() {
        let bundle =
            test.bundle_named(&format!("{number}")).mount(fake.clone()).args(&["/bin/true"]);
        let output = test.run(&bundle);
        if output.status == 0 {
            assert!(test.excuses(&[Kind::Crun], &format!("accepts {fake}")), "accepted: {fake}");
        }
    }
    precious.assert_untouched();
}

#[test]
fn files_of_lxcfs_over_proc_are_no_attack() {
    let test = Test::new();
    let file = test.dir().join("fake");
    fs::write(&file, "fake").expect("a file");
    let bundle = ["cpuinfo", "meminfo", "stat", "uptime", "diskstats", "loadavg"].iter().fold(test.bundle(), |bundle, name| {
        bundle.mount(json!({ "destination": format!("/proc/{name}"), "type": "bind", "source": file, "options": ["bind"] }))
    });
    assert_eq!(
        test.facts_with(&["--read", "/proc/uptime"], bundle).files["/proc/uptime"].as_deref(),
        Ok("fake")
    );
}

#[test]
fn cve_2019_18837_the_target_of_a_mount_is_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = test.bundle();
    symlink(&precious.dir, bundle.rootfs().join("link")).expect("a link");
    symlink("../../../../../../../..", bundle.rootfs().join("up")).expect("a link");
    let below = format!("/up{}", precious.dir.display());
    for target in ["/link", &format!("{below}/made"), &below] {
        let output = test.run(&bundle.clone_with(&["/bin/true"]).mount(tmpfs(target)));
        ran_or_refused(&output);
        precious.assert_untouched();
        test.assert_clean();
    }
}

#[test]
fn cve_2019_18837_the_target_of_a_bound_file_is_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let source = test.dir().join("source");
    fs::write(&source, "mounted").expect("a file");
    let bundle = test.bundle();
    symlink(precious.dir.join("passwd"), bundle.rootfs().join("link")).expect("a link");
    symlink(precious.dir.join("new"), bundle.rootfs().join("dangling")).expect("a link");
    for target in ["/link", "/dangling"] {
        let mount =
            json!({ "destination": target, "type": "bind", "source": source, "options": ["bind"] });
        ran_or_refused(&test.run(&bundle.clone_with(&["/bin/true"]).mount(mount)));
        precious.assert_untouched();
    }
}

#[test]
fn ghsa_g54h_devices_are_denied_without_a_rule() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 denies only what is asked for");
    needs!(Feature::Controller("devices"), Feature::BlockDevice);
    let (major, minor) = host::block_device().expect("a disk");
    let bundle = test.bundle().capabilities(&["CAP_MKNOD"]).edit(|config| {
        config["linux"].as_object_mut().expect("linux").remove("resources");
    });
    let script = format!(
        "busybox mknod /disk b {major} {minor}; probe try open /disk; probe try mknod /mem 1 1; probe try open /mem"
    );
    let output = test.run(&bundle.shell(&script));
    let opened: Vec<&str> = output.stdout.lines().collect();
    // Making a node may be allowed (it is in Docker's rules); reading through it may not.
    assert_eq!((opened[0], opened[2]), ("EPERM", "EPERM"), "{output:?}");
}

#[test]
fn cve_2021_30465_a_link_in_a_shared_volume_is_exchanged_while_mounting() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let volume = test.dir().join("volume");
    fs::create_dir_all(volume.join("dir")).expect("a directory");
    // Seen from inside as well as from the host, this leads to the host's directory.
    let climb = format!("../../../../../../../../..{}", precious.dir.display());
    symlink(climb, volume.join("link")).expect("a link");
    let mut bundle = test.bundle().args(&["/bin/true"]).mount(
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] }),
    );
    for _ in 0..10 {
        bundle = bundle.mount(tmpfs("/volume/dir"));
    }
    let swapper = Swapper::start(&volume.join("dir"), &volume.join("link"));
    for _ in 0..30 {
        ran_or_refused(&test.run(&bundle));
        precious.assert_untouched();
    }
    drop(swapper);
}

#[test]
fn cve_2024_45310_a_link_is_exchanged_while_directories_are_made() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let volume = test.dir().join("volume");
    fs::create_dir_all(volume.join("dir")).expect("a directory");
    let climb = format!("../../../../../../../../..{}", precious.dir.display());
    symlink(climb, volume.join("link")).expect("a link");
    let bundle = test.bundle().args(&["/bin/true"]).mount(
        json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] }),
    );
    let swapper = Swapper::start(&volume.join("dir"), &volume.join("link"));
    for round in 0..30 {
        let attack = (0..5).fold(bundle.clone_with(&["/bin/true"]), |bundle, number| {
            bundle.mount(tmpfs(&format!("/volume/dir/made-{round}-{number}/deep")))
        });
        ran_or_refused(&test.run(&attack));
        if precious.touched()
            && test.excuses(&[Kind::Runc, Kind::Crun], "makes directories on the host")
        {
            break;
        }
        precious.assert_untouched();
    }
    drop(swapper);
}

#[test]
fn cve_2021_43784_strings_longer_than_a_length_field() {
    let test = Test::new();
    let long = format!("/{}", "x".repeat(70_000));
    for change in [
        |c: &mut Value, long: &str| c["linux"]["namespaces"][1]["path"] = json!(long),
        |c: &mut Value, long: &str| c["process"]["cwd"] = json!(long),
        |c: &mut Value, long: &str| {
            push(
                &mut c["mounts"],
                json!({ "destination": long, "type": "tmpfs", "source": "tmpfs" }),
            )
        },
        |c: &mut Value, long: &str| c["linux"]["cgroupsPath"] = json!(long),
    ] {
        let name = format!("{}", fs::read_dir(test.dir()).expect("a directory").count());
        let bundle = test.bundle_named(&name).edit(|config| change(config, &long));
        test.create_fails(&bundle);
    }
    let bundle =
        test.bundle().edit(|config| config["annotations"] = json!({ "org.example.long": long }));
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn cve_2022_24769_inheritable_capabilities_are_empty_by_default() {
    let test = Test::new();
    assert!(
        test.facts(&test.bundle().capabilities(&["CAP_KILL", "CAP_CHOWN"]))
            .caps
            .inheritable
            .is_empty()
    );
}

#[test]
fn cve_2022_29162_an_execs_capability_is_not_inheritable() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let facts = container.exec_facts(&["--cap", "CAP_NET_ADMIN"]);
    container.remove();
    assert!(
        facts.caps.effective.contains("CAP_NET_ADMIN") && facts.caps.inheritable.is_empty(),
        "{:?}",
        facts.caps
    );
}

#[test]
fn cve_2023_27561_proc_or_sys_is_a_link() {
    let test = Test::new();
    for name in ["proc", "sys"] {
        let bundle = test.bundle_named(name).args(&["/bin/true"]);
        let real = bundle.rootfs().join(name);
        fs::remove_dir(&real).expect("the directory");
        fs::create_dir(bundle.rootfs().join("elsewhere")).expect("a directory");
        symlink("/elsewhere", &real).expect("a link");
        let output = test.run(&bundle);
        if output.status == 0 {
            assert!(
                test.excuses(&[Kind::Crun], "follows the link inside the root"),
                "/{name} may not be a link"
            );
        }
        test.assert_clean();
    }
}

#[test]
fn ghsa_5g49_a_page_size_is_not_a_path() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun leaves its cgroups");
    for size in ["../../escape", "2MB/../../x", "", "2MB.limit_in_bytes\n"] {
        let name = format!("{}", size.len());
        let bundle = test.bundle_named(&name).edit(|config| {
            config["linux"]["resources"]["hugepageLimits"] =
                json!([{ "pageSize": size, "limit": 1 << 21 }]);
        });
        test.create_fails(&bundle);
    }
}

#[test]
fn ghsa_5g49_a_unified_key_is_not_a_path() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun ignores them on v1");
    for key in ["../memory.max", "memory/../../x", "memory.max\n", ""] {
        let bundle = test.bundle_named(&format!("{}", key.len())).edit(|config| {
            config["linux"]["resources"]["unified"] = json!({ key: "1" });
        });
        test.create_fails(&bundle);
    }
}

#[test]
fn cve_2024_21626_the_working_directory_is_a_descriptor_of_the_host() {
    let test = Test::new();
    let inside = test.bundle().args(&["/bin/probe", "facts"]);
    for number in 3..24 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../..")] {
            let bundle = inside
                .clone_with(&["/bin/probe", "facts"])
                .edit(|config| config["process"]["cwd"] = json!(path));
            let output = test.run(&bundle);
            if output.status == 0 {
                let facts = parse(&output.stdout);
                assert!(
                    facts.cwd.starts_with('/') && facts.fds.len() == 3,
                    "{path}: {} {:?}",
                    facts.cwd,
                    facts.fds
                );
            }
        }
    }
}

#[test]
fn cve_2024_21626_the_working_directory_of_an_exec() {
    let test = Test::new();
    let bundle = test.bundle();
    for number in 3..24 {
        symlink(format!("/proc/self/fd/{number}"), bundle.rootfs().join(format!("fd{number}")))
            .expect("a link");
    }
    let container = test.serve(bundle);
    for number in 3..24 {
        for path in [format!("/fd{number}"), format!("/proc/self/fd/{number}")] {
            let output = container.exec_with(&["--cwd", &path], &["/bin/probe", "facts"]);
            if output.status == 0 {
                let cwd = parse(&output.stdout).cwd;
                assert!(cwd.starts_with('/'), "{path}: {cwd}");
            }
        }
    }
    container.remove();
}

#[test]
fn cve_2024_21626_the_program_is_reached_through_a_descriptor() {
    let test = Test::new();
    // A program of the host's that is not in the container.
    let outside = test.dir().join("outside");
    fs::copy(PROBE, &outside).expect("a copy");
    let bundle = test.bundle();
    for number in 3..24 {
        for directory in ["/proc/self/fd", "/proc/self/task/1/fd", "/proc/1/fd"] {
            let program =
                format!("{directory}/{number}/../../../../../../../..{}", outside.display());
            let output = test.run(&bundle.clone_with(&[&program, "exit", "0"]));
            assert!(output.status != 0, "{program} was run");
        }
    }
}

/// A directory for /dev with the nodes that a container needs, `name` left out.
fn dev_without(test: &Test, name: &str) -> PathBuf {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let dev = test.dir().join("dev");
    fs::create_dir(&dev).expect("a directory");
    for (node, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        if node != name {
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&dev.join(node), SFlag::S_IFCHR, mode, makedev(1, minor)).expect("a node");
        }
    }
    dev
}

#[test]
fn cve_2025_31133_dev_null_is_a_link_when_paths_are_masked() {
    let test = Test::new();
    let dev = dev_without(&test, "null");
    symlink("/target", dev.join("null")).expect("a link");
    let bundle = without_dev(test.bundle())
        .file("/target", "of the attacker")
        .mount(
            json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"] }),
        )
        .edit(|config| config["linux"]["maskedPaths"] = json!(["/proc/timer_list"]))
        .args(&["/bin/cat", "/proc/timer_list"]);
    let output = test.run(&bundle);
    // Refused, or masked with something that is really empty.
    if output.status == 0
        && !test.excuses(&[Kind::Runc, Kind::Crun], "takes the container's /dev/null as it is")
    {
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn cve_2025_31133_dev_null_is_a_plain_file_when_paths_are_masked() {
    let test = Test::new();
    let bundle = without_dev(test.bundle())
        .file("/dev/null", "of the attacker")
        .edit(|config| config["linux"]["maskedPaths"] = json!(["/proc/timer_list"]))
        .args(&["/bin/cat", "/proc/timer_list"]);
    let output = test.run(&bundle);
    if output.status == 0 {
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn cve_2025_52565_dev_console_is_a_link() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let dev = dev_without(&test, "");
    fs::create_dir(dev.join("pts")).expect("a directory");
    symlink("/etc/passwd", dev.join("console")).expect("a link");
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let bundle = without_dev(test.bundle())
        .mount(json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"] }))
        .mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] }))
        .edit(|config| config["process"]["terminal"] = json!(true))
        .args(&["/bin/probe", "facts"]);
    let directory = bundle.dir.to_string_lossy().into_owned();
    let console = socket.path().to_string_lossy().into_owned();
    let output =
        test.call(&["create", "--bundle", &directory, "--console-socket", &console, test.id()]);
    if output.status == 0 {
        let mut terminal = socket.terminal();
        test.call(&["start", test.id()]).ok();
        let facts = parse(&terminal.rest());
        test.call(&["delete", "--force", test.id()]).ok();
        if !test
            .excuses(&[Kind::Runc, Kind::Crun], "the console is mounted where the link leads to")
        {
            assert!(facts.mount("/etc/passwd").is_none(), "{:?}", facts.mount("/etc/passwd"));
        }
    }
    precious.assert_untouched();
}

#[test]
fn cve_2025_52881_a_sysctl_is_written_to_proc_and_nowhere_else() {
    let test = Test::new();
    let victim = test.dir().join("victim");
    fs::write(&victim, "untouched").expect("a file");
    // A mount before the sysctl is written tries to turn the write to another file.
    let bundle = test
        .bundle()
        .mount(json!({ "destination": "/proc/sys/net/ipv4/ip_default_ttl", "type": "bind", "source": victim, "options": ["bind"] }))
        .edit(|config| config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77" }));
    ran_or_refused(&test.run(&bundle.args(&["/bin/true"])));
    assert_eq!(fs::read_to_string(&victim).expect("the file"), "untouched");
}

#[test]
fn cve_2026_30892_a_user_is_never_taken_for_root() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    for user in [
        "1",
        "1:2",
        "01",
        " 1",
        "1 ",
        "+1",
        "-1",
        "1x",
        "0x1",
        "4294967295",
        "4294967296",
        "4294967297",
        "1:",
        ":",
        "root",
        "user",
    ] {
        let output = container.exec_with(&["--user", user], &["/bin/probe", "facts"]);
        if output.status == 0 && !output.stdout.is_empty() {
            let uid = parse(&output.stdout).uids[0];
            let root = uid == 0 && user != "root";
            if root
                && test.excuses(
                    &[Kind::Runc, Kind::Crun],
                    &format!("{user:?} is cut to 32 bits or to nothing"),
                )
            {
                continue;
            }
            assert!(!root, "--user {user:?} became root");
        }
    }
    container.remove();
}

#[test]
fn cve_2026_41579_dev_is_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = without_dev(test.bundle()).args(&["/bin/true"]);
    fs::remove_dir(bundle.rootfs().join("dev")).expect("the directory");
    symlink(&precious.dir, bundle.rootfs().join("dev")).expect("a link");
    ran_or_refused(&test.run(&bundle));
    if !test.excuses(&[Kind::Runc, Kind::Crun], "follows the link to the host") {
        precious.assert_untouched();
    }
}

#[test]
fn cve_2026_47766_a_device_is_made_through_a_link_to_the_host() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = test.bundle().edit(|config| {
        config["linux"]["devices"] = json!([
            { "path": "/link/fuse", "type": "c", "major": 10, "minor": 229 },
            { "path": "/link/passwd", "type": "c", "major": 1, "minor": 3 },
        ]);
    });
    symlink(&precious.dir, bundle.rootfs().join("link")).expect("a link");
    ran_or_refused(&test.run(&bundle.args(&["/bin/true"])));
    precious.assert_untouched();
}

#[test]
fn cve_2026_88264_dev_console_of_the_image_is_a_link() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun before 1.30 is open to it");
    let precious = Precious::new(&test);
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let bundle = without_dev(test.bundle())
        .mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] }))
        .edit(|config| config["process"]["terminal"] = json!(true))
        .args(&["/bin/true"]);
    symlink(precious.dir.join("made"), bundle.rootfs().join("dev/console")).expect("a link");
    let directory = bundle.dir.to_string_lossy().into_owned();
    let console = socket.path().to_string_lossy().into_owned();
    let output =
        test.call(&["create", "--bundle", &directory, "--console-socket", &console, test.id()]);
    if output.status == 0 {
        test.call(&["delete", "--force", test.id()]).ok();
    }
    precious.assert_untouched();
}

#[test]
fn cve_2026_88265_dev_null_of_the_image_leads_to_a_bound_file() {
    let test = Test::new();
    let precious = Precious::new(&test);
    let bundle = without_dev(test.bundle())
        .mount(json!({ "destination": "/bound", "type": "bind", "source": precious.dir, "options": ["rbind"] }))
        .edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }))
        .args(&["/bin/echo", "written through a standard stream"]);
    symlink("/bound/passwd", bundle.rootfs().join("dev/null")).expect("a link");
    // Standard streams on /dev/null are those that a runtime opens again.
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the runtime");
    wait::exit_status(&mut child, &command);
    if !test.excuses(&[Kind::Runc, Kind::Crun], "may open the image's /dev/null") {
        precious.assert_untouched();
    }
}

#[test]
fn cve_2026_115521_the_image_brings_its_own_proc_self_fd() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        config["root"]["readonly"] = json!(true);
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!(["/data"]);
    });
    let bundle = (0..40).fold(bundle.file("/data/file", ""), |bundle, number| {
        bundle.file(&format!("/proc/self/fd/{number}"), "fake")
    });
    for path in ["/file", "/data/file"] {
        let output = test.run(&bundle.clone_with(&["/bin/probe", "write", path, "x"]));
        assert!(output.status != 0, "{path} was written: {output:?}");
        if !test.excuses(&[Kind::Runc, Kind::Crun], "cannot start without /proc") {
            assert_eq!(output.stdout.trim(), "EROFS", "{output:?}");
        }
    }
}

#[test]
fn an_execs_cgroup_stays_below_the_containers() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let container = test.serve(test.bundle());
    let sibling = PathBuf::from(format!("{}-sibling", container.cgroup("pids").display()));
    fs::create_dir(&sibling).expect("a cgroup beside the container's");
    let name = sibling.file_name().expect("a name").to_string_lossy().into_owned();
    for path in [
        format!("pids:../{name}"),
        format!("pids:/../{name}"),
        format!("../{name}"),
        "pids:..".into(),
        "..".into(),
        "pids:x/../..".into(),
    ] {
        let output = container.exec_with(&["--cgroup", &path], &["/bin/cat", "/proc/self/cgroup"]);
        let escaped =
            output.stdout.lines().any(|line| line.contains(":pids:") && !line.ends_with(test.id()));
        if escaped && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{path} escapes")) {
            continue;
        }
        assert!(!escaped, "{path}: {output:?}");
    }
    container.remove();
    fs::remove_dir(&sibling).expect("the cgroup");
}

#[test]
fn the_state_of_a_container_is_for_root_alone() {
    let test = Test::new();
    let container = test.create(&test.bundle().serve());
    let directory = fs::metadata(test.root().join(test.id())).expect("the state");
    container.remove();
    assert_eq!(directory.mode() & 0o077 & 0o022, 0, "others may write to it");
}
