//! When, where and near which memory a process runs: `process.scheduler`, `process.ioPriority`,
//! `process.execCPUAffinity` (runtime spec, config.md "Process") and `linux.memoryPolicy`
//! (config-linux.md).

use std::{fs, process::Command};

use integration::{
    Bundle, Container, Facts, Feature, Kind, Test, needs, only_on, test::parse, wait,
};
use serde_json::{Value, json};

fn process(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["process"][key] = value)
}

/// What a program in the container is to look at for the functions below.
const FILES: [&str; 6] =
    ["--read", "/proc/self/status", "--read", "/proc/self/stat", "--read", "/proc/self/numa_maps"];

fn look<'a>(facts: &'a Facts, file: &str) -> &'a str {
    facts.files[file].as_deref().expect("a file of /proc")
}

fn cpus_in(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("a list of CPUs").trim().to_owned()
}

fn cpus(facts: &Facts) -> String {
    cpus_in(look(facts, "/proc/self/status"))
}

/// `SCHED_*` and the real-time priority: fields 41 and 40 of proc_pid_stat(5).
fn policy(facts: &Facts) -> (u32, u32) {
    let stat = look(facts, "/proc/self/stat");
    // The second field is the command in parentheses and may hold blanks.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split_whitespace().collect();
    let number = |field: usize| fields[field - 3].parse().expect("a number");
    (number(41), number(40))
}

/// The policy of a mapping, which may be two words (`prefer (many):0`).
fn memory_policy(facts: &Facts) -> String {
    let maps = look(facts, "/proc/self/numa_maps");
    let (mapping, _) = maps.split_once(" file=").expect("the program's own mapping");
    let line = mapping.lines().last().expect("a line");
    line.split_once(' ').expect("an address").1.to_owned()
}

fn look_command() -> Vec<&'static str> {
    [&["/bin/probe", "facts"], &FILES[..]].concat()
}

fn exec_facts(container: &Container<'_>, options: &[&str]) -> Facts {
    parse(container.exec_with(options, &look_command()).ok())
}

/// What a process that is executed with these fields sees.
fn exec_process(container: &Container<'_>, fields: Value) -> Facts {
    let mut process = fields;
    process["args"] = json!(look_command());
    parse(container.exec_process(&process).ok())
}

/// The runtime where it may run on these CPUs only.
fn on_cpus(test: &Test, list: &str, arguments: &[&str]) -> Command {
    test.command_after(&["taskset", "--cpu-list", list], arguments)
}

/// All CPUs of this process, the first one, and the last.
fn own_cpus() -> (String, String, String) {
    let all = cpus_in(&fs::read_to_string("/proc/thread-self/status").expect("status"));
    let first = all.split([',', '-']).next().expect("a CPU").to_owned();
    let last = all.rsplit([',', '-']).next().expect("a CPU").to_owned();
    (all, first, last)
}

const RESET: &str = "the CPUs are reset since runc 1.3 and crun 1.20";

