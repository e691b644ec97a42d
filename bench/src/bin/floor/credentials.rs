//! What the process may do.

use rustix::{
    process::{Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{
    Options,
    calls::{ok, raw},
};

const LAST_CAPABILITY: u32 = 40;

/// rlimits, keyring, capabilities and the filter. Installing the filter without no_new_privs
/// takes CAP_SYS_ADMIN, so Docker's comes before the capabilities go.
pub(crate) fn set(options: &Options) {
    raw(
        libc::SYS_keyctl,
        [1 /* KEYCTL_JOIN_SESSION_KEYRING */, c"floor".as_ptr() as usize, 0, 0, 0],
    );
    match &options.filter {
        Some(filter) => {
            install(filter);
            capabilities(0x0000_0000_a804_25fb);
        }
        None => {
            let limit = Rlimit { current: Some(1024), maximum: Some(1024) };
            ok("setrlimit", rustix::process::setrlimit(Resource::Nofile, limit));
            capabilities(1 << 5 | 1 << 10 | 1 << 29);
            ok("no_new_privs", rustix::thread::set_no_new_privs(true));
        }
    }
}

fn capabilities(kept: u64) {
    for capability in (0..=LAST_CAPABILITY).filter(|n| kept & 1 << n == 0) {
        let set = CapabilitySet::from_bits_retain(1 << capability);
        ok("bounding", rustix::thread::remove_capability_from_bounding_set(set));
    }
    let kept = CapabilitySet::from_bits_retain(kept);
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
    ok("capset", rustix::thread::set_capabilities(None, sets));
}

fn install(filter: &[u8]) {
    let program = libc::sock_fprog {
        len: (filter.len() / 8) as u16,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    raw(libc::SYS_seccomp, [1 /* SECCOMP_SET_MODE_FILTER */, 0, &raw const program as usize, 0, 0]);
}
