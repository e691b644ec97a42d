//! The shim as the sandbox of a pod, without a containerd: what it holds, what it answers, and what it
//! leaves.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    Client, TaskClient,
    api::{
        ConnectRequest, CreateTaskRequest, DeleteRequest, DeleteResponse, ShutdownRequest,
        StartRequest, WaitRequest,
    },
    bootstrap_api::{BootstrapParams, BootstrapResult, Extension},
    sandbox_api::{
        CreateSandboxRequest, PingRequest, PlatformRequest, SandboxMetricsRequest,
        SandboxStatusRequest, SandboxStatusResponse, ShutdownSandboxRequest, StartSandboxRequest,
        StartSandboxResponse, StopSandboxRequest, WaitSandboxRequest,
    },
    sandbox_sync::SandboxClient,
    shim::oci::Options,
    ttrpc::{self, Code, context},
};
use protobuf::{Message, well_known_types::any::Any};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-rtn-v2");

/// A shim that was started for a sandbox: in a bundle without a config.json.
struct Shim {
    bundle: PathBuf,
    socket: PathBuf,
    pid: Pid,
}

fn command(bundle: &Path, action: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-namespace", "tests", "-id", "pod", "-address", "/nowhere/c.sock", action]);
    command.current_dir(bundle).env_remove("TTRPC_ADDRESS").env_remove("MAX_SHIM_VERSION");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the shim can be executed");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

impl Shim {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let bundle = std::env::temp_dir().join(format!("pod.{}.{number}", std::process::id()));
        fs::create_dir_all(&bundle).expect("a bundle");
        let options = Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options(&bundle).write_to_bytes().expect("a message"),
            ..Default::default()
        };
        let extension = Extension { value: Some(options).into(), ..Default::default() };
        let params = BootstrapParams {
            extensions: vec![extension],
            instance_id: "pod".into(),
            namespace: "tests".into(),
            socket_dir: Some(bundle.join("s").to_string_lossy().into_owned()),
            ..Default::default()
        };
        let params = params.write_to_bytes().expect("a message");
        let output = with_input(command(&bundle, "start"), &params);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let answer = BootstrapResult::parse_from_bytes(&output.stdout).expect("an answer");
        let socket = PathBuf::from(answer.address.strip_prefix("unix://").expect("a socket"));
        let is_shim = |pid: &i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains(&*socket.to_string_lossy())
        };
        let pid = pids().find(is_shim).and_then(Pid::from_raw).expect("its process");
        let shim = Self { bundle, socket, pid };
        // Before it answers it has not said yet what it does with signals.
        let connect = ConnectRequest { id: "nobody".into(), ..Default::default() };
        assert_eq!(code(shim.tasks().connect(patience(), &connect)), Code::NOT_FOUND);
        shim
    }

    fn client(&self) -> SandboxClient {
        let address = format!("unix://{}", self.socket.display());
        SandboxClient::new(Client::connect(&address).expect("it listens"))
    }

    fn tasks(&self) -> TaskClient {
        let address = format!("unix://{}", self.socket.display());
        TaskClient::new(Client::connect(&address).expect("it listens"))
    }

    fn request(&self, config: &[u8]) -> CreateSandboxRequest {
        let options = Any {
            type_url: "runtime.v1.PodSandboxConfig".into(),
            value: config.to_vec(),
            ..Default::default()
        };
        CreateSandboxRequest {
            sandbox_id: "pod".into(),
            bundle_path: self.bundle.to_string_lossy().into_owned(),
            options: Some(options).into(),
            ..Default::default()
        }
    }

    fn create(&self, config: &[u8]) -> ttrpc::Result<()> {
        self.client().create_sandbox(patience(), &self.request(config)).map(drop)
    }

    fn start_sandbox(&self) -> ttrpc::Result<StartSandboxResponse> {
        let request = StartSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
        self.client().start_sandbox(patience(), &request)
    }

    /// A pod that runs, and what it says of itself.
    fn with(config: &[u8]) -> (Self, StartSandboxResponse) {
        let shim = Self::start();
        shim.create(config).expect("a sandbox");
        let started = shim.start_sandbox().expect("it starts");
        (shim, started)
    }

    fn stop(&self) -> ttrpc::Result<()> {
        let request = StopSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
        self.client().stop_sandbox(patience(), &request).map(drop)
    }

    fn shut_down(&self) -> ttrpc::Result<()> {
        let request = ShutdownSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
        self.client().shutdown_sandbox(patience(), &request).map(drop)
    }

    fn status(&self) -> SandboxStatusResponse {
        let request =
            SandboxStatusRequest { sandbox_id: "pod".into(), verbose: true, ..Default::default() };
        self.client().sandbox_status(patience(), &request).expect("a status")
    }

    fn mounts(&self) -> usize {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
        mounts.lines().filter(|line| line.contains(&*self.bundle.to_string_lossy())).count()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let shm = self.bundle.join("shm");
        let _ = rustix::mount::unmount(&shm, rustix::mount::UnmountFlags::DETACH);
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

/// What containers are made with: states beside the bundle.
fn options(bundle: &Path) -> Options {
    Options { root: bundle.join("states").to_string_lossy().into_owned(), ..Default::default() }
}

/// A container that sleeps, as containerd describes it for a pod whose sandbox has no process.
struct Container<'a> {
    shim: &'a Shim,
    id: String,
    bundle: PathBuf,
    pid: u32,
}