#[test]
fn a_first_process_has_all_cpus_whatever_its_caller_has() {
    let test = Test::new();
    needs!(Feature::TwoCpus);
    if test.predates(&[(Kind::Runc, (1, 3)), (Kind::Crun, (1, 20))], RESET) {
        return;
    }
    let (all, _, last) = own_cpus();
    let bundle = test.bundle().args(&look_command());
    let mut run =
        on_cpus(&test, &last, &["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    assert_eq!(cpus(&parse(wait::output(&mut run).ok())), all);
}

#[test]
fn a_first_process_has_the_cpus_of_its_cpuset() {
    let test = Test::new();
    needs!(Feature::TwoCpus, Feature::CgroupV1("cpuset"));
    let (_, first, last) = own_cpus();
    let bundle = test.bundle().args(&look_command()).edit(|config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": first });
        config["process"]["execCPUAffinity"] = json!({ "initial": last, "final": last });
    });
    assert_eq!(cpus(&test.facts(&bundle)), first);
}

const AFFINITY: &str = "execCPUAffinity came with runc 1.3; crun reads it of --process alone";

#[test]
fn an_exec_runs_on_the_cpus_of_the_configuration() {
    let test = Test::new();
    needs!(Feature::TwoCpus);
    if test.predates(&[(Kind::Runc, (1, 3))], AFFINITY) {
        return;
    }
    let (all, first, last) = own_cpus();
    for (name, affinity, expected) in [
        ("none", json!(null), &all),
        ("empty", json!({ "initial": "", "final": "" }), &all),
        ("initial", json!({ "initial": first }), &first),
        ("final", json!({ "final": first }), &first),
        ("both", json!({ "initial": last, "final": first }), &first),
        ("beyond", json!({ "final": format!("{first},{first},1023") }), &first),
    ] {
        let bundle = process(test.bundle_named(name), "execCPUAffinity", affinity);
        let container = test.serve(bundle);
        let arguments = [&["exec", test.id()], &look_command()[..]].concat();
        let output = wait::output(&mut on_cpus(&test, &last, &arguments));
        assert_eq!(cpus(&parse(output.ok())), *expected, "{name}");
        container.remove();
    }
}

#[test]
fn a_process_file_has_cpus_of_its_own() {
    let test = Test::new();
    needs!(Feature::TwoCpus);
    if test.predates(&[(Kind::Runc, (1, 3)), (Kind::Crun, (1, 20))], AFFINITY) {
        return;
    }
    let (_, first, last) = own_cpus();
    let container = test.serve(process(test.bundle(), "execCPUAffinity", json!({ "final": last })));
    let affinity = json!({ "execCPUAffinity": { "initial": last, "final": first } });
    assert_eq!(cpus(&exec_process(&container, affinity)), first);
    container.remove();
}

#[test]
fn the_initial_cpus_may_be_outside_the_containers_cpuset() {
    let test = Test::new();
    needs!(Feature::TwoCpus, Feature::CgroupV1("cpuset"));
    if test.predates(&[(Kind::Runc, (1, 3))], AFFINITY) {
        return;
    }
    let (_, first, last) = own_cpus();
    let bundle = test.bundle().edit(|config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": first });
        config["process"]["execCPUAffinity"] = json!({ "initial": last });
    });
    let container = test.serve(bundle);
    assert_eq!(cpus(&exec_facts(&container, &[])), first, "the cpuset has the last word");
    container.remove();
}

#[test]
fn final_cpus_outside_the_cpuset_are_an_error_and_the_container_lives_on() {
    let test = Test::new();
    needs!(Feature::TwoCpus, Feature::CgroupV1("cpuset"));
    if test.predates(&[(Kind::Runc, (1, 3))], AFFINITY) {
        return;
    }
    let (_, first, last) = own_cpus();
    let bundle = test.bundle().edit(|config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": first });
        config["process"]["execCPUAffinity"] = json!({ "final": last });
    });
    let container = test.serve(bundle);
    let output = container.exec(&["/bin/probe", "write", "/ran", ""]);
    assert_eq!(output.status, 255, "{output:?}");
    output.fails_with("final CPU affinity");
    if test.runtime.is(Kind::Rtn) {
        output.fails_with("process.execCPUAffinity.final");
    }
    assert!(!test.dir().join("bundle/rootfs/ran").exists());
    assert_eq!(container.status(), "running");
    container.remove();
}

#[test]
fn cpus_beyond_1024_are_taken_and_those_that_no_kernel_has_are_not() {
    let test = Test::new();
    only_on!(test, [Rtn], "runc before 1.4 has room for 1024");
    let (_, first, _) = own_cpus();
    let affinity =
        json!({ "initial": format!("{first},8191"), "final": format!("{first},5000-6000") });
    let container = test.serve(process(test.bundle(), "execCPUAffinity", affinity));
    assert_eq!(cpus(&exec_facts(&container, &[])), first);
    container.remove();
    for list in ["8192", "0-", "-1", "a", "1-0", "0;1", "4294967296"] {
        let bundle = test.bundle_named(&format!("list-{list}"));
        let bundle = process(bundle, "execCPUAffinity", json!({ "initial": list }));
        test.create_fails(&bundle).fails_with("process.execCPUAffinity.initial");
    }
}

