//! A state root that somebody damaged, and files that cannot be written.

use std::fs;

use integration::{Bundle, Container, Kind, Test, only_on};
use serde_json::{Value, json};

/// A stopped container whose state file is changed.
fn stopped(test: &Test) -> (Container<'_>, std::path::PathBuf) {
    let container = test.serve(test.bundle());
    container.kill("KILL");
    container.wait();
    let name = if test.runtime.is(Kind::Crun) { "status" } else { "state.json" };
    let file = test.root().join(test.id()).join(name);
    (container, file)
}

#[test]
fn a_damaged_state_file_is_told_and_can_be_deleted() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun leaves the cgroups");
    let (container, file) = stopped(&test);
    let whole = fs::read_to_string(&file).expect("the state");
    for text in ["", "{", "{}", "null", &whole[..whole.len() / 2], "\u{0}\u{0}\u{0}"] {
        fs::write(&file, text).expect("the state can be damaged");
        let output = container.call(&["state"]);
        if output.status == 0
            && test.excuses(&[Kind::Runc, Kind::Crun], &format!("reads {text:?} as a state"))
        {
            continue;
        }
        output.fails();
        if test.runtime.is(Kind::Rtn) {
            output.one_line().unwrap_or_else(|what| panic!("{text:?}: {what}: {output:?}"));
            assert!(output.stderr.contains("state.json"), "{output:?}");
            test.call(&["list"]).ok();
        }
    }
    let deleted = container.call(&["delete", "--force"]);
    if deleted.status != 0
        && test.excuses(&[Kind::Runc, Kind::Crun], "a damaged state cannot be deleted")
    {
        fs::write(&file, whole).expect("the state can be repaired");
        container.remove();
    } else {
        deleted.ok();
    }
}

#[test]
fn a_pid_that_was_used_again_is_not_the_containers() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's keys have other names");
    let (container, file) = stopped(&test);
    let mut other =
        std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("a process");
    let text = fs::read_to_string(&file).expect("the state");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    state["init_process_pid"] = json!(other.id());
    // Start times are clock ticks, and the two may have begun in the same one; a pid is not used
    // again that soon.
    let start = state["init_process_start"].as_u64().expect("clock ticks");
    state["init_process_start"] = json!(start - 1);
    fs::write(&file, state.to_string()).expect("the state can be changed");
    assert_eq!(container.status(), "stopped");
    container.call(&["kill", "--all"]);
    test.call(&["kill", test.id(), "KILL"]).fails();
    container.call(&["exec"]).fails();
    container.remove();
    assert!(other.try_wait().expect("wait").is_none(), "the other process was killed");
    other.kill().and_then(|()| other.wait()).expect("the other process ends");
}

#[test]
fn rubbish_in_the_state_root_does_not_disturb() {
    let test = Test::new();
    fs::create_dir_all(test.root().join("empty-directory")).expect("a directory");
    fs::write(test.root().join("file"), "").expect("a file");
    let container = test.serve(test.bundle());
    let list = test.call(&["list", "--quiet"]);
    assert!(list.ok().lines().any(|line| line == test.id()), "{list:?}");
    container.remove();
    fs::remove_dir_all(test.root()).expect("the rubbish");
}

#[test]
fn a_state_root_that_is_not_a_directory_is_told() {
    let test = Test::new();
    fs::write(test.root(), "").expect("a file");
    test.call(&["create", "--bundle", &test.bundle().dir.to_string_lossy(), test.id()]).fails();
    fs::remove_file(test.root()).expect("the file");
}

#[test]
fn a_failing_run_leaves_nothing_either() {
    let test = Test::new();
    let bundle: Bundle = test.bundle().args(&["/not/there"]);
    for options in [&[] as &[&str], &["--detach"]] {
        test.run_with(options, &bundle).fails();
        test.assert_clean();
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_is_told() {
    let test = Test::new();
    let bundle = test.bundle().serve();
    let output = test.call(&[
        "create",
        "--bundle",
        &bundle.dir.to_string_lossy(),
        "--pid-file",
        "/not/there/pid",
        test.id(),
    ]);
    output.fails();
    if test.excuses(&[Kind::Crun], "the container is left") {
        test.call(&["delete", "--force", test.id()]);
    }
}
