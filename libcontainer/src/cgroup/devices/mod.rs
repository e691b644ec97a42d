//! Which devices a container may use: the rules of config.json as one normal form, and that form
//! as v1 writes or as the v2 program ([`program`]).
//!
//! A rule list is order-dependent and can contradict itself; the kernel's v1 controller resolves
//! contradictions silently, sometimes to more access than was written. The normal form is what is
//! left: a default and the exceptions from it. A list that the kernel could not express is refused.

pub(super) mod program;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::write::{Need, Sink};
use crate::spec::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

const AT: &str = "devices";

/// BPF_DEVCG_ACC_* (linux/bpf.h); the v1 letters are in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Access(u32);

impl Access {
    const MKNOD: Self = Self(1);
    const READ: Self = Self(2);
    const WRITE: Self = Self(4);
    const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        text.chars().try_fold(Self::default(), |access, letter| match letter {
            'r' => Some(Self(access.0 | Self::READ.0)),
            'w' => Some(Self(access.0 | Self::WRITE.0)),
            'm' => Some(Self(access.0 | Self::MKNOD.0)),
            _ => None,
        })
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")]
            .into_iter()
            .filter(|(access, _)| self.meets(*access))
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Block,
    Char,
}

/// A device or a family of devices; `None` is any number. The order is that of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    major: Option<u32>,
    minor: Option<u32>,
    node: Node,
}

impl Key {
    fn covers(&self, other: &Self) -> bool {
        let number = |mine: Option<u32>, its: Option<u32>| mine.is_none() || mine == its;
        self.node == other.node
            && number(self.major, other.major)
            && number(self.minor, other.minor)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<u32>| value.map_or("*".to_owned(), |value| value.to_string());
        let node = if self.node == Node::Block { 'b' } else { 'c' };
        write!(f, "{node} {}:{}", number(self.major), number(self.minor))
    }
}

/// A default and the exceptions from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    allow_by_default: bool,
    exceptions: BTreeMap<Key, Access>,
}

impl Rules {
    fn apply(&mut self, allow: bool, key: Key, access: Access) -> Result<(), String> {
        if allow == self.allow_by_default {
            self.remove(key, access)
        } else {
            let merged = self.exceptions.entry(key).or_default();
            *merged = merged.with(access);
            Ok(())
        }
    }

    fn reset(&mut self, allow: bool) {
        *self = Self { allow_by_default: allow, exceptions: BTreeMap::new() };
    }

    /// Takes `access` from every exception that `key` covers. An exception that is wider than
    /// `key` cannot be punched: the kernel would keep it whole, and say nothing.
    fn remove(&mut self, key: Key, access: Access) -> Result<(), String> {
        let wider = [(None, None), (key.major, None), (None, key.minor)]
            .map(|(major, minor)| Key { major, minor, ..key })
            .into_iter()
            .filter(|wide| *wide != key)
            .filter_map(|wide| Some((wide, *self.exceptions.get(&wide)?)))
            .find(|(_, had)| had.meets(access));
        if let Some((wide, had)) = wider {
            return Err(format!(
                "cannot punch hole in existing wildcard rule \"{wide} {had}\" with \"{key} {access}\""
            ));
        }
        for kept in self.covered(key) {
            let had = self.exceptions.remove(&kept).unwrap_or_default().without(access);
            if !had.is_empty() {
                self.exceptions.insert(kept, had);
            }
        }
        Ok(())
    }

    /// The exceptions that are part of `key`. Those with one major number lie side by side, which
    /// matters for a list of some ten thousand.
    fn covered(&self, key: Key) -> Vec<Key> {
        let (first, last) = match (key.major, key.minor) {
            (Some(_), Some(_)) => (key, key),
            (Some(_), None) => {
                (Key { minor: None, ..key }, Key { minor: Some(u32::MAX), node: Node::Char, ..key })
            }
            (None, _) => (
                Key { major: None, minor: None, node: Node::Block },
                Key { major: Some(u32::MAX), minor: Some(u32::MAX), node: Node::Char },
            ),
        };
        let first = Key { node: Node::Block, ..first };
        let last = Key { node: Node::Char, ..last };
        let range = self.exceptions.range(first..=last);
        range.map(|(kept, _)| *kept).filter(|kept| key.covers(kept)).collect()
    }
}

/// An exception, for who has other words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) block: bool,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    /// Of `rwm`.
    pub(super) access: String,
}

/// Whether devices are allowed by default, and what is excepted.
pub(super) fn exceptions(rules: &Rules) -> (bool, Vec<Rule>) {
    let rule = |(key, access): (&Key, &Access)| Rule {
        block: key.node == Node::Block,
        major: key.major,
        minor: key.minor,
        access: access.to_string(),
    };
    (rules.allow_by_default, rules.exceptions.iter().map(rule).collect())
}

/// The compiled device rules of a container on cgroup v2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Devices {
    /// `allow` or `deny`: what happens to a device without an exception.
    pub default: &'static str,
    /// The exceptions, in the notation of cgroup v1: `c 1:3 rwm`.
    pub exceptions: Vec<String>,
    /// Without the right to load a program the container starts without it.
    #[serde(skip)]
    pub(super) need: Need,
    #[serde(skip)]
    pub(super) program: Vec<u64>,
}

