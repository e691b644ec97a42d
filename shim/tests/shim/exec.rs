//! What is executed in a container, and what is said of it.

use std::{fs, sync::mpsc, thread};

use containerd_shim_protos::{
    api::{
        CreateTaskRequest, DeleteRequest, ExecProcessRequest, KillRequest, PauseRequest,
        ResumeRequest, StartRequest, StateRequest, StateResponse, Status, UpdateTaskRequest,
        WaitRequest,
    },
    shim::oci::Options,
    ttrpc::Code,
};
use protobuf::well_known_types::any::Any;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::{
    common::{Shim, code, host, packed, patience, refused},
    streams::script,
    task::{furnish, run},
};

pub(crate) fn exec(id: &str, stdin: &str) -> ExecProcessRequest {
    exec_of(&["true"], id, stdin)
}

/// A program of busybox.
pub(crate) fn exec_of(words: &[&str], id: &str, stdin: &str) -> ExecProcessRequest {
    let args = [&["/bin/busybox"], words].concat();
    let process = json!({"args": args, "cwd": "/", "user": {}});
    let value = process.to_string().into_bytes();
    ExecProcessRequest {
        id: "c1".into(),
        exec_id: id.into(),
        stdin: stdin.into(),
        spec: Some(Any { value, ..Default::default() }).into(),
        ..Default::default()
    }
}

/// Starts what `request` is of, in the container `c1`.
#[track_caller]
pub(crate) fn start_exec(shim: &Shim, request: &ExecProcessRequest) {
    let client = shim.tasks();
    client.exec(patience(), request).expect("it is noted");
    let exec_id = request.exec_id.clone();
    let start = StartRequest { id: "c1".into(), exec_id, ..Default::default() };
    client.start(patience(), &start).expect("it starts");
}

/// The exit status of what has been executed, when it is deleted.
#[track_caller]
fn end_exec(shim: &Shim, exec_id: &str) -> u32 {
    let client = shim.tasks();
    let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
    let wait = WaitRequest { id: id.clone(), exec_id: exec_id.clone(), ..Default::default() };
    client.wait(patience(), &wait).expect("it ends");
    let delete = DeleteRequest { id, exec_id, ..Default::default() };
    client.delete(patience(), &delete).expect("it has ended").exit_status
}

#[track_caller]
fn state(shim: &Shim, exec_id: &str) -> StateResponse {
    let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
    let request = StateRequest { id, exec_id, ..Default::default() };
    shim.tasks().state(patience(), &request).expect("it is there")
}

#[test]
fn an_exec_that_cannot_be_leaves_the_container_alone() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let client = shim.tasks();
    shim.create(create).expect("it is made");
    let start = |exec_id: &str| StartRequest {
        id: "c1".into(),
        exec_id: exec_id.into(),
        ..Default::default()
    };
    client.start(patience(), &start("")).expect("it starts");
    for spec in ["", "{", "[]", "\"true\"", "null"] {
        let spec = Any { value: spec.into(), ..Default::default() };
        let request = ExecProcessRequest { spec: Some(spec).into(), ..exec("e0", "") };
        let refusal = client.exec(patience(), &request);
        refused(refusal, Code::INVALID_ARGUMENT, "cannot read the process to run");
    }
    client.exec(patience(), &exec("e1", "/missing/fifo")).expect("it is only noted");
    assert_eq!(code(client.exec(patience(), &exec("e1", ""))), Code::ALREADY_EXISTS);
    refused(client.start(patience(), &start("e1")), Code::NOT_FOUND, "/missing/fifo");
    client.exec(patience(), &exec("e2", "")).expect("it is noted");
    client.start(patience(), &start("e2")).expect("it starts");
    let wait = WaitRequest { id: "c1".into(), exec_id: "e2".into(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 0);
    // What a shim leaves that is killed now, the other program removes.
    shim.kill();
    shim.bundle.delete();
    assert!(!shim.bundle.join("states/tests/c1").exists());
    assert!(!shim.socket.exists());
}

