//! The shim without a containerd: how it is started, what it answers to what no containerd would
//! send, and how it ends.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use containerd_shim_protos::{
    Client, TaskClient,
    api::{
        CheckpointTaskRequest, ConnectRequest, CreateTaskRequest, DeleteRequest, DeleteResponse,
        ExecProcessRequest, KillRequest, Mount, ShutdownRequest, StartRequest, StateRequest,
        WaitRequest,
    },
    bootstrap_api::{BootstrapParams, BootstrapResult},
    shim::oci::Options,
    ttrpc::{self, Code, context},
};
use protobuf::{Message, well_known_types::any::Any};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-rtn-v2");

/// A bundle, a directory for sockets, and the shim that was started there.
struct Shim {
    directory: PathBuf,
    socket: PathBuf,
    pid: Pid,
}

/// A bundle whose config.json has `annotations`.
fn bundle(annotations: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("shim.{}.{number}", std::process::id()));
    fs::create_dir_all(&directory).expect("a bundle");
    let config = format!("{{\"ociVersion\": \"1.2.0\", \"annotations\": {{{annotations}}}}}");
    fs::write(directory.join("config.json"), config).expect("config.json");
    directory
}

fn command(bundle: &Path, action: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-namespace", "tests", "-id", "c1", "-address", "/nowhere/c.sock", action]);
    command.current_dir(bundle).env_remove("TTRPC_ADDRESS").env_remove("MAX_SHIM_VERSION");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the shim can be executed");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// `start` in the form of containerd 2.3, which says where sockets belong.
fn start(bundle: &Path, sockets: &Path) -> BootstrapResult {
    let params = BootstrapParams {
        instance_id: "c1".into(),
        namespace: "tests".into(),
        socket_dir: Some(sockets.to_string_lossy().into_owned()),
        ..Default::default()
    };
    let output = with_input(command(bundle, "start"), &params.write_to_bytes().expect("a message"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    BootstrapResult::parse_from_bytes(&output.stdout).expect("an answer")
}

impl Shim {
    fn start() -> Self {
        let directory = bundle("");
        start(&directory, &directory.join("s"));
        Self::at(directory)
    }

    /// The one that was started with the bundle `directory`.
    fn at(directory: PathBuf) -> Self {
        let socket = fs::read_to_string(directory.join("address")).expect("an address");
        let socket = PathBuf::from(socket.strip_prefix("unix://").expect("a socket's address"));
        let stream = UnixStream::connect(&socket).expect("it listens");
        let pid = rustix::net::sockopt::socket_peercred(&stream).expect("credentials").pid;
        // Who has called listen(2) is `start`; its child is what stays.
        let shims = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            line.contains(&*socket.to_string_lossy()).then_some(pid)
        });
        let pid = shims.last().and_then(Pid::from_raw).unwrap_or(pid);
        Self { directory, socket, pid }
    }

    fn client(&self) -> TaskClient {
        let address = format!("unix://{}", self.socket.display());
        TaskClient::new(Client::connect(&address).expect("it listens"))
    }

    fn create(&self, request: CreateTaskRequest) -> (Code, String) {
        let bundle = self.directory.to_string_lossy().into_owned();
        let request = CreateTaskRequest { id: "c1".into(), bundle, ..request };
        refused(self.client().create(patience(), &request))
    }

    /// A line of /proc/PID/status.
    fn status(&self, key: &str) -> String {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let text = fs::read_to_string(path).expect("it lives");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.expect("a line of it").trim().to_owned()
    }

    /// It answers, and knows of no container.
    fn is_well(&self) {
        let request = StateRequest { id: "c1".into(), ..Default::default() };
        assert_eq!(refused(self.client().state(patience(), &request)).0, Code::NOT_FOUND);
    }

    fn ends(&self) -> bool {
        let Ok(pidfd) = pidfd_open(self.pid, PidfdFlags::empty()) else { return true };
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn patience() -> context::Context {
    context::with_duration(Duration::from_secs(20))
}

fn refused<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> (Code, String) {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message),
        other => panic!("not refused: {other:?}"),
    }
}

fn options(options: &Options) -> Any {
    Any {
        type_url: "containerd.runc.v1.Options".into(),
        value: options.write_to_bytes().expect("a message"),
        ..Default::default()
    }
}

#[test]
fn a_pod_is_started_once() {
    let shim = Shim::start();
    let again = start(&shim.directory, &shim.directory.join("s"));
    assert_eq!((again.version, &*again.protocol), (3, "ttrpc"));
    assert_eq!(again.address, format!("unix://{}", shim.socket.display()));
    let address = fs::read_to_string(shim.directory.join("address")).expect("the bundle has it");
    assert_eq!(address, again.address);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&shim.socket), mode(&shim.directory.join("s"))), (0o600, 0o700));
}

