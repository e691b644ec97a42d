//! The task service: what it refuses, and the life of a container.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
};

use containerd_shim_protos::{
    api::{
        CheckpointTaskRequest, ConnectRequest, CreateTaskRequest, DeleteRequest, KillRequest,
        PidsRequest, StartRequest, WaitRequest,
    },
    shim::oci::Options,
    ttrpc::Code,
};
use libcontainer::container::Container;
use protobuf::well_known_types::any::Any;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::{
    common::{Shim, code, frame, host, packed, patience, refused},
    exec::exec,
};

#[test]
fn a_create_that_cannot_be_is_refused_with_a_reason() {
    let shim = Shim::start();
    let of =
        |options: Any| CreateTaskRequest { options: Some(options).into(), ..Default::default() };
    let with = |binary_name: &str| {
        of(packed(&Options { binary_name: binary_name.into(), ..Default::default() }))
    };
    let unknown = Any { type_url: "io.gvisor.Options".into(), ..Default::default() };
    refused(shim.create(of(unknown)), Code::INVALID_ARGUMENT, "io.gvisor.Options");
    refused(shim.create(with("/bin/true")), Code::FAILED_PRECONDITION, "is not rtn");
    refused(shim.create(with("/missing/rtn")), Code::NOT_FOUND, "/missing/rtn");
    let checkpoint = CreateTaskRequest { checkpoint: "/c".into(), ..Default::default() };
    assert_eq!(code(shim.create(checkpoint)), Code::UNIMPLEMENTED);
    shim.is_well();
}

#[test]
fn a_stream_that_cannot_be_opened_is_refused() {
    let shim = Shim::start();
    let stdout = |stdout: &str| CreateTaskRequest { stdout: stdout.into(), ..Default::default() };
    refused(shim.create(stdout("/missing/fifo")), Code::NOT_FOUND, "/missing/fifo");
    assert_eq!(code(shim.create(stdout("tcp://host:1"))), Code::INVALID_ARGUMENT);
    let logger = shim.create(stdout("binary-v2:///bin/true"));
    refused(logger, Code::FAILED_PRECONDITION, "before it was ready");
    shim.is_well();
}

/// Has the shim's bundle be one of a container that sleeps, with hooks that tell of themselves.
pub(crate) fn furnish(shim: &Shim) -> Option<CreateTaskRequest> {
    let binary_name = host::runtime()?.to_string_lossy().into_owned();
    let bundle = &shim.bundle;
    host::make_root(bundle);
    let hook = |name: &str| {
        let path = bundle.join(name);
        json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >{path:?}")]}])
    };
    let config = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["/bin/busybox", "sleep", "1000"], "cwd": "/", "user": {}},
        "hooks": {"createRuntime": hook("created"), "poststop": hook("stopped")},
        "linux": {
            "cgroupsPath": format!("/{}", bundle.file_name()?.to_string_lossy()),
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
        },
    });
    fs::write(bundle.join("config.json"), config.to_string()).expect("config.json");
    let options = packed(&Options { binary_name, ..bundle.options() });
    Some(CreateTaskRequest { options: Some(options).into(), ..Default::default() })
}

#[test]
fn a_container_has_one_life() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let client = shim.tasks();
    let id = || "c1".to_owned();
    let start = StartRequest { id: id(), ..Default::default() };
    let delete = DeleteRequest { id: id(), ..Default::default() };
    let kill = KillRequest { id: id(), signal: 9, ..Default::default() };
    let pid = shim.create(create.clone()).expect("it is made").pid;
    assert_eq!(code(shim.create(create)), Code::ALREADY_EXISTS);
    assert_eq!(client.start(patience(), &start).expect("it starts").pid, pid);
    assert_eq!(code(client.start(patience(), &start)), Code::FAILED_PRECONDITION);
    assert_eq!(code(client.delete(patience(), &delete)), Code::FAILED_PRECONDITION);
    let checkpoint = CheckpointTaskRequest { id: id(), ..Default::default() };
    assert_eq!(code(client.checkpoint(patience(), &checkpoint)), Code::UNIMPLEMENTED);
    client.kill(patience(), &kill).expect("it runs");
    let wait = WaitRequest { id: id(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 137);
    assert_eq!(code(client.start(patience(), &start)), Code::FAILED_PRECONDITION);
    assert_eq!(code(client.kill(patience(), &kill)), Code::NOT_FOUND);
    assert_eq!(code(client.exec(patience(), &exec("late", ""))), Code::FAILED_PRECONDITION);
    assert_eq!(client.delete(patience(), &delete).expect("it has ended").pid, pid);
    assert_eq!(code(client.delete(patience(), &delete)), Code::NOT_FOUND);
    for hook in ["created", "stopped"] {
        let state = fs::read_to_string(shim.bundle.join(hook)).expect("the hook has run");
        assert!(state.contains("\"id\":\"c1\""), "{hook}: {state}");
    }
    shim.ends_when_asked();
}

