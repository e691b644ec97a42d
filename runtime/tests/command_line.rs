//! What callers see of the program: exit statuses, usage, the log, and the documents that it
//! writes. Where runc is installed the same calls are made to it, and the answers compared.

#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::{Value, json};

const RTN: &str = env!("CARGO_BIN_EXE_rtn");

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rtn-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn call(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().unwrap()
}

fn rtn(args: &[&str]) -> (i32, String, String) {
    answer(&call(RTN, args))
}

fn answer(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// runc's answer, if there is a runc to ask.
fn runc(args: &[&str]) -> Option<(i32, String, String)> {
    match Command::new("runc").args(args).stdin(Stdio::null()).output() {
        Ok(output) => Some(answer(&output)),
        Err(error) => {
            eprintln!("skipped the comparison with runc: {error}");
            None
        }
    }
}

/// The message in a line of logrus' text.
fn message(log: &str) -> String {
    let rest = log.split_once("msg=").map_or(log, |(_, rest)| rest);
    match rest.strip_prefix('"') {
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            quoted[..end.unwrap_or(quoted.len())].replace("\\\"", "\"").replace("\\n", "")
        }
        None => rest.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

/// Misuse of every kind: the same status, the same first line, the same message as runc's.
#[test]
fn misuse_is_answered_as_runc_answers_it() {
    let cases: &[&[&str]] = &[
        &["--frob", "state", "x"],
        &["-frob"],
        &["--root"],
        &["nosuch"],
        &["nosuch", "-h"],
        &["help", "nosuch"],
        &["state"],
        &["state", "a", "b"],
        &["state", "--frob", "x"],
        &["state", "---x"],
        &["start", "a", "b"],
        &["exec"],
        &["exec", "-u"],
        &["exec", "-it", "x", "sh"],
        &["kill"],
        &["kill", "a", "b", "c"],
        &["kill", "--all=maybe", "x"],
        &["run", "--detach=false"],
        &["run", "--preserve-fds", "x", "y"],
        &["create", "--pid-file"],
        &["events", "--interval", "5", "x"],
        &["list", "x"],
        &["list", "--format", "xml"],
        &["update"],
        &["update", "--memory"],
        &["features", "x"],
        &["--log-format", "xml", "list"],
    ];
    for args in cases {
        let (status, out, err) = rtn(args);
        let Some((runc_status, runc_out, runc_err)) = runc(args) else { return };
        assert_eq!(status, runc_status, "status of {args:?}");
        let first = |out: &str| out.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(&out), first(&runc_out), "standard output of {args:?}");
        let expected = message(&runc_err).replace("runc:", "rtn:");
        assert_eq!(message(&err), expected, "message of {args:?}");
    }
}

#[test]
fn a_container_that_does_not_exist_is_answered_as_runc_answers_it() {
    let root = Scratch::new("absent");
    let root = root.path("root");
    let cases: &[&[&str]] = &[
        &["state", "x"],
        &["start", "x"],
        &["kill", "x"],
        &["kill", "x", "9"],
        &["delete", "x"],
        &["delete", "--force", "x"],
        &["exec", "x", "sh", "-c", "true"],
        &["ps", "x", "-aux"],
        &["pause", "x"],
        &["resume", "x"],
        &["events", "--stats", "x"],
        &["update", "x", "--memory", "1M"],
        &["list"],
        &["list", "-q"],
    ];
    for args in cases {
        let args = [&["-root", &root], *args].concat();
        let (status, out, err) = rtn(&args);
        if !err.is_empty() {
            assert!(message(&err).contains("container does not exist"), "{args:?}: {err}");
        }
        let Some((runc_status, runc_out, runc_err)) = runc(&args) else { continue };
        assert_eq!((status, &out), (runc_status, &runc_out), "{args:?}");
        assert_eq!(err.is_empty(), runc_err.is_empty(), "{args:?}: {err}");
    }
}

#[test]
fn help_is_given_for_every_verb_that_runc_has() {
    let (status, page, _) = rtn(&["--help"]);
    assert_eq!(status, 0);
    assert!(page.starts_with("NAME:\n   rtn - Open Container Initiative runtime\n"), "{page}");
    for verb in [
        "create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps", "resume",
        "run", "spec", "start", "state", "update", "plan",
    ] {
        let (status, page, err) = rtn(&[verb, "-h"]);
        assert_eq!((status, err.as_str()), (0, ""), "{verb}");
        let name = format!("NAME:\n   rtn {verb} - ");
        assert!(page.starts_with(&name), "{page}");
        assert_eq!(rtn(&["help", verb]).1, page);
        let Some((_, runc_page, _)) = runc(&[verb, "-h"]) else { continue };
        // Every flag that runc shows is shown, with the same short name.
        let flags = |page: &str| -> Vec<String> {
            let lines = page.split_once("OPTIONS:").map_or("", |(_, options)| options).lines();
            let lines = lines.filter(|line| line.starts_with("   --"));
            lines.map(|line| line.trim().split("  ").next().unwrap().to_owned()).collect()
        };
        let ours = flags(&page);
        for flag in flags(&runc_page) {
            // Obsolete since runc 1.2, and hidden there as here.
            let hidden = flag == "--all, -a";
            assert!(hidden || ours.contains(&flag), "{verb} {flag}: {ours:?}");
        }
    }
}

#[test]
fn the_version_has_the_lines_that_callers_read() {
    for flag in ["--version", "-v", "-version"] {
        let (status, text, _) = rtn(&[flag]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(status, 0);
        assert!(lines[0].starts_with("rtn version 0."), "{text}");
        assert!(lines[1].starts_with("commit: "), "{text}");
        assert!(lines[2].starts_with("spec: 1."), "{text}");
    }
}

/// containerd reads the last line of the log file with level error, CRI-O and conmon read stderr.
#[test]
fn an_error_is_in_the_log_file_and_on_the_standard_error() {
    let scratch = Scratch::new("log");
    let (log, root) = (scratch.path("log.json"), scratch.path("root"));
    let args = ["--log", &log, "--log-format=json", "--root", &root, "state", "x"];
    for _ in 0..2 {
        let (status, out, err) = rtn(&args);
        assert_eq!((status, out.as_str()), (1, ""));
        assert!(err.starts_with("container does not exist"), "{err}");
    }
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "the file is appended to");
    assert_eq!((&lines[0]["level"], &lines[0]["kind"]), (&json!("error"), &json!("notFound")));
    assert!(lines[0]["msg"].as_str().unwrap().contains("container does not exist"));
    let time = lines[0]["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
}

#[test]
fn without_a_log_file_the_standard_error_is_the_log() {
    let scratch = Scratch::new("stderr");
    let root = scratch.path("root");
    let (_, _, json) = rtn(&["--log-format", "json", "--root", &root, "state", "x"]);
    let line: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["level"], "error");
    let (_, _, text) = rtn(&["--root", &root, "state", "x"]);
    assert!(text.contains(" level=error msg=\"container does not exist"), "{text}");
}

#[test]
fn a_failing_exec_has_a_status_of_its_own() {
    let scratch = Scratch::new("exec");
    let root = scratch.path("root");
    let (status, _, err) = rtn(&["--root", &root, "exec", "x", "sh", "-c", "exit 1"]);
    assert_eq!(status, 255);
    assert!(message(&err).starts_with("exec failed: container does not exist"), "{err}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let script = format!("{RTN} features | head -1 >&2; exit ${{PIPESTATUS[0]}}");
    let (status, _, err) = answer(&call("bash", &["-c", &script]));
    assert_eq!((status, err.as_str()), (0, "{\n"));
}

#[test]
fn spec_writes_what_runc_writes() {
    let scratch = Scratch::new("spec");
    for (flags, name) in [(&[][..], "root"), (&["--rootless"][..], "rootless")] {
        let (ours, theirs) = (scratch.path(name), scratch.path(&format!("{name}-runc")));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let read = |dir: &str| -> Value {
            let text = fs::read_to_string(format!("{dir}/config.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let args = [&["spec", "-b", &ours], flags].concat();
        assert_eq!(rtn(&args), (0, String::new(), String::new()));
        let (status, _, err) = rtn(&args);
        assert_eq!(
            (status, message(&err).as_str()),
            (1, "File config.json exists. Remove it first")
        );
        if runc(&[&["spec", "-b", &theirs], flags].concat()).is_none() {
            continue;
        }
        let (ours, mut theirs) = (read(&ours), read(&theirs));
        theirs["ociVersion"] = ours["ociVersion"].clone();
        theirs["hostname"] = json!("rtn");
        // Newer than 1.1: no ambient capabilities, and the TPM is masked.
        theirs["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
        let masked = theirs["linux"]["maskedPaths"].as_array_mut().unwrap();
        if !masked.contains(&json!("/sys/devices/virtual/tpm")) {
            masked.push(json!("/sys/devices/virtual/tpm"));
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn features_has_all_that_runc_has() {
    let (status, text, _) = rtn(&["features"]);
    assert_eq!(status, 0);
    let ours: Value = serde_json::from_str(&text).unwrap();
    let Some((0, text, _)) = runc(&["features"]) else { return };
    let theirs: Value = serde_json::from_str(&text).unwrap();
    for path in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
    ] {
        let list = |document: &Value| document.pointer(path).unwrap().as_array().unwrap().clone();
        let ours = list(&ours);
        let missing: Vec<_> = list(&theirs).into_iter().filter(|one| !ours.contains(one)).collect();
        assert!(missing.is_empty(), "{path}: {missing:?}");
    }
}

#[test]
fn plan_shows_a_bundle_without_touching_it() {
    let scratch = Scratch::new("plan");
    let bundle = scratch.path("");
    assert_eq!(rtn(&["spec", "-b", &bundle]).0, 0);
    let (status, page, err) = rtn(&["plan", "-b", &bundle, "demo"]);
    assert_eq!((status, err.as_str()), (0, ""), "{page}");
    for words in [
        "container    demo  (OCI 1.",
        "new     pid mount network ipc uts",
        "/dev/shm",
        "mode=1777,size=65536k",
        "/dev/null     c 1:3  0666",
        "kill net_bind_service audit_write",
        "NOFILE 1024:1024",
        "no new privileges",
    ] {
        assert!(page.contains(words), "{words:?} in\n{page}");
    }
    let (_, json, _) = rtn(&["plan", "-b", &bundle, "--format", "json", "demo"]);
    let plan: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(plan["id"], "demo");
    assert_eq!(fs::read_dir(&bundle).unwrap().count(), 1, "only config.json is there");
}

#[test]
fn plan_names_every_fault_with_its_place() {
    let scratch = Scratch::new("faults");
    let bundle = scratch.path("");
    assert_eq!(rtn(&["spec", "-b", &bundle]).0, 0);
    let config = scratch.path("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let text = text
        .replace("\"soft\": 1024", "\"soft\": 2048")
        .replace("\"cwd\": \"/\"", "\"cwd\": \"x\"");
    fs::write(&config, text).unwrap();
    let (status, out, err) = rtn(&["plan", "-b", &bundle]);
    assert_eq!(status, 1);
    assert_eq!(message(&err), "config.json has 2 faults");
    assert_eq!(out.lines().count(), 2, "{out}");
    for path in ["(config.json: process.cwd)", "(config.json: process.rlimits[0])"] {
        assert!(out.contains(path), "{out}");
    }
    let (_, json, _) = rtn(&["plan", "-b", &bundle, "-f", "json"]);
    let faults: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(faults["faults"][0]["path"], "process.cwd");
}

/// A shim that is killed has what it was making removed: nobody is to make it after that. One that
/// nobody has waited for yet is as dead as others.
#[test]
fn it_does_not_begin_for_a_parent_that_has_ended() {
    let version_for = |parent: u32| {
        let mut command = Command::new(RTN);
        command.arg("--version").env("RTN_DIES_WITH", parent.to_string());
        command.output().unwrap()
    };
    let mut dead = Command::new("sleep").arg("1000").spawn().unwrap();
    // There is a script between them.
    assert!(version_for(dead.id()).status.success());
    assert!(version_for(std::process::id()).status.success());
    let pidfd = pidfd_open(Pid::from_child(&dead), PidfdFlags::empty()).unwrap();
    dead.kill().unwrap();
    assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Ok(1));
    let refused = version_for(dead.id());
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    dead.wait().unwrap();
    assert!(!version_for(dead.id()).status.success());
}
