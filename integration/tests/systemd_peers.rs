//! A systemd that does not do its part: silent, gone, talking nonsense or refusing. Each is a socket
//! of the test's own where systemd's should be, and stands for nothing that works. Whatever it does,
//! the runtime ends with one line, and leaves nothing.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use integration::{Feature, Mode, Output, Test, host, needs, only_on, wait};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The patience with a peer that answers: it is a thread of the test's, which may have to wait for a
/// processor.
const LONG: &str = "80s";

const OWN_WORDS: &str = "runc and crun have words of their own, and wait without end";

/// What a peer does with each connection; it writes down what it is told.
type Manner = fn(UnixStream, &Mutex<String>);

/// A place where the runtime looks for systemd, and finds a [`Manner`] instead.
struct Peer {
    runtime_dir: PathBuf,
    told: Arc<Mutex<String>>,
    conversations: Arc<Mutex<Vec<JoinHandle<()>>>>,
    hidden: bool,
}

impl Peer {
    /// Nobody at all.
    fn none(test: &Test) -> Self {
        let hidden = Feature::Root.present();
        let runtime_dir = if hidden { "/run".into() } else { test.dir().join("run") };
        if hidden {
            // In the mount namespace of the test alone.
            mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)
                .expect("tmpfs");
        }
        fs::create_dir_all(runtime_dir.join("systemd/system")).expect("a directory");
        Self { runtime_dir, told: Arc::default(), conversations: Arc::default(), hidden }
    }

    fn new(test: &Test, manner: Manner) -> Self {
        let peer = Self::none(test);
        let listener = UnixListener::bind(peer.runtime_dir.join("systemd/private")).expect("bind");
        let (told, conversations) = (Arc::clone(&peer.told), Arc::clone(&peer.conversations));
        let serve = move || {
            for stream in listener.incoming().flatten() {
                let told = Arc::clone(&told);
                let mut conversations = conversations.lock().expect("a list");
                conversations.push(in_background(move || manner(stream, &told)));
            }
        };
        in_background(serve);
        peer
    }

    /// A runtime that finds this peer, and has no more than `patience` with it.
    fn call(&self, test: &Test, patience: &str, arguments: &[&str]) -> Output {
        let mut command = test.command(arguments);
        self.show(&mut command).env("SYSTEMD_BUS_TIMEOUT", patience);
        wait::output(&mut command)
    }

    fn show<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env_remove("DBUS_SYSTEM_BUS_ADDRESS").env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.env("XDG_RUNTIME_DIR", &self.runtime_dir)
    }

    /// `create` that must fail with `words` on one line and leave nothing.
    #[track_caller]
    fn refuses(self, test: &Test, words: &str) -> String {
        self.refuses_after(LONG, test, words)
    }

    /// The same of a peer that falls silent.
    #[track_caller]
    fn refuses_after(self, patience: &str, test: &Test, words: &str) -> String {
        let bundle = test.bundle();
        let create =
            ["--systemd-cgroup", "create", "--bundle", &bundle.dir.to_string_lossy(), test.id()];
        let output = self.call(test, patience, &create);
        // The runtime is gone, and may have been faster than who read what it said last.
        let conversations = std::mem::take(&mut *self.conversations.lock().expect("a list"));
        conversations.into_iter().for_each(|thread| thread.join().expect("a conversation"));
        let told = self.told.lock().expect("what it was told").clone();
        drop(self);
        output.fails_with(words);
        output.one_line().unwrap_or_else(|what| panic!("{what}: {output:?}"));
        test.assert_clean();
        told
    }
}

/// Until the test ends.
fn in_background(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().spawn(work).expect("a thread")
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.hidden {
            umount2("/run", MntFlags::MNT_DETACH).expect("umount");
        } else {
            fs::remove_dir_all(&self.runtime_dir).expect("the end of a directory");
        }
    }
}

/// As a server of the D-Bus specification: everybody is known.
fn welcome(stream: &mut UnixStream) {
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"BEGIN\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        said.extend(byte);
        if said.ends_with(b"AUTH EXTERNAL\r\n") {
            let _ = stream.write_all(b"DATA\r\n");
        } else if said.ends_with(b"DATA\r\n") {
            let _ = stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n");
        }
    }
}

