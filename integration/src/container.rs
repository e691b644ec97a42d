//! A container that has been created: the calls that name it, and its process as the host sees it.

use std::{
    cell::Cell,
    fs::File,
    io::PipeReader,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};

use crate::{Bundle, Facts, Feature, Output, Test, host, test, wait};

/// A container made by [`Test::create`]; its test fails if it is not deleted.
#[derive(Debug)]
pub struct Container<'t> {
    test: &'t Test,
    pub id: String,
    /// Of the first process, on the host.
    pub pid: i32,
    pidfd: OwnedFd,
    stdout: PipeReader,
    stderr: File,
    ended: Cell<Option<i32>>,
}

impl<'t> Container<'t> {
    #[track_caller]
    pub(crate) fn create(test: &'t Test, id: String, options: &[&str], bundle: &Bundle) -> Self {
        let dir = bundle.dir.to_string_lossy();
        let pid_file = test.dir().join(format!("{id}.pid"));
        let mut command = test.command(&["create", "--bundle", &dir, "--pid-file"]);
        command.arg(&pid_file).args(options).arg(&id);
        Self::from_command(test, id, &mut command, pid_file)
    }

    /// Runs a `create` or `run --detach` that writes `pid_file`.
    #[track_caller]
    pub fn from_command(
        test: &'t Test,
        id: String,
        command: &mut Command,
        pid_file: PathBuf,
    ) -> Self {
        let stderr = Output::sink();
        command.stderr(Output::dup(&stderr));
        let (mut child, stdout) = wait::spawn_with_pipe(command).expect("the runtime can be run");
        let status = wait::exit_status(&mut child, command);
        let output = Output { status, stdout: String::new(), stderr: Output::text(&stderr) };
        output.ok();
        let pid = std::fs::read_to_string(&pid_file).expect("a pid file");
        let pid = pid.parse().unwrap_or_else(|_| panic!("the pid file holds {pid:?}"));
        let pidfd = wait::pidfd(pid).expect("the container's process is there");
        Self { test, id, pid, pidfd, stdout, stderr, ended: Cell::new(None) }
    }

    /// A call of the runtime whose last argument is the container's id.
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.test.call(&[arguments, &[self.id.as_str()]].concat())
    }

    #[track_caller]
    pub fn start(&self) {
        self.call(&["start"]).ok();
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        self.call(&["state"]).json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.test.call(&["kill", &self.id, signal]).ok();
    }

    #[track_caller]
    pub fn delete(&self) {
        self.call(&["delete"]).ok();
    }

    /// `delete --force`, which ends the container whatever it does.
    #[track_caller]
    pub fn remove(&self) {
        self.call(&["delete", "--force"]).ok();
    }

    /// Waits until the first process has ended; its code, or 128 + signal.
    pub fn wait(&self) -> i32 {
        let status = self.ended.get().unwrap_or_else(|| wait::reap(self.pidfd.as_fd()));
        self.ended.set(Some(status));
        status
    }

    /// Reads the output up to this line.
    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        wait::line(&mut self.stdout, line);
    }

    /// The rest of the output; waits until nobody has it open any more.
    pub fn output(&mut self) -> String {
        wait::rest(&mut self.stdout)
    }

    /// What the runtime's `create` and the container wrote to standard error so far.
    pub fn stderr(&self) -> String {
        Output::text(&self.stderr)
    }

    /// `exec` in the foreground.
    pub fn exec(&self, arguments: &[&str]) -> Output {
        self.exec_with(&[], arguments)
    }

    /// `exec` with options.
    pub fn exec_with(&self, options: &[&str], arguments: &[&str]) -> Output {
        self.test.call(&[&["exec"], options, &[self.id.as_str()], arguments].concat())
    }

    /// What `probe facts` sees when it is executed in the container.
    #[track_caller]
    pub fn exec_facts(&self, options: &[&str]) -> Facts {
        test::parse(self.exec_with(options, &["/bin/probe", "facts"]).ok())
    }

    /// What a process described by `process` sees; it gets what it lacks from the container's.
    #[track_caller]
    pub fn exec_process(&self, process: &Value) -> Output {
        let file = self.test.dir().join("process.json");
        let mut complete =
            json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["/bin/probe", "facts"] });
        for (key, value) in process.as_object().expect("an object") {
            complete[key] = value.clone();
        }
        std::fs::write(&file, complete.to_string()).expect("process.json");
        self.call(&["exec", "--process", &file.to_string_lossy()])
    }

    /// The directory of the container's cgroup.
    #[track_caller]
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        host::cgroup_of(self.pid, controller)
    }

    /// Whether the container's cgroup is told to be frozen, and its processes have stopped.
    #[track_caller]
    pub fn frozen(&self) -> bool {
        match Feature::CgroupV2("freezer").present() {
            true => self.cgroup_file("cgroup.events").lines().any(|line| line == "frozen 1"),
            false => self.cgroup_file("freezer.state") == "FROZEN",
        }
    }

    /// The content of a file of the container's cgroup (`memory.limit_in_bytes`), trimmed.
    #[track_caller]
    pub fn cgroup_file(&self, file: &str) -> String {
        let controller = file.split('.').next().expect("a controller");
        let path = self.cgroup(controller).join(file);
        std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .trim()
            .to_owned()
    }
}
