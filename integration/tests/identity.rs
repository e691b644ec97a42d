//! Who a process is, at the edges: ids at their limits, groups that are kept, capabilities that
//! cannot be given, and the home and working directory that follow from it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use integration::{Bundle, Feature, Kind, Test, needs, only_on, test::parse, wait};
use serde_json::{Value, json};

fn process(bundle: Bundle, key: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["process"][key] = value)
}

const HALF: &str = "runc 1.1 takes half of the ids";

#[test]
fn the_highest_id_is_an_id_and_the_next_is_none() {
    let test = Test::new();
    needs!(Feature::Root);
    if test.predates(&[(Kind::Runc, (1, 3)), (Kind::Crun, (1, 0))], HALF) {
        return;
    }
    let last = u32::MAX - 1;
    let user = json!({ "uid": last, "gid": last, "additionalGids": [last] });
    let facts = test.facts(&process(test.bundle(), "user", user));
    assert_eq!((facts.uids, facts.gids), ([last; 4], [last; 4]));
    assert_eq!(facts.groups, BTreeSet::from([last]));
    only_on!(test, [Rtn], "others run such a process as root, or find it out late");
    for (user, field) in [
        (json!({ "uid": u32::MAX, "gid": 0 }), "uid"),
        (json!({ "uid": 0, "gid": u32::MAX }), "gid"),
        (json!({ "uid": 0, "gid": 0, "additionalGids": [1, u32::MAX] }), "additionalGids[1]"),
        (json!({ "uid": 4_294_967_296_u64, "gid": 0 }), "uid"),
        (json!({ "uid": 0, "gid": 0, "umask": 0o10000 }), "umask"),
    ] {
        let bundle = process(test.bundle_named("refused"), "user", user);
        let path = format!("(config.json: process.user.{field})");
        test.create_fails(&bundle).fails_with(&path);
        fs::remove_dir_all(&bundle.dir).expect("the bundle");
    }
}

#[test]
fn the_highest_id_of_a_user_namespace_is_mapped() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    if test.predates(&[(Kind::Runc, (1, 3)), (Kind::Crun, (1, 0))], HALF) {
        return;
    }
    let base = 2_000_000_000;
    let size = u32::MAX - 1 - base;
    let user = json!({ "uid": size - 1, "gid": size - 1 });
    let bundle = process(test.bundle().user_namespace(base, size), "user", user);
    let facts = test.facts(&bundle);
    assert_eq!((facts.uids, facts.uid_map), ([size - 1; 4], vec![(0, base, size)]));
}

#[test]
fn a_name_of_the_user_is_for_others() {
    let test = Test::new();
    let user = json!({ "uid": 1000, "gid": 1000, "username": "nobody" });
    let facts = test.facts(&process(test.bundle(), "user", user));
    assert_eq!((facts.uids, facts.env("HOME")), ([1000; 4], Some("/home/user")));
}

#[test]
fn an_empty_home_is_looked_up() {
    let test = Test::new();
    if test.predates(&[(Kind::Runc, (1, 2))], "runc 1.1 and crun keep it empty") {
        return;
    }
    let bundle = process(test.bundle(), "env", json!(["PATH=/bin", "HOME="]));
    assert_eq!(test.facts(&bundle).env("HOME"), Some("/root"));
    let container = test.serve(bundle);
    assert_eq!(container.exec_facts(&["--user", "1000"]).env("HOME"), Some("/home/user"));
    container.remove();
}

#[test]
fn a_passwd_that_is_none_gives_root_directory_for_a_home() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun's is what its C library makes of it");
    for (name, text) in [("empty", ""), ("odd", ":::\nroot\nroot:x:zero:0::/bad:\n\n")] {
        if name == "odd" && test.excuses(&[Kind::Runc], "runc takes a line without numbers") {
            continue;
        }
        let bundle = test.bundle_named(name).file("/etc/passwd", text);
        assert_eq!(test.facts(&bundle).env("HOME"), Some("/"), "{name}");
    }
    let bundle = test.bundle_named("missing");
    fs::remove_file(bundle.rootfs().join("etc/passwd")).expect("passwd");
    assert_eq!(test.facts(&bundle).env("HOME"), Some("/"));
}

#[test]
fn the_working_directory_may_be_one_that_the_user_may_not_enter() {
    let test = Test::new();
    let bundle = process(test.bundle(), "cwd", json!("/root/private"));
    let bundle = process(bundle, "user", json!({ "uid": 1000, "gid": 1000 }));
    let private = bundle.rootfs().join("root/private");
    fs::create_dir_all(&private).expect("a directory");
    for dir in [private.as_path(), private.parent().expect("its parent")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("chmod");
    }
    let facts = test.facts(&bundle);
    assert_eq!((facts.cwd.as_str(), facts.uids), ("/root/private", [1000; 4]));
    let container = test.serve(bundle);
    assert_eq!(
        container.exec_facts(&["--cwd", "/root/private", "--user", "1000"]).cwd,
        "/root/private"
    );
    container.remove();
}

#[test]
fn a_working_directory_that_nobody_may_enter_is_an_error() {
    let test = Test::new();
    only_on!(test, rootless [Rtn, Crun], "runc cannot give its files to a user's subordinate id");
    // Without CAP_DAC_OVERRIDE root of a user namespace is stopped by what belongs to others.
    needs!(Feature::UserNamespaces);
    let bundle = test.bundle().user_namespace(100_000, 1000);
    let bundle = process(bundle, "cwd", json!("/locked"));
    let bundle = process(bundle, "user", json!({ "uid": 5, "gid": 5 }));
    let locked = bundle.rootfs().join("locked");
    fs::create_dir(&locked).expect("a directory");
    chown(&locked, Some(7), Some(7)).expect("chown");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).expect("chmod");
    let output = test.run(&bundle);
    assert!(output.fails().to_lowercase().contains("permission denied"), "{output:?}");
    if test.runtime.is(Kind::Rtn) {
        output.fails_with("process.cwd");
    }
}

