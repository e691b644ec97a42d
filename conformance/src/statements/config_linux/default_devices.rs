//! config-linux.md "Default Devices".

use integration::{Test, console::ConsoleSocket};

use crate::{Statement, must};

const SECTION: &str = r#"config-linux.md "Default Devices""#;

pub(super) const STATEMENTS: &[Statement] = &[
    must(
        "config-linux.default-devices.null",
        SECTION,
        "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/null",
    )
    .test(|test| supplied(test, "/dev/null", (1, 3))),
    must(
        "config-linux.default-devices.zero",
        SECTION,
        "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/zero",
    )
    .test(|test| supplied(test, "/dev/zero", (1, 5))),
    must(
        "config-linux.default-devices.full",
        SECTION,
        "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/full",
    )
    .test(|test| supplied(test, "/dev/full", (1, 7))),
    must(
        "config-linux.default-devices.random",
        SECTION,
        "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/random",
    )
    .test(|test| supplied(test, "/dev/random", (1, 8))),
    must(
        "config-linux.default-devices.urandom",
        SECTION,
        "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/urandom",
    )
    .test(|test| supplied(test, "/dev/urandom", (1, 9))),
    must(
        "config-linux.default-devices.tty",
        SECTION,
        "In addition to any devices configured with this setting, the runtime MUST also supply: /dev/tty",
    )
    .test(|test| there(test, "/dev/tty", (5, 0))),
    must(
        "config-linux.default-devices.console",
        SECTION,
        "the runtime MUST also supply: /dev/console is set up if terminal is enabled in the config by bind mounting \
         the pseudoterminal pty to /dev/console.",
    )
    .test(the_console_is_the_terminal),
    must(
        "config-linux.default-devices.ptmx",
        SECTION,
        "the runtime MUST also supply: /dev/ptmx. A bind-mount or symlink of the container's /dev/pts/ptmx.",
    )
    .test(ptmx_makes_terminals_of_the_container),
];

fn there(test: &Test, path: &str, device: (u32, u32)) {
    let facts = test.facts_with(&["--stat", path], test.bundle());
    let stat = facts.stats[path].as_ref().unwrap_or_else(|errno| panic!("{path}: {errno}"));
    assert_eq!((stat.kind.as_str(), stat.device), ("char", Some(device)), "{path}");
    assert_eq!(stat.mode & 0o666, 0o666, "{path} is for everybody");
}

/// The default rule of the configuration denies every device, and these can be used all the same.
fn supplied(test: &Test, path: &str, device: (u32, u32)) {
    there(test, path, device);
    let script = format!("probe try open {path}; probe try open-write {path}");
    let output = test.run(&test.bundle_named("use").shell(&script));
    assert_eq!(output.stdout, "ok\nok\n", "opening {path} for reading and for writing");
}

fn the_console_is_the_terminal(test: &Test) {
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let bundle = test.bundle().edit(|config| {
        config["process"]["terminal"] = true.into();
    });
    let bundle = bundle.shell("echo written >/dev/console; stat -c %t:%T /dev/console $(tty)");
    let path = socket.path().to_string_lossy().into_owned();
    let container = test.create_as("", &["--console-socket", &path], &bundle);
    let mut terminal = socket.terminal();
    container.start();
    let text = terminal.rest();
    container.wait();
    container.delete();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text:?}");
    assert_eq!(lines[0], "written", "what is written to /dev/console comes out of the terminal");
    assert_eq!(lines[1], lines[2], "the device numbers of /dev/console and of the terminal");
}

fn ptmx_makes_terminals_of_the_container(test: &Test) {
    let facts = test.facts_with(&["--stat", "/dev/ptmx"], test.bundle_named("stat"));
    let stat = facts.stats["/dev/ptmx"].as_ref().expect("/dev/ptmx");
    let bound = facts.mount("/dev/ptmx").is_some_and(|mount| mount.fstype == "devpts");
    let linked =
        stat.target.as_deref().is_some_and(|to| ["pts/ptmx", "/dev/pts/ptmx"].contains(&to));
    assert!(bound || linked, "/dev/ptmx is {stat:?}");
    let script = "exec 3<>/dev/ptmx; echo /dev/pts/[0-9]*";
    let output = test.run(&test.bundle().shell(script));
    assert_eq!(output.ok().trim(), "/dev/pts/0", "the terminals in the container's devpts");
}
