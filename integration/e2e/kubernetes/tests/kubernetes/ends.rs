//! How containers end, and what kubelet is told of it.

use std::path::Path;

use e2e_common::host::Skip;
use e2e_kubernetes::{
    Container, Pod, daemon,
    message::{ContainerState, PodSandboxState},
    wait,
};

e2e_common::tests! {
    completed
    an_error
    a_signal
    no_memory
    no_program
    no_program_to_create
    stopped_in_time
    killed_in_the_end
    removed_while_it_runs
    a_pod_that_is_stopped
    a_pod_leaves_nothing
}

/// The exit code, and the reason.
fn end(container: &Container) -> (i32, String) {
    let status = container.ended();
    // containerd notes the start when it is told of it, which may be after the end.
    assert!(status.finished_at >= status.created_at && status.created_at > 0, "{status:?}");
    (status.exit_code, status.reason)
}

fn completed() {
    let pod = Pod::run();
    assert_eq!(end(&pod.start(&["true"])), (0, "Completed".to_owned()));
}

fn an_error() {
    let pod = Pod::run();
    assert_eq!(end(&pod.start(&["sh", "-c", "exit 7"])), (7, "Error".to_owned()));
}

fn a_signal() {
    let pod = Pod::run();
    let container = pod.start(&["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"]);
    assert_eq!(end(&container), (128 + 11, "Error".to_owned()));
}

fn no_memory() -> Result<(), Skip> {
    daemon::needs("memory")?;
    let pod = Pod::run();
    let container = pod.start_with(&["tail", "/dev/zero"], |config| {
        config.resources().memory_limit_in_bytes = 16 << 20;
    });
    let (status, reason) = end(&container);
    assert_eq!(status, 128 + 9);
    // containerd's own shim tells of it through another queue than of the exit, and containerd does
    // not look back (containerd/containerd#8893).
    if daemon::shared().is_rtn() {
        assert_eq!(reason, "OOMKilled");
    }
    Ok(())
}

fn no_program() {
    let pod = Pod::run();
    let container = Container::create(&pod, &["/bin/missing"], |_| {}).expect("it can be created");
    let refused = container.start().expect_err("there is none");
    assert!(refused.message().contains("no such file"), "{refused}");
    let status = container.status();
    assert_eq!((status.exit_code, &*status.reason), (128, "StartError"));
    assert!(status.message.contains("/bin/missing"), "{status:?}");
    assert_eq!(pod.start(&["true"]).ended().exit_code, 0);
}

fn no_program_to_create() {
    let pod = Pod::run();
    let container = Container::create(&pod, &["true"], |config| {
        config.image.get_or_insert_default().image = "docker.io/library/missing:latest".to_owned();
    });
    container.expect_err("there is no image");
}

fn stopped_in_time() {
    let pod = Pod::run();
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let container = pod.start(&["sh", "-c", script]);
    wait::until("it is ready", || (container.log().len() == 1).then_some(()));
    container.stop(300).expect("it can be stopped");
    let status = container.status();
    assert_eq!((status.state(), status.exit_code), (ContainerState::Exited, 5));
    wait::until("its last words", || {
        container.log().last().is_some_and(|line| line.text == "bye").then_some(())
    });
    container.stop(300).expect("it has stopped");
}

fn killed_in_the_end() {
    let pod = Pod::run();
    let container = pod.start(&["sh", "-c", "trap '' TERM; echo ready; sleep 1000 & wait; wait"]);
    wait::until("it is ready", || (container.log().len() == 1).then_some(()));
    container.stop(1).expect("it can be stopped");
    assert_eq!(container.status().exit_code, 128 + 9);
}

fn removed_while_it_runs() {
    let pod = Pod::run();
    let container = pod.idle();
    let pid = container.pid();
    container.remove().expect("by force");
    assert!(!e2e_common::host::is_alive(pid));
    assert!(!container.bundle().exists());
    // Once more is no error.
    container.remove().expect("it is gone");
}

fn a_pod_that_is_stopped() {
    let pod = Pod::run();
    let container = pod.idle();
    pod.stop().expect("it can be stopped");
    pod.stop().expect("it has stopped");
    assert_eq!(pod.status().state(), PodSandboxState::NotReady);
    assert_eq!(container.status().state(), ContainerState::Exited);
    // containerd 2.1 creates one, which cannot start.
    let late = Container::create(&pod, &["true"], |_| {}).and_then(|late| late.start());
    late.expect_err("its pod does not run");
}

/// One pod's traces; the list `rest` looks for those of all.
fn a_pod_leaves_nothing() {
    let pod = Pod::with(|config| {
        config.namespaces().network = e2e_kubernetes::message::NamespaceMode::Pod as i32;
    });
    let containers = [pod.idle(), pod.start(&["true"])];
    let shim = e2e_common::host::status(pod.pid(), "PPid").parse().expect("a number");
    let bundles: Vec<_> = containers.iter().map(Container::bundle).chain([pod.bundle()]).collect();
    pod.stop().expect("it can be stopped");
    pod.remove().expect("it can be removed");
    assert!(bundles.iter().all(|bundle| !bundle.exists()), "{bundles:?}");
    wait::until("its shim ends", || (!e2e_common::host::is_alive(shim)).then_some(()));
    let mounts = daemon::shared().mounts();
    let own = |mount: &&String| mount.contains(pod.id());
    assert_eq!(mounts.iter().find(own), None);
    let states = ["rtn", "runc"].map(|runtime| {
        Path::new("/run/containerd").join(runtime).join(daemon::NAMESPACE).join(pod.id())
    });
    assert!(states.iter().all(|state| !state.exists()), "{states:?}");
}
