//! What CRI-O calls: conmon, which calls the runtime with a scope of systemd's, and the runtime
//! itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use e2e_common::image;
use e2e_podman::{
    Output, Place, Running, Session, Skip, cgroup_of, host, needs_controller, needs_root,
    through_a_shell, wait,
};
use serde_json::{Value, json};

e2e_common::tests! {
    created_started_stopped_and_deleted
    exit_is_told_with_its_status
    exec_of_a_process_in_a_file
    exec_of_what_does_not_exist_is_told
    terminal_is_resized
    resources_are_updated
    kill_of_the_dead_is_told_in_the_words_that_are_looked_for
    features_are_told
}

/// A container as CRI-O has it.
struct Pod {
    id: String,
    directory: PathBuf,
}

impl Pod {
    /// With `process` in place of a few fields of config.json's.
    fn new(process: Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("e2e{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = PathBuf::from(Place::shared().directory(&id));
        let pod = Self { id, directory };
        for name in ["rootfs", "exits", "sockets", "persist"] {
            fs::create_dir(pod.path(name)).expect("a directory");
        }
        image::populate(&pod.path("rootfs")).expect("a root filesystem");
        pod.configure(process);
        pod
    }

    fn configure(&self, process: Value) {
        let mut spec = Command::new(Place::shared().program());
        spec.arg("spec").current_dir(&self.directory);
        Running::start(spec, b"").end().ok();
        let file = self.path("config.json");
        let text = fs::read(&file).expect("it was written");
        let mut config: Value = serde_json::from_slice(&text).expect("it is JSON");
        config["process"]["terminal"] = false.into();
        config["root"]["readonly"] = false.into();
        config["linux"]["cgroupsPath"] = format!("rtne2e.slice:crio:{}", self.id).into();
        for (name, value) in process.as_object().into_iter().flatten() {
            config["process"][name] = value.clone();
        }
        fs::write(&file, config.to_string()).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn root(&self) -> PathBuf {
        self.path("state")
    }

    /// The runtime, as CRI-O itself calls it.
    fn call(&self, verb: &[&str], input: &str) -> Output {
        let mut command = Command::new(Place::shared().program());
        command.arg("--root").arg(self.root()).arg("--systemd-cgroup").args(verb);
        Running::start(command, input.as_bytes()).end()
    }

    /// conmon with its pipes: what it reports is its 3, what it waits for its 4.
    fn conmon(&self, flags: &[&str]) -> Session {
        let mut command = Command::new("conmon");
        command.arg("-c").arg(&self.id).arg("-n").arg(&self.id).arg("-u").arg(&self.id);
        command.arg("-r").arg(Place::shared().program());
        command.arg("--runtime-arg").arg(format!("--root={}", self.root().display()));
        command.arg("--socket-dir-path").arg(self.path("sockets")).args(flags);
        command.env("_OCI_SYNCPIPE", "3").env("_OCI_STARTPIPE", "4").env("XDG_RUNTIME_DIR", "");
        let mut session =
            Session::pipes(through_a_shell("3>&1 4<&0 </dev/null >/dev/null", &command));
        session.send("x");
        session
    }

    /// `create`; a container that waits for `start`.
    fn create(&self, flags: &[&str]) -> Session {
        let paths =
            ["", "exits", "persist", "pidfile", "conmon.pid", "log"].map(|name| self.path(name));
        let [bundle, exits, persist, pid, own, log] = paths.each_ref().map(|path| text(path));
        let create = [
            "-s",
            "-b",
            bundle,
            "--exit-dir",
            exits,
            "--persist-dir",
            persist,
            "-p",
            pid,
            "-P",
            own,
            "-l",
            log,
        ];
        self.conmon(&[&create[..], flags].concat())
    }

    #[track_caller]
    fn created(&self, flags: &[&str]) -> u32 {
        self.create(flags).expect("{\"pid\":");
        let pid = self.read("pidfile");
        assert_eq!(self.state()["status"], "created");
        pid.parse().expect("the runtime writes it")
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.call(&["state", &self.id], "").ok()).expect("it is JSON")
    }

    /// A process in it, from a file, by conmon's hand; the report has its exit status.
    fn exec(&self, args: &[&str]) -> Session {
        let process =
            json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        fs::write(self.path("process"), process.to_string()).expect("a file");
        let paths = ["process", "exec.pid", "exec.log"].map(|name| self.path(name));
        let [process, pid, log] = paths.each_ref().map(|path| text(path));
        self.conmon(&["-s", "-e", "--sync", "--exec-process-spec", process, "-p", pid, "-l", log])
    }

    fn start(&self) {
        self.call(&["start", &self.id], "").ok();
    }

    /// The status in the file that CRI-O watches for.
    fn exited(&self) -> String {
        let file = self.path("exits").join(&self.id);
        wait::until("conmon has written the exit status", || {
            fs::read_to_string(&file).ok().filter(|status| !status.is_empty())
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = std::panic::catch_unwind(|| self.call(&["delete", "--force", &self.id], ""));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("ours are text")
}

fn created_started_stopped_and_deleted() -> Result<(), Skip> {
    needs_root()?;
    let pod = Pod::new(json!({"args": ["sleep", "1000"]}));
    let pid = pod.created(&[]);
    let cgroup = cgroup_of(pid);
    assert!(
        cgroup.ends_with(format!("rtne2e.slice/crio-{}.scope", pod.id)),
        "{}",
        cgroup.display()
    );
    pod.start();
    let state = pod.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(pid)));
    pod.call(&["pause", &pod.id], "").ok();
    assert_eq!(pod.state()["status"], "paused");
    pod.call(&["resume", &pod.id], "").ok();
    pod.call(&["kill", &pod.id, "KILL"], "").ok();
    assert_eq!(pod.exited(), "137");
    assert_eq!(pod.state()["status"], "stopped");
    pod.call(&["delete", "--force", &pod.id], "").ok();
    assert!(!cgroup.exists() && !host::is_alive(pid));
    // What is gone is gone without complaint.
    pod.call(&["delete", "--force", &pod.id], "").ok();
    Ok(())
}

fn exit_is_told_with_its_status() -> Result<(), Skip> {
    needs_root()?;
    let pod = Pod::new(json!({"args": ["sh", "-c", "echo out; echo err >&2; exit 5"]}));
    pod.created(&[]);
    pod.start();
    assert_eq!(pod.exited(), "5");
    // In the format of CRI: time, stream, whether the line is whole, the line.
    wait::until("both lines are in the log", || {
        let log = pod.read("log");
        (log.contains(" stdout F out\n") && log.contains(" stderr F err\n")).then_some(())
    });
    Ok(())
}

fn exec_of_a_process_in_a_file() -> Result<(), Skip> {
    needs_root()?;
    let pod = Pod::new(json!({"args": ["sleep", "1000"]}));
    let cgroup = cgroup_of(pod.created(&[]));
    pod.start();
    pod.exec(&["sh", "-c", "echo inside; exit 3"]).expect("\"exit_code\": 3");
    assert!(pod.read("exec.log").contains(" stdout F inside\n"), "{}", pod.read("exec.log"));
    assert!(pod.read("exec.pid").parse::<u32>().is_ok());
    assert!(cgroup.exists());
    Ok(())
}

fn exec_of_what_does_not_exist_is_told() -> Result<(), Skip> {
    needs_root()?;
    let pod = Pod::new(json!({"args": ["sleep", "1000"]}));
    pod.created(&[]);
    pod.start();
    let mut session = pod.exec(&["no-such-command"]);
    session.expect("executable file not found in $PATH");
    assert_eq!(pod.state()["status"], "running");
    Ok(())
}

fn terminal_is_resized() -> Result<(), Skip> {
    needs_root()?;
    let script = "while [ \"$(stty size)\" != '30 90' ]; do sleep 0.1; done; echo resized; exit 4";
    let pod = Pod::new(json!({"args": ["sh", "-c", script], "terminal": true}));
    pod.created(&["-t"]);
    pod.start();
    let attach = pod.path("sockets").join(&pod.id).join("attach");
    assert!(attach.exists(), "{}", attach.display());
    // One message of conmon's: kind, rows, columns.
    fs::write(pod.path("ctl"), "1 30 90\n").expect("conmon listens");
    assert_eq!(pod.exited(), "4");
    wait::until("it is in the log", || pod.read("log").contains("resized").then_some(()));
    Ok(())
}

fn resources_are_updated() -> Result<(), Skip> {
    needs_root()?;
    for controller in ["memory", "cpu"] {
        needs_controller(controller)?;
    }
    let pod = Pod::new(json!({"args": ["sleep", "1000"]}));
    let cgroup = cgroup_of(pod.created(&[]));
    pod.start();
    let limits = json!({"memory": {"limit": 134217728}, "cpu": {"quota": 25000, "period": 100000, "shares": 512}});
    pod.call(&["update", "--resources", "-", &pod.id], &limits.to_string()).ok();
    let read = |name: &str| fs::read_to_string(cgroup.join(name)).unwrap_or_default();
    assert_eq!((read("memory.max").trim(), read("cpu.max").trim()), ("134217728", "25000 100000"));
    Ok(())
}

fn kill_of_the_dead_is_told_in_the_words_that_are_looked_for() -> Result<(), Skip> {
    needs_root()?;
    let pod = Pod::new(json!({"args": ["true"]}));
    pod.created(&[]);
    pod.start();
    assert_eq!(pod.exited(), "0");
    let said = pod.call(&["kill", &pod.id, "TERM"], "").code(1).err();
    let known = ["no such process", "container not running", "container is not running"];
    assert!(known.iter().any(|words| said.contains(words)), "{said}");
    pod.call(&["delete", &pod.id], "").ok();
    pod.call(&["state", &pod.id], "").code(1).fails("does not exist");
    Ok(())
}

fn features_are_told() -> Result<(), Skip> {
    needs_root()?;
    let told = Running::start(features(), b"").end().ok();
    let features: Value = serde_json::from_str(&told).expect("it is JSON");
    assert!(
        features["mountOptions"].as_array().is_some_and(|list| list.iter().any(|it| it == "rro"))
    );
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
    Ok(())
}

fn features() -> Command {
    let mut command = Command::new(Place::shared().program());
    command.arg("features");
    command
}
