//! Network devices on their way into a container (runtime-spec, config-linux.md "Network
//! Devices"): the messages, what they are about, and the move.

mod address;
mod link;
mod netlink;
mod transfer;

pub(crate) use transfer::Transfer;
