//! The shim has one thread and many to serve: nobody waits for what somebody else's program does, and
//! nobody waits for ever.

use std::{
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::Command,
    thread::{self, ScopedJoinHandle},
};

use containerd_shim_protos::{
    api::{
        CreateTaskRequest, CreateTaskResponse, DeleteRequest, ExecProcessRequest, KillRequest,
        Mount, ShutdownRequest, StartRequest, WaitRequest,
    },
    shim::oci::Options,
    ttrpc::{self, Code},
};
use protobuf::well_known_types::any::Any;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    net::{AddressFamily, SocketAddrUnix, SocketType},
};
use serde_json::{Value, json};

use crate::common::{
    Bundle, Shim, bundle::PROGRAM, code, frame, host, needs_root, packed, patience, refused,
};

/// One for a container, in another environment than the test's.
#[expect(clippy::disallowed_methods, reason = "nothing clones here")]
fn shim_with(variable: &str, value: &Path) -> Shim {
    let bundle = Bundle::of_container();
    let socket = bundle.join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut command = Command::new(PROGRAM);
    command.args(["-namespace", "tests", "-id", "c1", "-socket"]).arg(&socket);
    command.current_dir(&bundle).env_remove("TTRPC_ADDRESS").env(variable, value);
    let child = command.stdin(OwnedFd::from(listener)).spawn();
    let mut child = child.expect("the shim can be executed");
    let shim = Shim::of(bundle, socket, child.id());
    thread::spawn(move || child.wait());
    shim
}

/// Has the directory be a bundle of a container that runs `script`.
fn furnish(directory: &Path, script: &str, namespaces: &[&str], hooks: Value) {
    host::make_root(directory);
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let name = directory.strip_prefix(std::env::temp_dir()).expect("a bundle of the test's");
    let config = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["/bin/busybox", "sh", "-c", script], "cwd": "/", "user": {}},
        "hooks": hooks,
        "linux": {
            "cgroupsPath": format!("/{}", name.display().to_string().replace('/', "-")),
            "namespaces": namespaces,
        },
    });
    fs::write(directory.join("config.json"), config.to_string()).expect("config.json");
}

fn create(shim: &Shim, id: &str, bundle: &Path) -> ttrpc::Result<CreateTaskResponse> {
    create_with(shim, id, bundle, &shim.bundle.options())
}

fn create_with(
    shim: &Shim,
    id: &str,
    bundle: &Path,
    options: &Options,
) -> ttrpc::Result<CreateTaskResponse> {
    let (id, bundle) = (id.to_owned(), bundle.to_string_lossy().into_owned());
    let options = Some(packed(options)).into();
    let request = CreateTaskRequest { id, bundle, options, ..Default::default() };
    shim.tasks().create(patience(), &request)
}

#[track_caller]
fn start(shim: &Shim, exec_id: &str) {
    let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
    let request = StartRequest { id, exec_id, ..Default::default() };
    shim.tasks().start(patience(), &request).expect("it starts");
}

#[track_caller]
fn exit_status(shim: &Shim, exec_id: &str) -> u32 {
    let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
    let request = WaitRequest { id, exec_id, ..Default::default() };
    shim.tasks().wait(patience(), &request).expect("it ends").exit_status
}

/// Executes a program of busybox in the container.
#[track_caller]
fn exec(shim: &Shim, exec_id: &str, words: &[&str]) {
    let args = [&["/bin/busybox"], words].concat();
    let process = json!({"args": args, "cwd": "/", "user": {}});
    let spec = Any { value: process.to_string().into_bytes(), ..Default::default() };
    let (id, exec_id) = ("c1".to_owned(), exec_id.to_owned());
    let request = ExecProcessRequest { id, exec_id, spec: Some(spec).into(), ..Default::default() };
    shim.tasks().exec(patience(), &request).expect("it is noted");
    start(shim, &request.exec_id);
}

#[track_caller]
fn kill(shim: &Shim) {
    let request = KillRequest { id: "c1".into(), signal: 9, ..Default::default() };
    shim.tasks().kill(patience(), &request).expect("it runs");
}

#[track_caller]
fn delete(shim: &Shim) {
    let request = DeleteRequest { id: "c1".into(), ..Default::default() };
    shim.tasks().delete(patience(), &request).expect("it has ended, or never begun");
}

