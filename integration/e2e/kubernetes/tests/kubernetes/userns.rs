//! Pods with `hostUsers: false`.

use e2e_common::host::{self, Skip};
use e2e_kubernetes::{
    Pod, daemon,
    message::{IdMapping, NamespaceMode, NamespaceOption, UserNamespace},
};

e2e_common::tests! {
    ids_of_its_own
    not_with_the_host_s_network
}

const FIRST: u32 = 1_000_000;
const LENGTH: u32 = 65536;

fn own_ids(namespaces: &mut NamespaceOption) {
    let map = vec![IdMapping { host_id: FIRST, container_id: 0, length: LENGTH }];
    namespaces.userns_options =
        Some(UserNamespace { mode: NamespaceMode::Pod as i32, uids: map.clone(), gids: map });
}

fn ids_of_its_own() -> Result<(), Skip> {
    daemon::since(2, 0)?;
    host::needs(daemon::shared().is_rtn(), "runtime that maps the ids of mounts")?;
    let pod = Pod::with(|config| {
        let namespaces = config.namespaces();
        namespaces.network = NamespaceMode::Pod as i32;
        own_ids(namespaces);
    });
    let (first, second) = (pod.idle(), pod.idle());
    let ids = host::status(first.pid(), "Uid");
    assert_eq!(ids, format!("{FIRST} {FIRST} {FIRST} {FIRST}"));
    let map = host::proc(first.pid(), "uid_map");
    let words: Vec<_> = map.split_whitespace().collect();
    assert_eq!(words, ["0", &FIRST.to_string(), &LENGTH.to_string()]);
    assert_eq!(host::namespace(first.pid(), "user"), host::namespace(second.pid(), "user"));
    // The image's files are root's for it, and what it writes is, too.
    assert_eq!(first.shell("stat -c %u:%g /bin/busybox"), "0:0");
    assert_eq!(first.shell("touch /new && stat -c %u:%g /new && id -u"), "0:0\n0");
    let address = pod.status().network.expect("it has a network").ip;
    assert!(second.shell("ip addr show eth0").contains(&address));
    Ok(())
}

fn not_with_the_host_s_network() -> Result<(), Skip> {
    daemon::since(2, 0)?;
    let mut config = e2e_kubernetes::pod::config();
    own_ids(config.namespaces());
    let refused = Pod::of(config, daemon::HANDLER).expect_err("one excludes the other");
    assert!(refused.message().contains("user"), "{refused}");
    assert_eq!(Pod::run().idle().shell("echo still"), "still");
    Ok(())
}
