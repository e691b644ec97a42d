//! `process` of config.json: what the program gets and what it may do (runtime spec, config.md
//! "Process").

use std::{collections::BTreeSet, fs, os::fd::AsRawFd};

use integration::{Bundle, Feature, Kind, Output, Test, needs, only_on, test::parse, wait};
use serde_json::{Value, json};

fn process(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["process"][key] = value)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn arguments_are_passed_as_they_are() {
    let test = Test::new();
    let args = ["/bin/probe", "facts", "", "two words", "--flag", "ünï", "$HOME", "*"];
    assert_eq!(test.facts(&test.bundle().args(&args)).argv, args);
}

#[test]
fn the_program_is_looked_up_in_the_path_of_the_configuration() {
    let test = Test::new();
    let bundle = process(test.bundle(), "env", json!(["PATH=/nowhere:/opt/tools:/bin"]));
    fs::create_dir_all(bundle.rootfs().join("opt/tools")).expect("a directory");
    fs::copy(bundle.rootfs().join("bin/probe"), bundle.rootfs().join("opt/tools/find-me"))
        .expect("copy");
    let facts = test.facts(&bundle.args(&["find-me", "facts"]));
    assert_eq!((facts.exe.as_str(), facts.argv[0].as_str()), ("/opt/tools/find-me", "find-me"));
}

#[test]
fn a_relative_program_with_a_slash_counts_from_the_working_directory() {
    let test = Test::new();
    let bundle = process(test.bundle(), "cwd", json!("/bin"));
    assert_eq!(test.facts(&bundle.args(&["./probe", "facts"])).exe, "/bin/probe");
}

#[test]
fn the_environment_is_exactly_that_of_the_configuration() {
    let test = Test::new();
    let env = ["PATH=/bin", "HOME=/somewhere", "EMPTY=", "EQUALS=a=b", "UTF=ü", "SPACE= x "];
    let facts = test.facts(&process(test.bundle(), "env", json!(env)));
    assert_eq!(set(&facts.env.iter().map(String::as_str).collect::<Vec<_>>()), set(&env));
}

#[test]
fn nothing_of_the_callers_environment_gets_in() {
    let test = Test::new();
    let bundle = test.bundle();
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let output = wait::output(command.env("SECRET", "1").env("LD_PRELOAD", "/none"));
    let facts = parse(output.ok());
    assert!(facts.env("SECRET").is_none() && facts.env("LD_PRELOAD").is_none(), "{:?}", facts.env);
}

#[test]
fn a_large_environment_is_passed() {
    let test = Test::new();
    let mut env: Vec<String> =
        (0..3000).map(|n| format!("VARIABLE_{n}={}", "x".repeat(50))).collect();
    env.push("PATH=/bin".into());
    let facts = test.facts(&process(test.bundle(), "env", json!(env)));
    assert_eq!(facts.env("VARIABLE_2999").map(str::len), Some(50));
    assert!(facts.env.len() >= env.len());
}

#[test]
fn of_two_values_for_a_variable_the_last_counts() {
    let test = Test::new();
    let facts = test.facts(&process(test.bundle(), "env", json!(["PATH=/bin", "A=1", "A=2"])));
    assert_eq!(
        facts.env.iter().rfind(|entry| entry.starts_with("A=")).map(String::as_str),
        Some("A=2")
    );
}

#[test]
fn home_comes_from_the_passwd_of_the_container() {
    let test = Test::new();
    for (uid, home) in [(0, "/root"), (1000, "/home/user"), (4321, "/")] {
        if uid == 4321 && test.excuses(&[Kind::Crun], "an unknown user gets no HOME") {
            continue;
        }
        let bundle = test.bundle_named(&format!("{uid}"));
        let bundle = process(bundle, "user", json!({ "uid": uid, "gid": 0 }));
        assert_eq!(test.facts(&bundle).env("HOME"), Some(home), "{uid}");
    }
}

