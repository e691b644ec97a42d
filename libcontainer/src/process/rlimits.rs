//! Resource limits of a process.

use oci_spec::runtime::PosixRlimitType as Type;
use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit as Limit, prlimit},
};

use crate::plan::process::Rlimit;

/// Sets one limit of `pid`, or of this process.
pub(crate) fn set(pid: Option<Pid>, limit: &Rlimit) -> Result<(), Errno> {
    let new = Limit { current: finite(limit.soft), maximum: finite(limit.hard) };
    prlimit(pid, resource(limit.resource), new).map(drop)
}

/// RLIM_INFINITY is the largest number.
fn finite(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

fn resource(resource: Type) -> Resource {
    match resource {
        Type::RlimitCpu => Resource::Cpu,
        Type::RlimitFsize => Resource::Fsize,
        Type::RlimitData => Resource::Data,
        Type::RlimitStack => Resource::Stack,
        Type::RlimitCore => Resource::Core,
        Type::RlimitRss => Resource::Rss,
        Type::RlimitNproc => Resource::Nproc,
        Type::RlimitNofile => Resource::Nofile,
        Type::RlimitMemlock => Resource::Memlock,
        Type::RlimitAs => Resource::As,
        Type::RlimitLocks => Resource::Locks,
        Type::RlimitSigpending => Resource::Sigpending,
        Type::RlimitMsgqueue => Resource::Msgqueue,
        Type::RlimitNice => Resource::Nice,
        Type::RlimitRtprio => Resource::Rtprio,
        Type::RlimitRttime => Resource::Rttime,
    }
}
