//! The floor: the kernel work of a container and nothing else.
//!
//! Every path, option and order below is written down at compile time: no config.json, no
//! validation, no error handling beyond dying, no defence against a hostile image. What this
//! program takes is what the kernel takes, so it is the bound for every runtime in the table.
//! Parent and child work at the same time: the parent makes cgroups while the child mounts.
//!
//! On cgroup v2 it does not install a device filter, so there it is a little below the true floor.

mod calls;
mod cgroups;
mod credentials;
mod rootfs;

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::PathBuf,
    process::exit,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{execve, mkfifo},
};
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid},
};

use crate::{
    calls::{clone3, die, ok},
    cgroups::Cgroups,
};

#[derive(Default)]
struct Options {
    v2: bool,
    cgroup_namespace: bool,
    /// The program of Docker's seccomp profile as the kernel reads it; selects Docker's settings.
    filter: Option<Vec<u8>>,
    /// Stop before the exec until `floor start` opens this fifo.
    fifo: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    /// Verb-specific: rootfs, pid or fifo; cgroup name; command.
    rest: Vec<String>,
}

fn main() {
    let mut args = env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let options = parse(args);
    exit(match verb.as_str() {
        "run" | "create" => launch(&options),
        "start" => start(&options),
        "exec" => enter(&options),
        "state" => state(&options),
        "delete" => delete(&options),
        _ => {
            die("usage: floor run|create|start|exec|state|delete [OPTION]... ARG...", Errno::INVAL)
        }
    })
}

fn parse(mut args: impl Iterator<Item = String>) -> Options {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--v2" => options.v2 = true,
            "--cgroupns" => options.cgroup_namespace = true,
            "--docker" => options.filter = args.next().map(|path| ok("read", fs::read(path))),
            "--fifo" => options.fifo = args.next().map(PathBuf::from),
            "--pid-file" => options.pid_file = args.next().map(PathBuf::from),
            _ => options.rest.push(arg),
        }
    }
    options
}

fn launch(options: &Options) -> i32 {
    let cgroups = Cgroups::new(options);
    if let Some(fifo) = &options.fifo {
        ok("mkfifo", mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU));
    }
    let (mut ours, theirs) = ok("socketpair", UnixStream::pair());
    if options.v2 {
        cgroups.create(options);
    }
    let Some(pid) = clone3(libc::CLONE_NEWPID as u64, cgroups.handle(options).as_ref()) else {
        child(options, &cgroups, theirs)
    };
    drop(theirs);
    if !options.v2 {
        cgroups.create(options);
    }
    ok("send", ours.write_all(b"g"));
    if let Some(pid_file) = &options.pid_file {
        ok("the child", ours.read_exact(&mut [0]));
        ok("write", fs::write(pid_file, pid.as_raw_nonzero().to_string()));
        return 0;
    }
    let status = wait(pid);
    cgroups.remove();
    status
}

fn start(options: &Options) -> i32 {
    let mut fifo = ok("open", File::open(&options.rest[0]));
    ok("read", fifo.read(&mut [0]));
    0
}

fn state(options: &Options) -> i32 {
    let text = ok("read", fs::read(&options.rest[0]));
    ok("write", std::io::stdout().write_all(&text));
    0
}

fn delete(options: &Options) -> i32 {
    Cgroups::new(options).remove();
    ok("unlink", fs::remove_file(&options.rest[0]));
    0
}

/// `exec`: the cgroups first, while their paths are visible, then every namespace in one call.
fn enter(options: &Options) -> i32 {
    let cgroups = Cgroups::new(options);
    let pid = options.rest[0].parse().ok().and_then(Pid::from_raw);
    let init = ok(
        "pidfd_open",
        pidfd_open(pid.unwrap_or_else(|| die("pid", Errno::INVAL)), PidfdFlags::empty()),
    );
    if !options.v2 {
        cgroups.enter();
    }
    let mut spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    spaces.set(CloneFlags::CLONE_NEWCGROUP, options.cgroup_namespace);
    let into = cgroups.handle(options);
    ok("setns", setns(&init, spaces));
    match clone3(0, into.as_ref()) {
        Some(pid) => wait(pid),
        None => {
            credentials::set(options);
            replace(options)
        }
    }
}

fn wait(pid: Pid) -> i32 {
    let waited = ok("waitpid", waitpid(Some(pid), WaitOptions::empty()));
    waited.and_then(|(_, status)| status.exit_status()).unwrap_or(128)
}

fn child(options: &Options, cgroups: &Cgroups, mut parent: UnixStream) -> ! {
    let fifo = options
        .fifo
        .as_ref()
        .map(|path| ok("open", open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())));
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    ok("unshare", unshare(spaces));
    rootfs::build(&options.rest[0]);
    ok("the parent", parent.read_exact(&mut [0]));
    if !options.v2 {
        cgroups.enter();
    }
    if options.cgroup_namespace {
        ok("unshare", unshare(CloneFlags::CLONE_NEWCGROUP));
    }
    rootfs::cgroup_mounts(options, cgroups);
    rootfs::protect(options);
    rootfs::pivot(options);
    ok("setsid", rustix::process::setsid());
    ok("sethostname", rustix::system::sethostname(b"floor"));
    credentials::set(options);
    if let Some(fifo) = fifo {
        ok("send", parent.write_all(b"r"));
        ok("fifo", File::options().write(true).open(format!("/proc/self/fd/{}", fifo.as_raw_fd())));
    }
    replace(options)
}

fn replace(options: &Options) -> ! {
    let c = |text: &str| std::ffi::CString::new(text).unwrap_or_default();
    let args: Vec<_> = options.rest[2..].iter().map(|arg| c(arg)).collect();
    let environment = [c"PATH=/bin:/usr/bin"];
    let path = c(&format!("/bin/{}", options.rest[2]));
    ok("exec", execve(&path, &args, &environment).map(|_| ()));
    exit(127)
}
