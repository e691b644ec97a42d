//! What a container is allowed.

use e2e_common::host;
use e2e_kubernetes::{
    Container, Pod,
    message::{Capability, Int64Value, ProfileType, SecurityProfile},
};

e2e_common::tests! {
    filtered_system_calls
    unfiltered_system_calls
    capabilities
    all_rights
    a_root_that_is_read_only
    a_user
    no_new_rights
    masked_paths
}

fn filtered_system_calls() {
    let pod = Pod::run();
    let container = pod.idle();
    assert_eq!(host::status(container.pid(), "Seccomp"), "2");
    assert_eq!(host::status(pod.pid(), "Seccomp"), "2");
    let refused = container.exec(&["unshare", "-U", "true"]);
    assert!(refused.status != 0 && refused.stderr.contains("not permitted"), "{refused:?}");
}

fn unfiltered_system_calls() {
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        let profile_type = ProfileType::Unconfined as i32;
        config.security().seccomp = Some(SecurityProfile { profile_type, ..Default::default() });
    });
    assert_eq!(host::status(container.pid(), "Seccomp"), "0");
}

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_ADMIN: u64 = 1 << 12;

/// The mask of a line of /proc/PID/status.
fn mask(container: &Container, set: &str) -> u64 {
    u64::from_str_radix(&host::status(container.pid(), set), 16).expect("a mask")
}

fn capabilities() {
    let pod = Pod::run();
    let usual = pod.idle();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.security().capabilities = Some(Capability {
            add_capabilities: vec!["NET_ADMIN".to_owned()],
            drop_capabilities: vec!["CHOWN".to_owned()],
        });
    });
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(mask(&usual, set) & (CHOWN | KILL | NET_ADMIN), CHOWN | KILL, "{set}");
        assert_eq!(mask(&container, set) & (CHOWN | KILL | NET_ADMIN), KILL | NET_ADMIN, "{set}");
    }
    assert_eq!(mask(&container, "CapInh"), 0);
    let none = pod.start_with(&["sleep", "1000"], |config| {
        let drop_capabilities = vec!["ALL".to_owned()];
        let add_capabilities = Vec::new();
        config.security().capabilities = Some(Capability { add_capabilities, drop_capabilities });
    });
    assert_eq!((mask(&none, "CapEff"), mask(&none, "CapBnd")), (0, 0));
}

fn all_rights() {
    let pod = Pod::with(|config| {
        let security =
            config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.privileged = true;
    });
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.security().privileged = true;
        config.security().seccomp = None;
    });
    assert_eq!(mask(&container, "CapEff"), host::capabilities() & host::all_capabilities());
    assert_eq!(host::status(container.pid(), "Seccomp"), "0");
    assert!(!host::mount_on(container.pid(), "/sys").has("ro"));
    assert_eq!(container.shell("test -c /dev/tty0 -o -c /dev/full && echo yes"), "yes");
}

fn a_root_that_is_read_only() {
    let pod = Pod::run();
    let container =
        pod.start_with(&["sleep", "1000"], |config| config.security().readonly_rootfs = true);
    let refused = container.exec(&["touch", "/file"]);
    assert!(refused.stderr.contains("Read-only file system"), "{refused:?}");
    container.exec(&["touch", "/dev/shm/file"]).ok();
}

fn a_user() {
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        let security = config.security();
        security.run_as_user = Some(Int64Value { value: 1000 });
        security.run_as_group = Some(Int64Value { value: 1000 });
        security.supplemental_groups = vec![3000];
    });
    assert_eq!(host::status(container.pid(), "Uid"), "1000 1000 1000 1000");
    assert_eq!(host::status(container.pid(), "Gid"), "1000 1000 1000 1000");
    assert_eq!(mask(&container, "CapEff"), 0);
    // 2000 by the image's /etc/group.
    let groups = container.shell("id -G");
    assert!(["1000", "2000", "3000"].iter().all(|group| groups.contains(group)), "{groups}");
    let named = pod.start_with(&["sleep", "1000"], |config| {
        config.security().run_as_username = "user".to_owned();
    });
    assert_eq!(named.shell("id -u"), "1000");
}

fn no_new_rights() {
    let pod = Pod::run();
    let container =
        pod.start_with(&["sleep", "1000"], |config| config.security().no_new_privs = true);
    assert_eq!(host::status(container.pid(), "NoNewPrivs"), "1");
    assert_eq!(container.shell("grep NoNewPrivs /proc/self/status | tr -dc 0-9"), "1");
    assert_eq!(host::status(pod.idle().pid(), "NoNewPrivs"), "0");
}

fn masked_paths() {
    let pod = Pod::run();
    let container = pod.start_with(&["sleep", "1000"], |config| {
        config.security().masked_paths = vec!["/proc/uptime".to_owned(), "/etc".to_owned()];
        config.security().readonly_paths = vec!["/proc/sys".to_owned(), "/home".to_owned()];
    });
    assert_eq!(container.shell("cat /proc/uptime; ls /etc"), "");
    assert!(container.exec(&["touch", "/home/file"]).stderr.contains("Read-only"));
    let refused = container.exec(&["sh", "-c", "echo x >/proc/sys/kernel/domainname"]);
    assert!(refused.stderr.contains("Read-only"), "{refused:?}");
}