/// Deletes what is being made, and has that refused.
#[track_caller]
fn give_up(
    shim: &Shim,
    id: &str,
    creating: ScopedJoinHandle<'_, ttrpc::Result<CreateTaskResponse>>,
) {
    let request = DeleteRequest { id: id.into(), ..Default::default() };
    assert_eq!(code(shim.tasks().delete(patience(), &request)), Code::NOT_FOUND);
    refused(creating.join().expect("it ends"), Code::CANCELLED, "while it was being made");
}

/// A hook that tells that it runs, and does so until it is killed.
fn hangs(telling: &Path) -> Value {
    let script = format!(": >{telling:?}; exec sleep 1000");
    json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]})
}

/// What hooks have left, whose runtime was killed.
fn kill_orphans(shim: &Shim) {
    host::children(shim.pid).into_iter().for_each(host::kill);
}

#[test]
fn a_mount_helper_that_hangs_holds_nobody_up() {
    needs_root!("mounting");
    let programs = Bundle::of_container();
    let (helper, runs) = (programs.join("mount.fuse"), programs.join("runs"));
    fs::write(&helper, format!("#!/bin/sh\n: >{runs:?}; exec sleep 1000\n")).expect("a script");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let shim = shim_with("PATH", Path::new(&path));
    let fuse = Mount { type_: "fuse.slow".into(), source: "slow".into(), ..Default::default() };
    let rootfs =
        vec![Mount { type_: "tmpfs".into(), source: "tmpfs".into(), ..Default::default() }, fuse];
    thread::scope(|scope| {
        let creating =
            scope.spawn(|| shim.create(CreateTaskRequest { rootfs, ..Default::default() }));
        host::until("the helper has not been run", || runs.exists());
        shim.is_well();
        give_up(&shim, "c1", creating);
    });
    shim.bundle.has_no_mount();
    host::until("the helper still runs", || host::children(shim.pid).is_empty());
    shim.ends_when_asked();
}

/// A program that the helper leaves serves the mount, and has the helper's standard error.
#[test]
fn what_a_mount_helper_leaves_is_not_waited_for() {
    needs_root!("mounting");
    let programs = Bundle::of_container();
    let helper = programs.join("mount.fuse");
    fs::write(&helper, "#!/bin/sh\nsleep 1000 &\necho no such thing >&2; exit 3\n")
        .expect("a script");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let shim = shim_with("PATH", Path::new(&path));
    let fuse = Mount { type_: "fuse.x".into(), source: "x".into(), ..Default::default() };
    let refusal = shim.create(CreateTaskRequest { rootfs: vec![fuse], ..Default::default() });
    refused(refusal, Code::UNKNOWN, "mount.fuse cannot mount the rootfs: no such thing");
    kill_orphans(&shim);
    shim.ends_when_asked();
}

#[test]
fn a_container_whose_hook_hangs_can_be_given_up() {
    if host::runtime().is_none() {
        return;
    }
    let shim = Shim::start();
    let runs = shim.bundle.join("runs");
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["pid", "mount"], hangs(&runs));
    thread::scope(|scope| {
        let creating = scope.spawn(|| create(&shim, "c1", &shim.bundle));
        host::until("the hook has not been run", || runs.exists());
        give_up(&shim, "c1", creating);
    });
    assert!(!shim.bundle.join("states/tests/c1").exists());
    kill_orphans(&shim);
    shim.ends_when_asked();
}

/// containerd is killed while a container is made, and its successor, which finds that, asks the shim
/// to end and goes away before it can.
#[test]
fn a_container_that_is_given_up_for_nobody_ends_it() {
    let Some(runtime) = host::runtime() else { return };
    let shim = Shim::start();
    let [script, gate, runs] = ["script", "gate", "runs"].map(|name| shim.bundle.join(name));
    mknodat(CWD, &gate, FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
    let delete = format!("case \" $* \" in *\" delete \"*) read -r _ <{gate:?} ;; esac");
    fs::write(&script, format!("#!/bin/sh\n{delete}\nexec {runtime:?} \"$@\"\n"))
        .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("a mode");
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["pid", "mount"], hangs(&runs));
    let binary_name = script.to_string_lossy().into_owned();
    let options = Options { binary_name, ..shim.bundle.options() };
    let child = |word: &'static str| {
        let says = move |pid: &u32| host::proc(*pid, "cmdline").contains(word);
        host::children(shim.pid).into_iter().find(says)
    };
    thread::scope(|scope| {
        let creating = scope.spawn(|| create_with(&shim, "c1", &shim.bundle, &options));
        host::until("the hook has not been run", || runs.exists());
        let mut hasty = UnixStream::connect(&shim.socket).expect("it listens");
        let delete = DeleteRequest { id: "c1".into(), ..Default::default() };
        hasty.write_all(&frame("Delete", &delete)).expect("it reads");
        host::until("it is not given up", || child("delete").is_some());
        drop(hasty);
        shim.tasks().shutdown(patience(), &ShutdownRequest::new()).expect("it is heard");
        host::kill(child("sleep").expect("what the hook has left"));
        fs::write(&gate, "\n").expect("it is waited for");
        refused(creating.join().expect("it ends"), Code::CANCELLED, "while it was being made");
    });
    assert!(shim.ends());
}