/// The v1 form: one write that sets the default, then one for each exception.
pub(super) fn v1(rules: &Rules, need: Need, sink: &mut Sink<'_>) {
    let file = |allow| if allow { "devices.allow" } else { "devices.deny" };
    let mut put = |allow, line: String| {
        sink.put("devices", file(allow), line, AT).need = need;
    };
    put(rules.allow_by_default, "a".to_owned());
    for (key, access) in &rules.exceptions {
        put(!rules.allow_by_default, format!("{key} {access}"));
    }
}

pub(super) fn v2(rules: &Rules, need: Need) -> Devices {
    Devices {
        default: if rules.allow_by_default { "allow" } else { "deny" },
        exceptions: rules
            .exceptions
            .iter()
            .map(|(key, access)| format!("{key} {access}"))
            .collect(),
        need,
        program: program::compile(rules),
    }
}

/// The normal form of what decides about devices: config.json's rules, then the default devices that
/// no device of config.json replaces (config-linux.md, "Default Devices"). Faults go to `sink`.
pub(super) fn rules(
    listed: &[LinuxDeviceCgroup],
    nodes: &[LinuxDevice],
    sink: &mut Sink<'_>,
) -> Rules {
    let mut rules = Rules::default();
    for (index, rule) in listed.iter().enumerate() {
        let at = format!("{AT}[{index}]");
        if let Some((keys, access)) = parse(rule, &at, sink)
            && let Err(fault) = take(&mut rules, rule.allow(), &keys, access)
        {
            sink.fault(&at, fault);
        }
    }
    for (path, key, access) in defaults() {
        let replaced = nodes.iter().any(|node| path.is_some_and(|path| node.path() == path));
        if !replaced {
            // Where a rule denies a whole family that a default device is in, the rule wins.
            let _ = rules.apply(true, key, access);
        }
    }
    rules
}

fn take(rules: &mut Rules, allow: bool, keys: &[Key], access: Access) -> Result<(), String> {
    let everything =
        keys.len() == 2 && keys.iter().all(|key| key.major.is_none() && key.minor.is_none());
    if everything && access == Access::ALL {
        rules.reset(allow);
        return Ok(());
    }
    keys.iter().try_for_each(|key| rules.apply(allow, *key, access))
}

/// A rule's devices (both kinds for type `a`) and access.
fn parse(rule: &LinuxDeviceCgroup, at: &str, sink: &mut Sink<'_>) -> Option<(Vec<Key>, Access)> {
    let nodes: &[Node] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => &[Node::Block, Node::Char],
        LinuxDeviceType::B => &[Node::Block],
        LinuxDeviceType::C | LinuxDeviceType::U => &[Node::Char],
        LinuxDeviceType::P => {
            sink.fault(&format!("{at}.type"), "invalid cgroup device type \"p\"");
            return None;
        }
    };
    let major = number(rule.major(), &format!("{at}.major"), sink)?;
    let minor = number(rule.minor(), &format!("{at}.minor"), sink)?;
    let access = rule.access().as_deref().unwrap_or_default();
    let at = format!("{at}.access");
    let parsed = match Access::parse(access) {
        Some(access) if access.is_empty() => {
            sink.fault(&at, "device access field cannot be empty");
            return None;
        }
        Some(access) => access,
        None => {
            sink.fault(&at, format!("device access {access:?} is not made of r, w and m"));
            return None;
        }
    };
    Some((nodes.iter().map(|node| Key { major, minor, node: *node }).collect(), parsed))
}

/// Absent and -1 are any number.
fn number(value: Option<i64>, at: &str, sink: &mut Sink<'_>) -> Option<Option<u32>> {
    match value {
        None | Some(-1) => Some(None),
        Some(value) => match u32::try_from(value) {
            Ok(value) => Some(Some(value)),
            Err(_) => {
                sink.fault(at, format!("{value} is not a device number"));
                None
            }
        },
    }
}

