//! `start`: what it makes, what it answers, and where the shim is then.

use std::{
    fs,
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Stdio,
};

use containerd_shim_protos::{
    api::ShutdownRequest, bootstrap_api::BootstrapResult, shim::oci::Options,
    types::introspection::RuntimeInfo,
};
use protobuf::Message;
use rustix::thread::{
    CoreSchedulingScope, core_scheduling_cookie, create_core_scheduling_cookie, gettid,
};

use crate::common::{Bundle, Shim, answer, bundle, host, needs_root, packed, patience};

#[test]
fn a_pod_is_started_once() {
    let shim = Shim::start();
    let again: BootstrapResult = answer(&shim.bundle.start(None));
    assert_eq!((again.version, &*again.protocol), (3, "ttrpc"));
    assert_eq!(again.address, format!("unix://{}", shim.socket.display()));
    let address = fs::read_to_string(shim.bundle.join("address")).expect("the bundle has it");
    assert_eq!(address, again.address);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&shim.socket), mode(&shim.bundle.sockets())), (0o600, 0o700));
}

#[test]
fn a_dead_socket_is_taken_over() {
    let shim = Shim::start();
    shim.kill();
    assert!(UnixStream::connect(&shim.socket).is_err());
    answer::<BootstrapResult>(&shim.bundle.start(None));
    assert!(UnixStream::connect(&shim.socket).is_ok());
    let client = shim.tasks();
    client.shutdown(patience(), &ShutdownRequest::new()).expect("it has nothing to do");
}

#[test]
fn a_start_with_a_damaged_bundle_says_so() {
    let bundle = Bundle::of_container();
    fs::write(bundle.join("config.json"), "{").expect("it is there");
    let output = bundle.call("start", b"");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.json"), "{output:?}");
}

#[test]
fn it_is_in_the_cgroup_of_its_options() {
    needs_root!("a cgroup");
    let name = format!("/shim-test.{}", std::process::id());
    let bundle = Bundle::of_container();
    let of = Options { shim_cgroup: name.clone(), ..Default::default() };
    let missing = bundle.start(Some(&of));
    assert!(!missing.status.success());
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains(&name) && said.contains("does not exist"), "{said}");
    let left: Vec<_> = fs::read_dir(bundle.sockets()).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    // Of the v1 hierarchies one, or the only one.
    let pids = Path::new("/sys/fs/cgroup/pids");
    let mount = if pids.exists() { pids } else { Path::new("/sys/fs/cgroup") };
    let cgroup = mount.join(name.trim_start_matches('/'));
    fs::create_dir(&cgroup).expect("a cgroup");
    let shim = Shim::start_in(bundle, Some(&of));
    let inside = fs::read_to_string(cgroup.join("cgroup.procs")).expect("a cgroup");
    assert_eq!(inside.trim(), shim.pid.to_string());
    shim.ends_when_asked();
    fs::remove_dir(cgroup).expect("nobody is left in it");
}

/// Sooner than containerd, whose child `start` is, and later than any container.
#[test]
fn it_is_killed_for_memory_before_containerd() {
    let score = |pid| -> i32 { host::proc(pid, "oom_score_adj").trim().parse().expect("a number") };
    let shim = Shim::start();
    shim.is_well();
    assert_eq!(score(shim.pid), (score(std::process::id()) + 1).min(1000));
}

/// A containerd that says it no longer in the environment.
#[test]
fn it_is_told_where_events_belong() {
    let bundle = Bundle::of_container();
    let mut params = bundle.params(None);
    params.containerd_ttrpc_address = "/nowhere/c.sock.ttrpc".into();
    let started = bundle.call("start", &params.write_to_bytes().expect("a message"));
    let shim = Shim::that_said(&started, bundle);
    let environment = host::proc(shim.pid, "environ");
    let address = environment.split('\0').find_map(|line| line.strip_prefix("TTRPC_ADDRESS="));
    assert_eq!(address, Some("/nowhere/c.sock.ttrpc"));
    shim.ends_when_asked();
}

/// containerd's `sched_core`. Where the kernel has no such thing, or the processor one thread in each
/// core, nobody is to believe that it is on.
#[test]
#[expect(clippy::disallowed_methods, reason = "nothing clones here")]
fn its_cores_are_its_own() {
    let make = || create_core_scheduling_cookie(gettid(), CoreSchedulingScope::Thread);
    let possible = std::thread::spawn(make).join().expect("no panic");
    let bundle = Bundle::of_container();
    let params = bundle.params(None).write_to_bytes().expect("a message");
    let started = bundle::call(bundle.command("start").env("SCHED_CORE", "1"), &params);
    if possible.is_err() {
        let said = String::from_utf8_lossy(&started.stderr).into_owned();
        assert!(!started.status.success() && said.contains("SCHED_CORE"), "{started:?}");
        assert_eq!(fs::read_dir(bundle.sockets()).expect("a directory").count(), 0);
        return;
    }
    let shim = Shim::that_said(&started, bundle);
    let pid = rustix::process::Pid::from_raw(shim.pid.cast_signed()).expect("a pid");
    let cookie = core_scheduling_cookie(pid, CoreSchedulingScope::Thread);
    assert_ne!(cookie.expect("it lives"), 0);
    shim.ends_when_asked();
}

/// containerd writes its options to the standard input as they are, as an Any.
#[test]
fn the_runtime_that_is_described_is_that_of_the_options() {
    let bundle = Bundle::of_container();
    let runtime = bundle.join("runtime");
    fs::write(&runtime, "#!/bin/sh\necho \"{\\\"of\\\": \\\"$0 $*\\\"}\"\n").expect("a script");
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).expect("a mode");
    let binary_name = runtime.display().to_string();
    let options = packed(&Options { binary_name, ..Default::default() });
    let said = bundle.call("-info", &options.write_to_bytes().expect("a message"));
    let info: RuntimeInfo = answer(&said);
    assert_eq!((&*info.name, info.options.as_ref()), ("io.containerd.rtn.v2", Some(&options)));
    let features = String::from_utf8_lossy(&info.features.value).into_owned();
    assert_eq!(features, format!("{{\"of\": \"{} features\"}}\n", runtime.display()));
}

/// containerd has been killed before it had the answer: the shim would be one that nobody knows of.
#[test]
fn it_ends_when_nobody_is_there_to_be_told() {
    let bundle = Bundle::of_container();
    let (reader, answers) = io::pipe().expect("a pipe");
    drop(reader);
    let mut command = bundle.command("start");
    command.stdin(Stdio::piped()).stdout(answers).stderr(Stdio::piped());
    let mut start = command.spawn().expect("the shim can be executed");
    let params = bundle.params(None).write_to_bytes().expect("a message");
    start.stdin.take().expect("it is piped").write_all(&params).expect("it reads");
    let output = start.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("cannot answer"), "{output:?}");
    let name = bundle.sockets().display().to_string();
    host::until("it still serves", || {
        !host::pids().any(|pid| host::proc(pid, "cmdline").contains(&name))
    });
    assert_eq!(fs::read_dir(bundle.sockets()).expect("sockets were there").count(), 0);
}
