//! config-linux.md, one file per part of the document.

use crate::Statement;

mod agent;
mod block_io;
mod cgroups;
mod cpu;
mod default_devices;
mod default_filesystems;
mod device_rules;
mod devices;
mod intel_rdt;
mod limits;
mod memory;
mod memory_policy;
mod namespace_paths;
mod namespaces;
pub(super) mod net_devices;
mod other_limits;
mod paths;
mod personality;
mod process_state;
mod resctrl;
mod rootfs_propagation;
mod seccomp;
mod seccomp_rules;
mod sysctl;
mod unified;
mod user_mappings;

/// The lists of this document's files, in the document's order.
pub const LISTS: &[&[Statement]] = &[
    default_filesystems::STATEMENTS,
    namespaces::STATEMENTS,
    namespace_paths::STATEMENTS,
    user_mappings::STATEMENTS,
    devices::STATEMENTS,
    default_devices::STATEMENTS,
    net_devices::STATEMENTS,
    cgroups::STATEMENTS,
    device_rules::STATEMENTS,
    memory::STATEMENTS,
    cpu::STATEMENTS,
    block_io::STATEMENTS,
    other_limits::STATEMENTS,
    unified::STATEMENTS,
    intel_rdt::STATEMENTS,
    memory_policy::STATEMENTS,
    sysctl::STATEMENTS,
    seccomp::STATEMENTS,
    seccomp_rules::STATEMENTS,
    process_state::STATEMENTS,
    rootfs_propagation::STATEMENTS,
    paths::STATEMENTS,
    personality::STATEMENTS,
];