impl<'a> Container<'a> {
    /// `None` where there is nothing to run it with.
    fn start(shim: &'a Shim) -> Option<Self> {
        let runtime = Path::new(PROGRAM).with_file_name("rtn");
        let busybox = Path::new("/bin/busybox");
        if !runtime.exists() || !busybox.exists() {
            println!("skipped: {runtime:?} is not built, or there is no {busybox:?}");
            return None;
        }
        let id = format!("c-{}", shim.bundle.file_name()?.to_string_lossy());
        let bundle = shim.bundle.join("c1");
        fs::create_dir_all(bundle.join("rootfs/bin")).expect("a bundle");
        fs::copy(busybox, bundle.join("rootfs/bin/busybox")).expect("a program");
        let path = |file: &str| format!("/proc/0/ns/{file}");
        let config = serde_json::json!({
            "ociVersion": "1.2.0",
            "annotations": {"io.kubernetes.cri.sandbox-id": "pod"},
            "process": {"args": ["/bin/busybox", "sleep", "1000"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
            ],
            "linux": {"namespaces": [
                {"type": "mount"},
                {"type": "pid"},
                {"type": "network", "path": path("net")},
                {"type": "ipc", "path": path("ipc")},
                {"type": "uts", "path": path("uts")},
            ]},
        });
        fs::write(bundle.join("config.json"), config.to_string()).expect("config.json");
        let options = Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options(&shim.bundle).write_to_bytes().expect("a message"),
            ..Default::default()
        };
        let request = CreateTaskRequest {
            id: id.clone(),
            bundle: bundle.to_string_lossy().into_owned(),
            options: Some(options).into(),
            ..Default::default()
        };
        let pid = shim.tasks().create(patience(), &request).expect("a container").pid;
        let request = StartRequest { id: id.clone(), ..Default::default() };
        shim.tasks().start(patience(), &request).expect("it starts");
        Some(Self { shim, id, bundle, pid })
    }

    fn exit_status(&self) -> u32 {
        let request = WaitRequest { id: self.id.clone(), ..Default::default() };
        self.shim.tasks().wait(patience(), &request).expect("an exit").exit_status
    }

    fn delete(&self) {
        let request = DeleteRequest { id: self.id.clone(), ..Default::default() };
        self.shim.tasks().delete(patience(), &request).expect("it has ended");
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn children(parent: i32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("PPid:\t{parent}\n"))
    };
    pids().filter(is_child).collect()
}