/// containerd is killed while it has a container removed, and comes back before that is over: it
/// finds a container, and then none that it could ask the shim to end for.
#[test]
fn a_removal_that_nobody_hears_of_ends_it() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    // Its hook waits for who reads what it tells.
    let told = shim.bundle.join("stopped");
    mknodat(CWD, &told, FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
    shim.create(create).expect("it is made");
    let id = || "c1".to_owned();
    let client = shim.tasks();
    client.start(patience(), &StartRequest { id: id(), ..Default::default() }).expect("it starts");
    let kill = KillRequest { id: id(), signal: 9, ..Default::default() };
    client.kill(patience(), &kill).expect("it runs");
    client.wait(patience(), &WaitRequest { id: id(), ..Default::default() }).expect("it ends");
    drop(client);
    let mut killed = UnixStream::connect(&shim.socket).expect("it listens");
    let delete = frame("Delete", &DeleteRequest { id: id(), ..Default::default() });
    killed.write_all(&delete).expect("it reads");
    host::until("it is being removed", || !host::children(shim.pid).is_empty());
    drop(killed);
    let successor = shim.tasks();
    let connect = ConnectRequest { id: id(), ..Default::default() };
    successor.connect(patience(), &connect).expect("it is still there");
    let state = fs::read_to_string(&told).expect("the hook tells");
    assert!(state.contains("\"id\":\"c1\""), "{state}");
    assert!(shim.ends());
    assert!(!shim.socket.exists());
}

/// Has the shim's container started, and returns its pid and the directories of its cgroup.
pub(crate) fn run(shim: &Shim, create: CreateTaskRequest) -> (u32, Vec<PathBuf>) {
    let pid = shim.create(create).expect("it is made").pid;
    let start = StartRequest { id: "c1".into(), ..Default::default() };
    shim.tasks().start(patience(), &start).expect("it starts");
    let states = PathBuf::from(shim.bundle.options().root).join("tests");
    let container = Container::load(&states, "c1").expect("it is there");
    (pid, container.cgroup().paths().into_values().collect())
}

/// systemd removes a cgroup with its last process. A containerd that comes back and hears of no
/// process takes the container for lost.
#[test]
fn an_ended_container_without_its_cgroup_still_has_its_first_process() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let (pid, cgroups) = run(&shim, create);
    let client = shim.tasks();
    let kill = KillRequest { id: "c1".into(), signal: 9, ..Default::default() };
    client.kill(patience(), &kill).expect("it runs");
    let wait = WaitRequest { id: "c1".into(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 137);
    cgroups.iter().for_each(|dir| fs::remove_dir(dir).expect("it is empty"));
    let pids = PidsRequest { id: "c1".into(), ..Default::default() };
    let pids = client.pids(patience(), &pids).expect("it is not deleted yet").processes;
    assert_eq!(pids.iter().map(|process| process.pid).collect::<Vec<_>>(), [pid]);
    let delete = DeleteRequest { id: "c1".into(), ..Default::default() };
    client.delete(patience(), &delete).expect("it has ended");
    shim.ends_when_asked();
}

/// The container ends, and its cgroup goes, while the runtime that is to kill it starts.
#[test]
fn what_has_ended_while_it_was_to_be_killed_is_no_failure() {
    let shim = Shim::start();
    let Some(runtime) = host::runtime() else { return };
    let Some(create) = furnish(&shim) else { return };
    let (script, cgroups) = (shim.bundle.join("runtime"), shim.bundle.join("cgroups"));
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *\" kill \"*)\n\
         /bin/busybox kill -9 $(cat init.pid)\n\
         while read -r dir; do while [ -d $dir ]; do rmdir $dir 2>/dev/null; done; done <{cgroups:?}\n\
         esac\nexec {runtime:?} \"$@\"\n"
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its owner");
    let binary_name = script.display().to_string();
    let options = packed(&Options { binary_name, ..shim.bundle.options() });
    let (_, dirs) = run(&shim, CreateTaskRequest { options: Some(options).into(), ..create });
    let lines: String = dirs.iter().map(|dir| format!("{}\n", dir.display())).collect();
    fs::write(&cgroups, lines).expect("a list");
    let client = shim.tasks();
    let kill = KillRequest { id: "c1".into(), signal: 9, all: true, ..Default::default() };
    // Whether it is reaped already is all the same.
    match client.kill(patience(), &kill) {
        Ok(_) => {}
        answer => assert_eq!(code(answer), Code::NOT_FOUND),
    }
    let wait = WaitRequest { id: "c1".into(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 137);
    let delete = DeleteRequest { id: "c1".into(), ..Default::default() };
    client.delete(patience(), &delete).expect("it has ended");
    shim.ends_when_asked();
}
