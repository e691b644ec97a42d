//! Network devices that move into the container (runtime spec 1.3, config-linux.md "Network
//! Devices").
//!
//! Each test has a network namespace of its own, which the runtime takes for the host's: no device
//! of the machine is touched, and what is left of the test's goes with its thread.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use integration::{Bundle, Container, Feature, Kind, Test, host, needs, wait};
use nix::sched::{CloneFlags, unshare};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, socket_with,
};
use serde_json::{Value, json};

/// None for an ordinary user, who takes no device from the host, and on a runtime that does not say
/// that it knows netDevices: runc before 1.4, crun before 1.24.
fn test_of_net_devices() -> Option<Test> {
    let test = Test::new();
    if Feature::Root.missing() {
        return None;
    }
    let features = test.call(&["features"]);
    let features: Value = serde_json::from_str(&features.stdout).unwrap_or_default();
    let known = features["linux"]["netDevices"]["enabled"] == true;
    assert!(known || !test.runtime.is(Kind::Rtn), "{features}");
    if !known {
        host::skipped("this runtime does not know netDevices");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    ip(&["link", "set", "lo", "up"]);
    Some(test)
}

/// ip(8) in the test's own network namespace.
#[track_caller]
fn ip(arguments: &[&str]) {
    wait::output(Command::new("ip").args(arguments)).ok();
}

/// A device `name`, up, with an address; the other end of its cable is `peer-NAME`.
#[track_caller]
fn cable(name: &str, address: &str) {
    let peer = format!("peer-{name}");
    ip(&["link", "add", name, "type", "veth", "peer", "name", &peer]);
    ip(&["address", "add", address, "dev", name]);
    ip(&["link", "set", &peer, "up"]);
    ip(&["link", "set", name, "up"]);
}

/// Devices as `ip -j address` tells them, in the network namespace of `pid` or in the test's own.
#[track_caller]
fn links(pid: Option<i32>) -> Vec<Value> {
    let mut command = match pid {
        None => Command::new("ip"),
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip");
            command
        }
    };
    let json = wait::output(command.args(["-j", "address"])).json();
    json.as_array().expect("an array").clone()
}

#[track_caller]
fn link(pid: Option<i32>, name: &str) -> Option<Value> {
    links(pid).into_iter().find(|link| link["ifname"] == name)
}

fn is_up(link: &Value) -> bool {
    link["flags"].as_array().expect("flags").iter().any(|flag| flag == "UP")
}

/// `10.0.0.1/24` of every address but the link-local ones, which the kernel makes itself.
fn addresses(link: &Value) -> Vec<String> {
    let all = link["addr_info"].as_array().expect("addresses").iter();
    let all = all.filter(|a| !(a["family"] == "inet6" && a["scope"] == "link"));
    all.map(|a| {
        let text = |key: &str| a[key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("local"), a["prefixlen"])
    })
    .collect()
}

fn with_devices(bundle: Bundle, devices: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["netDevices"] = devices)
}

fn network(container: &Container<'_>) -> PathBuf {
    format!("/proc/{}/ns/net", container.pid).into()
}

#[test]
fn a_device_moves_with_its_addresses() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    ip(&["address", "add", "10.2.0.1", "peer", "10.2.0.2/32", "dev", "dev0"]);
    ip(&["address", "add", "10.3.0.1/24", "broadcast", "10.3.0.254", "dev", "dev0"]);
    ip(&["address", "add", "2001:db8::1/64", "nodad", "dev", "dev0"]);
    ip(&["address", "add", "10.4.0.1/24", "scope", "link", "dev", "dev0"]);
    ip(&[
        "address",
        "add",
        "10.5.0.1/24",
        "valid_lft",
        "9999",
        "preferred_lft",
        "99",
        "dev",
        "dev0",
    ]);
    let before = link(None, "dev0").expect("the device");

    let container = test.serve(with_devices(test.bundle(), json!({ "dev0": {} })));
    let after = link(Some(container.pid), "dev0").expect("the device is in the container");
    assert_eq!(link(None, "dev0"), None, "it has left the host");
    assert!(is_up(&after), "{after}");
    let kept = ["10.1.0.1/24", "10.2.0.1/32", "10.3.0.1/24", "2001:db8::1/64"];
    assert_eq!(addresses(&after), kept, "not those of a link or for a time");
    assert_eq!(after["addr_info"][1]["address"], "10.2.0.2", "{after}");
    assert_eq!(after["addr_info"][2]["broadcast"], "10.3.0.254", "{after}");
    assert_eq!((&after["address"], &after["mtu"]), (&before["address"], &before["mtu"]));
    container.remove();
}