#[test]
fn a_dead_socket_is_taken_over() {
    let shim = Shim::start();
    rustix::process::kill_process(shim.pid, rustix::process::Signal::KILL).expect("it is there");
    assert!(shim.ends());
    assert!(UnixStream::connect(&shim.socket).is_err());
    start(&shim.directory, &shim.directory.join("s"));
    assert!(UnixStream::connect(&shim.socket).is_ok());
    let client = shim.client();
    client.shutdown(patience(), &ShutdownRequest::new()).expect("it has nothing to do");
}

#[test]
fn a_start_with_a_damaged_bundle_says_so() {
    let directory = bundle("");
    fs::write(directory.join("config.json"), "{").expect("it is there");
    let output = with_input(command(&directory, "start"), b"");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.json"), "{output:?}");
    fs::remove_dir_all(directory).expect("it is there");
}

#[test]
fn shutdown_ends_it_and_removes_its_socket() {
    let shim = Shim::start();
    shim.client().shutdown(patience(), &ShutdownRequest::new()).expect("nothing keeps it");
    assert!(shim.ends());
    assert!(!shim.socket.exists());
}

#[test]
fn what_it_does_not_know_is_not_found() {
    let shim = Shim::start();
    let client = shim.client();
    let id = || "c1".to_owned();
    let code = |answer: (Code, String)| {
        assert!(answer.1.contains("not found"), "{answer:?}");
        answer.0
    };
    let codes = [
        code(refused(client.kill(patience(), &KillRequest { id: id(), ..Default::default() }))),
        code(refused(client.wait(patience(), &WaitRequest { id: id(), ..Default::default() }))),
        code(refused(
            client.exec(patience(), &ExecProcessRequest { id: id(), ..Default::default() }),
        )),
        code(refused(
            client.connect(patience(), &ConnectRequest { id: id(), ..Default::default() }),
        )),
    ];
    assert_eq!(codes, [Code::NOT_FOUND; 4]);
}

#[test]
fn version_2_is_served_as_well() {
    let shim = Shim::start();
    let address = format!("unix://{}", shim.socket.display());
    let client = Client::connect(&address).expect("it listens");
    let call = |service: &str| {
        let request = StateRequest { id: "c1".into(), ..Default::default() };
        refused(client.request(ttrpc::Request {
            service: service.to_owned(),
            method: "State".to_owned(),
            timeout_nano: Duration::from_secs(20).as_nanos() as i64,
            payload: request.write_to_bytes().expect("a message"),
            ..Default::default()
        }))
    };
    assert_eq!(call("containerd.task.v2.Task"), call("containerd.task.v3.Task"));
}

#[test]
fn a_create_that_cannot_be_is_refused_with_a_reason() {
    let shim = Shim::start();
    let of =
        |options: Any| CreateTaskRequest { options: Some(options).into(), ..Default::default() };
    let unknown = Any { type_url: "io.gvisor.Options".into(), ..Default::default() };
    let (code, text) = shim.create(of(unknown));
    assert!(code == Code::INVALID_ARGUMENT && text.contains("io.gvisor.Options"), "{text}");
    let binary_name = "/bin/true".to_owned();
    let (code, text) = shim.create(of(options(&Options { binary_name, ..Default::default() })));
    assert!(code == Code::FAILED_PRECONDITION && text.contains("is not rtn"), "{text}");
    let binary_name = "/missing/rtn".to_owned();
    let (code, text) = shim.create(of(options(&Options { binary_name, ..Default::default() })));
    assert!(code == Code::NOT_FOUND && text.contains("/missing/rtn"), "{text}");
    let checkpoint = CreateTaskRequest { checkpoint: "/c".into(), ..Default::default() };
    assert_eq!(shim.create(checkpoint).0, Code::UNIMPLEMENTED);
    shim.is_well();
}