/// The runtime with supplementary groups of its own.
fn with_groups(test: &Test, arguments: &[&str]) -> integration::Output {
    let before = ["setpriv", "--groups", "4242,4243", "--"];
    wait::output(&mut test.command_after(&before, arguments))
}

const KEEP: &str = "run.oci.keep_original_groups";

#[test]
fn the_callers_groups_are_kept_on_request() {
    let test = Test::new();
    needs!(Feature::Root);
    only_on!(test, [Rtn, Crun], "runc does not know the annotation");
    let kept = BTreeSet::from([4242, 4243]);
    for (value, expected) in [("1", kept.clone()), ("0", BTreeSet::new())] {
        let bundle = test.bundle_named(value);
        let bundle = bundle.edit(|config| config["annotations"][KEEP] = json!(value));
        let dir = bundle.dir.to_string_lossy().into_owned();
        let facts = parse(with_groups(&test, &["run", "--bundle", &dir, test.id()]).ok());
        assert_eq!(
            facts.groups.intersection(&kept).copied().collect::<BTreeSet<_>>(),
            expected,
            "{value}"
        );
    }
    let bundle = test.bundle_named("exec").edit(|config| config["annotations"][KEEP] = json!("1"));
    let container = test.serve(bundle);
    let output = with_groups(&test, &["exec", test.id(), "/bin/probe", "facts"]);
    assert!(parse(output.ok()).groups.is_superset(&kept));
    container.remove();
}

#[test]
fn groups_are_kept_in_a_user_namespace_too() {
    let test = Test::new();
    needs!(Feature::Root, Feature::UserNamespaces);
    only_on!(test, [Rtn, Crun], "runc does not know the annotation");
    let bundle = test.bundle().user_namespace(100_000, 1000);
    let bundle = bundle.edit(|config| config["annotations"][KEEP] = json!("1"));
    // Only who has one of the groups may read it, and inside they have no names.
    let secret = bundle.rootfs().join("secret");
    fs::write(&secret, "s").expect("a file");
    chown(&secret, Some(0), Some(4242)).expect("chown");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o040)).expect("chmod");
    let bundle = bundle.args(&["/bin/probe", "facts", "--read", "/secret"]);
    let dir = bundle.dir.to_string_lossy().into_owned();
    let facts = parse(with_groups(&test, &["run", "--bundle", &dir, test.id()]).ok());
    assert_eq!(facts.files["/secret"].as_deref(), Ok("s"));
    assert!(facts.groups.contains(&65534), "{:?}", facts.groups);
}

#[test]
fn kept_groups_and_others_exclude_each_other() {
    let test = Test::new();
    only_on!(test, [Rtn], "crun leaves the others out");
    let bundle = test.bundle().edit(|config| {
        config["annotations"][KEEP] = json!("1");
        config["process"]["user"]["additionalGids"] = json!([7]);
    });
    test.create_fails(&bundle).fails_with("(config.json: process.user.additionalGids)");
}

#[test]
fn capabilities_that_cannot_be_raised_are_told_and_not_given() {
    let test = Test::new();
    if test.predates(&[(Kind::Runc, (1, 2))], "runc 1.1 and crun say nothing") {
        return;
    }
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"],
    });
    let bundle = process(test.bundle(), "capabilities", sets);
    let bundle = process(bundle, "user", json!({ "uid": 1000, "gid": 1000 }));
    let output = test.run(&bundle);
    assert_eq!(parse(output.ok()).caps.ambient, BTreeSet::from(["CAP_KILL".to_owned()]));
    assert!(output.stderr.contains("CAP_CHOWN"), "{output:?}");
}

#[test]
fn no_new_privileges_leaves_ambient_capabilities() {
    let test = Test::new();
    let all = json!(["CAP_NET_RAW"]);
    let sets = json!({ "bounding": all, "permitted": all, "effective": all, "inheritable": all, "ambient": all });
    let bundle = process(test.bundle(), "capabilities", sets);
    let bundle = process(bundle, "user", json!({ "uid": 1000, "gid": 1000 }));
    let facts = test.facts(&process(bundle, "noNewPrivileges", json!(true)));
    assert!(facts.no_new_privs);
    assert_eq!(facts.caps.effective, BTreeSet::from(["CAP_NET_RAW".to_owned()]));
}

#[test]
fn a_personality_without_flags_and_one_with() {
    let test = Test::new();
    if test.predates(&[(Kind::Runc, (1, 2)), (Kind::Crun, (1, 9))], "it came with runc 1.2") {
        return;
    }
    for (domain, machine, number) in [("LINUX", "x86_64", 0), ("LINUX32", "i686", 8)] {
        let bundle = test.bundle_named(domain).edit(|config| {
            config["linux"]["personality"] = json!({ "domain": domain, "flags": [] });
        });
        assert_eq!(test.facts(&bundle).personality, number);
        let uname = test.run(&bundle.args(&["/bin/uname", "-m"]));
        assert_eq!(uname.ok().trim(), machine);
    }
    only_on!(test, [Rtn], "others ignore flags");
    let bundle = test.bundle_named("flags").edit(|config| {
        config["linux"]["personality"] =
            json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
    });
    test.create_fails(&bundle).fails_with("(config.json: linux.personality.flags)");
}
