//! `podman build`, whose steps are containers of buildah's, and podman as a service.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Stdio,
};

use e2e_podman::{Container, Engine, IMAGE, Place, Podman, podman, wait};

e2e_common::tests! {
    build_runs_its_steps
    build_fails_with_its_step
    service_creates_starts_and_waits
}

/// Steps as the runtime's containers; limits that any root may set.
const BUILD: &[&str] = &[
    "build",
    "-q",
    "--isolation=oci",
    "--network=none",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
];

fn build_runs_its_steps() {
    let steps = format!(
        "FROM {IMAGE}\nRUN id -u >/who && chmod 1777 /tmp\n\
         RUN --mount=type=tmpfs,target=/m grep -q ' /m ' /proc/self/mountinfo\n\
         USER user\nRUN id -u >/tmp/who\n"
    );
    Podman::feed(&[BUILD, &["-t", "built", "-"]].concat(), steps.as_bytes()).ok();
    let read = podman(&["run", "--rm", "built", "cat", "/who", "/tmp/who"]);
    podman(&["rmi", "built"]).ok();
    assert_eq!(read.ok(), "0\n1000");
}

fn build_fails_with_its_step() {
    let steps = format!("FROM {IMAGE}\nRUN exit 7\n");
    let output = Podman::feed(&[BUILD, &["-"]].concat(), steps.as_bytes());
    output.fails("exit status 7");
}

/// One request of HTTP/1.0, so that the answer ends with the connection.
fn request(socket: &std::path::Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).expect("the service listens");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("a socket");
    let length = body.len();
    write!(
        stream,
        "{method} /v5.0.0/libpod/{path} HTTP/1.0\r\nHost: d\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .expect("the service reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the service answers");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

fn service_creates_starts_and_waits() {
    let socket = Place::shared().file("service.sock");
    let uri = format!("unix://{}", socket.display());
    let mut service = Podman::command(&["system", "service", "--time", "0", &uri]);
    let mut service = service.stdin(Stdio::null()).spawn().expect("podman can be executed");
    wait::until("the service listens", || UnixStream::connect(&socket).ok());
    let container = Container::named();
    let body = serde_json::json!({"name": container.name(), "image": IMAGE, "command": ["sh", "-c", "exit 6"]});
    let name = container.name();
    let created = request(&socket, "POST", "containers/create", &body.to_string());
    let started = request(&socket, "POST", &format!("containers/{name}/start"), "");
    let waited = request(&socket, "POST", &format!("containers/{name}/wait"), "");
    service.kill().and_then(|()| service.wait()).expect("it runs");
    assert_eq!((created.0, started.0), (201, 204), "{created:?} {started:?}");
    assert_eq!((waited.0, waited.1.trim()), (200, "6"));
}
