//! Many containers, many at once: none fails, nothing stays. The test looks at the host at its end.

use std::sync::atomic::{AtomicU32, Ordering};

use integration::{Feature, Test, needs, only_on};

/// Runs `task` with every number below `count`, `width` at a time.
fn in_parallel(width: u32, count: u32, task: impl Fn(u32) + Sync) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    task(number);
                }
            });
        }
    });
}

#[test]
fn two_hundred_containers_twenty_at_a_time() {
    let test = Test::new();
    let bundle = test.bundle().serve();
    in_parallel(20, 200, |number| {
        let container = test.create_as(&format!("-{number}"), &[], &bundle);
        assert_eq!(container.status(), "created");
        container.start();
        assert_eq!(container.status(), "running");
        container.kill("KILL");
        assert_eq!(container.wait(), 137);
        container.delete();
    });
}

#[test]
fn a_hundred_runs_ten_at_a_time() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/probe", "exit", "7"]);
    in_parallel(10, 100, |number| {
        let id = format!("{}-{number}", test.id());
        let output = test.call(&["run", "--bundle", &bundle.dir.to_string_lossy(), &id]);
        assert_eq!(output.status, 7, "{output:?}");
    });
}

#[test]
fn two_hundred_execs_twenty_at_a_time() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    in_parallel(20, 200, |number| {
        let status = (number % 100).to_string();
        let output = test.call(&["exec", test.id(), "/bin/probe", "exit", &status]);
        assert_eq!(output.status.to_string(), status, "{output:?}");
    });
    container.remove();
}

#[test]
fn every_call_at_once_on_the_same_container() {
    let test = Test::new();
    needs!(Feature::Controller("pids"));
    let container = test.serve(test.bundle());
    in_parallel(8, 120, |number| match number % 6 {
        0 => drop(test.call(&["exec", test.id(), "/bin/true"])),
        1 => assert_eq!(container_status(&test), "running"),
        2 => test
            .call(&["list"])
            .ok()
            .contains(test.id())
            .then_some(())
            .expect("the container is listed"),
        3 => drop(test.call(&["kill", test.id(), "USR1"]).ok()),
        4 => drop(test.call(&["ps", "--format", "json", test.id()]).ok()),
        _ => drop(
            test.call(&["update", "--pids-limit", &(100 + number).to_string(), test.id()]).ok(),
        ),
    });
    container.remove();
}

fn container_status(test: &Test) -> String {
    test.call(&["state", test.id()]).json()["status"].as_str().expect("a status").to_owned()
}

#[test]
fn forced_deletes_at_once_agree() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun fails for all but one");
    let bundle = test.bundle().serve();
    for round in 0..10 {
        let container = test.create_as(&format!("-{round}"), &[], &bundle);
        container.start();
        in_parallel(4, 4, |_| {
            test.call(&["delete", "--force", &container.id]).ok();
        });
    }
}
