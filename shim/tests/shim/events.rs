//! What containerd is told without asking.

use std::{
    fs,
    sync::{Arc, Mutex, mpsc},
};

use containerd_shim_protos::{
    Events,
    api::{
        CreateTaskRequest, DeleteRequest, Empty, ForwardRequest, KillRequest, StartRequest,
        WaitRequest,
    },
    create_events,
    events::task::{TaskCreate, TaskDelete, TaskExecStarted, TaskExit},
    shim::event::Envelope,
    ttrpc::{self, Code, Server, TtrpcContext},
};
use protobuf::Message;
use serde_json::{Value, json};

use crate::{
    common::{Bundle, Shim, host, patience},
    exec::{exec_of, start_exec},
    task::furnish,
};

/// containerd, as far as events go. It does not like one topic.
struct Ear {
    heard: Mutex<mpsc::Sender<Envelope>>,
    refused: &'static str,
}

impl Events for Ear {
    fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let event = request.envelope.unwrap_or_default();
        let refused = event.topic == self.refused;
        self.heard.lock().expect("no panic").send(event).expect("the test listens");
        match refused {
            true => Err(ttrpc::Error::RpcStatus(ttrpc::get_status(Code::UNAVAILABLE, "not now"))),
            false => Ok(Empty::new()),
        }
    }
}

/// A shim whose events are heard.
struct Told {
    shim: Shim,
    events: mpsc::Receiver<Envelope>,
    _server: Server,
}

impl Told {
    fn start(refused: &'static str) -> Self {
        let bundle = Bundle::of_container();
        let (heard, events) = mpsc::channel();
        let socket = bundle.join("events").display().to_string();
        let ear = Arc::new(Ear { heard: Mutex::new(heard), refused });
        let server = Server::new().bind(&format!("unix://{socket}")).expect("a name that is free");
        let mut server = server.register_service(create_events(ear));
        server.start().expect("it listens");
        let mut params = bundle.params(None);
        params.containerd_ttrpc_address = socket;
        let started = bundle.call("start", &params.write_to_bytes().expect("a message"));
        Self { shim: Shim::that_said(&started, bundle), events, _server: server }
    }

    /// Runs the container of `request`, and returns its pid.
    fn run(&self, request: CreateTaskRequest) -> u32 {
        let pid = self.shim.create(request).expect("it is made").pid;
        let start = StartRequest { id: "c1".into(), ..Default::default() };
        self.shim.tasks().start(patience(), &start).expect("it starts");
        pid
    }

    /// Kills the container, and deletes it.
    fn end(&self) {
        let client = self.shim.tasks();
        let id = || "c1".to_owned();
        let kill = KillRequest { id: id(), signal: 9, ..Default::default() };
        client.kill(patience(), &kill).expect("it runs");
        client.wait(patience(), &WaitRequest { id: id(), ..Default::default() }).expect("it ends");
        let delete = DeleteRequest { id: id(), ..Default::default() };
        client.delete(patience(), &delete).expect("it has ended");
    }

    /// What is told until the container is deleted.
    fn all(&self) -> Vec<Envelope> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Envelope| event.topic != "/tasks/delete") {
            events.push(self.events.recv_timeout(host::PATIENCE).expect("another event"));
        }
        events
    }
}

fn of<T: Message>(event: &Envelope) -> T {
    T::parse_from_bytes(&event.event.value).expect("what its topic says")
}

fn topics(events: &[Envelope]) -> Vec<&str> {
    events.iter().map(|event| event.topic.trim_start_matches("/tasks/")).collect()
}

/// Also where its end is not theirs: in a pid namespace that is another's.
#[test]
fn a_containers_first_process_ends_last() {
    let told = Told::start("");
    let Some(create) = furnish(&told.shim) else { return };
    let path = told.shim.bundle.join("config.json");
    let config = fs::read(&path).expect("it is furnished");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["linux"]["namespaces"] = json!([{"type": "mount"}]);
    fs::write(path, config.to_string()).expect("config.json");
    let pid = told.run(create);
    for exec_id in ["e1", "e2"] {
        start_exec(&told.shim, &exec_of(&["sleep", "1000"], exec_id, ""));
    }
    told.end();
    let events = told.all();
    let exec = ["exec-added", "exec-started"];
    let expected = [&["create", "start"], &exec, &exec, &["exit", "exit"], &["exit", "delete"]];
    assert_eq!(topics(&events), expected.map(|two| two.as_slice()).concat());
    assert!(events.iter().all(|event| event.namespace == "tests" && event.timestamp.seconds > 0));
    assert_eq!(of::<TaskCreate>(&events[0]).pid, pid);
    let started =
        [3, 5].map(|at| of::<TaskExecStarted>(&events[at])).map(|exec| (exec.exec_id, exec.pid));
    let exits = [6, 7, 8].map(|at| of::<TaskExit>(&events[at]));
    assert!(exits.iter().all(|exit| (&*exit.container_id, exit.exit_status) == ("c1", 137)));
    let [one, two, last] = exits.map(|exit| (exit.id, exit.pid));
    assert!([[one.clone(), two.clone()], [two, one]].contains(&started), "{started:?}");
    assert_eq!(last, ("c1".to_owned(), pid));
    let deleted: TaskDelete = of(&events[9]);
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    told.shim.ends_when_asked();
}

/// Five times, as containerd's own shim offers one; then the next ones have their turn.
#[test]
fn an_event_that_is_refused_is_offered_again_but_not_for_ever() {
    let told = Told::start("/tasks/start");
    let Some(create) = furnish(&told.shim) else { return };
    told.run(create);
    told.end();
    let events = told.all();
    let expected = [&["create"][..], &["start"; 5], &["exit", "delete"]];
    assert_eq!(topics(&events), expected.concat());
    told.shim.ends_when_asked();
}