/// containerd is killed while a container is made, and what that fails with is said to nobody.
#[test]
fn a_failure_that_nobody_hears_of_ends_it() {
    if host::runtime().is_none() {
        return;
    }
    let shim = Shim::start();
    let [gate, runs] = ["gate", "runs"].map(|name| shim.bundle.join(name));
    mknodat(CWD, &gate, FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
    let script = format!(": >{runs:?}; read -r _ <{gate:?}; exit 1");
    let hooks = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["pid", "mount"], hooks);
    let mut killed = UnixStream::connect(&shim.socket).expect("it listens");
    let create = CreateTaskRequest {
        id: "c1".into(),
        bundle: shim.bundle.to_string_lossy().into_owned(),
        options: Some(packed(&shim.bundle.options())).into(),
        ..Default::default()
    };
    killed.write_all(&frame("Create", &create)).expect("it reads");
    host::until("the hook has not been run", || runs.exists());
    drop(killed);
    shim.is_well();
    fs::write(&gate, "\n").expect("it is waited for");
    assert!(shim.ends());
    assert!(!shim.bundle.join("states/tests/c1").exists());
}

/// Dead processes of one container are buried while another one is being made.
#[test]
fn a_hook_that_hangs_keeps_no_dead() {
    if host::runtime().is_none() {
        return;
    }
    let shim = Shim::start();
    let orphan = "/bin/busybox sleep 1000 & exec /bin/busybox sleep 1000";
    furnish(&shim.bundle, orphan, &["mount"], json!({}));
    let pid = create(&shim, "c1", &shim.bundle).expect("it is made").pid;
    start(&shim, "");
    host::until("its child has not begun", || !host::children(pid).is_empty());
    let second: PathBuf = shim.bundle.join("c2");
    let runs = shim.bundle.join("runs");
    furnish(&second, "exec /bin/busybox sleep 1000", &["pid", "mount"], hangs(&runs));
    let kill = KillRequest { id: "c1".into(), signal: 9, ..Default::default() };
    thread::scope(|scope| {
        let creating = scope.spawn(|| create(&shim, "c2", &second));
        host::until("the hook has not been run", || runs.exists());
        let orphans = host::children(pid);
        // Its child is killed by the shim then.
        host::kill(pid);
        host::until("the dead are not buried", || {
            orphans.iter().all(|orphan| host::proc(*orphan, "status").is_empty())
        });
        give_up(&shim, "c2", creating);
        assert_eq!(code(shim.tasks().kill(patience(), &kill)), Code::NOT_FOUND);
    });
    let delete = DeleteRequest { id: "c1".into(), ..Default::default() };
    assert_eq!(shim.tasks().delete(patience(), &delete).expect("it has ended").exit_status, 137);
    kill_orphans(&shim);
    shim.ends_when_asked();
}

/// A runtime that is run by a script leaves a process that may be dead before the script is.
#[test]
fn no_exit_is_lost_to_a_script_that_lingers() {
    let Some(runtime) = host::runtime() else { return };
    let shim = Shim::start();
    let script = shim.bundle.join("script");
    fs::write(
        &script,
        format!("#!/bin/sh\n{runtime:?} \"$@\" & wait $!; code=$?; sleep 0.02; exit $code\n"),
    )
    .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("a mode");
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["pid", "mount"], json!({}));
    let binary_name = script.to_string_lossy().into_owned();
    let options = Options { binary_name, ..shim.bundle.options() };
    create_with(&shim, "c1", &shim.bundle, &options).expect("it is made");
    start(&shim, "");
    for number in 0..10 {
        let exec_id = format!("e{number}");
        exec(&shim, &exec_id, &["false"]);
        assert_eq!(exit_status(&shim, &exec_id), 1);
    }
    kill(&shim);
    assert_eq!(exit_status(&shim, ""), 137);
    delete(&shim);
    shim.ends_when_asked();
}

