//! `probe COMMAND …`: runs inside a container, or as a hook, and does or tells one thing.
//! A command that tries something prints `ok` or the errno's name, and its exit status says which.

use std::process::ExitCode;

mod calls;
mod commands;

const USAGE: &str = "\
usage: probe facts [--read PATH]… [--stat PATH]…   print what this process sees, as JSON
       probe serve                                 print `ready`, then every signal; TERM ends it
       probe write PATH TEXT                       write TEXT to PATH, creating it
       probe try CALL [ARGUMENT]…                  make one system call
       probe try-thread CALL [ARGUMENT]…           make it on a second thread, and survive that one
       probe alloc BYTES                           touch BYTES of memory
       probe exit STATUS
       probe kill-self SIGNAL
       probe hook LABEL LOG [STATUS]               append what a hook sees to LOG
       probe notify MESSAGE                        send MESSAGE to $NOTIFY_SOCKET
       probe hunt LOG OUTSIDE                      attack every other process, looking for OUTSIDE
       probe swap A B                              exchange the names A and B until killed";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["facts", options @ ..] => commands::facts(options),
        ["serve"] => commands::serve(),
        ["write", path, text] => told(commands::write(path, text)),
        ["try", call, rest @ ..] => told(calls::make(call, rest)),
        ["try-thread", call, rest @ ..] => in_thread(call, rest),
        ["alloc", bytes] => commands::alloc(bytes),
        ["exit", status] => ExitCode::from(status.parse().unwrap_or(u8::MAX)),
        ["kill-self", signal] => told(commands::kill_self(signal)),
        ["hook", label, log] => commands::hook(label, log, 0),
        ["hook", label, log, status, ..] => commands::hook(label, log, status.parse().unwrap_or(1)),
        ["notify", message] => told(commands::notify(message)),
        ["hunt", log, outside] => told(commands::hunt(log, outside)),
        ["swap", a, b] => told(commands::swap(a, b)),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(64)
        }
    }
}

/// A thread that is killed says nothing, and nobody can join it: the kernel's list of threads shows
/// that it has gone.
fn in_thread(call: &str, arguments: &[&str]) -> ExitCode {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(calls::make(call, arguments)));
        loop {
            if let Ok(result) = receiver.recv_timeout(std::time::Duration::from_millis(10)) {
                return told(result);
            }
            if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1) {
                println!("the thread was killed");
                std::process::exit(0);
            }
        }
    })
}

fn told(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", probe::collect::errno_name(&error));
            ExitCode::FAILURE
        }
    }
}