#[test]
fn a_device_gets_another_name() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    ip(&["address", "add", "10.6.0.1/24", "label", "dev0:web", "dev", "dev0"]);
    let container = test.serve(with_devices(test.bundle(), json!({ "dev0": { "name": "inner" } })));
    let inside = link(Some(container.pid), "inner").expect("the device");
    assert!(is_up(&inside));
    assert_eq!(addresses(&inside), ["10.1.0.1/24", "10.6.0.1/24"]);
    assert_eq!(link(Some(container.pid), "dev0"), None);
    if !test.excuses(&[Kind::Crun], "crun keeps the labels of the old name") {
        assert_eq!(inside["addr_info"][0]["label"], "inner");
        assert_eq!(inside["addr_info"][1]["label"], "inner:web");
    }
    // Outside a device may be called like that again at once.
    ip(&["link", "add", "dev0", "type", "veth", "peer", "name", "other"]);
    container.remove();
}

#[test]
fn a_device_that_was_down_is_up_inside() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    ip(&["link", "set", "dev0", "down"]);
    let container = test.serve(with_devices(test.bundle(), json!({ "dev0": {} })));
    assert!(is_up(&link(Some(container.pid), "dev0").expect("the device")));
    container.remove();
}

#[test]
fn devices_swap_their_names() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    cable("dev1", "10.2.0.1/24");
    let devices = json!({ "dev0": { "name": "dev1" }, "dev1": { "name": "dev0" } });
    let container = test.serve(with_devices(test.bundle(), devices));
    let inside = |name| addresses(&link(Some(container.pid), name).expect("the device"));
    assert_eq!(inside("dev1"), ["10.1.0.1/24"]);
    assert_eq!(inside("dev0"), ["10.2.0.1/24"]);
    container.remove();
}

#[test]
fn the_kernel_numbers_a_template() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    cable("dev1", "10.2.0.1/24");
    let devices = json!({ "dev0": { "name": "net%d" }, "dev1": { "name": "net%d" } });
    let bundle = with_devices(test.bundle(), devices);
    if test.excuses(&[Kind::Crun], "crun looks for a device that is called net%d") {
        return;
    }
    let container = test.serve(bundle);
    let inside = |name| link(Some(container.pid), name).expect("the device");
    assert!(is_up(&inside("net0")) && is_up(&inside("net1")));
    assert_eq!(addresses(&inside("net0")), ["10.1.0.1/24"]);
    assert_eq!(addresses(&inside("net1")), ["10.2.0.1/24"]);
    container.remove();
}

#[test]
fn a_namespace_by_path_keeps_the_device() {
    let Some(test) = test_of_net_devices() else { return };
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    cable("dev0", "10.1.0.1/24");
    let bundle = with_devices(test.bundle(), json!({ "dev0": { "name": "inner" } }));
    let container = test.serve(bundle.namespace("network", Some(&network(&other))));
    let inside = link(Some(other.pid), "inner").expect("the device is in the other's namespace");
    assert!(is_up(&inside));
    assert_eq!(addresses(&inside), ["10.1.0.1/24"]);
    // "MUST NOT attempt to move the interface out of the namespace before deletion".
    container.remove();
    assert!(link(Some(other.pid), "inner").is_some());
    other.remove();
}

#[test]
fn a_user_namespace_gets_a_device_of_the_machines_root() {
    let Some(test) = test_of_net_devices() else { return };
    needs!(Feature::UserNamespaces);
    cable("dev0", "10.1.0.1/24");
    let bundle = test.bundle().user_namespace(100_000, 65_536).capabilities(&["CAP_NET_ADMIN"]);
    let container = test.serve(with_devices(bundle, json!({ "dev0": { "name": "inner" } })));
    assert_eq!(
        addresses(&link(Some(container.pid), "inner").expect("the device")),
        ["10.1.0.1/24"]
    );
    container.exec(&["/bin/ip", "link", "set", "inner", "mtu", "1400"]).ok();
    assert_eq!(link(Some(container.pid), "inner").expect("the device")["mtu"], 1400);
    container.remove();
}

