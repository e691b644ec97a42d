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
        ConnectRequest, CreateTaskRequest, DeleteResponse, ExecProcessRequest, KillRequest, Mount,
        ShutdownRequest, StateRequest, WaitRequest,
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
        let socket = start(&directory, &directory.join("s")).address;
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
