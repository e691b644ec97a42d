//! The driver that asks systemd for the cgroup: a transient scope, with systemd's names for the
//! limits (systemd.resource-control(5)), so that its own bookkeeping agrees with the files.
//!
//! ```text
//! unit        slice:prefix:name ─▶ Unit ─▶ directories          pure
//! properties  Write, device rules, annotations ─▶ Property      pure
//! text        'uint64 5' ─▶ Value                               pure
//! wire        Value ─▶ bytes ─▶ Message                         pure
//! address     where it listens
//! bus         a connection to the system's or the user's systemd
//! manager     StartTransientUnit and what else of its interface is used
//! driver      who owns the directories
//! ```
//!
//! D-Bus is spoken directly: a handful of message shapes over one socket, each answer with a
//! deadline, and no thread.

mod address;
mod bus;
mod driver;
mod manager;
mod properties;
mod text;
mod unit;
mod value;
mod wire;

pub(super) use self::unit::expand;
pub(super) use self::{
    driver::Systemd,
    properties::{device_properties, from_annotations, from_writes, round_quota},
    unit::{directories, unit},
};
pub use self::{properties::Property, unit::Unit};