/// The serial number of the next call, which is written down; `None` at the end.
fn hear(stream: &mut UnixStream, told: &Mutex<String>) -> Option<u32> {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).ok()?;
    let number = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("four bytes"));
    let mut rest = vec![0; (number(12) as usize).next_multiple_of(8) + number(4) as usize];
    stream.read_exact(&mut rest).ok()?;
    told.lock().expect("a list").push_str(&String::from_utf8_lossy(&rest));
    Some(number(8))
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// A message with header fields of texts (code, type, value) and perhaps the number of its call.
fn message(kind: u8, fields: &[(u8, char, &str)], call: Option<u32>, body: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    for (code, kind, value) in fields {
        list.resize(list.len().next_multiple_of(8), 0);
        list.extend([*code, 1, *kind as u8, 0]);
        if *kind == 'g' {
            list.push(value.len() as u8);
            list.extend(value.as_bytes());
            list.push(0);
        } else {
            string(&mut list, value);
        }
    }
    if let Some(call) = call {
        list.resize(list.len().next_multiple_of(8), 0);
        list.extend([5, 1, b'u', 0]);
        list.extend(call.to_le_bytes());
    }
    let mut bytes = vec![b'l', kind, 1, 1];
    for number in [body.len() as u32, 7, list.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(list);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

const JOB: &str = "/org/freedesktop/systemd1/job/1";

/// The answer of a call that began a job.
fn begun(call: u32) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, JOB);
    message(2, &[(8, 'g', "o")], Some(call), &body)
}

fn ended(result: &str) -> Vec<u8> {
    let mut body = 1_u32.to_le_bytes().to_vec();
    for text in [JOB, "x.scope", result] {
        string(&mut body, text);
    }
    let fields = [
        (1, 'o', "/org/freedesktop/systemd1"),
        (2, 's', "org.freedesktop.systemd1.Manager"),
        (3, 's', "JobRemoved"),
        (8, 'g', "uoss"),
    ];
    message(4, &fields, None, &body)
}

fn refusal(call: u32, name: &str, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, text);
    message(3, &[(4, 's', name), (8, 'g', "s")], Some(call), &body)
}

#[test]
fn a_systemd_that_is_not_there() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let hint = if Feature::Root.present() { "leave out --systemd-cgroup" } else { "enable-linger" };
    let peer = Peer::none(&test);
    peer.refuses(&test, "cannot reach systemd at");
    let peer = Peer::none(&test);
    let bundle = test.bundle_named("again").dir;
    let create = ["--systemd-cgroup", "run", "--bundle", &bundle.to_string_lossy(), test.id()];
    let output = peer.call(&test, "400ms", &create);
    drop(peer);
    output.fails_with(hint);
}

#[test]
fn a_systemd_that_says_nothing() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let silent: Manner = |mut stream, _| drop(stream.read_to_end(&mut Vec::new()));
    let words = "systemd did not answer within 400ms";
    Peer::new(&test, silent).refuses_after("400ms", &test, words);
}

#[test]
fn a_systemd_that_says_nothing_after_the_greeting() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let silent: Manner = |mut stream, told| {
        welcome(&mut stream);
        while hear(&mut stream, told).is_some() {}
    };
    let peer = Peer::new(&test, silent);
    let told = peer.refuses_after("3s", &test, "systemd did not answer within 3s");
    assert!(told.contains("StartTransientUnit"), "{told}");
}

#[test]
fn a_systemd_that_hangs_up() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    Peer::new(&test, |stream, _| drop(stream)).refuses(&test, "cannot talk to systemd");
}

#[test]
fn a_systemd_that_dies_in_the_middle_of_an_answer() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let dying: Manner = |mut stream, told| {
        welcome(&mut stream);
        if let Some(call) = hear(&mut stream, told) {
            let _ = stream.write_all(&begun(call)[..40]);
        }
    };
    Peer::new(&test, dying).refuses(&test, "systemd closed the connection");
}

#[test]
fn a_systemd_that_talks_nonsense() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let nonsense: Manner = |mut stream, told| {
        welcome(&mut stream);
        let _ = hear(&mut stream, told);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        while hear(&mut stream, told).is_some() {}
    };
    Peer::new(&test, nonsense).refuses(&test, "cannot understand systemd");
}