#[test]
fn every_policy_is_set_at_create_and_at_exec() {
    let test = Test::new();
    needs!(Feature::Root);
    if test.predates(&[(Kind::Runc, (1, 2)), (Kind::Crun, (1, 9))], "they came with spec 1.1") {
        return;
    }
    for (scheduler, number, nice) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 7 }), 0, 7),
        (json!({ "policy": "SCHED_BATCH", "nice": -3 }), 3, -3),
        (json!({ "policy": "SCHED_IDLE" }), 5, 0),
    ] {
        let name = scheduler["policy"].as_str().expect("a policy");
        let bundle = process(test.bundle_named(name), "scheduler", scheduler.clone());
        let facts = test.facts(&bundle.clone_with(&look_command()));
        assert_eq!((policy(&facts), facts.nice), ((number, 0), nice), "{name}");
        let container = test.serve(test.bundle_named(&format!("{name}-exec")));
        let facts = exec_process(&container, json!({ "scheduler": scheduler }));
        assert_eq!((policy(&facts), facts.nice), ((number, 0), nice), "exec of {name}");
        container.remove();
        let container = test.serve(bundle);
        if !test.excuses(&[Kind::Crun], "crun's exec takes nothing of the configuration") {
            assert_eq!(policy(&exec_facts(&container, &[])).0, number, "exec inherits {name}");
        }
        container.remove();
    }
}

#[test]
fn real_time_policies_have_a_priority() {
    let test = Test::new();
    needs!(Feature::RealtimeGroups);
    if test.predates(&[(Kind::Runc, (1, 2)), (Kind::Crun, (1, 9))], "they came with spec 1.1") {
        return;
    }
    for (name, number, priority) in [("SCHED_FIFO", 1, 5), ("SCHED_RR", 2, 99)] {
        let scheduler = json!({ "policy": name, "priority": priority });
        let bundle = process(test.bundle_named(name), "scheduler", scheduler.clone());
        let bundle = bundle.args(&look_command());
        let refused = test.run(&bundle);
        refused.fails();
        if test.runtime.is(Kind::Rtn) {
            refused.fails_with("process.scheduler");
            refused.fails_with("realtimeRuntime");
        }
        let bundle = bundle.edit(|config| {
            config["linux"]["resources"]["cpu"] =
                json!({ "realtimeRuntime": 10_000, "realtimePeriod": 1_000_000 });
        });
        assert_eq!(policy(&test.facts(&bundle)), (number, priority), "{name}");
    }
}

#[test]
fn a_deadline_is_kept() {
    let test = Test::new();
    needs!(Feature::Root);
    if test.predates(&[(Kind::Runc, (1, 2)), (Kind::Crun, (1, 9))], "they came with spec 1.1") {
        return;
    }
    let scheduler = json!({ "policy": "SCHED_DEADLINE", "runtime": 2_000_000,
        "deadline": 20_000_000, "period": 20_000_000, "flags": ["SCHED_FLAG_DL_OVERRUN"] });
    let bundle = process(test.bundle(), "scheduler", scheduler.clone()).args(&look_command());
    assert_eq!(policy(&test.facts(&bundle)).0, 6);
    // Such a process may not fork, unless its children are ordinary ones.
    let fork = bundle.clone_with(&["/bin/sh", "-c", "/bin/true; echo forked"]);
    assert!(!test.run(&fork).stdout.contains("forked"));
    let fork = process(fork, "scheduler", {
        let mut scheduler = scheduler;
        scheduler["flags"] = json!(["SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RESET_ON_FORK"]);
        scheduler
    });
    assert!(test.run(&fork).stdout.contains("forked"));
    more_time_than_there_is_cannot_be_promised(&test);
}

