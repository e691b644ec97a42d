//! Calls that make no sense: ids that are none or are taken, commands in the wrong state, arguments
//! that are wrong.

use std::fs;

use integration::{Container, Kind, Test, only_on, wait};

#[test]
fn ids_that_are_no_names() {
    let test = Test::new();
    let bundle = test.bundle();
    let long = "x".repeat(300);
    for id in ["", ".", "..", "a/b", "../up", "two words", "new\nline", "ünï", "a:b", &long] {
        let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), id]);
        if output.status == 0 && test.excuses(&[Kind::Crun], &format!("{id:?} is a name")) {
            test.call(&["delete", "--force", id]);
            continue;
        }
        output.fails();
        test.assert_clean();
        assert!(!test.dir().join("up").exists());
    }
}

#[test]
fn other_calls_refuse_such_ids_too() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun looks where the id points to");
    let victim = test.dir().join("victim");
    fs::create_dir_all(victim.join("data")).expect("a directory");
    fs::create_dir(test.root()).expect("the state root");
    for command in [
        &["delete"] as &[&str],
        &["delete", "--force"],
        &["state"],
        &["kill"],
        &["start"],
        &["pause"],
    ] {
        let output = test.call(&[command, &["../victim"]].concat());
        if command != ["delete", "--force"] {
            output.fails();
        }
        assert!(victim.join("data").is_dir(), "{command:?} went outside of the state root");
    }
}

#[test]
fn an_id_that_is_taken() {
    let test = Test::new();
    let first = test.create(&test.bundle().serve());
    let output = test.call(&[
        "create",
        "--bundle",
        &test.bundle_named("second").dir.to_string_lossy(),
        test.id(),
    ]);
    if !test.runtime.is(Kind::Crun) {
        output.fails_with("exist");
    }
    output.fails();
    assert_eq!(first.status(), "created", "the first one is not touched");
    first.remove();
}

#[test]
fn many_creates_of_one_id_at_once_make_one_container() {
    let test = Test::new();
    only_on!(test, [Rtn], "the check for a taken id is not atomic, and losers leave a process");
    let bundle = test.bundle().serve();
    let mut running: Vec<_> = (0..8)
        .map(|_| {
            let mut command =
                test.command(&["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            (command.spawn().expect("the runtime"), command)
        })
        .collect();
    let made = running
        .iter_mut()
        .filter_map(|(child, command)| (wait::exit_status(child, command) == 0).then_some(()))
        .count();
    test.call(&["delete", "--force", test.id()]);
    assert_eq!(made, 1, "containers of one id");
}

#[test]
fn calls_in_the_wrong_state() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun allows some of them");
    let container = test.create(&test.bundle().serve());
    container.start();
    wrong(&container, &["start"]);
    wrong(&container, &["resume"]);
    wrong(&container, &["delete"]);
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait();
    for command in ["start", "pause", "resume"] {
        wrong(&container, &[command]);
    }
    let killed = wrong(&container, &["kill"]);
    // The words that containerd and CRI-O look for.
    assert!(killed.contains("container not running") || !test.runtime.is(Kind::Rtn), "{killed}");
    container.exec(&["/bin/true"]).fails();
    container.delete();
    for command in ["start", "kill", "delete", "state", "pause", "resume", "ps", "events"] {
        let output = container.call(&[command]);
        output.fails();
        if test.runtime.is(Kind::Rtn) {
            output.fails_with("does not exist");
        }
    }
}

/// A call that has to fail; its message.
fn wrong(container: &Container<'_>, command: &[&str]) -> String {
    let output = container.call(command);
    output.fails().to_owned()
}

#[test]
fn a_signal_that_does_not_exist() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    for signal in ["SIGNOTHING", "999", "-1", ""] {
        let output = test.call(&["kill", test.id(), signal]);
        if output.status == 0
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{signal:?} is accepted"))
        {
            continue;
        }
        output.fails();
    }
    container.remove();
}

#[test]
fn arguments_that_are_wrong() {
    let test = Test::new();
    for arguments in [
        &["create"] as &[&str],
        &["start"],
        &["create", "a", "b"],
        &["--no-such-option"],
        &["no-such-command"],
        &["run", "--no-such-option", "a"],
        &["exec", "a"],
        &["run", "--preserve-fds", "many", "a"],
    ] {
        let output = test.call(arguments);
        if output.status == 0
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{arguments:?} prints the help"))
        {
            continue;
        }
        assert!(output.status != 0, "{arguments:?}: {output:?}");
    }
}
