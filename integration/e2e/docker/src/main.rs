//! `private-dockerd RUNTIME LOG`: a dockerd with RUNTIME as its default runtime, on private
//! directories, sockets and namespaces, until standard input closes or a signal comes.

use std::{path::Path, process::ExitCode};

use e2e_docker::keeper;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, log] = arguments.as_slice() else {
        eprintln!("usage: private-dockerd RUNTIME LOG");
        return ExitCode::from(2);
    };
    match keeper::keep(Path::new(runtime), Path::new(log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("private-dockerd: {error}");
            ExitCode::FAILURE
        }
    }
}
