//! Who asks, and how: clients of either version, bytes that are no request, other users.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    thread,
    time::Duration,
};

use containerd_shim_protos::{
    api::{ConnectRequest, ExecProcessRequest, KillRequest, StateRequest, WaitRequest},
    ttrpc::{self, Code},
};
use protobuf::Message;

use crate::common::{Shim, host, needs_root, patience, refusal, refused};

#[test]
fn what_it_does_not_know_is_not_found() {
    let shim = Shim::start();
    let client = shim.tasks();
    let id = || "c1".to_owned();
    let is_unknown = |answer: ttrpc::Result<()>| refused(answer, Code::NOT_FOUND, "not found");
    let kill = KillRequest { id: id(), ..Default::default() };
    is_unknown(client.kill(patience(), &kill).map(drop));
    let wait = WaitRequest { id: id(), ..Default::default() };
    is_unknown(client.wait(patience(), &wait).map(drop));
    let exec = ExecProcessRequest { id: id(), ..Default::default() };
    is_unknown(client.exec(patience(), &exec).map(drop));
    let connect = ConnectRequest { id: id(), ..Default::default() };
    is_unknown(client.connect(patience(), &connect).map(drop));
}

#[test]
fn version_2_is_served_as_well() {
    let shim = Shim::start();
    let client = shim.connect();
    let call = |service: &str| {
        let request = StateRequest { id: "c1".into(), ..Default::default() };
        refusal(client.request(ttrpc::Request {
            service: service.to_owned(),
            method: "State".to_owned(),
            timeout_nano: host::PATIENCE.as_nanos() as i64,
            payload: request.write_to_bytes().expect("a message"),
            ..Default::default()
        }))
    };
    assert_eq!(call("containerd.task.v2.Task"), call("containerd.task.v3.Task"));
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
    let peak = host::status(shim.pid, "VmPeak");
    let kib = peak.strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok());
    assert!(kib.is_some_and(|kib| kib < 1 << 20), "{peak:?}");
}

/// Whoever gets to the socket in spite of its mode.
#[test]
fn another_user_is_refused() {
    needs_root!("becoming another user");
    let shim = Shim::start();
    for (path, mode) in [(shim.bundle.sockets(), 0o777), (shim.socket.clone(), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let nobody = rustix::fs::Uid::from_raw(65534);
    let heard = thread::scope(|scope| {
        let other = scope.spawn(|| {
            // Of this thread alone.
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("another user");
            let mut stream = UnixStream::connect(&shim.socket).expect("it listens");
            stream.set_read_timeout(Some(host::PATIENCE)).expect("a timeout");
            let mut byte = [0];
            stream.read(&mut byte).map_err(|error| error.kind())
        });
        other.join().expect("it ends")
    });
    assert!(matches!(heard, Ok(0) | Err(ErrorKind::ConnectionReset)), "{heard:?}");
    shim.is_well();
}
