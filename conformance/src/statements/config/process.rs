//! config.md "Process".

use std::fs;

use integration::{Bundle, Facts, Test, console::ConsoleSocket, test::parse, wait};
use serde_json::json;

use super::{AUTHOR, WINDOWS, process, refuses, remove};
use crate::{Statement, must, optional, required};

const PROCESS: &str = r#"config.md "Process""#;

pub(super) const STATEMENTS: &[Statement] = &[
    required(
        "config.process.required-by-start",
        PROCESS,
        "process (object, OPTIONAL) specifies the container process. This property is REQUIRED \
         when start is called.",
    )
    .test(|test| {
        refuses(test, &test.bundle().edit(|config| remove(config, "process")));
    }),
    optional(
        "config.process.terminal.true",
        PROCESS,
        "terminal (bool, OPTIONAL) specifies whether a terminal is attached to the process […] if \
         set to true on Linux a pseudoterminal pair is allocated for the process and the \
         pseudoterminal pty is duplicated on the process's standard streams.",
    )
    .test(|test| {
        let facts = on_a_terminal(test, test.bundle());
        assert!(facts.tty.expect("a terminal").name.starts_with("/dev/pts/"));
        assert!(
            facts.fds[&0] == facts.fds[&1] && facts.fds[&1] == facts.fds[&2],
            "{:?}",
            facts.fds
        );
    }),
    optional(
        "config.process.terminal.default",
        PROCESS,
        "terminal (bool, OPTIONAL) specifies whether a terminal is attached to the process, \
         defaults to false.",
    )
    .test(|test| {
        let bundle = test.bundle().edit(|config| remove(&mut config["process"], "terminal"));
        assert_eq!(test.facts(&bundle).tty, None);
    }),
    optional(
        "config.process.console-size",
        PROCESS,
        "consoleSize (object, OPTIONAL) specifies the console size in characters of the terminal.",
    )
    .test(|test| {
        let size = json!({ "height": 33, "width": 99 });
        let facts = on_a_terminal(test, process(test.bundle(), "consoleSize", size));
        let tty = facts.tty.expect("a terminal");
        assert_eq!((tty.rows, tty.columns), (33, 99));
    }),
    must(
        "config.process.console-size.ignored",
        PROCESS,
        "Runtimes MUST ignore consoleSize if terminal is false or unset.",
    )
    .test(|test| {
        let sized = |name| {
            let size = json!({ "height": 33, "width": 99 });
            process(test.bundle_named(name), "consoleSize", size)
        };
        assert_eq!(test.facts(&sized("false")).tty, None);
        let unset = sized("unset").edit(|config| remove(&mut config["process"], "terminal"));
        assert_eq!(test.facts(&unset).tty, None);
    }),
    required("config.process.console-size.height", PROCESS, "height (uint, REQUIRED)")
        .untestable(AUTHOR),
    required("config.process.console-size.width", PROCESS, "width (uint, REQUIRED)")
        .untestable(AUTHOR),
    required(
        "config.process.cwd",
        PROCESS,
        "cwd (string, REQUIRED) is the working directory that will be set for the executable.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "cwd", json!("/var/lib")).file("/var/lib/file", "");
        assert_eq!(test.facts(&bundle).cwd, "/var/lib");
    }),
    required(
        "config.process.cwd.required",
        PROCESS,
        "cwd (string, REQUIRED) is the working directory that will be set for the executable.",
    )
    .test(|test| {
        refuses(test, &test.bundle().edit(|config| remove(&mut config["process"], "cwd")));
    }),
    must("config.process.cwd.absolute", PROCESS, "This value MUST be an absolute path.").test(
        |test| {
            for path in ["tmp", "./tmp", ""] {
                let bundle = test.bundle_named(&format!("cwd-{}", path.replace('/', "-")));
                refuses(test, &process(bundle, "cwd", json!(path)));
            }
        },
    ),
    optional(
        "config.process.env",
        PROCESS,
        "env (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008's \
         environ.",
    )
    .test(|test| {
        let wanted = ["PATH=/bin", "EMPTY=", "EQUAL=a=b", "BLANK=a b\tc", "lower.case-é=x"];
        let facts = test.facts(&process(test.bundle(), "env", json!(wanted)));
        for entry in wanted {
            let count = facts.env.iter().filter(|found| *found == entry).count();
            assert_eq!(count, 1, "{entry:?} in {:?}", facts.env);
        }
    }),
    optional(
        "config.process.env.nothing-else",
        PROCESS,
        "env (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008's \
         environ.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "env", json!(["PATH=/bin", "HOME=/", "A=b"]));
        let dir = bundle.dir.to_string_lossy().into_owned();
        let mut command = test.command(&["run", "--bundle", &dir, test.id()]);
        let output = wait::output(command.env("OF_THE_CALLER", "1"));
        let mut env = parse(output.ok()).env;
        env.sort();
        assert_eq!(env, ["A=b", "HOME=/", "PATH=/bin"]);
    }),
    optional(
        "config.process.args",
        PROCESS,
        "args (array of strings, OPTIONAL) with similar semantics to IEEE Std 1003.1-2008 execvp's \
         argv.",
    )
    .test(|test| {
        let args = ["/bin/probe", "facts", "", "two words", "--dashes", "$PATH", "é\n"];
        assert_eq!(test.facts(&test.bundle().args(&args)).argv, args);
    }),
    required(
        "config.process.args.one",
        PROCESS,
        "This specification extends the IEEE standard in that at least one entry is REQUIRED \
         (non-Windows)",
    )
    .test(|test| {
        refuses(test, &test.bundle_named("empty").args(&[]));
        let missing = test.bundle_named("missing");
        refuses(test, &missing.edit(|config| remove(&mut config["process"], "args")));
    }),
    required(
        "config.process.args.path",
        PROCESS,
        "at least one entry is REQUIRED (non-Windows), and that entry is used with the same \
         semantics as execvp's file.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "env", json!(["PATH=/none:/usr/own:/bin"]));
        own_program(&bundle, "usr/own");
        let facts = test.facts(&bundle.args(&["own-probe", "facts"]));
        assert_eq!(
            (facts.exe.as_str(), facts.argv[0].as_str()),
            ("/usr/own/own-probe", "own-probe")
        );
    }),
    required(
        "config.process.args.slash",
        PROCESS,
        "at least one entry is REQUIRED (non-Windows), and that entry is used with the same \
         semantics as execvp's file.",
    )
    .test(|test| {
        let bundle = process(test.bundle(), "cwd", json!("/usr"));
        own_program(&bundle, "usr/own");
        let facts = test.facts(&bundle.args(&["own/own-probe", "facts"]));
        assert_eq!(
            facts.exe, "/usr/own/own-probe",
            "a name with a slash is not looked for in PATH"
        );
    }),
    required(
        "config.process.args.missing",
        PROCESS,
        "at least one entry is REQUIRED (non-Windows), and that entry is used with the same \
         semantics as execvp's file.",
    )
    .test(|test| {
        refuses(test, &test.bundle_named("in-path").args(&["no-such-program"]));
        refuses(test, &test.bundle_named("absolute").args(&["/bin/no-such-program"]));
    }),
    required(
        "config.process.command-line",
        PROCESS,
        "This field is OPTIONAL on Windows, and commandLine is REQUIRED if this field is omitted.",
    )
    .untestable(WINDOWS),
];

/// What the program sees when it has a terminal.
#[track_caller]
fn on_a_terminal(test: &Test, bundle: Bundle) -> Facts {
    let bundle = process(bundle, "terminal", json!(true));
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let path = socket.path().to_string_lossy().into_owned();
    let container = test.create_as("", &["--console-socket", &path], &bundle);
    let mut terminal = socket.terminal();
    container.start();
    let facts = parse(&terminal.rest());
    container.wait();
    container.delete();
    facts
}

/// Puts a copy of the probe into the root filesystem, as `<directory>/own-probe`.
fn own_program(bundle: &Bundle, directory: &str) {
    let directory = bundle.rootfs().join(directory);
    fs::create_dir_all(&directory).expect("a directory");
    fs::copy(integration::bundle::PROBE, directory.join("own-probe")).expect("a copy");
}