/// Not a test of its own, so that the other one finds time left.
fn more_time_than_there_is_cannot_be_promised(test: &Test) {
    // The kernel keeps a twentieth for everybody else.
    let scheduler = json!({ "policy": "SCHED_DEADLINE", "runtime": 1_000_000_000,
        "deadline": 1_000_000_000, "period": 1_000_000_000 });
    let bundle = process(test.bundle_named("greedy"), "scheduler", scheduler);
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    let create = |n| {
        let id = format!("{}-{n}", test.id());
        let output = test.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &id]);
        (id, output)
    };
    let created: Vec<_> = (0..cpus).map(create).collect();
    for (id, output) in &created {
        if output.status == 0 {
            test.call(&["delete", "--force", id]).ok();
        }
    }
    let refused = created.iter().find(|(_, output)| output.status != 0);
    let (_, refused) = refused.expect("not every CPU can promise all its time");
    if test.runtime.is(Kind::Rtn) {
        refused.fails_with("process.scheduler");
    }
}

#[test]
fn children_may_be_freed_from_the_policy() {
    let test = Test::new();
    needs!(Feature::Root);
    if test.predates(&[(Kind::Runc, (1, 2)), (Kind::Crun, (1, 9))], "they came with spec 1.1") {
        return;
    }
    for (flags, child) in [(json!([]), -5), (json!(["SCHED_FLAG_RESET_ON_FORK"]), 0)] {
        let scheduler = json!({ "policy": "SCHED_OTHER", "nice": -5, "flags": flags });
        let bundle = test.bundle_named(&format!("nice{child}")).shell("/bin/probe facts; exit 0");
        assert_eq!(test.facts(&process(bundle, "scheduler", scheduler)).nice, child);
    }
}