#[test]
fn a_message_without_end_is_not_awaited() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let endless: Manner = |mut stream, told| {
        welcome(&mut stream);
        let _ = hear(&mut stream, told);
        let mut fixed = [0xff; 16];
        fixed[..4].copy_from_slice(&[b'l', 2, 1, 1]);
        let _ = stream.write_all(&fixed);
        while hear(&mut stream, told).is_some() {}
    };
    Peer::new(&test, endless).refuses(&test, "the message is too long");
}

#[test]
fn a_bus_that_lets_nobody_in() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let closed: Manner = |mut stream, _| {
        let _ = stream.write_all(b"REJECTED KERBEROS\r\n");
        drop(stream.read_to_end(&mut Vec::new()));
    };
    Peer::new(&test, closed).refuses(&test, "REJECTED KERBEROS");
}

#[test]
fn a_refusal_is_told_in_its_own_words() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let refusing: Manner = |mut stream, told| {
        welcome(&mut stream);
        while let Some(call) = hear(&mut stream, told) {
            let name = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
            let text = "Interactive authentication required.";
            let _ = stream.write_all(&refusal(call, name, text));
        }
    };
    let peer = Peer::new(&test, refusing);
    peer.refuses(&test, "Interactive authentication required.");
}

#[test]
fn a_job_that_does_not_end_is_taken_back() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let slow: Manner = |mut stream, told| {
        welcome(&mut stream);
        if let Some(call) = hear(&mut stream, told) {
            let _ = stream.write_all(&begun(call));
        }
        while hear(&mut stream, told).is_some() {}
    };
    let peer = Peer::new(&test, slow);
    let told = peer.refuses_after("3s", &test, "systemd did not answer within 3s");
    assert!(told.contains("StopUnit"), "{told}");
}

#[test]
fn a_job_that_fails_is_taken_back() {
    let test = Test::new();
    only_on!(test, [Rtn], OWN_WORDS);
    let failing: Manner = |mut stream, told| {
        welcome(&mut stream);
        while let Some(call) = hear(&mut stream, told) {
            let _ = stream.write_all(&begun(call));
            let _ = stream.write_all(&ended("failed"));
        }
    };
    let told = Peer::new(&test, failing).refuses(&test, "its job is failed");
    assert!(told.contains("StopUnit"), "{told}");
}

fn v1_slice() -> String {
    format!("rtntest{}.slice", std::process::id())
}

/// systemd would take all devices away and give them back one by one.
#[test]
fn nothing_runs_while_systemd_changes_a_unit_of_v1() {
    let test = Test::new();
    needs!(Feature::Root, Feature::CgroupV1("devices"), Feature::CgroupV1("pids"));
    needs!(Feature::CgroupV1("freezer"));
    only_on!(test, [Rtn], OWN_WORDS);
    let willing: Manner = |mut stream, told| {
        welcome(&mut stream);
        while let Some(call) = hear(&mut stream, told) {
            let slice = PathBuf::from("/sys/fs/cgroup/freezer").join(v1_slice());
            let scopes = fs::read_dir(slice).into_iter().flatten().flatten();
            for scope in scopes.map(|scope| scope.path()).filter(|path| path.is_dir()) {
                let state = fs::read_to_string(scope.join("freezer.state")).expect("a state");
                told.lock().expect("a list").push_str(&state);
            }
            let _ = stream.write_all(&[begun(call), ended("done")].concat());
        }
    };
    let path = format!("{}:rtntest:{}", v1_slice(), test.id());
    // On a hybrid host systemd makes this one, to follow what becomes of the unit.
    let unified = format!("/sys/fs/cgroup/unified/{}/rtntest-{}.scope", v1_slice(), test.id());
    if fs::exists("/sys/fs/cgroup/unified").expect("a directory or none") {
        fs::create_dir_all(unified).expect("a cgroup");
    }
    let bundle = test.bundle().serve().edit(|config| config["linux"]["cgroupsPath"] = path.into());
    let peer = Peer::new(&test, willing);
    let call = |arguments: &[&str]| peer.call(&test, "9s", arguments);
    let (dir, id) = (bundle.dir.to_string_lossy(), test.id());
    call(&["--systemd-cgroup", "create", "--bundle", &dir, id]).ok();
    let init = test.call(&["state", id]).json()["pid"].as_i64().expect("a pid") as i32;
    peer.told.lock().expect("a list").clear();
    call(&["update", "--pids-limit", "9", id]).ok();
    let told = peer.told.lock().expect("a list").clone();
    let read = |controller, file| fs::read_to_string(host::cgroup_of(init, controller).join(file));
    let after = (read("pids", "pids.max").ok(), read("freezer", "freezer.state").ok());
    call(&["delete", "--force", id]).ok();
    drop(peer);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("hierarchies").flatten() {
        // The slice would be systemd's.
        let _ = fs::remove_dir(hierarchy.path().join(v1_slice()));
    }
    assert!(told.contains("SetUnitProperties") && told.contains("FROZEN"), "{told}");
    assert_eq!(after, (Some("9\n".into()), Some("THAWED\n".into())));
}