#[test]
fn a_stream_that_cannot_be_opened_is_refused() {
    let shim = Shim::start();
    let stdout = |stdout: &str| CreateTaskRequest { stdout: stdout.into(), ..Default::default() };
    let (code, text) = shim.create(stdout("/missing/fifo"));
    assert!(code == Code::NOT_FOUND && text.contains("/missing/fifo"), "{text}");
    assert_eq!(shim.create(stdout("tcp://host:1")).0, Code::INVALID_ARGUMENT);
    let (code, text) = shim.create(stdout("binary-v2:///bin/true"));
    assert!(code == Code::FAILED_PRECONDITION && text.contains("before it was ready"), "{text}");
    shim.is_well();
}

#[test]
fn a_root_that_cannot_be_mounted_leaves_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting takes root");
        return;
    }
    let shim = Shim::start();
    let mount =
        |kind: &str| Mount { type_: kind.into(), source: kind.into(), ..Default::default() };
    let rootfs = vec![mount("tmpfs"), mount("no-such-filesystem")];
    let (_, text) = shim.create(CreateTaskRequest { rootfs, ..Default::default() });
    assert!(text.contains("no-such-filesystem"), "{text}");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
    assert!(!mounts.contains(&*shim.directory.to_string_lossy()));
    shim.is_well();
}

/// A directory with a file of its name, of user and group 3.
fn layer(directory: &Path, name: &str) -> PathBuf {
    let layer = directory.join(name);
    fs::create_dir(&layer).expect("a directory");
    fs::write(layer.join(name), name).expect("a file");
    std::os::unix::fs::chown(layer.join(name), Some(3), Some(3)).expect("a user");
    layer
}

/// The lines that `script` prints in the bundle while the root is mounted: it is run as a logger,
/// which does not become one, so that no container comes of it.
fn while_mounted(shim: &Shim, rootfs: Vec<Mount>, script: &str) -> Vec<String> {
    let (program, said) = (shim.directory.join("program"), shim.directory.join("said"));
    let directory = shim.directory.display();
    fs::write(&program, format!("#!/bin/sh\ncd {directory} && ({script}) >said 2>&1\n"))
        .expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
    let stdout = format!("binary-v2://{}", program.display());
    let refused = shim.create(CreateTaskRequest { rootfs, stdout, ..Default::default() });
    let said = fs::read_to_string(said).unwrap_or_else(|_| panic!("not mounted: {refused:?}"));
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
    assert!(!mounts.contains(&*shim.directory.to_string_lossy()), "{mounts}");
    said.lines().map(str::to_owned).collect()
}

const MAPS: [&str; 2] = ["uidmap=0:1000:10", "gidmap=0:2000:3,3:5000:1"];

#[test]
fn layers_are_mapped_and_nothing_of_their_stage_is_left() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting takes root");
        return;
    }
    let shim = Shim::start();
    let directory = &shim.directory;
    let (first, second) = (layer(directory, "first"), layer(directory, "second"));
    let [upper, work] = ["upper", "work"].map(|name| directory.join(name));
    [&upper, &work].into_iter().for_each(|dir| fs::create_dir(dir).expect("a directory"));
    let overlay = |lower: String| {
        let upper = format!("upperdir={},workdir={}", upper.display(), work.display());
        let options = MAPS.map(str::to_owned).into_iter().chain([lower, upper]);
        let options = options.collect();
        Mount { type_: "overlay".into(), source: "overlay".into(), options, ..Default::default() }
    };
    let both = overlay(format!("lowerdir={}:{}", second.display(), first.display()));
    let script = "stat -c %u:%g rootfs/first rootfs/second; : >rootfs/new && stat -c %u upper/new; \
                  grep -c $PWD/ /proc/self/mounts";
    let said = while_mounted(&shim, vec![both], script);
    assert_eq!(said, ["1003:5000", "1003:5000", "0", "1"]);
    let missing = overlay(format!("lowerdir={}:/missing", second.display()));
    let (code, text) =
        shim.create(CreateTaskRequest { rootfs: vec![missing], ..Default::default() });
    assert!(code == Code::NOT_FOUND, "{text}");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
    assert!(!mounts.contains(&*shim.directory.to_string_lossy()), "{mounts}");
    shim.is_well();
}

