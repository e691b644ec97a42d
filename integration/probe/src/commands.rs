//! The commands of `probe`, one function each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use nix::sys::{
    signal::{SigSet, Signal, kill},
    signalfd::SignalFd,
};
use probe::{HookCall, collect};
use rustix::fs::{CWD, RenameFlags};

pub(crate) fn facts(options: &[&str]) -> ExitCode {
    let after = |name: &str| -> Vec<String> {
        let pairs = options.chunks_exact(2).filter(|pair| pair[0] == name);
        pairs.map(|pair| pair[1].to_owned()).collect()
    };
    let facts = collect::facts(&after("--read"), &after("--stat"));
    print_json(&facts)
}

fn print_json(value: &impl serde::Serialize) -> ExitCode {
    let mut text = serde_json::to_vec(value).expect("facts are plain data");
    text.push(b'\n');
    match io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ends on SIGTERM with status 0; every other signal is reported and survived.
pub(crate) fn serve() -> ExitCode {
    let signals = SigSet::all();
    let (Ok(()), Ok(queue)) = (signals.thread_block(), SignalFd::new(&signals)) else {
        return ExitCode::FAILURE;
    };
    println!("ready");
    while let Ok(Some(info)) = queue.read_signal() {
        let signal = Signal::try_from(info.ssi_signo as i32);
        println!("{}", signal.map_or("unknown", Signal::as_str));
        if signal == Ok(Signal::SIGTERM) {
            return ExitCode::SUCCESS;
        }
    }
    ExitCode::FAILURE
}

pub(crate) fn write(path: &str, text: &str) -> io::Result<()> {
    File::options().write(true).create(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

/// Touches one byte per page, so that the memory is really there.
pub(crate) fn alloc(bytes: &str) -> ExitCode {
    let size: usize = bytes.parse().unwrap_or_default();
    let mut memory: Vec<u8> = Vec::with_capacity(size);
    memory.resize(size, 1);
    println!("{}", memory.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>());
    ExitCode::SUCCESS
}

pub(crate) fn kill_self(signal: &str) -> io::Result<()> {
    kill(nix::unistd::getpid(), Signal::from_str(signal)?)?;
    Ok(())
}

pub(crate) fn hook(label: &str, log: &str, status: u8) -> ExitCode {
    let mut state = String::new();
    let _ = io::stdin().read_to_string(&mut state);
    let state = serde_json::from_str(&state).unwrap_or(serde_json::Value::String(state));
    let call = HookCall {
        label: label.to_owned(),
        place: collect::place("/proc/self".as_ref()),
        container: collect::place(format!("/proc/{}", state["pid"]).as_ref()),
        state,
        argv: std::env::args().collect(),
        env: std::env::vars().map(|(name, value)| format!("{name}={value}")).collect(),
        cwd: std::env::current_dir().map(|d| d.to_string_lossy().into()).unwrap_or_default(),
        namespaces: collect::namespaces("/proc/self/ns".as_ref()),
    };
    let mut line = serde_json::to_vec(&call).expect("a call is plain data");
    line.push(b'\n');
    // One write with O_APPEND, so that hooks which run at the same time do not mix.
    let file = File::options().append(true).create(true).open(log);
    match file.and_then(|mut file| file.write_all(&line)) {
        Ok(()) => ExitCode::from(status),
        Err(error) => {
            eprintln!("cannot write {log}: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn notify(message: &str) -> io::Result<()> {
    let socket = std::env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    UnixDatagram::unbound()?.send_to(message.as_bytes(), socket).map(drop)
}

/// What an attacker does who waits for the runtime to enter the container: opens the program of
/// every other process, keeps it, and tries to write to it as soon as it no longer runs
/// (CVE-2019-5736); and looks for `outside`, a file of the host's, through every root, working
/// directory and descriptor (CVE-2016-9962). `log` gets one line per program and outcome, and one
/// per way that leads outside. Ends when the container is killed.
pub(crate) fn hunt(log: &str, outside: &str) -> io::Result<()> {
    let own = fs::metadata("/proc/self/exe")?.ino();
    let mut log = File::options().append(true).create(true).open(log)?;
    let (mut kept, mut told) = (BTreeMap::new(), BTreeSet::new());
    println!("ready");
    loop {
        for process in fs::read_dir("/proc")?.flatten().filter(is_foreign) {
            let process = process.path();
            if let Some(way) = ways_out(&process).find(|way| way.join(outside).exists()) {
                told.insert(format!("outside through {}", way.display()));
            }
            let Ok(program) = File::open(process.join("exe")) else { continue };
            let data = program.metadata()?;
            if data.ino() != own {
                kept.entry((data.dev(), data.ino())).or_insert(program);
            }
        }
        for ((device, inode), program) in &kept {
            told.insert(format!("{device}:{inode} {}", overwrite(program)));
        }
        let lines: Vec<&str> = told.iter().map(String::as_str).collect();
        log.set_len(0)?;
        log.write_all(lines.join("\n").as_bytes())?;
    }
}

fn is_foreign(entry: &fs::DirEntry) -> bool {
    let pid: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
    pid.is_some_and(|pid| pid != std::process::id())
}

/// Links of a process from which a relative path may lead out of the container.
fn ways_out(process: &Path) -> impl Iterator<Item = PathBuf> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let links =
        descriptors.map(|entry| entry.path()).chain([process.join("root"), process.join("cwd")]);
    links.map(|link| link.join("../../../../../../../.."))
}

/// Opens a file again for writing, through its descriptor, and destroys its first bytes.
fn overwrite(program: &File) -> String {
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    match File::options().write(true).open(path).and_then(|mut file| file.write_all(b"#!")) {
        Ok(()) => "written".into(),
        Err(error) => collect::errno_name(&error),
    }
}

/// The racing half of a mount attack (CVE-2021-30465): two names change places without end.
pub(crate) fn swap(a: &str, b: &str) -> io::Result<()> {
    println!("ready");
    loop {
        rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?;
    }
}
