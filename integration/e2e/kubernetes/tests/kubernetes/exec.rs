//! `kubectl exec` without a terminal, and probes.

use e2e_kubernetes::Pod;

e2e_common::tests! {
    status_and_both_streams
    a_missing_program
}

fn status_and_both_streams() {
    let pod = Pod::run();
    let container = pod.idle();
    let said = container.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.status, &*said.stdout, &*said.stderr), (3, "out\n", "err\n"));
}

fn a_missing_program() {
    let pod = Pod::run();
    let refused = pod.idle().try_exec(&["/bin/missing"], 0).expect_err("there is none");
    assert!(refused.message().contains("no such file"), "{refused}");
}
