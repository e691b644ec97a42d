//! A runtime inside a container, as builders and clusters-in-a-container have it; and, because a
//! container's seccomp profile can hide system calls, a runtime on an older kernel.

use std::{fs, path::Path};

use integration::{Bundle, Facts, Feature, Kind, Test, bundle::push, needs, only_on, test::parse};
use serde_json::{Value, json};

/// System calls that came after Linux 5.10, the oldest kernel that is supported.
const AFTER_5_10: &str = "epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule \
    landlock_restrict_self memfd_secret process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2 \
    map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr \
    lsm_list_modules mseal";

/// A privileged container that shares everything but its mounts with the host, and holds the
/// runtime and the bundle `/bundle` made by `inner`.
fn outer(test: &Test, inner: impl FnOnce(Bundle) -> Bundle, script: &str) -> Bundle {
    let all: Vec<&str> =
        probe::CAPABILITIES.iter().copied().filter(|cap| *cap != "CAP_SYS_RESOURCE").collect();
    let bind = |source: &str, destination: &str| json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rslave"] });
    let runtime = test.runtime.program.to_string_lossy();
    let mut bundle =
        test.bundle().capabilities(&all).without_mount("/sys").mount(bind("/sys", "/sys"));
    bundle = bundle.mount(bind(&runtime, "/runtime")).mount(tmpfs("/run")).mount(tmpfs("/tmp"));
    // Runtimes that are not static bring their libraries.
    for directory in ["/usr", "/lib", "/lib64"] {
        if Path::new(directory).exists() {
            bundle = bundle.mount(bind(directory, directory));
        }
    }
    // On v2 the inner cgroup is beside the outer one, where those of other tests are.
    let cgroup = format!("{}-inner", test.id());
    let inner = inner(
        test.bundle_named("bundle/rootfs/bundle")
            .edit(|config| config["linux"]["cgroupsPath"] = json!(cgroup)),
    );
    assert_eq!(inner.dir, bundle.rootfs().join("bundle"));
    bundle.shell(script).edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    })
}

fn tmpfs(destination: &str) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" })
}

/// Answers these calls with ENOSYS, as a kernel does that does not have them.
fn without_calls(bundle: Bundle, names: &[&str]) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
        });
    })
}

/// A bundle that uses most of what needs a choice of system calls.
fn rich(bundle: Bundle) -> Bundle {
    bundle
        .mount(json!({ "destination": "/etc-of-the-host", "type": "bind", "source": "/etc",
                       "options": ["rbind", "ro", "nosuid", "noexec", "rprivate"] }))
        .mount(json!({ "destination": "/small", "type": "tmpfs", "source": "tmpfs",
                       "options": ["size=64k", "mode=1770", "noatime", "ro"] }))
        .edit(|config| {
            config["root"]["readonly"] = json!(true);
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] });
            push(&mut config["linux"]["maskedPaths"], json!("/etc/group"));
            push(&mut config["linux"]["namespaces"], json!({ "type": "cgroup" }));
            config["linux"]["resources"]["pids"] = json!({ "limit": 50 });
        })
}

#[track_caller]
fn assert_rich(facts: &Facts) {
    assert_eq!((facts.pid, facts.uids[0], facts.hostname.as_str()), (1, 1000, "container"));
    assert!(facts.mount("/").expect("the root").has("ro"));
    let bound = facts.mount("/etc-of-the-host").expect("the bind mount");
    assert!(["ro", "nosuid", "noexec"].iter().all(|flag| bound.has(flag)), "{bound:?}");
    let small = facts.mount("/small").expect("the tmpfs");
    assert!(small.has("noatime") && small.has("ro"), "{small:?}");
    assert!(small.super_options.contains("size=64k"), "{small:?}");
    assert!(
        facts.mount("/etc/group").is_some()
            && facts.mount("/proc/sys").expect("/proc/sys").has("ro")
    );
    assert_eq!(facts.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{:?}", facts.fds);
}

const RUN: &str = "exec /runtime --root /run/state run --bundle /bundle inner";

#[test]
fn a_container_runs_in_a_container() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    assert_rich(&parse(test.run(&outer(&test, rich, RUN)).ok()));
}

