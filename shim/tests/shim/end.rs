//! How a shim ends, and `delete`, which is called when it has.

use std::{
    fs,
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::Command,
};

use rustix::process::Signal;

use crate::common::{Bundle, Shim, bundle::PROGRAM};

#[test]
fn shutdown_ends_it_and_removes_its_socket() {
    let shim = Shim::start();
    shim.ends_when_asked();
    assert!(!shim.socket.exists());
}

#[test]
fn a_signal_to_end_is_heeded_when_there_is_nothing_to_lose() {
    let shim = Shim::start();
    // Before it answers it has not said yet what it does with signals.
    shim.is_well();
    shim.signal(Signal::TERM);
    assert!(shim.ends());
    assert!(!shim.socket.exists());
}

/// `start` is killed when it has made the process of the pod: containerd will never call that.
#[test]
fn it_ends_when_nobody_was_told_of_it() {
    for told in [false, true] {
        let bundle = Bundle::of_container();
        let socket = bundle.join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (theirs, mut ours) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(PROGRAM);
        command.args(["-namespace", "tests", "-id", "c1", "-socket"]).arg(&socket);
        command.current_dir(&bundle).env_remove("TTRPC_ADDRESS");
        command.stdin(OwnedFd::from(listener)).stdout(theirs);
        let mut child = command.spawn().expect("the shim can be executed");
        drop(command);
        let shim = Shim::of(bundle, socket, child.id());
        shim.is_well();
        if told {
            ours.write_all(&[0]).expect("it reads");
        }
        drop(ours);
        if told {
            shim.is_well();
            shim.ends_when_asked();
        }
        assert!(shim.ends(), "told: {told}");
        assert!(child.wait().expect("a child").success());
        assert!(!shim.socket.exists());
    }
}

#[test]
fn delete_answers_without_a_shim_and_without_a_container() {
    let bundle = Bundle::of_container();
    fs::write(bundle.join("init.pid"), "4321").expect("a pid file");
    let options = format!("{{\"root\": {:?}}}", bundle.join("states"));
    fs::write(bundle.join("options.json"), options).expect("options");
    let response = bundle.delete();
    assert_eq!((response.pid, response.exit_status), (4321, 137));
}