#[test]
fn the_working_directory_is_made_when_it_is_missing() {
    let test = Test::new();
    let bundle = process(test.bundle(), "cwd", json!("/not/there/yet"));
    let rootfs = bundle.rootfs();
    assert_eq!(test.facts(&bundle).cwd, "/not/there/yet");
    assert!(rootfs.join("not/there/yet").is_dir());
}

#[test]
fn the_working_directory_may_be_one_that_only_the_user_may_enter() {
    let test = Test::new();
    let bundle = process(test.bundle(), "cwd", json!("/home/user"));
    let bundle = process(bundle, "user", json!({ "uid": 1000, "gid": 1000 }));
    let home = bundle.rootfs().join("home/user");
    fs::create_dir_all(&home).expect("a directory");
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).expect("chown");
    assert_eq!(test.facts(&bundle).cwd, "/home/user");
}

#[test]
fn user_and_groups_are_set() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc sets no additional groups for an ordinary user");
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 8, 2000] });
    let facts = test.facts(&process(test.bundle(), "user", user));
    assert_eq!((facts.uids, facts.gids), ([1000; 4], [1001; 4]));
    let groups: BTreeSet<u32> = facts.groups.difference(&BTreeSet::from([1001])).copied().collect();
    assert_eq!(groups, BTreeSet::from([7, 8, 2000]));
}

#[test]
fn the_callers_supplementary_groups_are_dropped() {
    let test = Test::new();
    needs!(Feature::Root);
    let bundle = test.bundle();
    let mut command = test.command_after(
        &["setpriv", "--groups", "4242,4243", "--"],
        &["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()],
    );
    let facts = parse(wait::output(&mut command).ok());
    assert!(!facts.groups.contains(&4242), "{:?}", facts.groups);
}

#[test]
fn the_umask_is_set() {
    let test = Test::new();
    let user = json!({ "uid": 0, "gid": 0, "umask": 0o27 });
    assert_eq!(test.facts(&process(test.bundle(), "user", user)).umask, 0o27);
    assert_eq!(test.facts(&test.bundle_named("default")).umask, 0o22);
}

#[test]
fn five_capability_sets_are_set() {
    let test = Test::new();
    let capabilities = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "effective": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    });
    let bundle = process(test.bundle(), "capabilities", capabilities);
    let bundle = process(bundle, "user", json!({ "uid": 1000, "gid": 1000 }));
    let caps = test.facts(&bundle).caps;
    assert_eq!(caps.bounding, set(&["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_CHROOT"]));
    assert_eq!((caps.inheritable, caps.ambient), (set(&["CAP_KILL"]), set(&["CAP_KILL"])));
    // What an execve leaves to a user who is not root: capabilities(7), the ambient ones.
    assert_eq!((caps.permitted, caps.effective), (set(&["CAP_KILL"]), set(&["CAP_KILL"])));
}

#[test]
fn root_has_the_capabilities_of_the_bounding_set_after_execve() {
    let test = Test::new();
    let caps = test.facts(&test.bundle().capabilities(&["CAP_KILL", "CAP_CHOWN"])).caps;
    let expected = set(&["CAP_KILL", "CAP_CHOWN"]);
    assert_eq!(
        (&caps.effective, &caps.permitted, &caps.bounding),
        (&expected, &expected, &expected)
    );
    assert!(caps.inheritable.is_empty() && caps.ambient.is_empty());
}

#[test]
fn without_capabilities_there_are_none() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        config["process"].as_object_mut().expect("process").remove("capabilities");
    });
    let caps = test.facts(&bundle).caps;
    let empty = BTreeSet::new();
    for held in [caps.effective, caps.permitted, caps.inheritable, caps.bounding, caps.ambient] {
        assert_eq!(held, empty);
    }
}

