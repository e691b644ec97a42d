//! What the child does to itself, last of all, to become the container's process: the same for
//! init and for exec.

mod attributes;
mod exec;
mod identity;
mod keyring;
pub(crate) mod rlimits;
mod scheduling;
mod terminal;

pub(crate) use attributes::{
    Label, Procfs, label_for_exec, no_new_privileges, personality, weigh_for_oom,
};
pub(crate) use exec::{find, home, replace};
pub(crate) use identity::{
    become_user, capabilities_before_ids, enter_cwd_as_root, enter_cwd_as_user, own_stdio,
};
pub(crate) use keyring::join as join_keyring;
pub(crate) use scheduling::{
    Pinned, set_final_cpus, set_io_priority, set_memory_policy, set_scheduler, use_all_cpus,
};
pub(crate) use terminal::open as open_terminal;