/// containerd opens a fifo in a thread of its own, which may get its turn when all is over.
#[test]
#[expect(clippy::disallowed_methods, reason = "nothing clones here")]
fn a_reader_that_comes_late_finds_the_end() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    run(&shim, create);
    let fifo = shim.bundle.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
    let client = shim.tasks();
    let stdout = fifo.display().to_string();
    let request = ExecProcessRequest { stdout, ..exec("e1", "") };
    client.exec(patience(), &request).expect("it is noted");
    let start = StartRequest { id: "c1".into(), exec_id: "e1".into(), ..Default::default() };
    client.start(patience(), &start).expect("it starts");
    let wait = WaitRequest { id: "c1".into(), exec_id: "e1".into(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 0);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(fs::read(fifo).expect("it is there")));
    assert_eq!(told.recv_timeout(host::PATIENCE), Ok(Vec::new()));
    let delete = DeleteRequest { id: "c1".into(), exec_id: "e1".into(), ..Default::default() };
    client.delete(patience(), &delete).expect("it has ended");
    shim.kill();
    shim.bundle.delete();
}

/// Both streams may go to one that is there, without a scheme: containerd's shim looks what it is.
#[test]
fn an_output_may_be_a_file() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let file = shim.bundle.join("file");
    fs::write(&file, "before\n").expect("a file");
    let name = file.display().to_string();
    run(&shim, CreateTaskRequest { stdout: "/dev/null".into(), ..create });
    let words = ["sh", "-c", "echo out; echo err >&2"];
    let streams =
        |request| ExecProcessRequest { stdout: name.clone(), stderr: name.clone(), ..request };
    start_exec(&shim, &streams(exec_of(&words, "e1", "")));
    assert_eq!(end_exec(&shim, "e1"), 0);
    let text = fs::read_to_string(&file).expect("it is there");
    let mut lines: Vec<_> = text.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["before", "err", "out"]);
    shim.kill();
    shim.bundle.delete();
}

/// Even that of the file in which the container's pid is.
#[test]
fn an_exec_may_have_any_name() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let (pid, _) = run(&shim, create);
    start_exec(&shim, &exec("init", ""));
    assert_eq!(end_exec(&shim, "init"), 0);
    shim.kill();
    assert_eq!(shim.bundle.delete().pid, pid);
}

/// Whoever executes something must not take it for running.
#[test]
fn what_is_in_a_paused_container_is_paused() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    run(&shim, create);
    let client = shim.tasks();
    start_exec(&shim, &exec_of(&["sleep", "1000"], "e1", ""));
    start_exec(&shim, &exec("e2", ""));
    let wait = WaitRequest { id: "c1".into(), exec_id: "e2".into(), ..Default::default() };
    client.wait(patience(), &wait).expect("it ends");
    let states = || ["", "e1", "e2"].map(|exec_id| state(&shim, exec_id).status.enum_value());
    assert_eq!(states(), [Ok(Status::RUNNING), Ok(Status::RUNNING), Ok(Status::STOPPED)]);
    let id = || "c1".to_owned();
    client.pause(patience(), &PauseRequest { id: id(), ..Default::default() }).expect("it runs");
    assert_eq!(states(), [Ok(Status::PAUSED), Ok(Status::PAUSED), Ok(Status::STOPPED)]);
    client.resume(patience(), &ResumeRequest { id: id(), ..Default::default() }).expect("it can");
    assert_eq!(states(), [Ok(Status::RUNNING), Ok(Status::RUNNING), Ok(Status::STOPPED)]);
    shim.kill();
    shim.bundle.delete();
}

