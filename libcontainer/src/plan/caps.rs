//! process.capabilities: five sets as bits.

use std::{collections::HashSet, str::FromStr};

use oci_spec::runtime::{Capability, LinuxCapabilities};
use serde::{Serialize, Serializer};

/// The five sets of capabilities(7), as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    #[serde(serialize_with = "names")]
    pub bounding: u64,
    #[serde(serialize_with = "names")]
    pub effective: u64,
    #[serde(serialize_with = "names")]
    pub permitted: u64,
    #[serde(serialize_with = "names")]
    pub inheritable: u64,
    #[serde(serialize_with = "names")]
    pub ambient: u64,
}

/// What `capabilities` asks for, as far as this host can give it: `available` are the bits that
/// the runtime may hand on. The specification wants a warning, not a failure, for the rest.
pub(super) fn plan(
    capabilities: Option<&LinuxCapabilities>,
    available: u64,
    warnings: &mut Vec<String>,
) -> Capabilities {
    let Some(capabilities) = capabilities else { return Capabilities::default() };
    let mut missing = 0;
    let mut set = |wanted: &Option<HashSet<Capability>>| {
        let wanted = wanted.iter().flatten().fold(0, |bits, capability| bits | bit(*capability));
        missing |= wanted & !available;
        wanted & available
    };
    let sets = Capabilities {
        bounding: set(capabilities.bounding()),
        effective: set(capabilities.effective()),
        permitted: set(capabilities.permitted()),
        inheritable: set(capabilities.inheritable()),
        ambient: set(capabilities.ambient()),
    };
    if missing != 0 {
        let missing = list(missing).join(", ");
        warnings.push(format!("ignoring unknown or unavailable capabilities: {missing}"));
    }
    // The kernel raises an ambient capability only if it is permitted and inheritable, and an
    // effective one only if it is permitted (capabilities(7)).
    let mut raise = |name: &str, wanted: u64, within: u64, needs: &str| {
        if wanted & !within != 0 {
            let left_out = list(wanted & !within).join(", ");
            warnings
                .push(format!("can't raise {name} capabilities that are not {needs}: {left_out}"));
        }
        wanted & within
    };
    let both = sets.permitted & sets.inheritable;
    Capabilities {
        effective: raise("effective", sets.effective, sets.permitted, "permitted"),
        ambient: raise("ambient", sets.ambient, both, "permitted and inheritable"),
        ..sets
    }
}

fn bit(capability: Capability) -> u64 {
    caps::Capability::from_str(&format!("CAP_{capability}"))
        .map_or(0, |capability| capability.bitmask())
}

/// The names of `bits`, in the kernel's order.
pub fn list(bits: u64) -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_by_key(caps::Capability::index);
    all.retain(|capability| bits & capability.bitmask() != 0);
    all.iter().map(ToString::to_string).collect()
}

fn names<S: Serializer>(bits: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list(*bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, available: u64) -> (Capabilities, Vec<String>) {
        let mut warnings = Vec::new();
        let capabilities = serde_json::from_str(json).unwrap();
        (plan(Some(&capabilities), available, &mut warnings), warnings)
    }

    #[test]
    fn every_capability_of_the_specification_has_a_bit() {
        let all: Vec<_> = list(u64::MAX).iter().map(|name| format!("{name:?}")).collect();
        let json = format!(r#"{{"bounding":[{}]}}"#, all.join(","));
        let (sets, _) = read(&json, u64::MAX);
        assert_eq!(sets.bounding.count_ones() as usize, all.len());
        assert_eq!(sets.bounding, (1 << all.len()) - 1);
    }

    #[test]
    fn what_the_host_lacks_is_left_out_with_a_warning() {
        let (sets, warnings) =
            read(r#"{"permitted":["CAP_CHOWN","CAP_KILL"],"effective":["CAP_KILL"]}"#, 1);
        assert_eq!((sets.permitted, sets.effective), (1, 0));
        assert_eq!(warnings, ["ignoring unknown or unavailable capabilities: CAP_KILL"]);
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let (sets, warnings) = read(
            r#"{"permitted":["CAP_CHOWN","CAP_KILL"],"inheritable":["CAP_KILL"],"ambient":["CAP_CHOWN","CAP_KILL"]}"#,
            u64::MAX,
        );
        assert_eq!(sets.ambient, 1 << 5);
        assert_eq!(
            warnings,
            ["can't raise ambient capabilities that are not permitted and inheritable: CAP_CHOWN"]
        );
    }

    #[test]
    fn effective_needs_permitted() {
        let (sets, warnings) =
            read(r#"{"permitted":["CAP_KILL"],"effective":["CAP_CHOWN","CAP_KILL"]}"#, u64::MAX);
        assert_eq!(sets.effective, 1 << 5);
        assert_eq!(
            warnings,
            ["can't raise effective capabilities that are not permitted: CAP_CHOWN"]
        );
    }
}