/// mknod of anything is harmless where opening it is not allowed; the rest are the devices that
/// every container has (config-linux.md), its terminals, and tunnels: programs that make themselves a
/// /dev/net/tun rely on it (opencontainers/runc#4555).
fn defaults() -> impl Iterator<Item = (Option<&'static str>, Key, Access)> {
    let any = |node| (None, Key { major: None, minor: None, node }, Access::MKNOD);
    let char = |path, major, minor| {
        (path, Key { major: Some(major), minor, node: Node::Char }, Access::ALL)
    };
    [
        any(Node::Char),
        any(Node::Block),
        char(Some("/dev/null"), 1, Some(3)),
        char(Some("/dev/zero"), 1, Some(5)),
        char(Some("/dev/full"), 1, Some(7)),
        char(Some("/dev/random"), 1, Some(8)),
        char(Some("/dev/urandom"), 1, Some(9)),
        char(Some("/dev/tty"), 5, Some(0)),
        char(None, 5, Some(2)),
        char(None, 10, Some(200)),
        char(None, 136, None),
    ]
    .map(|(path, key, access): (Option<&str>, _, _)| (path, key, access))
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tests::faults_of;

    pub(super) const DEFAULTS: [&str; 11] = [
        "b *:* m",
        "c *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
        "c 10:200 rwm",
        "c 136:* rwm",
    ];

    fn normal(rules: &str, nodes: &str) -> (Devices, Vec<String>) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(rules).expect("rules");
        let nodes: Vec<LinuxDevice> = serde_json::from_str(nodes).expect("nodes");
        let mut faults = Vec::new();
        let mut sink = Sink::new(true, &mut faults);
        let devices = v2(&super::rules(&rules, &nodes, &mut sink), Need::Required);
        (devices, faults_of(&faults))
    }

    fn exceptions(rules: &str) -> (&'static str, Vec<String>) {
        let (devices, faults) = normal(rules, "[]");
        assert_eq!(faults, Vec::<String>::new());
        (devices.default, devices.exceptions)
    }

    /// GHSA-g54h-m393-cpwq: without any rule, nothing but the defaults.
    #[test]
    fn no_rules_deny_by_default() {
        assert_eq!(exceptions("[]"), ("deny", DEFAULTS.map(str::to_owned).to_vec()));
        let none = r#"[{"allow":false,"access":"rwm"}]"#;
        assert_eq!(exceptions(none), ("deny", DEFAULTS.map(str::to_owned).to_vec()));
    }

    #[test]
    fn everything_allowed_leaves_nothing_to_except() {
        let all = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"a","major":-1,"minor":-1,"access":"rwm"}]"#;
        assert_eq!(exceptions(all), ("allow", vec![]));
        let but =
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"rw"}]"#;
        assert_eq!(exceptions(but), ("allow", vec!["b 8:* rw".to_owned()]));
    }

    /// A partial rule for all devices does not become one for all access, and one with a number
    /// does not become one for all numbers.
    #[test]
    fn type_a_means_both_kinds_and_no_more() {
        let read = r#"[{"allow":true,"type":"a","access":"r"}]"#;
        let (default, list) = exceptions(read);
        assert_eq!(
            (default, &list[..2]),
            ("deny", &["b *:* rm".to_owned(), "c *:* rm".to_owned()][..])
        );
        let one = r#"[{"allow":true,"major":10,"minor":229,"access":"rw"}]"#;
        let (default, list) = exceptions(one);
        assert_eq!(default, "deny");
        assert!(
            list.contains(&"b 10:229 rw".to_owned()) && list.contains(&"c 10:229 rw".to_owned())
        );
    }

    #[test]
    fn the_last_rule_wins() {
        let list = r#"[{"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
            {"allow":true,"type":"c","major":10,"minor":1,"access":"rw"},
            {"allow":false,"type":"c","major":10,"access":"w"}]"#;
        let (_, list) = exceptions(list);
        assert!(list.contains(&"c 10:229 rm".to_owned()) && list.contains(&"c 10:1 r".to_owned()));
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused() {
        let (_, faults) = normal(
            r#"[{"allow":true,"type":"c","major":10,"access":"rw"},
                {"allow":false,"type":"c","major":10,"minor":229,"access":"w"}]"#,
            "[]",
        );
        assert_eq!(
            faults,
            [
                "cannot punch hole in existing wildcard rule \"c 10:* rw\" with \"c 10:229 w\" @devices[1]"
            ]
        );
    }

    #[test]
    fn a_device_of_config_json_replaces_the_default() {
        let (devices, _) = normal("[]", r#"[{"path":"/dev/tty","type":"c","major":5,"minor":1}]"#);
        assert!(!devices.exceptions.contains(&"c 5:0 rwm".to_owned()));
    }

    #[test]
    fn wrong_rules_have_a_path() {
        let (_, faults) = normal(
            r#"[{"allow":true,"type":"p","access":"r"},{"allow":true,"type":"c"},
                {"allow":true,"type":"c","major":-2,"access":"r"},
                {"allow":true,"type":"c","access":"x"}]"#,
            "[]",
        );
        assert_eq!(
            faults,
            [
                "invalid cgroup device type \"p\" @devices[0].type",
                "device access field cannot be empty @devices[1].access",
                "-2 is not a device number @devices[2].major",
                "device access \"x\" is not made of r, w and m @devices[3].access",
            ]
        );
    }

    #[test]
    fn v1_sets_the_default_first() {
        let mut faults = Vec::new();
        let mut sink = Sink::new(true, &mut faults);
        let none = rules(&[], &[], &mut sink);
        v1(&none, Need::Required, &mut sink);
        let lines: Vec<_> =
            sink.writes.iter().map(|write| format!("{} {}", write.file, write.value)).collect();
        assert_eq!(
            lines[..3],
            ["devices.deny a", "devices.allow b *:* m", "devices.allow c *:* m"]
        );
        assert_eq!(lines.len(), 12);
    }
}