#[test]
fn a_scheduler_that_cannot_be_is_refused_before_anything_exists() {
    let test = Test::new();
    if test.predates(&[(Kind::Runc, (1, 2))], "crun leaves it to the kernel") {
        return;
    }
    for (scheduler, field) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "nice"),
        (json!({ "policy": "SCHED_OTHER", "priority": 1 }), "priority"),
        (json!({ "policy": "SCHED_FIFO" }), "priority"),
        (json!({ "policy": "SCHED_ISO" }), "policy"),
        (json!({ "policy": "SCHED_BATCH", "runtime": 1 }), "runtime"),
        (json!({ "policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 1000 }), "deadline"),
        (json!({ "policy": "SCHED_PALM" }), "policy"),
        (json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_PALM"] }), "flags[0]"),
        (json!({ "nice": 1 }), ""),
    ] {
        let bundle = process(test.bundle_named("bundle"), "scheduler", scheduler);
        let output = test.create_fails(&bundle);
        if test.runtime.is(Kind::Rtn) {
            let path = format!("process.scheduler.{field}");
            output.fails_with(path.trim_end_matches('.'));
        }
        fs::remove_dir_all(&bundle.dir).expect("the bundle");
    }
}

#[test]
fn every_io_class_is_set_at_create_and_at_exec() {
    let test = Test::new();
    needs!(Feature::Root);
    if test.predates(&[(Kind::Runc, (1, 2)), (Kind::Crun, (1, 9))], "they came with spec 1.1") {
        return;
    }
    for (class, priority, words) in [
        ("IOPRIO_CLASS_RT", 0, "realtime: prio 0"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let wanted = json!({ "class": class, "priority": priority });
        let bundle = process(test.bundle_named(class), "ioPriority", wanted.clone());
        assert_eq!(test.run(&bundle.args(&["/bin/ionice"])).ok().trim(), words);
        let container = test.serve(test.bundle_named(&format!("{class}-exec")));
        let process = json!({ "args": ["/bin/ionice"], "ioPriority": wanted });
        assert_eq!(container.exec_process(&process).ok().trim(), words, "exec");
        container.remove();
    }
}

const MEMORY_POLICY: &str = "memoryPolicy came with runc 1.4 and crun 1.24";

fn lacks_memory_policy(test: &Test) -> bool {
    test.predates(&[(Kind::Runc, (1, 4)), (Kind::Crun, (1, 24))], MEMORY_POLICY)
}

#[test]
fn memory_comes_from_the_nodes_of_the_policy() {
    let test = Test::new();
    needs!(Feature::MemoryPolicy);
    if lacks_memory_policy(&test) {
        return;
    }
    for (policy, seen) in [
        (json!({ "mode": "MPOL_DEFAULT" }), "default"),
        (json!({ "mode": "MPOL_LOCAL" }), "local"),
        (json!({ "mode": "MPOL_PREFERRED", "nodes": "" }), "local"),
        (json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }), "prefer:0"),
        (json!({ "mode": "MPOL_PREFERRED_MANY", "nodes": "0" }), "prefer (many):0"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0" }), "bind:0"),
        (json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" }), "interleave:0"),
        (json!({ "mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0" }), "weighted interleave:0"),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
            "bind=static:0",
        ),
        (
            json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"] }),
            "interleave=relative:0",
        ),
    ] {
        let bundle = test.bundle_named("bundle").args(&look_command());
        let bundle = bundle.edit(|config| config["linux"]["memoryPolicy"] = policy.clone());
        assert_eq!(memory_policy(&test.facts(&bundle)), seen, "{policy}");
        fs::remove_dir_all(&bundle.dir).expect("the bundle");
    }
}

#[test]
fn an_exec_has_the_memory_policy_of_the_container() {
    let test = Test::new();
    needs!(Feature::MemoryPolicy);
    only_on!(test, [Rtn], "crun's exec takes nothing of the configuration");
    let policy = json!({ "mode": "MPOL_BIND", "nodes": "0" });
    let bundle = test.bundle().edit(|config| config["linux"]["memoryPolicy"] = policy);
    let container = test.serve(bundle);
    assert_eq!(memory_policy(&exec_facts(&container, &[])), "bind:0");
    container.remove();
}

#[test]
fn a_seccomp_profile_does_not_keep_the_policy_from_being_set() {
    let test = Test::new();
    needs!(Feature::MemoryPolicy);
    if lacks_memory_policy(&test) {
        return;
    }
    let bundle = test.bundle().args(&look_command()).edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["set_mempolicy"], "action": "SCMP_ACT_ERRNO" }] });
    });
    assert_eq!(memory_policy(&test.facts(&bundle)), "bind:0");
}

#[test]
fn a_memory_policy_that_cannot_be_is_refused() {
    let test = Test::new();
    needs!(Feature::MemoryPolicy);
    if lacks_memory_policy(&test) {
        return;
    }
    for (policy, field) in [
        (json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }), ".nodes"),
        (json!({ "mode": "MPOL_LOCAL", "nodes": "0" }), ".nodes"),
        (json!({ "mode": "MPOL_BIND" }), ".nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "" }), ".nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0-" }), ".nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "5000" }), ".nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "1023" }), ""),
        (json!({ "mode": "MPOL_PALM", "nodes": "0" }), ".mode"),
        (json!({ "nodes": "0" }), ""),
        (json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_PALM"] }), ".flags[0]"),
        (
            json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"] }),
            ".flags",
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] }),
            ".flags",
        ),
    ] {
        let bundle = test.bundle_named("bundle");
        let bundle = bundle.edit(|config| config["linux"]["memoryPolicy"] = policy.clone());
        let output = test.create_fails(&bundle);
        if test.runtime.is(Kind::Rtn) {
            output.fails_with(&format!("(config.json: linux.memoryPolicy{field})"));
        }
        fs::remove_dir_all(&bundle.dir).expect("the bundle");
    }
}