/// A containerd that was stopped long ago, and the queue of whose socket has filled up.
#[test]
fn a_containerd_that_takes_no_connection_holds_nobody_up() {
    if host::runtime().is_none() {
        return;
    }
    let containerd = Bundle::of_container();
    let address = containerd.join("c.sock.ttrpc");
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let listener = listener.expect("a socket");
    let name = SocketAddrUnix::new(&address).expect("a short name");
    rustix::net::bind(&listener, &name).expect("a name that is free");
    rustix::net::listen(&listener, 0).expect("a socket");
    let _queued = UnixStream::connect(&address).expect("there is room for one");
    let shim = shim_with("TTRPC_ADDRESS", &address);
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["pid", "mount"], json!({}));
    create(&shim, "c1", &shim.bundle).expect("it is made");
    delete(&shim);
    shim.ends_when_asked();
}

/// Only a v1 cgroup keeps what is frozen there from dying.
#[test]
fn what_somebody_else_has_frozen_can_be_killed() {
    if host::runtime().is_none() {
        return;
    }
    let shim = Shim::start();
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["pid", "mount"], json!({}));
    create(&shim, "c1", &shim.bundle).expect("it is made");
    start(&shim, "");
    let name = shim.bundle.file_name().expect("a name");
    let (v1, v2) = (Path::new("/sys/fs/cgroup/freezer"), Path::new("/sys/fs/cgroup"));
    match v1.exists() {
        true => fs::write(v1.join(name).join("freezer.state"), "FROZEN"),
        false => fs::write(v2.join(name).join("cgroup.freeze"), "1"),
    }
    .expect("its cgroup");
    kill(&shim);
    assert_eq!(exit_status(&shim, ""), 137);
    delete(&shim);
    shim.ends_when_asked();
}

/// Whose state somebody has removed, so that the runtime does not find its processes.
#[test]
fn the_end_of_a_container_that_is_lost_is_told() {
    if host::runtime().is_none() {
        return;
    }
    let shim = Shim::start();
    furnish(&shim.bundle, "exec /bin/busybox sleep 1000", &["mount"], json!({}));
    let pid = create(&shim, "c1", &shim.bundle).expect("it is made").pid;
    start(&shim, "");
    exec(&shim, "e1", &["sleep", "1000"]);
    let (state, moved) = (shim.bundle.join("states/tests/c1"), shim.bundle.join("c1"));
    fs::rename(&state, &moved).expect("its state");
    host::kill(pid);
    assert_eq!([exit_status(&shim, ""), exit_status(&shim, "e1")], [137, 137]);
    fs::rename(&moved, &state).expect("its state");
    delete(&shim);
    shim.ends_when_asked();
}

/// The shim blocks some for itself. A shell that gets no SIGCHLD waits for its children for ever.
#[test]
fn what_is_run_has_no_signal_blocked() {
    let script = "#!/bin/sh\ngrep SigBlk /proc/self/status >\"${0%/*}/said\" & wait\n";
    let shown = |programs: &Path| {
        let said = fs::read_to_string(programs.join("said")).expect("it has been run");
        said.trim_start_matches("SigBlk:").trim().trim_start_matches('0').to_owned()
    };
    let program = |name: &str| {
        let programs = Bundle::of_container();
        fs::write(programs.join(name), script).expect("a script");
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o700))
            .expect("a mode");
        programs
    };
    let (logger, helper) = (program("logger"), program("mount.fuse"));
    let shim = shim_with("PATH", Path::new(&format!("{}:/usr/bin:/bin", helper.display())));
    let stdout = format!("binary-v2://{}/logger", logger.display());
    let rootfs = vec![Mount { type_: "fuse.x".into(), ..Default::default() }];
    let create = CreateTaskRequest { rootfs, stdout, ..Default::default() };
    refused(shim.create(create), Code::FAILED_PRECONDITION, "before it was ready");
    assert_eq!([shown(&helper), shown(&logger)], ["", ""]);
    let runtime = program("runtime");
    let binary_name = runtime.join("runtime").to_string_lossy().into_owned();
    let options = Options { binary_name, ..shim.bundle.options() };
    let created = create_with(&shim, "c1", &shim.bundle, &options);
    refused(created, Code::FAILED_PRECONDITION, "is not rtn");
    assert_eq!(shown(&runtime), "");
    shim.ends_when_asked();
}