fn ends(pid: Pid) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
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

fn code<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> Code {
    refused(answer).0
}

/// Making namespaces takes root.
fn not_root() -> bool {
    let not_root = !rustix::process::geteuid().is_root();
    if not_root {
        println!("skipped: making namespaces takes root");
    }
    not_root
}

/// A field of a protobuf message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
    [&[number << 3 | 2, length.expect("it is short")], content].concat()
}

const POD: u8 = 0;
const CONTAINER: u8 = 1;
const NODE: u8 = 2;

/// PodSandboxConfig with these modes for the network, pid and ipc namespaces.
fn config(network: u8, pid: u8, ipc: u8, more: &[Vec<u8>]) -> Vec<u8> {
    let namespaces = field(1, &[0x08, network, 0x10, pid, 0x18, ipc]);
    let linux = [field(2, &namespaces), more.concat()].concat();
    [field(2, b"pod-name"), field(8, &linux)].concat()
}

fn sysctl(name: &str, value: &str) -> Vec<u8> {
    field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn spec(started: &StartSandboxResponse) -> Value {
    assert!(started.spec.type_url.ends_with("opencontainers/runtime-spec/1/Spec"));
    serde_json::from_slice(&started.spec.value).expect("a specification")
}

/// Of the kinds that it has, by their names in config.json.
fn namespace(spec: &Value, kind: &str) -> Option<String> {
    let namespaces = spec["linux"]["namespaces"].as_array().expect("namespaces");
    let found = namespaces.iter().find(|namespace| namespace["type"] == kind)?;
    found["path"].as_str().map(str::to_owned)
}

/// What a program says in one of the namespaces.
fn inside(option: &str, program: &[&str]) -> String {
    let output = Command::new("nsenter").arg(option).args(program).output().expect("nsenter");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_pod_is_held_without_a_process() {
    if not_root() {
        return;
    }
    let sysctls = [sysctl("kernel.shmmni", "77"), sysctl("net.ipv4.ip_forward", "1")];
    let (shim, started) = Shim::with(&config(POD, CONTAINER, POD, &sysctls));
    let children = children(shim.pid.as_raw_nonzero().get());
    assert_eq!((started.pid, children), (0, Vec::new()));
    let spec = spec(&started);
    let path = |kind| namespace(&spec, kind).expect("a namespace of the pod");
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let inode = |path: &str| fs::metadata(path).expect("a namespace").ino();
        assert_ne!(inode(&path(kind)), inode(&format!("/proc/self/ns/{file}")), "{kind}");
        let shims = format!("/proc/{}/ns/{file}", shim.pid.as_raw_nonzero());
        assert_eq!(inode(&shims), inode(&format!("/proc/self/ns/{file}")), "{kind}");
    }
    assert_eq!(inside(&format!("--uts={}", path("uts")), &["hostname"]), "pod-name");
    let read = |option: String, name| inside(&option, &["cat", &format!("/proc/sys/{name}")]);
    assert_eq!(read(format!("--ipc={}", path("ipc")), "kernel/shmmni"), "77");
    let net = format!("--net={}", path("network"));
    assert_eq!(read(net.clone(), "net/ipv4/ip_forward"), "1");
    assert_eq!(read(net.clone(), "net/ipv4/ip_unprivileged_port_start"), "0");
    assert!(inside(&net, &["ip", "-o", "link", "show", "lo"]).contains("UP"));
    let pid = namespace(&spec, "pid");
    assert_eq!(pid, None, "an entry without a path: containers have their own");
    assert!(spec.to_string().contains("{\"type\":\"pid\"}"), "{spec}");
}

#[test]
fn a_pod_has_the_files_of_its_containers() {
    if not_root() {
        return;
    }
    let dns = [field(1, b"10.0.0.10"), field(2, b"svc.local"), field(3, b"ndots:5")].concat();
    let pod = [config(POD, CONTAINER, POD, &[]), field(4, &dns)].concat();
    let (shim, started) = Shim::with(&pod);
    let spec = spec(&started);
    let source = |target: &str| {
        let mounts = spec["mounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["destination"] == target).expect("a mount");
        PathBuf::from(mount["source"].as_str().expect("a source"))
    };
    let text = |target| fs::read_to_string(source(target)).expect("a file");
    assert_eq!(text("/etc/hostname"), "pod-name\n");
    assert_eq!(text("/etc/hosts"), fs::read_to_string("/etc/hosts").expect("the host's"));
    assert_eq!(
        text("/etc/resolv.conf"),
        "search svc.local\nnameserver 10.0.0.10\noptions ndots:5\n"
    );
    let shm = fs::metadata(source("/dev/shm")).expect("a directory");
    assert_eq!((shm.mode() & 0o7777, shim.mounts()), (0o1777, 1));
    shim.stop().expect("it stops");
    assert_eq!(shim.mounts(), 0);
}

#[test]
fn a_pod_of_the_host_holds_nothing() {
    if not_root() {
        return;
    }
    let (shim, started) = Shim::with(&config(NODE, NODE, NODE, &[]));
    assert_eq!(spec(&started)["linux"]["namespaces"], serde_json::json!([]));
    assert_eq!((started.pid, shim.mounts()), (0, 0));
}

#[test]
fn a_shared_pid_namespace_has_a_first_process_that_can_do_nothing() {
    if not_root() {
        return;
    }
    let (shim, started) = Shim::with(&config(POD, POD, POD, &[]));
    let pid = started.pid;
    assert_ne!(pid, 0);
    assert_eq!(shim.status().pid, pid);
    let spec = spec(&started);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        let inode = |path: &str| fs::metadata(path).expect("a namespace").ino();
        let held = namespace(&spec, kind).expect("a namespace of the pod");
        assert_eq!(inode(&held), inode(&format!("/proc/{pid}/ns/{file}")), "{kind}");
        assert_ne!(inode(&held), inode(&format!("/proc/self/ns/{file}")), "{kind}");
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    for line in ["Uid:\t65535\t65535\t65535\t65535", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.contains(line), "{status}");
    }
    let names = |path: &str| {
        let entries = fs::read_dir(format!("/proc/{pid}/{path}")).expect("a directory").flatten();
        entries.map(|entry| entry.file_name().into_string().expect("text")).collect::<Vec<_>>()
    };
    assert_eq!((names("root"), names("fd")), (vec!["pause".to_owned()], Vec::new()));
    let program = fs::metadata(format!("/proc/{pid}/exe")).expect("its program");
    assert!(program.len() < 4096, "{program:?}");
    // Whoever loses its parent in there becomes its child, and leaves nothing.
    let enter = format!("--pid=/proc/{pid}/ns/pid");
    inside(&enter, &["sh", "-c", "sleep 1000 >&- 2>&- &"]);
    let orphan = children(pid.cast_signed()).pop().expect("an orphan");
    kill_process(Pid::from_raw(orphan).expect("a pid"), Signal::KILL).expect("it is there");
    let patience = Instant::now() + Duration::from_secs(20);
    while Path::new(&format!("/proc/{orphan}")).exists() {
        assert!(Instant::now() < patience, "nobody has waited for it");
        thread::yield_now();
    }
    shim.stop().expect("it stops");
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    assert!(ends(pid));
    assert_eq!(shim.status().state, "SANDBOX_NOTREADY");
}

/// A process in a network namespace of a user namespace, as containerd makes them for a pod with
/// `hostUsers: false`.
struct Mapped(Child);

impl Mapped {
    fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--net", "sh", "-c", "echo; exec sleep 1000"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("unshare");
        let mut line = [0];
        let said = child.stdout.as_mut().expect("it is piped").read(&mut line);
        assert_eq!(said.expect("it talks"), 1);
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", child.id());
            fs::write(path, "0 1000000 65536").expect("root may");
        }
        Self(child)
    }

    fn namespace(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_user_namespace_owns_what_the_pod_shares() {
    if not_root() {
        return;
    }
    let mapped = Mapped::start();
    // 1000000, in seven bits at a time.
    let map = [0x08, 0xc0, 0x84, 0x3d, 0x10, 0, 0x18, 0x80, 0x80, 0x04];
    let user = field(5, &[field(2, &map), field(3, &map)].concat());
    for pid in [CONTAINER, POD] {
        let namespaces = [vec![0x10, pid], user.clone()].concat();
        let security = field(2, &field(1, &namespaces));
        let config = field(8, &[security, sysctl("kernel.shmmni", "77")].concat());
        let shim = Shim::start();
        let request =
            CreateSandboxRequest { netns_path: mapped.namespace("net"), ..shim.request(&config) };
        shim.client().create_sandbox(patience(), &request).expect("a sandbox");
        let started = shim.start_sandbox().expect("it starts");
        let spec = spec(&started);
        let path = |kind| namespace(&spec, kind).expect("a namespace of the pod");
        let inode = |path: &str| fs::metadata(path).expect("a namespace").ino();
        assert_eq!(inode(&path("user")), inode(&mapped.namespace("user")));
        assert_eq!(inode(&path("network")), inode(&mapped.namespace("net")));
        // Its root has rights over them.
        let enter = ["--user", "--uts", "--ipc"]
            .map(|option| format!("{option}={}", path(option.trim_start_matches('-'))));
        let script = "hostname other && hostname && cat /proc/sys/kernel/shmmni && id -u";
        let [user, rest @ ..] = &enter;
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let words = [&rest[..], &["sh", "-c", script]].concat();
        assert_eq!(inside(user, &words), "other\n77\n0");
        let hosts = fs::metadata(shim.bundle.join("hosts")).expect("a file");
        assert_eq!((hosts.uid(), hosts.gid()), (1_000_000, 1_000_000));
        if pid == POD {
            let status = fs::read_to_string(format!("/proc/{}/status", started.pid));
            let status = status.expect("it lives");
            assert!(status.contains("Uid:\t1065535\t"), "{status}");
        }
    }
}

/// Not one of its own: the network namespace is the host's user namespace's.
#[test]
fn a_user_namespace_that_is_nobodys_is_refused() {
    if not_root() {
        return;
    }
    let map = [0x08, 0xc0, 0x84, 0x3d, 0x10, 0, 0x18, 1];
    let user = field(5, &[field(2, &map), field(3, &map)].concat());
    let config = field(8, &field(2, &field(1, &user)));
    let shim = Shim::start();
    shim.create(&config).expect("a sandbox");
    let (code, text) = refused(shim.start_sandbox());
    assert!(code == Code::INVALID_ARGUMENT && text.contains("no user namespace"), "{text}");
}

#[test]
fn a_shared_pid_namespace_ends_with_the_shim() {
    if not_root() {
        return;
    }
    let (shim, started) = Shim::with(&config(POD, POD, POD, &[]));
    kill_process(shim.pid, Signal::KILL).expect("it is there");
    assert!(ends(Pid::from_raw(started.pid.cast_signed()).expect("a pid")));
}

#[test]
fn whoever_ends_the_first_process_ends_the_pod() {
    if not_root() {
        return;
    }
    let (shim, started) = Shim::with(&config(POD, POD, POD, &[]));
    let pid = Pid::from_raw(started.pid.cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it is there");
    let wait = WaitSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
    let exit = shim.client().wait_sandbox(patience(), &wait).expect("an exit");
    assert_eq!(exit.exit_status, 137);
    assert_eq!(shim.status().state, "SANDBOX_NOTREADY");
    shim.stop().expect("it has stopped already");
    assert_eq!(shim.mounts(), 0);
}

#[test]
fn a_life() {
    if not_root() {
        return;
    }
    let shim = Shim::start();
    shim.create(&config(POD, CONTAINER, POD, &[])).expect("a sandbox");
    assert_eq!(shim.status().state, "SANDBOX_NOTREADY");
    shim.start_sandbox().expect("it starts");
    let status = shim.status();
    assert_eq!((&*status.state, status.exited_at.is_some()), ("SANDBOX_READY", false));
    let info: Value = serde_json::from_str(&status.info["info"]).expect("JSON");
    assert!(info["namespaces"]["ipc"].is_string(), "{info}");
    let id = || "pod".to_owned();
    let client = shim.client();
    let platform = PlatformRequest { sandbox_id: id(), ..Default::default() };
    let platform = client.platform(patience(), &platform).expect("a platform").platform;
    assert_eq!((&*platform.os, &*platform.architecture), ("linux", "amd64"));
    let ping = PingRequest { sandbox_id: id(), ..Default::default() };
    client.ping_sandbox(patience(), &ping).expect("it is there");
    let connect = ConnectRequest { id: id(), ..Default::default() };
    let connected = shim.tasks().connect(patience(), &connect).expect("a restarted containerd");
    assert_eq!(connected.shim_pid, shim.pid.as_raw_nonzero().get().cast_unsigned());
    let wait = WaitSandboxRequest { sandbox_id: id(), ..Default::default() };
    let exit = thread::scope(|scope| {
        let waiting = scope.spawn(|| shim.client().wait_sandbox(patience(), &wait));
        shim.stop().expect("it stops");
        waiting.join().expect("no panic").expect("an exit")
    });
    shim.stop().expect("twice is fine");
    let status = shim.status();
    assert_eq!((&*status.state, exit.exit_status), ("SANDBOX_NOTREADY", 0));
    assert_eq!(status.exited_at, exit.exited_at);
    assert_eq!(client.wait_sandbox(patience(), &wait).expect("an exit"), exit);
    shim.shut_down().expect("nothing keeps it");
    assert!(ends(shim.pid));
    assert!(!shim.socket.exists());
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    if not_root() {
        return;
    }
    let shim = Shim::start();
    assert_eq!(code(shim.start_sandbox()), Code::NOT_FOUND);
    assert_eq!(code(shim.stop()), Code::NOT_FOUND);
    let other = CreateSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    assert_eq!(code(shim.client().create_sandbox(patience(), &other)), Code::INVALID_ARGUMENT);
    let (code_, text) = refused(shim.create(b"\x12\x7f"));
    assert!(code_ == Code::INVALID_ARGUMENT && text.contains("message"), "{text}");

    let pod = config(POD, CONTAINER, POD, &[sysctl("vm.swappiness", "1")]);
    shim.create(&pod).expect("a sandbox");
    assert_eq!(code(shim.create(&pod)), Code::ALREADY_EXISTS);
    let (code_, text) = refused(shim.start_sandbox());
    assert!(code_ == Code::INVALID_ARGUMENT && text.contains("vm.swappiness"), "{text}");
    assert_eq!(shim.mounts(), 0);

    let task = CreateTaskRequest {
        id: "c1".into(),
        bundle: shim.bundle.to_string_lossy().into_owned(),
        ..Default::default()
    };
    let (code_, text) = refused(shim.tasks().create(patience(), &task));
    assert!(code_ == Code::FAILED_PRECONDITION && text.contains("not running"), "{text}");
    let metrics = SandboxMetricsRequest { sandbox_id: "pod".into(), ..Default::default() };
    let (code_, text) = refused(shim.client().sandbox_metrics(patience(), &metrics));
    assert!(code_ == Code::NOT_FOUND && text.contains("no cgroup"), "{text}");
    let wait = WaitSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    assert_eq!(code(shim.client().wait_sandbox(patience(), &wait)), Code::NOT_FOUND);
    shim.shut_down().expect("it is good for nothing");
    assert!(ends(shim.pid));
}

/// Where the cgroups of one hierarchy are, and the message that tells of it.
fn hierarchy() -> (PathBuf, &'static str) {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    match unified {
        true => ("/sys/fs/cgroup".into(), "io.containerd.cgroups.v2.Metrics"),
        false => ("/sys/fs/cgroup/memory".into(), "io.containerd.cgroups.v1.Metrics"),
    }
}

#[test]
fn metrics_are_those_of_the_pods_cgroup() {
    if not_root() {
        return;
    }
    let (root, name) = hierarchy();
    let cgroup = format!("/pod-metrics-{}", std::process::id());
    let directory = root.join(&cgroup[1..]);
    if let Err(error) = fs::create_dir(&directory) {
        println!("skipped: no cgroup can be made in {root:?}: {error}");
        return;
    }
    let pod = field(8, &[field(1, cgroup.as_bytes()), field(2, &field(1, &[0x10, 1]))].concat());
    let (shim, _) = Shim::with(&pod);
    let request = SandboxMetricsRequest { sandbox_id: "pod".into(), ..Default::default() };
    let answer = shim.client().sandbox_metrics(patience(), &request);
    fs::remove_dir(&directory).expect("it is empty");
    let metrics = answer.expect("figures").metrics;
    assert_eq!((&*metrics.id, &*metrics.data.type_url), ("pod", name));
    assert!(metrics.timestamp.seconds > 0 && !metrics.data.value.is_empty());
    let (code, _) = refused(shim.client().sandbox_metrics(patience(), &request));
    assert_eq!(code, Code::NOT_FOUND);
}

#[test]
fn a_network_that_is_none_is_refused() {
    if not_root() {
        return;
    }
    let shim = Shim::start();
    let netns_path = "/proc/self/ns/uts".to_owned();
    let request = CreateSandboxRequest { netns_path, ..shim.request(&[]) };
    shim.client().create_sandbox(patience(), &request).expect("it is looked at later");
    let (code, text) = refused(shim.start_sandbox());
    assert!(code == Code::INVALID_ARGUMENT && text.contains("not a network namespace"), "{text}");
    shim.shut_down().expect("it is good for nothing");
    assert!(ends(shim.pid));
}

/// The answer is not to be overtaken by the end of the connection.
#[test]
fn whoever_ends_it_hangs_up_first() {
    let shim = Shim::start();
    let client = shim.client();
    let request = ShutdownSandboxRequest { sandbox_id: "pod".into(), ..Default::default() };
    client.shutdown_sandbox(patience(), &request).expect("nothing keeps it");
    let pidfd = pidfd_open(shim.pid, PidfdFlags::empty()).expect("it waits");
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    assert_eq!(poll(&mut ended, Some(&moment)), Ok(0));
    drop(client);
    assert!(ends(shim.pid));
}

#[test]
fn containers_are_in_the_pod_and_end_with_it() {
    if not_root() {
        return;
    }
    let (shim, started) = Shim::with(&config(POD, CONTAINER, POD, &[]));
    let Some(container) = Container::start(&shim) else { return };
    let spec = spec(&started);
    let inode = |path: &str| fs::metadata(path).expect("a namespace").ino();
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let held = namespace(&spec, kind).expect("a namespace of the pod");
        assert_eq!(inode(&held), inode(&format!("/proc/{}/ns/{file}", container.pid)), "{kind}");
    }
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let device = |path: &Path| fs::metadata(path).expect("a directory").dev();
    assert_eq!(device(&root.join("dev/shm")), device(&shim.bundle.join("shm")));
    assert_eq!(fs::read(root.join("etc/hostname")).expect("a file"), b"pod-name\n");
    let (code, text) = refused(shim.shut_down());
    assert!(code == Code::FAILED_PRECONDITION && text.contains("has containers"), "{text}");
    assert_eq!(shim.status().state, "SANDBOX_READY");
    shim.stop().expect("it stops");
    assert_eq!(container.exit_status(), 137);
    container.delete();
    shim.shut_down().expect("nothing keeps it");
    assert!(ends(shim.pid));
}

