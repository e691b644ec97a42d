//! Pods without a pause container: what kubelet asks for, of a containerd whose CRI leaves pods to
//! rtn's shim. containerd's own shim serves no sandboxes, so there is nothing to compare with.

use std::process::{Command, ExitCode};

use e2e_common::{Running, list};
use e2e_containerd::{daemon::version, judged};

mod daemon;
mod disaster;
mod pods;
mod rest;

fn main() -> ExitCode {
    let arguments = list::arguments();
    let tests = list::chosen("sandbox", pods::tests());
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
    let needed = match (&shims, version()) {
        (None, _) => "a shim that serves sandboxes",
        // The first that these were tried on.
        (_, version) if version < (2, 1) => "containerd 2.1",
        _ => "",
    };
    if !needed.is_empty() {
        println!("skipped: this takes {needed}");
        return ExitCode::SUCCESS;
    }
    daemon::start(runtime, shims);
    let code = judged::judge("sandbox", arguments, tests, disaster::tests(), rest::tests());
    let mut bridge = Command::new("ip");
    bridge.args(["link", "delete", &e2e_kubernetes::daemon::name()]);
    Running::start(bridge, b"").end();
    code
}