#[test]
fn a_bind_mount_is_mapped() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting takes root");
        return;
    }
    let shim = Shim::start();
    let source = layer(&shim.directory, "source").display().to_string();
    let options = MAPS.into_iter().chain(["rbind", "ro"]).map(str::to_owned).collect();
    let bind = Mount { type_: "bind".into(), source, options, ..Default::default() };
    let script = "stat -c %u:%g rootfs/source; : >rootfs/new";
    let said = while_mounted(&shim, vec![bind], script);
    assert_eq!(said[0], "1003:5000");
    assert!(said[1].contains("Read-only file system"), "{said:?}");
    shim.is_well();
}

/// ttrpc: length, stream, type, flags; at most 4 MiB.
#[test]
fn frames_that_are_none_end_their_connection_only() {
    let shim = Shim::start();
    let send = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&shim.socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        stream.write_all(bytes).expect("it reads");
        stream
    };
    let truncated = send(&[0, 0, 0, 100, 0, 0, 0, 1, 1, 0, 42]);
    drop(truncated);
    let mut oversized = send(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0]);
    let _ = oversized.read(&mut [0; 64]);
    let mut garbage = send(&[0, 0, 0, 4, 0, 0, 0, 1, 1, 0, 0xff, 0xff, 0xff, 0xff]);
    let _ = garbage.read(&mut [0; 64]);
    shim.is_well();
    // Nobody has made room for the four gigabytes.
    let peak = shim.status("VmPeak").split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
    assert!(peak.is_some_and(|kib| kib < 1 << 20), "{peak:?}");
}

/// Whoever gets to the socket in spite of its mode.
#[test]
fn another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: becoming another user takes root");
        return;
    }
    let shim = Shim::start();
    for (path, mode) in [(shim.directory.join("s"), 0o777), (shim.socket.clone(), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let nobody = rustix::fs::Uid::from_raw(65534);
    let heard = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            // Of this thread alone.
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("another user");
            let mut stream = UnixStream::connect(&shim.socket).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            let mut byte = [0];
            stream.read(&mut byte).map_err(|error| error.kind())
        });
        other.join().expect("it ends")
    });
    assert!(matches!(heard, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{heard:?}");
    shim.is_well();
}

/// `start` with options, as containerd before 2.3 gives them.
fn start_with(bundle: &Path, of: &Options) -> Output {
    let socket_dir = Some(bundle.join("s").to_string_lossy().into_owned());
    let extension = containerd_shim_protos::bootstrap_api::Extension {
        value: Some(options(of)).into(),
        ..Default::default()
    };
    let params = BootstrapParams {
        instance_id: "c1".into(),
        namespace: "tests".into(),
        socket_dir,
        extensions: vec![extension],
        ..Default::default()
    };
    with_input(command(bundle, "start"), &params.write_to_bytes().expect("a message"))
}

#[test]
fn it_is_in_the_cgroup_of_its_options() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a cgroup takes root");
        return;
    }
    let name = format!("/shim-test.{}", std::process::id());
    let directory = bundle("");
    let of = Options { shim_cgroup: name.clone(), ..Default::default() };
    let missing = start_with(&directory, &of);
    assert!(!missing.status.success());
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains(&name) && said.contains("does not exist"), "{said}");
    let left: Vec<_> = fs::read_dir(directory.join("s")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    // Of the v1 hierarchies one, or the only one.
    let pids = Path::new("/sys/fs/cgroup/pids");
    let mount = if pids.exists() { pids } else { Path::new("/sys/fs/cgroup") };
    let cgroup = mount.join(name.trim_start_matches('/'));
    fs::create_dir(&cgroup).expect("a cgroup");
    let started = start_with(&directory, &of);
    assert!(started.status.success(), "{started:?}");
    let shim = Shim::at(directory);
    let inside = fs::read_to_string(cgroup.join("cgroup.procs")).expect("a cgroup");
    assert_eq!(inside.trim(), shim.pid.as_raw_nonzero().to_string());
    shim.client().shutdown(patience(), &ShutdownRequest::new()).expect("nothing keeps it");
    assert!(shim.ends());
    fs::remove_dir(cgroup).expect("nobody is left in it");
}

