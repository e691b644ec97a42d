//! Terminals: `process.terminal`, `consoleSize` and `--console-socket`.

use std::fs;

use integration::{
    Bundle, Container, Kind, Test,
    console::{ConsoleSocket, Terminal},
    only_on,
    test::parse,
    wait,
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;

fn with_terminal(bundle: Bundle) -> Bundle {
    bundle.edit(|config| config["process"]["terminal"] = json!(true))
}

/// A container with a terminal, started, and the other side of the terminal.
#[track_caller]
fn started(test: &Test, bundle: Bundle) -> (Container<'_>, Terminal) {
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let path = socket.path().to_string_lossy();
    let container = test.create_as("", &["--console-socket", &path], &with_terminal(bundle));
    let terminal = socket.terminal();
    container.start();
    (container, terminal)
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn the_master_arrives_on_the_console_socket() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        config["process"]["consoleSize"] = json!({ "height": 33, "width": 99 });
    });
    let (container, mut terminal) = started(&test, bundle);
    let facts = parse(&terminal.rest());
    let tty = facts.tty.expect("a terminal");
    if !test
        .excuses(&[Kind::Runc], "consoleSize is not applied to a console socket before runc 1.2")
    {
        assert_eq!((tty.rows, tty.columns), (33, 99));
    }
    assert!(tty.controlling);
    assert!(tty.name.starts_with("/dev/pts/"), "{}", tty.name);
    assert_eq!(facts.sid, facts.pid);
    assert_eq!(facts.fds[&0], facts.fds[&2]);
    container.wait();
    container.delete();
}

#[test]
fn the_console_is_a_device_of_the_container() {
    let test = Test::new();
    let bundle = test.bundle().args(&[
        "/bin/probe",
        "facts",
        "--stat",
        "/dev/console",
        "--stat",
        "/dev/pts/0",
    ]);
    let (container, mut terminal) = started(&test, bundle);
    let facts = parse(&terminal.rest());
    let console = facts.stats["/dev/console"].as_ref().expect("/dev/console");
    assert_eq!((console.kind.as_str(), console.device), ("char", Some((136, 0))));
    assert_eq!(facts.mount("/dev/console").expect("a mount").fstype, "devpts");
    container.wait();
    container.delete();
}

#[test]
fn what_is_typed_comes_in_and_what_is_written_comes_out() {
    let test = Test::new();
    let bundle = test.bundle().shell("stty -echo; echo go; read line; echo got $line");
    let (container, mut terminal) = started(&test, bundle);
    terminal.expect("go");
    terminal.type_line("hello");
    terminal.expect("got hello");
    assert_eq!(container.wait(), 0);
    container.delete();
}

#[test]
fn a_change_of_size_is_signalled() {
    let test = Test::new();
    let (container, mut terminal) = started(&test, test.bundle().serve());
    terminal.expect("ready");
    tcsetwinsize(&terminal.0, size(12, 34)).expect("TIOCSWINSZ");
    terminal.expect("SIGWINCH");
    let output = container.exec(&["/bin/sh", "-c", "stty size </dev/pts/0"]);
    assert_eq!(output.ok().trim(), "12 34");
    container.remove();
}

#[test]
fn interrupt_on_the_terminal_reaches_the_container() {
    let test = Test::new();
    let (container, mut terminal) = started(&test, test.bundle().serve());
    terminal.expect("ready");
    std::io::Write::write_all(&mut terminal.0, &[3]).expect("ctrl-c");
    while wait::next_line(&mut terminal.0).is_some_and(|line| !line.ends_with("SIGINT")) {}
    container.remove();
}

#[test]
fn a_user_owns_its_terminal() {
    let test = Test::new();
    let bundle = test
        .bundle()
        .edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }))
        .args(&["/bin/probe", "facts", "--stat", "/dev/pts/0"]);
    let (container, mut terminal) = started(&test, bundle);
    let facts = parse(&terminal.rest());
    assert_eq!(facts.stats["/dev/pts/0"].as_ref().expect("the terminal").uid, 1000);
    container.wait();
    container.delete();
}

#[test]
fn run_with_a_terminal_connects_the_callers_own() {
    let test = Test::new();
    only_on!(
        test,
        [Rtn, Runc],
        "crun 1.8 does not pass the size of the terminal on at the beginning"
    );
    let late = test.excuses(&[Kind::Runc], "the program may run before its terminal has a size");
    let sized = if late { "until [ \"$(stty size)\" != '0 0' ]; do :; done; " } else { "" };
    let script = format!("{sized}stty size; tty; echo typed: $(head -n 1)");
    let bundle = with_terminal(test.bundle()).shell(&script);
    let master =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    tcsetwinsize(&master, size(21, 87)).expect("TIOCSWINSZ");
    let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let slave = || fs::File::options().read(true).write(true).open(&name).expect("the slave");
    let mut command = test.command_after(
        &["setsid", "--ctty"],
        &["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()],
    );
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let mut child = command.spawn().expect("the runtime");
    drop(std::mem::replace(&mut command, std::process::Command::new("true")));
    let mut terminal = Terminal(master.into());
    terminal.expect("21 87");
    let tty = wait::next_line(&mut terminal.0).expect("a line");
    assert!(tty.starts_with("/dev/pts/") || tty == "/dev/console", "{tty}");
    terminal.type_line("words");
    terminal.expect("typed: words");
    assert_eq!(wait::exit_status(&mut child, &command), 0);
}

#[test]
fn a_terminal_without_anybody_to_take_it_is_an_error() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun says nothing and makes one");
    let output = test.create_fails(&with_terminal(test.bundle()));
    output.fails_with("console socket");
}

#[test]
fn a_console_socket_without_a_terminal_is_an_error() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun ignores the socket");
    let socket = ConsoleSocket::bind(test.dir().join("console"));
    let bundle = test.bundle();
    let output = test.call(&[
        "create",
        "--bundle",
        &bundle.dir.to_string_lossy(),
        "--console-socket",
        &socket.path().to_string_lossy(),
        test.id(),
    ]);
    output.fails_with("console socket");
}

#[test]
fn a_console_socket_that_is_not_there_is_an_error() {
    let test = Test::new();
    let bundle = with_terminal(test.bundle());
    let output = test.call(&[
        "create",
        "--bundle",
        &bundle.dir.to_string_lossy(),
        "--console-socket",
        "/not/there",
        test.id(),
    ]);
    output.fails();
}

#[test]
fn a_large_output_on_a_terminal_is_complete() {
    let test = Test::new();
    let bundle = test.bundle().shell("stty -opost; head -c 300000 /dev/zero | tr '\\0' x");
    let (container, mut terminal) = started(&test, bundle);
    assert_eq!(terminal.rest().len(), 300_000);
    assert_eq!(container.wait(), 0);
    container.delete();
}