/// Go's zero time, for which clients look: without one they see the year 1970.
#[test]
fn what_has_not_ended_has_a_time_that_is_none() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    run(&shim, create);
    assert_eq!(state(&shim, "").exited_at.seconds, -62_135_596_800);
    let client = shim.tasks();
    client.exec(patience(), &exec("e1", "")).expect("it is noted");
    assert_eq!(state(&shim, "e1").exited_at.seconds, -62_135_596_800);
    let delete = DeleteRequest { id: "c1".into(), exec_id: "e1".into(), ..Default::default() };
    let deleted = client.delete(patience(), &delete).expect("it never began");
    assert_eq!((deleted.pid, deleted.exited_at.seconds), (0, -62_135_596_800));
    shim.kill();
    shim.bundle.delete();
}

/// containerd's own shim says 0, as if it had been well.
#[test]
fn what_does_not_begin_is_not_waited_for() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    run(&shim, create);
    let client = shim.tasks();
    let wait = |exec_id: &str| {
        let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
        shim.tasks().wait(patience(), &WaitRequest { id, exec_id, ..Default::default() })
    };
    let mut missing = exec("e1", "");
    missing.spec.mut_or_insert_default().value = br#"{"args": ["/missing"], "cwd": "/"}"#.into();
    client.exec(patience(), &missing).expect("it is noted");
    let start = StartRequest { id: "c1".into(), exec_id: "e1".into(), ..Default::default() };
    refused(client.start(patience(), &start), Code::UNKNOWN, "/missing");
    refused(wait("e1"), Code::UNKNOWN, "/missing");
    client.exec(patience(), &exec("e2", "")).expect("it is noted");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait("e2"));
        let id = || "c1".to_owned();
        let kill = KillRequest { id: id(), signal: 9, ..Default::default() };
        client.kill(patience(), &kill).expect("it runs");
        assert_eq!(wait("").expect("it ends").exit_status, 137);
        let delete = DeleteRequest { id: id(), ..Default::default() };
        client.delete(patience(), &delete).expect("it has ended");
        refused(waiting.join().expect("no panic"), Code::NOT_FOUND, "not found");
    });
    shim.ends_when_asked();
}

#[test]
fn what_are_no_resources_is_refused() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    run(&shim, create);
    for text in ["", "[]", "7", "{\"memory\": 7}"] {
        let resources = Any { value: text.into(), ..Default::default() };
        let request = UpdateTaskRequest {
            id: "c1".into(),
            resources: Some(resources).into(),
            ..Default::default()
        };
        let refusal = shim.tasks().update(patience(), &request);
        refused(refusal, Code::INVALID_ARGUMENT, "resources");
    }
    shim.kill();
    shim.bundle.delete();
}

/// Until everything in it is frozen, which nobody knows how long it takes.
#[test]
fn what_is_being_paused_is_not_paused() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let Some(runtime) = host::runtime() else { return };
    let (program, go) = (shim.bundle.join("runtime"), shim.bundle.join("go"));
    let slowly = format!("case \" $* \" in *\" pause \"*) until [ -e {go:?} ]; do :; done; esac");
    script(&program, &format!("{slowly}\nexec {runtime:?} \"$@\""));
    let binary_name = program.display().to_string();
    let options = packed(&Options { binary_name, ..shim.bundle.options() });
    run(&shim, CreateTaskRequest { options: Some(options).into(), ..create });
    start_exec(&shim, &exec_of(&["sleep", "1000"], "e1", ""));
    let states = || ["", "e1"].map(|exec_id| state(&shim, exec_id).status.enum_value());
    thread::scope(|scope| {
        let (tasks, request) =
            (shim.tasks(), PauseRequest { id: "c1".into(), ..Default::default() });
        let pausing = scope.spawn(move || tasks.pause(patience(), &request).map(drop));
        host::until("it is being paused", || states() == [Ok(Status::PAUSING); 2]);
        fs::write(&go, "").expect("a file");
        pausing.join().expect("no panic").expect("it is paused");
    });
    assert_eq!(states(), [Ok(Status::PAUSED); 2]);
    shim.kill();
    shim.bundle.delete();
}
