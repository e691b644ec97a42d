//! Many containers at once.

use e2e_docker::{Container, Docker, Engine, IDLE, docker, host};

e2e_common::tests! {
    twenty_run_at_once
    twenty_are_started_stopped_and_removed_at_once
}

const CROWD: usize = 20;

fn twenty_run_at_once() {
    let containers: Vec<_> = (0..CROWD).map(|_| Container::named()).collect();
    let start = |(number, container): (usize, &Container)| {
        let script = format!("echo {number}; exit {number}");
        Docker::start(
            &container.line(&["run", "--rm"], &["-m", "32m"], &["sh", "-c", &script]),
            b"",
        )
    };
    let running: Vec<_> = containers.iter().enumerate().map(start).collect();
    for (number, running) in running.into_iter().enumerate() {
        assert_eq!(running.end().code(number as i32).out(), number.to_string());
    }
}

fn twenty_are_started_stopped_and_removed_at_once() {
    let containers: Vec<_> = (0..CROWD).map(|_| Container::named()).collect();
    let start =
        |container: &Container| Docker::start(&container.line(&["run", "-d"], &[], IDLE), b"");
    let started: Vec<_> = containers.iter().map(start).collect();
    started.into_iter().for_each(|running| drop(running.end().ok()));
    let processes: Vec<_> = containers.iter().map(Container::pid).collect();
    assert!(processes.iter().all(|process| host::is_alive(*process)));
    let names: Vec<_> = containers.iter().map(Container::name).collect();
    docker(&[&["stop", "-t", "0"], names.as_slice()].concat()).ok();
    assert!(processes.iter().all(|process| !host::is_alive(*process)));
    docker(&[&["rm"], names.as_slice()].concat()).ok();
}
