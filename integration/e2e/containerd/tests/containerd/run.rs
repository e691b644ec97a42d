//! `ctr run --rm`.

use e2e_containerd::{
    container::{self, run},
    ctr,
};

e2e_common::tests! {
    output_and_status
    a_signal_is_a_status
    a_missing_program
    a_terminal
    a_root_that_is_read_only
}

fn output_and_status() {
    let output = run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((output.code(7).out(), output.err()), ("out".to_owned(), "err".to_owned()));
}

fn a_signal_is_a_status() {
    run(&[], &["sh", "-c", "kill -KILL $$; sleep 5"]).code(0);
    run(&[], &["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"]).code(128 + 15);
}

fn a_missing_program() {
    let output = run(&[], &["/bin/missing"]);
    output.fails("OCI runtime create failed").fails("no such file or directory");
}

fn a_terminal() {
    let name = e2e_containerd::container::name("tty");
    let runtime = e2e_containerd::daemon::shared().runtime();
    let image = e2e_containerd::image::IMAGE;
    let script = "tty; test -t 0 -a -t 1 -a -t 2; echo status $?";
    let flags = ["run", "--rm", "-t", "--runtime", runtime];
    let words = [image, &name, "sh", "-c", script];
    let output = ctr::on_terminal(&[&flags, container::shares(), &words].concat());
    // Between the two there may be an echo: script(1) passes on the end of its input, which on a
    // terminal that is raw by then is a byte as any other.
    let said = output.code(0).out();
    assert!(["/dev/pts/0", "status 0"].iter().all(|words| said.contains(words)), "{output:?}");
}

fn a_root_that_is_read_only() {
    run(&["--read-only"], &["touch", "/new"]).fails("Read-only file system");
    run(&[], &["touch", "/new"]).code(0);
}