#[test]
fn a_user_has_no_capabilities_that_are_not_ambient() {
    let test = Test::new();
    let bundle = process(test.bundle(), "user", json!({ "uid": 1000, "gid": 1000 }));
    let caps = test.facts(&bundle).caps;
    assert!(caps.effective.is_empty() && caps.permitted.is_empty() && caps.ambient.is_empty());
    assert!(caps.bounding.contains("CAP_KILL"));
}

#[test]
fn no_new_privileges_follows_the_configuration() {
    let test = Test::new();
    for wanted in [true, false] {
        let bundle = test.bundle_named(&format!("{wanted}"));
        assert_eq!(
            test.facts(&process(bundle, "noNewPrivileges", json!(wanted))).no_new_privs,
            wanted
        );
    }
}

#[test]
fn resource_limits_are_set() {
    let test = Test::new();
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 123, "hard": 456 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_NPROC", "soft": 500, "hard": 600 },
        { "type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 8192 },
        { "type": "RLIMIT_FSIZE", "soft": 1_u64 << 40, "hard": 1_u64 << 41 },
        { "type": "RLIMIT_STACK", "soft": 4 << 20, "hard": 8 << 20 },
        { "type": "RLIMIT_RTTIME", "soft": 1_000_000, "hard": 2_000_000 },
        { "type": "RLIMIT_SIGPENDING", "soft": 10, "hard": 20 },
        { "type": "RLIMIT_MSGQUEUE", "soft": 1000, "hard": 2000 },
    ]);
    let facts = test.facts(&process(test.bundle(), "rlimits", limits));
    let expected = [
        ("nofile", (123, 456)),
        ("core", (0, 0)),
        ("nproc", (500, 600)),
        ("memlock", (4096, 8192)),
        ("fsize", (1 << 40, 1 << 41)),
        ("stack", (4 << 20, 8 << 20)),
        ("rttime", (1_000_000, 2_000_000)),
        ("sigpending", (10, 20)),
        ("msgqueue", (1000, 2000)),
    ];
    for (name, values) in expected {
        assert_eq!(facts.rlimits[name], values, "{name}");
    }
}

#[test]
fn a_hard_limit_is_raised() {
    let test = Test::new();
    needs!(Feature::SysResource, Feature::Root);
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 200_000, "hard": 200_000 }]);
    assert_eq!(
        test.facts(&process(test.bundle(), "rlimits", limits)).rlimits["nofile"],
        (200_000, 200_000)
    );
}

#[test]
fn the_oom_score_is_set() {
    let test = Test::new();
    for wanted in [500, 1000] {
        let bundle = test.bundle_named(&format!("{wanted}"));
        assert_eq!(
            test.facts(&process(bundle, "oomScoreAdj", json!(wanted))).oom_score_adj,
            wanted
        );
    }
}

#[test]
fn without_an_oom_score_the_callers_is_kept() {
    let test = Test::new();
    let facts = test.facts(&test.bundle());
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("the own score");
    assert_eq!(facts.oom_score_adj.to_string(), own.trim());
}

#[test]
fn the_oom_score_is_lowered() {
    let test = Test::new();
    needs!(Feature::SysResource, Feature::Root);
    assert_eq!(test.facts(&process(test.bundle(), "oomScoreAdj", json!(-200))).oom_score_adj, -200);
}

#[test]
fn a_session_keyring_of_its_own() {
    let test = Test::new();
    let visible = |bundle: Bundle| bundle.edit(|config| config["linux"]["maskedPaths"] = json!([]));
    // A key is collected some time after its last user, so the one without comes first.
    let own = format!("_ses.{}", test.id());
    let output = test.run_with(&["--no-new-keyring"], &visible(test.bundle_named("without")));
    assert!(!parse(output.ok()).keyrings.contains(&own));
    let facts = test.facts(&visible(test.bundle()));
    if !test.excuses(&[Kind::Crun], "crun calls it after the container alone") {
        assert!(facts.keyrings.contains(&own), "{:?}", facts.keyrings);
    }
}