/// Whoever prepares the network in a hook, or by a sysctl, finds the device.
#[test]
fn hooks_and_sysctls_see_the_device() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    let log = |kind: &str| test.dir().join(format!("{kind}.log"));
    let hook = |script: String| json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let inside = format!("ip -br address show inner > {}", log("inside").display());
    let outside = format!(
        "pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); nsenter --net=/proc/$pid/ns/net ip -br address show inner > {}",
        log("outside").display()
    );
    let bundle = with_devices(test.bundle(), json!({ "dev0": { "name": "inner" } }));
    let bundle = bundle.edit(|config| {
        config["hooks"]["createRuntime"] = hook(outside);
        config["hooks"]["createContainer"] = hook(inside);
        config["linux"]["sysctl"] = json!({ "net.ipv4.conf.inner.forwarding": "1" });
    });
    let container = test.create(&bundle);
    for kind in ["outside", "inside"] {
        let text = std::fs::read_to_string(log(kind)).expect("the hook ran");
        assert!(text.contains("10.1.0.1/24"), "{kind}: {text:?}");
    }
    container.remove();
}

/// Can be read whenever a device of this network namespace changes or goes (rtnetlink(7)).
fn changes() -> OwnedFd {
    const RTMGRP_LINK: u32 = 1;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK)).expect("bind");
    socket
}

/// network_namespaces(7): the runtime does not have to do anything for it, and must not.
#[test]
fn a_virtual_device_ends_with_the_container() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    let container = test.serve(with_devices(test.bundle(), json!({ "dev0": {} })));
    let changes = changes();
    container.remove();
    // The other end of its cable goes with it, when the kernel comes to it.
    while link(None, "peer-dev0").is_some() {
        assert!(wait::readable(&changes, wait::DEADLINE), "the device is still there");
        rustix::net::recv(&changes, &mut [0; 65_536][..], RecvFlags::empty()).expect("a change");
    }
}

/// What "as if the operation were never attempted" (runtime.md, "Errors") means for a device.
#[track_caller]
fn is_as_before(before: &Value, routes: &str) {
    let after = link(None, "dev0").expect("the device is back");
    assert!(is_up(&after), "{after}");
    assert_eq!(addresses(&after), addresses(before));
    assert_eq!(after["addr_info"][1]["label"], "dev0:web", "{after}");
    assert_eq!((&after["address"], &after["mtu"]), (&before["address"], &before["mtu"]));
    assert_eq!(all_routes(), routes);
}

fn all_routes() -> String {
    let list = |family| wait::output(Command::new("ip").args([family, "route"])).ok().to_owned();
    // The link-local ones are the kernel's, in its order.
    let lines = list("-4") + &list("-6");
    lines.lines().filter(|line| !line.starts_with("fe80")).collect::<Vec<_>>().join("\n")
}

/// A device with all that could be lost, and a bundle that takes it.
fn precious(test: &Test) -> (Value, String, Bundle) {
    cable("dev0", "10.1.0.1/24");
    ip(&["address", "add", "10.6.0.1/24", "label", "dev0:web", "dev", "dev0"]);
    ip(&["address", "add", "2001:db8::1/64", "nodad", "dev", "dev0"]);
    ip(&["route", "add", "192.0.2.0/24", "via", "10.1.0.7", "metric", "77", "dev", "dev0"]);
    ip(&["-6", "route", "add", "2001:db8:9::/64", "via", "2001:db8::7", "dev", "dev0"]);
    let bundle = with_devices(test.bundle(), json!({ "dev0": { "name": "inner" } }));
    (link(None, "dev0").expect("the device"), all_routes(), bundle)
}

#[test]
fn a_failed_create_leaves_the_device_on_the_host() {
    let Some(test) = test_of_net_devices() else { return };
    let (before, routes, bundle) = precious(&test);
    type Change = fn(&mut Value);
    let failures: [(&str, Change); 4] = [
        ("exec", |config| config["process"]["args"] = json!(["/missing"])),
        (
            "mount",
            |config| config["mounts"][0] = json!({ "destination": "/proc", "type": "bind", "source": "/missing", "options": ["bind"] }),
        ),
        ("hook", |config| config["hooks"]["createRuntime"] = json!([{ "path": "/bin/false" }])),
        ("sysctl", |config| {
            config["linux"]["sysctl"] = json!({ "net.ipv4.conf.inner.missing": "1" })
        }),
    ];
    for (name, change) in failures {
        test.create_fails(&bundle.clone_with(&["/bin/true"]).edit(change));
        if test.excuses(&[Kind::Crun], "crun lets the kernel destroy a virtual device") {
            return;
        }
        println!("after {name}");
        is_as_before(&before, &routes);
    }
}