#[test]
fn every_call_works_in_a_container() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    let script = "set -e; R='/runtime --root /run/state'; $R create --bundle /bundle inner >/dev/null; $R start inner; \
                  $R exec inner /bin/probe exit 0; $R pause inner; $R resume inner; $R update --pids-limit 20 inner; \
                  $R kill inner KILL; $R delete --force inner; echo done";
    let output = test.run(&outer(&test, |inner| rich(inner).serve(), script));
    assert_eq!(output.ok().trim_end().lines().last(), Some("done"), "{output:?}");
}

#[test]
fn it_runs_without_the_calls_that_came_after_linux_5_10() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    let names: Vec<&str> = AFTER_5_10.split_whitespace().collect();
    let bundle = without_calls(outer(&test, rich, RUN), &names);
    assert_rich(&parse(test.run(&bundle).ok()));
}

#[test]
fn it_runs_without_any_single_one_of_the_newer_calls() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    let bundle = outer(&test, rich, RUN);
    for call in ["mount_setattr", "fchmodat2", "statmount", "listmount"] {
        let output = test.run(&without_calls(bundle.clone_with(&["/bin/sh", "-c", RUN]), &[call]));
        assert_eq!(output.status, 0, "without {call}: {output:?}");
        assert_rich(&parse(&output.stdout));
    }
}

#[test]
fn it_execs_without_the_calls_that_came_after_linux_5_10() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    let names: Vec<&str> = AFTER_5_10.split_whitespace().collect();
    let script = "set -e; R='/runtime --root /run/state'; $R create --bundle /bundle inner >/dev/null; $R start inner; \
                  $R exec inner /bin/probe facts; $R delete --force inner";
    let bundle = outer(&test, |inner| rich(inner).args(&["/bin/sleep", "1000"]), script);
    let facts = parse(test.run(&without_calls(bundle, &names)).ok());
    assert_eq!(facts.hostname, "container");
    if !test.excuses(&[Kind::Crun], "crun takes root, not the user of the configuration") {
        assert_eq!(facts.uids[0], 1000);
    }
}

#[test]
fn without_a_call_that_has_no_substitute_nothing_is_done_by_halves() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    for call in ["openat2", "pivot_root", "unshare", "seccomp", "open_tree", "memfd_create"] {
        let output = test.run(&without_calls(outer_again(&test, call), &[call]));
        if output.status == 0 {
            assert_rich(&parse(&output.stdout));
        } else {
            assert!(!output.stderr.trim().is_empty(), "failed without a word, without {call}");
        }
    }
}

/// The same outer bundle, made anew for each call.
fn outer_again(test: &Test, name: &str) -> Bundle {
    let bundle = outer(test, rich, RUN);
    let dir = test.dir().join(name);
    fs::rename(&bundle.dir, &dir).expect("rename");
    Bundle { dir, config: bundle.config }
}

#[test]
fn what_only_mount_setattr_can_do_is_refused_by_name_without_it() {
    let test = Test::new();
    needs!(Feature::Controller("pids"), Feature::Root);
    only_on!(test, [Rtn], "runc and crun say ENOSYS");
    let mapping = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let mut mapped = bind_etc(&["rbind"]);
    mapped["uidMappings"] = mapping.clone();
    mapped["gidMappings"] = mapping;
    for (name, mount, words) in [
        ("recursive", bind_etc(&["rbind", "rro"]), "recursive mount attributes need Linux 5.12"),
        ("mapped", mapped, "id-mapped mounts need Linux 5.12"),
    ] {
        let bundle = outer(&test, |inner| inner.mount(mount), RUN);
        let dir = test.dir().join(name);
        fs::rename(&bundle.dir, &dir).expect("rename");
        let bundle = Bundle { dir, config: bundle.config };
        test.run(&without_calls(bundle, &["mount_setattr"])).fails_with(words);
    }
}

fn bind_etc(options: &[&str]) -> Value {
    json!({ "destination": "/m", "type": "bind", "source": "/etc", "options": options })
}
