//! What kubelet asks for, of a containerd of its own whose shim is `SHIM`, as in e2e-containerd.

use std::process::ExitCode;

use e2e_common::list;
use e2e_containerd::judged;
use e2e_kubernetes::daemon;

mod exec;

fn main() -> ExitCode {
    let arguments = list::arguments();
    let tests = [exec::tests()];
    let tests = list::chosen("kubernetes", tests.into_iter().flatten().collect());
    if arguments.list {
        return list::run(&arguments, tests).exit_code();
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
    judged::judge("kubernetes", arguments, tests, vec![], vec![])
}