/// A containerd that leaves the containers of a sandbox to its shim calls `delete` for the sandbox
/// alone.
#[test]
fn delete_takes_the_containers_along() {
    if not_root() {
        return;
    }
    let (shim, _) = Shim::with(&config(POD, CONTAINER, POD, &[]));
    let Some(container) = Container::start(&shim) else { return };
    kill_process(shim.pid, Signal::KILL).expect("it is there");
    assert!(ends(shim.pid));
    let output = with_input(command(&shim.bundle, "delete"), b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(ends(Pid::from_raw(container.pid.cast_signed()).expect("a pid")));
    let states = shim.bundle.join("states/tests");
    assert_eq!(fs::read_dir(states).expect("it was there").count(), 0);
    assert!(container.bundle.exists() && shim.mounts() == 0);
}

/// containerd shuts down what it could not create.
#[test]
fn a_sandbox_that_was_never_created_ends_its_shim() {
    let shim = Shim::start();
    let other = ShutdownSandboxRequest { sandbox_id: "other".into(), ..Default::default() };
    assert_eq!(code(shim.client().shutdown_sandbox(patience(), &other)), Code::NOT_FOUND);
    shim.shut_down().expect("nothing keeps it");
    assert!(ends(shim.pid));
}

/// A containerd that has forgotten the sandbox knows only of a shim.
#[test]
fn the_task_services_shutdown_ends_a_sandbox_that_is_meant() {
    if not_root() {
        return;
    }
    let (shim, _) = Shim::with(&config(POD, CONTAINER, POD, &[]));
    let shutdown = |id: &str| ShutdownRequest { id: id.into(), ..Default::default() };
    shim.tasks().shutdown(patience(), &shutdown("c1")).expect("that of a container says nothing");
    assert_eq!(shim.status().state, "SANDBOX_READY");
    shim.tasks().shutdown(patience(), &shutdown("pod")).expect("it ends");
    assert!(ends(shim.pid));
    assert_eq!(shim.mounts(), 0);
}

#[test]
fn a_signal_to_end_is_not_heeded_by_a_sandbox() {
    if not_root() {
        return;
    }
    let (shim, _) = Shim::with(&config(POD, CONTAINER, POD, &[]));
    kill_process(shim.pid, Signal::TERM).expect("it is there");
    assert_eq!(shim.status().state, "SANDBOX_READY");
}

#[test]
fn delete_removes_what_a_dead_shim_has_left() {
    if not_root() {
        return;
    }
    let (shim, _) = Shim::with(&config(POD, CONTAINER, POD, &[]));
    kill_process(shim.pid, Signal::KILL).expect("it is there");
    assert!(ends(shim.pid));
    assert_eq!(shim.mounts(), 1);
    let output = with_input(command(&shim.bundle, "delete"), b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let response = DeleteResponse::parse_from_bytes(&output.stdout).expect("an answer");
    assert_eq!(response.exit_status, 137);
    assert_eq!(shim.mounts(), 0);
    assert!(!shim.socket.exists());
}

/// One thread, and little that is its own.
#[test]
fn an_idle_pod_is_small() {
    if not_root() {
        return;
    }
    let (shim, _) = Shim::with(&config(POD, CONTAINER, POD, &[]));
    let file = |name| fs::read_to_string(format!("/proc/{}/{name}", shim.pid.as_raw_nonzero()));
    assert!(file("status").expect("it lives").contains("Threads:\t1\n"));
    let memory = file("smaps_rollup").expect("it lives");
    let anonymous = memory.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let anonymous = anonymous.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u32>().ok());
    assert!(anonymous.is_some_and(|size| size <= 512), "{memory}");
}