/// Sooner than containerd, whose child `start` is, and later than any container.
#[test]
fn it_is_killed_for_memory_before_containerd() {
    let score = |pid: &str| -> i32 {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("/proc");
        text.trim().parse().expect("a number")
    };
    let shim = Shim::start();
    shim.is_well();
    let own = shim.pid.as_raw_nonzero().to_string();
    assert_eq!(score(&own), (score("self") + 1).min(1000));
}

/// The runtime as built beside the shim, and a static program for a root.
fn needs() -> Option<(PathBuf, &'static Path)> {
    let (rtn, busybox) = (Path::new(PROGRAM).with_file_name("rtn"), Path::new("/bin/busybox"));
    let is_root = rustix::process::geteuid().is_root();
    let there = is_root && rtn.exists() && busybox.exists();
    if !there {
        println!("skipped: containers take root, a built rtn, and /bin/busybox");
    }
    there.then_some((rtn, busybox))
}

/// Has the shim's bundle be one of a container that sleeps, with hooks that tell of themselves.
fn furnish(shim: &Shim) -> Option<CreateTaskRequest> {
    let (rtn, busybox) = needs()?;
    let directory = &shim.directory;
    let bin = directory.join("rootfs/bin");
    fs::create_dir_all(&bin).expect("a root");
    fs::copy(busybox, bin.join("busybox")).expect("a program");
    let hook = |name: &str| {
        let path = directory.join(name);
        serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >{path:?}")]}])
    };
    let config = serde_json::json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["/bin/busybox", "sleep", "1000"], "cwd": "/", "user": {}},
        "hooks": {"createRuntime": hook("created"), "poststop": hook("stopped")},
        "linux": {
            "cgroupsPath": format!("/{}", directory.file_name()?.to_string_lossy()),
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
        },
    });
    fs::write(directory.join("config.json"), config.to_string()).expect("config.json");
    let root = directory.join("states").to_string_lossy().into_owned();
    let binary_name = rtn.to_string_lossy().into_owned();
    let options = options(&Options { root, binary_name, ..Default::default() });
    let bundle = directory.to_string_lossy().into_owned();
    let options = Some(options).into();
    Some(CreateTaskRequest { id: "c1".into(), bundle, options, ..Default::default() })
}

#[test]
fn a_container_has_one_life() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let client = shim.client();
    let id = || "c1".to_owned();
    let start = StartRequest { id: id(), ..Default::default() };
    let delete = DeleteRequest { id: id(), ..Default::default() };
    let kill = KillRequest { id: id(), signal: 9, ..Default::default() };
    let pid = client.create(patience(), &create).expect("it is made").pid;
    assert_eq!(refused(client.create(patience(), &create)).0, Code::ALREADY_EXISTS);
    assert_eq!(client.start(patience(), &start).expect("it starts").pid, pid);
    assert_eq!(refused(client.start(patience(), &start)).0, Code::FAILED_PRECONDITION);
    assert_eq!(refused(client.delete(patience(), &delete)).0, Code::FAILED_PRECONDITION);
    let checkpoint = CheckpointTaskRequest { id: id(), ..Default::default() };
    assert_eq!(refused(client.checkpoint(patience(), &checkpoint)).0, Code::UNIMPLEMENTED);
    client.kill(patience(), &kill).expect("it runs");
    let wait = WaitRequest { id: id(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 137);
    assert_eq!(refused(client.start(patience(), &start)).0, Code::FAILED_PRECONDITION);
    assert_eq!(refused(client.kill(patience(), &kill)).0, Code::NOT_FOUND);
    assert_eq!(refused(client.exec(patience(), &exec("late", ""))).0, Code::FAILED_PRECONDITION);
    assert_eq!(client.delete(patience(), &delete).expect("it has ended").pid, pid);
    assert_eq!(refused(client.delete(patience(), &delete)).0, Code::NOT_FOUND);
    for hook in ["created", "stopped"] {
        let state = fs::read_to_string(shim.directory.join(hook)).expect("the hook has run");
        assert!(state.contains("\"id\":\"c1\""), "{hook}: {state}");
    }
    client.shutdown(patience(), &ShutdownRequest::new()).expect("nothing keeps it");
    assert!(shim.ends());
}

