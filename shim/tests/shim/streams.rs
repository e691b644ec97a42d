//! What the options say of pipes and of the runtime, and a terminal whose output is a program's.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use containerd_shim_protos::{
    api::{
        CreateTaskRequest, DeleteRequest, KillRequest, ResizePtyRequest, StartRequest, WaitRequest,
    },
    shim::oci::Options,
};
use serde_json::{Value, json};

use crate::{
    common::{Shim, host, packed, patience},
    task::furnish,
};

pub(crate) fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Kills the container `c1`, and deletes it.
fn end(shim: &Shim) {
    let client = shim.tasks();
    let id = || "c1".to_owned();
    let kill = KillRequest { id: id(), signal: 9, ..Default::default() };
    client.kill(patience(), &kill).expect("it is there");
    client.wait(patience(), &WaitRequest { id: id(), ..Default::default() }).expect("it ends");
    client.delete(patience(), &DeleteRequest { id: id(), ..Default::default() }).expect("it has");
}

#[test]
fn the_runtime_is_called_as_the_options_say() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let Some(runtime) = host::runtime() else { return };
    let (program, said) = (shim.bundle.join("runtime"), shim.bundle.join("said"));
    script(&program, &format!("echo \"$@\" >>{said:?}; exec {runtime:?} \"$@\""));
    let options = Options {
        no_pivot_root: true,
        no_new_keyring: true,
        io_gid: 2000,
        binary_name: program.display().to_string(),
        ..shim.bundle.options()
    };
    // A pipe is only made for what somebody is to read.
    let stdout = shim.bundle.join("stdout").display().to_string();
    fs::write(&stdout, "").expect("a file");
    let options = Some(packed(&options)).into();
    let pid = shim.create(CreateTaskRequest { options, stdout, ..create }).expect("it is made").pid;
    let pipe = fs::metadata(format!("/proc/{pid}/fd/1")).expect("it waits");
    // The user that it is given in the end is the runtime's choice: that of the process.
    assert_eq!(pipe.gid(), 2000);
    end(&shim);
    let said = fs::read_to_string(said).expect("it was called");
    let root = format!("--root {}/tests ", shim.bundle.options().root);
    let calls: Vec<_> = said.lines().filter(|line| !line.starts_with("--version")).collect();
    assert!(calls.iter().all(|line| line.starts_with(&root)), "{said}");
    assert!(
        calls[0].contains(" create ") && calls[0].ends_with("--no-pivot --no-new-keyring c1"),
        "{said}"
    );
    shim.ends_when_asked();
}

/// Has the container run `text` on a terminal.
fn give_a_terminal(shim: &Shim, text: &str) {
    let path = shim.bundle.join("config.json");
    let config = fs::read(&path).expect("it is furnished");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["process"]["terminal"] = true.into();
    config["process"]["args"] = json!(["/bin/busybox", "sh", "-c", text]);
    config["mounts"] = json!([
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666"]},
    ]);
    fs::write(path, config.to_string()).expect("config.json");
}

/// As nerdctl has it for a container with a terminal that nobody is attached to.
#[test]
fn the_output_of_a_terminal_may_be_a_programs() {
    let shim = Shim::start();
    let Some(create) = furnish(&shim) else { return };
    let text = "busybox() { /bin/busybox \"$@\"; }; busybox tty; \
                while [ \"$(busybox stty size)\" != '41 97' ]; do :; done; echo resized";
    give_a_terminal(&shim, text);
    let (logger, log) = (shim.bundle.join("logger"), shim.bundle.join("log.of"));
    script(
        &logger,
        "printf 1 >&5; exec 5>&-; { echo \"$CONTAINER_NAMESPACE $CONTAINER_ID\"; cat <&3; } >\"$2\"",
    );
    let stdout = format!("binary-v2://{}?to={}", logger.display(), log.display());
    shim.create(CreateTaskRequest { terminal: true, stdout, ..create }).expect("it is made");
    let client = shim.tasks();
    let id = || "c1".to_owned();
    let size = ResizePtyRequest { id: id(), width: 97, height: 41, ..Default::default() };
    client.resize_pty(patience(), &size).expect("it has a terminal");
    client.start(patience(), &StartRequest { id: id(), ..Default::default() }).expect("it starts");
    let wait = WaitRequest { id: id(), ..Default::default() };
    assert_eq!(client.wait(patience(), &wait).expect("it ends").exit_status, 0);
    // Which waits for the end of the logger.
    client.delete(patience(), &DeleteRequest { id: id(), ..Default::default() }).expect("it has");
    drop(client);
    let said = fs::read_to_string(log).expect("the logger has run");
    assert_eq!(said, "tests c1\n/dev/pts/0\r\nresized\r\n");
    shim.ends_when_asked();
}
