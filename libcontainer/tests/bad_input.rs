//! Every value of a full config.json, one after the other, made wrong in every way that its type
//! has: each time one fault names it.

use std::path::PathBuf;

use libcontainer::{
    Error, Kind, bundle,
    cgroup::{Hierarchies, Hierarchy, Manager, Unified},
    host::Host,
    plan::{Options, Plan},
};
use serde_json::{Value, json};

const FULL: &str = include_str!("data/full.json");

/// A machine that has everything, so that nothing is refused for want of it.
fn host(cgroup: Hierarchies) -> Host {
    Host {
        euid: 0,
        egid: 0,
        initial_user_namespace: true,
        capabilities: u64::MAX,
        apparmor: true,
        selinux: true,
        cgroup,
    }
}

fn v1() -> Hierarchies {
    let names = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio"];
    let hierarchy = |name: &&str| Hierarchy {
        controllers: vec![(*name).to_owned()],
        mount: PathBuf::from("/sys/fs/cgroup").join(name),
        own: "/".into(),
    };
    Hierarchies {
        v1: names.iter().chain(&["rdma", "devices"]).map(hierarchy).collect(),
        unified: None,
    }
}

fn v2() -> Hierarchies {
    let controllers = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];
    let unified = Unified {
        controllers: controllers.map(str::to_owned).into(),
        mount: "/sys/fs/cgroup".into(),
        own: "/user".into(),
    };
    Hierarchies { v1: Vec::new(), unified: Some(unified) }
}

fn options() -> Options {
    Options {
        id: "one".into(),
        bundle: "/bundle".into(),
        manager: Manager::Cgroupfs,
        rootless: false,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        notify_dir: None,
    }
}

fn faults(config: &str, host: &Host) -> Vec<Error> {
    match bundle::parse(config.as_bytes()) {
        Ok(spec) => Plan::new(&spec, &options(), host).err().unwrap_or_default(),
        Err(error) => vec![error],
    }
}

/// Pointers (RFC 6901) to every value that is no object or array.
fn leaves(value: &Value, pointer: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            leaves(value, &format!("{pointer}/{name}"), all);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| {
            leaves(value, &format!("{pointer}/{index}"), all);
        }),
        _ => all.push(pointer.to_owned()),
    }
}

#[test]
fn print() {
    let full: Value = serde_json::from_str(FULL).unwrap();
    let mut all = Vec::new();
    leaves(&full, "", &mut all);
    for (name, host) in [("v1", host(v1())), ("v2", host(v2()))] {
        let base: Vec<_> = faults(FULL, &host).iter().map(ToString::to_string).collect();
        println!("{name} base {base:#?}");
        for pointer in &all {
            let value = full.pointer(pointer).unwrap().clone();
            for wrong in [
                json!(true),
                json!(1),
                json!(1.5),
                json!(-1),
                json!(-2),
                json!(i64::MIN),
                json!(1u64 << 31),
                json!(1u64 << 32),
                json!(1u64 << 63),
                json!(u64::MAX),
                json!(1e30),
                json!(""),
                json!("no such word"),
                json!("a\0b"),
                json!("a\nb"),
                json!("../../x"),
                json!([]),
                json!({}),
                json!(null),
            ] {
                if wrong == value {
                    continue;
                }
                let mut config = full.clone();
                *config.pointer_mut(pointer).unwrap() = wrong.clone();
                let found: Vec<_> = faults(&config.to_string(), &host)
                    .into_iter()
                    .filter(|f| !base.contains(&f.to_string()))
                    .collect();
                let path = pointer.replace("/", ".");
                let norm = |p: &str| {
                    format!(
                        ".{}",
                        p.replace("[\"", ".").replace("\"]", "").replace('[', ".").replace(']', "")
                    )
                };
                if !found.iter().any(|f| f.spec_path().is_some_and(|p| norm(p) == path)) {
                    println!(
                        "{name} {pointer} = {wrong}: {:?}",
                        found.iter().map(|f| f.to_string()).collect::<Vec<_>>()
                    );
                }
            }
        }
    }
}