fn exec(id: &str, stdin: &str) -> ExecProcessRequest {
    let process = serde_json::json!({"args": ["/bin/busybox", "true"], "cwd": "/", "user": {}});
    let value = process.to_string().into_bytes();
    ExecProcessRequest {
        id: "c1".into(),
        exec_id: id.into(),
        stdin: stdin.into(),
        spec: Some(Any { value, ..Default::default() }).into(),
        ..Default::default()
    }
}

#[test]
fn an_exec_that_cannot_be_leaves_the_container_alone() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let client = shim.client();
    client.create(patience(), &create).expect("it is made");
    let start = |exec_id: &str| StartRequest {
        id: "c1".into(),
        exec_id: exec_id.into(),
        ..Default::default()
    };
    client.start(patience(), &start("")).expect("it starts");
    client.exec(patience(), &exec("e1", "/missing/fifo")).expect("it is only noted");
    let again = refused(client.exec(patience(), &exec("e1", "")));
    assert_eq!(again.0, Code::ALREADY_EXISTS);
    let (code, text) = refused(client.start(patience(), &start("e1")));
    assert!(code == Code::NOT_FOUND && text.contains("/missing/fifo"), "{text}");
    client.exec(patience(), &exec("e2", "")).expect("it is noted");
    client.start(patience(), &start("e2")).expect("it starts");
    let wait = WaitRequest { id: "c1".into(), exec_id: "e2".into(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 0);
    // What a shim leaves that is killed now, the other program removes.
    rustix::process::kill_process(shim.pid, rustix::process::Signal::KILL).expect("it is there");
    assert!(shim.ends());
    let output = with_input(command(&shim.directory, "delete"), b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(!shim.directory.join("states/tests/c1").exists());
    assert!(!shim.socket.exists());
}

#[test]
fn a_signal_to_end_is_heeded_when_there_is_nothing_to_lose() {
    let shim = Shim::start();
    // Before it answers it has not said yet what it does with signals.
    shim.is_well();
    rustix::process::kill_process(shim.pid, rustix::process::Signal::TERM).expect("it is there");
    assert!(shim.ends());
    assert!(!shim.socket.exists());
}

/// `start` is killed when it has made the process of the pod: containerd will never call that.
#[test]
fn it_ends_when_nobody_was_told_of_it() {
    for told in [false, true] {
        let directory = bundle("");
        let socket = directory.join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let (theirs, mut ours) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(PROGRAM);
        command.args(["-namespace", "tests", "-id", "c1", "-socket"]).arg(&socket);
        command.current_dir(&directory).env_remove("TTRPC_ADDRESS");
        command.stdin(std::os::fd::OwnedFd::from(listener)).stdout(theirs);
        let mut child = command.spawn().expect("the shim can be executed");
        drop(command);
        let shim = Shim { directory, socket, pid: Pid::from_child(&child) };
        shim.is_well();
        if told {
            ours.write_all(&[0]).expect("it reads");
        }
        drop(ours);
        if told {
            shim.is_well();
            shim.client().shutdown(patience(), &ShutdownRequest::new()).expect("nothing keeps it");
        }
        assert!(shim.ends(), "told: {told}");
        assert!(child.wait().expect("a child").success());
        assert!(!shim.socket.exists());
    }
}

#[test]
fn delete_answers_without_a_shim_and_without_a_container() {
    let directory = bundle("");
    fs::write(directory.join("init.pid"), "4321").expect("a pid file");
    let options = format!("{{\"root\": {:?}}}", directory.join("states"));
    fs::write(directory.join("options.json"), options).expect("options");
    let output = with_input(command(&directory, "delete"), b"");
    assert!(output.status.success(), "{output:?}");
    let response = DeleteResponse::parse_from_bytes(&output.stdout).expect("an answer");
    assert_eq!((response.pid, response.exit_status), (4321, 137));
    fs::remove_dir_all(directory).expect("it is there");
}
