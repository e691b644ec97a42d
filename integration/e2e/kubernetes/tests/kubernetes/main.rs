//! What kubelet asks for, of a containerd of its own whose shim is `SHIM`, as in e2e-containerd.

use std::process::ExitCode;

use e2e_common::list;
use e2e_containerd::judged;
use e2e_kubernetes::daemon;

mod disaster;
mod ends;
mod exec;
mod files;
mod logs;
mod pods;
mod resources;
mod rest;
mod security;
mod userns;

fn main() -> ExitCode {
    let arguments = list::arguments();
    let tests = [
        pods::tests(),
        exec::tests(),
        logs::tests(),
        ends::tests(),
        resources::tests(),
        security::tests(),
        files::tests(),
        userns::tests(),
    ];
    let tests = list::chosen("kubernetes", tests.into_iter().flatten().collect());
    let alone = disaster::tests();
    if arguments.list {
        return list::run(&arguments, tests.into_iter().chain(alone).collect()).exit_code();
    }
    let (runtime, shims) = match judged::shim() {
        Ok(judged) => judged,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("runtime: {runtime}");
    daemon::start(runtime, shims);
    let code = judged::judge("kubernetes", arguments, tests, alone, rest::tests());
    daemon::remove_network();
    code
}
