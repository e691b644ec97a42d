//! The runtime itself: its file, its processes, and the descriptors that it has open.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
};

use integration::{
    Bundle, Container, Feature, Kind, Test, bundle::PROBE, needs, only_on, test::parse, wait,
};
use serde_json::json;

use crate::ran_or_refused;

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

#[test]
fn cve_2019_5736_a_container_waits_for_an_exec() {
    let test = Test::new().with_copied_runtime();
    let hunter = Hunter::start(&test, test.bundle());
    for _ in 0..30 {
        hunter.container.exec(&HARMLESS).ok();
    }
    hunter.end(&test);
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
