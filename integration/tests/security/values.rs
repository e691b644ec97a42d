//! What is read as something else than was meant: lengths, names, numbers, sets of capabilities.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use integration::{Feature, Kind, Test, bundle::push, needs, only_on, test::parse};
use serde_json::{Value, json};

#[test]
fn cve_2021_43784_strings_longer_than_a_length_field() {
    let test = Test::new();
    let long = format!("/{}", "x".repeat(70_000));
    for change in [
        |c: &mut Value, long: &str| c["linux"]["namespaces"][1]["path"] = json!(long),
        |c: &mut Value, long: &str| c["process"]["cwd"] = json!(long),
        |c: &mut Value, long: &str| {
            push(
                &mut c["mounts"],
                json!({ "destination": long, "type": "tmpfs", "source": "tmpfs" }),
            )
        },
        |c: &mut Value, long: &str| c["linux"]["cgroupsPath"] = json!(long),
    ] {
        let name = format!("{}", fs::read_dir(test.dir()).expect("a directory").count());
        let bundle = test.bundle_named(&name).edit(|config| change(config, &long));
        test.create_fails(&bundle);
    }
    let bundle =
        test.bundle().edit(|config| config["annotations"] = json!({ "org.example.long": long }));
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn cve_2022_24769_inheritable_capabilities_are_empty_by_default() {
    let test = Test::new();
    assert!(
        test.facts(&test.bundle().capabilities(&["CAP_KILL", "CAP_CHOWN"]))
            .caps
            .inheritable
            .is_empty()
    );
}

#[test]
fn cve_2022_29162_an_execs_capability_is_not_inheritable() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let facts = container.exec_facts(&["--cap", "CAP_NET_ADMIN"]);
    container.remove();
    assert!(
        facts.caps.effective.contains("CAP_NET_ADMIN") && facts.caps.inheritable.is_empty(),
        "{:?}",
        facts.caps
    );
}

#[test]
fn ghsa_5g49_a_page_size_is_not_a_path() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun leaves its cgroups");
    for size in ["../../escape", "2MB/../../x", "", "2MB.limit_in_bytes\n"] {
        let name = format!("{}", size.len());
        let bundle = test.bundle_named(&name).edit(|config| {
            config["linux"]["resources"]["hugepageLimits"] =
                json!([{ "pageSize": size, "limit": 1 << 21 }]);
        });
        test.create_fails(&bundle);
    }
}

#[test]
fn ghsa_5g49_a_unified_key_is_not_a_path() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun ignores them on v1");
    for key in ["../memory.max", "memory/../../x", "memory.max\n", ""] {
        let bundle = test.bundle_named(&format!("{}", key.len())).edit(|config| {
            config["linux"]["resources"]["unified"] = json!({ key: "1" });
        });
        test.create_fails(&bundle);
    }
}

#[test]
fn cve_2026_30892_a_user_is_never_taken_for_root() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    for user in [
        "1",
        "1:2",
        "01",
        " 1",
        "1 ",
        "+1",
        "-1",
        "1x",
        "0x1",
        "4294967295",
        "4294967296",
        "4294967297",
        "1:",
        ":",
        "root",
        "user",
    ] {
        let output = container.exec_with(&["--user", user], &["/bin/probe", "facts"]);
        if output.status == 0 && !output.stdout.is_empty() {
            let uid = parse(&output.stdout).uids[0];
            let root = uid == 0 && user != "root";
            if root
                && test.excuses(
                    &[Kind::Runc, Kind::Crun],
                    &format!("{user:?} is cut to 32 bits or to nothing"),
                )
            {
                continue;
            }
            assert!(!root, "--user {user:?} became root");
        }
    }
    container.remove();
}

#[test]
fn an_execs_cgroup_stays_below_the_containers() {
    let test = Test::new();
    needs!(Feature::CgroupV1("pids"));
    let container = test.serve(test.bundle());
    let sibling = PathBuf::from(format!("{}-sibling", container.cgroup("pids").display()));
    fs::create_dir(&sibling).expect("a cgroup beside the container's");
    let name = sibling.file_name().expect("a name").to_string_lossy().into_owned();
    for path in [
        format!("pids:../{name}"),
        format!("pids:/../{name}"),
        format!("../{name}"),
        "pids:..".into(),
        "..".into(),
        "pids:x/../..".into(),
    ] {
        let output = container.exec_with(&["--cgroup", &path], &["/bin/cat", "/proc/self/cgroup"]);
        let escaped =
            output.stdout.lines().any(|line| line.contains(":pids:") && !line.ends_with(test.id()));
        if escaped && test.excuses(&[Kind::Runc, Kind::Crun], &format!("{path} escapes")) {
            continue;
        }
        assert!(!escaped, "{path}: {output:?}");
    }
    container.remove();
    fs::remove_dir(&sibling).expect("the cgroup");
}

#[test]
fn the_state_of_a_container_is_for_root_alone() {
    let test = Test::new();
    let container = test.create(&test.bundle().serve());
    let directory = fs::metadata(test.root().join(test.id())).expect("the state");
    container.remove();
    assert_eq!(directory.mode() & 0o077 & 0o022, 0, "others may write to it");
}
