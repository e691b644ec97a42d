//! What users of containerd run, through a containerd of their own whose shim is `SHIM`: `rtn`, the
//! default, as last built, or `runc`, containerd's own shim with the host's runc, which shows that
//! the tests are right.

use std::process::ExitCode;

use e2e_common::list;
use e2e_containerd::{
    daemon::{self, Setup},
    judged,
};

mod crash;
mod disaster;
mod exec;
mod idle;
mod io;
mod lifecycle;
mod rest;
mod run;

/// Kubernetes' part has its own tests; the others would share sockets with those of the host.
const DISABLED: [&str; 4] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
];

fn main() -> ExitCode {
    let arguments = list::arguments();
    let tests = [run::tests(), io::tests(), exec::tests(), lifecycle::tests(), idle::tests()];
    let tests = list::chosen("containerd", tests.into_iter().flatten().collect());
    let alone: Vec<_> = disaster::tests().into_iter().chain(crash::tests()).collect();
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
    // Short, since sockets are in it.
    let directory = std::env::temp_dir().join(format!("containerd.{}", std::process::id()));
    let namespace = format!("e2e-{}", std::process::id());
    daemon::start(Setup {
        directory,
        // The containers' cgroups are in one of this name.
        cgroups: namespace.clone(),
        namespace,
        runtime,
        shims,
        disabled_plugins: DISABLED.map(str::to_owned).to_vec(),
        tables: String::new(),
    });
    judged::expect_a_hasty_client();
    judged::judge("containerd", arguments, tests, alone, rest::tests())
}