#[test]
fn an_update_that_systemd_does_not_take_changes_nothing() {
    let test = Test::new();
    needs!(Feature::Systemd, Feature::CgroupV2("pids"));
    only_on!(test, [Rtn], OWN_WORDS);
    let dir = test.bundle().serve().dir;
    let id = test.id();
    test.call(&["--systemd-cgroup", "create", "--bundle", &dir.to_string_lossy(), id]).ok();
    let init = test.call(&["state", id]).json()["pid"].as_i64().expect("a pid") as i32;
    let limit = host::cgroup_of(init, "").join("pids.max");
    let before = fs::read_to_string(&limit).expect("a limit");
    let refusing: Manner = |mut stream, told| {
        welcome(&mut stream);
        while let Some(call) = hear(&mut stream, told) {
            let _ = stream.write_all(&refusal(call, "a.Refusal", "Not today."));
        }
    };
    let silent: Manner = |mut stream, _| drop(stream.read_to_end(&mut Vec::new()));
    for (manner, words) in [(refusing, "Not today."), (silent, "did not answer within 400ms")] {
        let peer = Peer::new(&test, manner);
        let output = peer.call(&test, "400ms", &["update", "--pids-limit", "9", id]);
        drop(peer);
        output.fails_with(words);
        assert_eq!(fs::read_to_string(&limit).expect("a limit"), before, "{words}");
    }
    test.call(&["delete", "--force", id]).ok();
}

/// Only what changes a unit needs systemd, and what could not be done can be done later.
#[test]
fn a_systemd_that_falls_silent_disturbs_as_little_as_it_can() {
    let test = Test::new();
    needs!(Feature::Systemd);
    only_on!(test, [Rtn], OWN_WORDS);
    let dir = test.bundle().serve().dir;
    test.call(&["--systemd-cgroup", "create", "--bundle", &dir.to_string_lossy(), test.id()]).ok();
    let silent: Manner = |mut stream, _| drop(stream.read_to_end(&mut Vec::new()));
    let peer = Peer::new(&test, silent);
    let id = test.id();
    for call in [&["start", id][..], &["exec", id, "/bin/true"], &["kill", id, "USR1"], &["ps", id]]
    {
        peer.call(&test, "400ms", call).ok();
    }
    // While something is in the unit it does not end by itself.
    let init = test.call(&["state", id]).json()["pid"].as_i64().expect("a pid") as i32;
    let procs = host::cgroup_of(init, "").join("cgroup.procs");
    // A user's systemd ends nobody else's.
    let mut other = Command::new("/bin/busybox");
    Mode::current().become_user(other.args(["sleep", "1000"]));
    let mut other = other.spawn().expect("a process");
    fs::write(procs, other.id().to_string()).expect("the process moves");
    let delete = ["delete", "--force", id];
    let output = peer.call(&test, "400ms", &delete);
    drop(peer);
    output.fails_with("systemd did not answer within 400ms");
    assert_eq!(test.call(&["state", id]).json()["status"], "stopped");
    test.call(&delete).ok();
    let ended = other.wait().expect("systemd ends what is left in a unit");
    assert!(!ended.success(), "{ended}");
}