#[test]
fn what_fails_after_the_process_is_ready_brings_the_device_back_too() {
    let Some(test) = test_of_net_devices() else { return };
    let (before, routes, bundle) = precious(&test);
    let dir = bundle.dir.to_string_lossy().into_owned();
    let missing = test.dir().join("missing/pid");
    let pid_file = missing.to_string_lossy();
    let create = ["create", "--bundle", &dir, "--pid-file", &pid_file, test.id()];
    test.call(&create).fails();
    test.assert_clean();
    if test.excuses(&[Kind::Crun], "crun lets the kernel destroy a virtual device") {
        return;
    }
    is_as_before(&before, &routes);
    // Nothing is moved by a plan that cannot be carried out, either.
    let bundle = with_devices(bundle, json!({ "dev0": {}, "zzz": {} }));
    test.create_fails(&bundle).fails_with("zzz");
    is_as_before(&before, &routes);
    // And what comes back can go again.
    let container = test.serve(with_devices(bundle, json!({ "dev0": {} })));
    assert!(link(Some(container.pid), "dev0").is_some());
    container.remove();
}

#[test]
fn a_port_of_a_bridge_comes_back_as_one() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    ip(&["link", "add", "bridge0", "type", "bridge"]);
    ip(&["link", "set", "dev0", "master", "bridge0"]);
    let bundle = with_devices(test.bundle(), json!({ "dev0": {} }));
    test.create_fails(&bundle.args(&["/missing"]));
    if !test.excuses(&[Kind::Crun], "crun lets the kernel destroy a virtual device") {
        assert_eq!(link(None, "dev0").expect("the device")["master"], "bridge0");
    }
}

#[test]
fn a_name_that_is_taken_is_an_error() {
    let Some(test) = test_of_net_devices() else { return };
    let other = test.create_as("-other", &[], &test.bundle_named("other").serve());
    let (before, routes, bundle) = precious(&test);
    let path = network(&other);
    let enter = |arguments: &[&str]| {
        let net = format!("--net={}", path.display());
        wait::output(Command::new("nsenter").args([&net, "ip"]).args(arguments)).ok();
    };
    enter(&["link", "add", "inner", "type", "veth", "peer", "name", "outer"]);
    let bundle = bundle.namespace("network", Some(&path));
    let create = ["create", "--bundle", &bundle.dir.to_string_lossy(), test.id()];
    let failed = test.call(&create);
    failed.fails();
    if !test.excuses(&[Kind::Crun], "crun leaves the device there, under its old name") {
        failed.fails_with(r#"linux.netDevices[\"dev0\"]"#);
        failed.fails_with("file exists");
        is_as_before(&before, &routes);
        assert_eq!(link(Some(other.pid), "dev0"), None);
    }
    other.remove();
}

#[test]
fn what_cannot_move_is_an_error() {
    let Some(test) = test_of_net_devices() else { return };
    cable("dev0", "10.1.0.1/24");
    ip(&["link", "add", "bridge0", "type", "bridge"]);
    let rtn = test.runtime.is(Kind::Rtn);
    let refused = |bundle: Bundle, words: &str, path: &str| {
        let output = test.create_fails(&bundle);
        if rtn {
            output.fails_with(words);
            output.fails_with(path);
        }
        assert!(link(None, "dev0").is_some_and(|link| is_up(&link)), "it stays");
    };
    let bundle = test.bundle();
    let with = |devices: Value| with_devices(bundle.clone_with(&["/bin/true"]), devices);
    let device = |name: &str| with(json!({ name: {} }));
    refused(device("missing"), "no such device", r#"linux.netDevices[\"missing\"]"#);
    refused(device("bridge0"), "invalid argument", r#"linux.netDevices[\"bridge0\"]"#);
    let none = "without a private NET namespace";
    let at = "(config.json: linux.netDevices)";
    let thread = format!("/proc/{}/task/{}", std::process::id(), nix::unistd::gettid());
    let own = Path::new(&thread).join("ns/net");
    if !test.excuses(&[Kind::Crun], "crun moves a device to where it is") {
        refused(device("dev0").without_namespace("network"), none, at);
        refused(device("dev0").namespace("network", Some(&own)), none, at);
    }
    if test.excuses(&[Kind::Crun], "crun moves a device and looks at its name then") {
        return;
    }
    let named = |name: &str| with(json!({ "dev0": { "name": name } }));
    let at = r#"linux.netDevices[\"dev0\"].name"#;
    for name in ["0123456789abcdef", "a/b", "..", "a b", "lo"] {
        refused(named(name), "invalid network device name", at);
    }
    let twins = json!({ "dev0": { "name": "inner" }, "peer-dev0": { "name": "inner" } });
    refused(with(twins), "has it, too", r#"linux.netDevices[\"peer-dev0\"].name"#);
}