#[test]
fn the_personality_is_set() {
    let test = Test::new();
    only_on!(test, [Rtn], "personality came with runc 1.2 and crun 1.9");
    let bundle = test.bundle().edit(|c| c["linux"]["personality"] = json!({ "domain": "LINUX32" }));
    assert_eq!(test.facts(&bundle).personality, 8);
}

#[test]
fn scheduler_and_io_priority_are_set() {
    let test = Test::new();
    only_on!(test, [Rtn], "they came with runtime spec 1.1");
    let bundle = process(test.bundle(), "scheduler", json!({ "policy": "SCHED_BATCH", "nice": 9 }));
    let bundle =
        process(bundle, "ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    let output = test.run(&bundle.shell("cat /proc/self/sched; ionice; exec probe facts"));
    let facts = output.ok().find("{\"pid\"").expect("facts after the texts");
    let (text, facts) = output.stdout.split_at(facts);
    let policy = text.lines().find(|line| line.starts_with("policy")).expect("a policy");
    assert!(policy.ends_with('3'), "{policy}");
    assert!(text.contains("best-effort: prio 6"), "{text}");
    assert_eq!(parse(facts).nice, 9);
}

#[test]
fn only_the_standard_descriptors_are_open() {
    let test = Test::new();
    let facts = test.facts(&test.bundle());
    assert_eq!(facts.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{:?}", facts.fds);
}

#[test]
fn descriptors_of_the_caller_do_not_get_in() {
    let test = Test::new();
    let bundle = test.bundle();
    let dir = fs::File::open("/etc").expect("a directory of the host");
    // dup(2) and not dup3: the copy is inherited.
    let inherited = nix::unistd::dup(&dir).expect("dup");
    let facts = test.facts(&bundle);
    assert!(inherited.as_raw_fd() > 2);
    assert_eq!(facts.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{:?}", facts.fds);
}

/// Runs a script that opens `count` descriptors from 3 on and then the runtime.
fn run_with_fds(
    test: &Test,
    count: u32,
    before: &str,
    options: &[&str],
    bundle: &Bundle,
) -> Output {
    let open: String = (0..count).map(|n| format!("exec {}</etc/hostname; ", 3 + n)).collect();
    let script = format!("{open}{before} exec \"$@\"");
    let dir = bundle.dir.to_string_lossy();
    let run = [&["run"], options, &["--bundle", &dir, test.id()]].concat();
    let shell = ["/bin/busybox", "sh", "-c", &script, "sh"];
    wait::output(&mut test.command_after(&shell, &run))
}

#[test]
fn preserve_fds_passes_descriptors_from_three_on() {
    let test = Test::new();
    let facts = parse(run_with_fds(&test, 4, "", &["--preserve-fds", "3"], &test.bundle()).ok());
    assert_eq!(
        facts.fds.keys().copied().collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5],
        "{:?}",
        facts.fds
    );
    for number in 3..6 {
        assert!(facts.fds[&number].ends_with("/etc/hostname"), "{:?}", facts.fds);
    }
}

#[test]
fn more_descriptors_to_preserve_than_there_are_is_an_error() {
    let test = Test::new();
    only_on!(
        test,
        [Rtn],
        "crun takes what there is, runc 1.1 its own descriptors (CVE-2024-21626)"
    );
    let output = run_with_fds(&test, 1, "", &["--preserve-fds", "3"], &test.bundle());
    assert!(output.fails().contains("preserve"), "{output:?}");
}

#[test]
fn listen_fds_are_passed_on() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 passes the descriptors but not the variables");
    let bundle = process(test.bundle(), "env", json!(["PATH=/bin"]));
    let output = run_with_fds(&test, 2, "export LISTEN_FDS=2 LISTEN_PID=$$;", &[], &bundle);
    let facts = parse(output.ok());
    assert_eq!(facts.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{:?}", facts.fds);
    assert_eq!(facts.env("LISTEN_FDS"), Some("2"));
    assert_eq!(facts.env("LISTEN_PID"), Some("1"));
}

#[test]
fn standard_input_is_the_callers() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/cat"]);
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let input = test.dir().join("input");
    fs::write(&input, "through and through").expect("a file");
    let output = wait::output(command.stdin(fs::File::open(&input).expect("the file")));
    assert_eq!(output.ok(), "through and through");
}

#[test]
fn standard_error_is_the_callers() {
    let test = Test::new();
    let output = test.run(&test.bundle().shell("echo out; echo err >&2"));
    assert_eq!((output.ok(), output.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn a_user_may_reopen_its_standard_streams() {
    let test = Test::new();
    let bundle = process(test.bundle(), "user", json!({ "uid": 1000, "gid": 1000 }));
    let bundle = bundle.shell("echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin");
    let mut command = test.command(&["run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    let errors = Output::sink();
    command.stderr(Output::dup(&errors));
    let (mut child, mut out) = wait::spawn_with_pipe(&mut command).expect("the runtime");
    assert_eq!(wait::exit_status(&mut child, &command), 0);
    assert_eq!((wait::rest(&mut out).as_str(), Output::text(&errors).as_str()), ("out\n", "err\n"));
}

#[test]
fn the_process_leads_no_session_of_the_caller() {
    let test = Test::new();
    let facts = test.facts(&test.bundle());
    assert_eq!((facts.pid, facts.sid), (1, 1));
}

#[test]
fn the_notify_socket_is_reached_from_inside() {
    let test = Test::new();
    let path = test.dir().join("notify");
    let host = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let bundle = test.bundle().shell("probe notify READY=1 >/dev/null; exec probe serve");
    let pid_file = test.dir().join("pid");
    let dir = bundle.dir.to_string_lossy().into_owned();
    let mut command = test.command(&["run", "--detach", "--bundle", &dir, "--pid-file"]);
    command.arg(&pid_file).arg(test.id()).env("NOTIFY_SOCKET", &path);
    let container =
        integration::Container::from_command(&test, test.id().into(), &mut command, pid_file);
    let mut received = String::new();
    let main_pid = format!("MAINPID={}", container.pid);
    let mut wanted = vec!["READY=1", &main_pid];
    if test.excuses(&[Kind::Crun], "crun does not tell the main process") {
        wanted.pop();
    }
    while !wanted.iter().all(|line| received.contains(line)) {
        assert!(wait::readable(&host, wait::DEADLINE), "only {received:?}");
        let mut buffer = [0; 256];
        let count = host.recv(&mut buffer).expect("a datagram");
        received.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    container.remove();
}

#[test]
fn an_apparmor_profile_is_applied() {
    let test = Test::new();
    needs!(Feature::AppArmor);
    let bundle = process(test.bundle(), "apparmorProfile", json!("unconfined"));
    let facts = test.facts_with(&["--read", "/proc/self/attr/current"], bundle);
    assert_eq!(facts.files["/proc/self/attr/current"].as_deref().map(str::trim), Ok("unconfined"));
}

#[test]
fn a_label_without_its_security_module_is_an_error_or_ignored_but_never_half_done() {
    let test = Test::new();
    if Feature::SeLinux.missing() {
        let bundle = test.bundle_named("mounts");
        let bundle = bundle.edit(|config| config["linux"]["mountLabel"] = json!("a:b:c:s0"));
        let output = test.run(&bundle);
        if !test.excuses(&[Kind::Crun], "crun leaves the label out") {
            output.fails();
        }
        if test.runtime.is(Kind::Rtn) {
            output.fails_with("(config.json: linux.mountLabel)");
        }
    }
    if Feature::AppArmor.missing() {
        let output = test.run(&process(test.bundle(), "apparmorProfile", json!("nobody-knows-it")));
        if output.status != 0 {
            assert!(output.fails().to_lowercase().contains("apparmor"), "{output:?}");
        }
    }
}
