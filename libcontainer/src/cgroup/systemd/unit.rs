//! Which unit a container is, and where systemd puts its cgroup. Pure.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{properties::Property, value::Value};
use crate::{
    cgroup::Hierarchies,
    error::{Error, Result},
};

const AT: &str = "linux.cgroupsPath";

/// A transient unit: what state.json has to remember to find it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// The slice that it is in.
    pub(super) slice: String,
    /// A scope, or a slice of its own.
    pub(super) name: String,
    /// Whether it belongs to a user's systemd.
    pub(super) user: bool,
    pub(super) description: String,
}

/// Reads `slice:prefix:name`. An absent path is `system.slice` (`user.slice` of a user's systemd),
/// prefix `runc`, as runc has it; a name that ends in `.slice` is a unit of its own.
///
/// # Errors
/// Another form, or a slice whose name cannot be.
pub(in crate::cgroup) fn unit(path: Option<&Path>, id: &str, rootless: bool) -> Result<Unit> {
    let default = if rootless { "user.slice" } else { "system.slice" };
    let unit = |slice: &str, name: String| Unit {
        slice: slice.to_owned(),
        name,
        user: rootless,
        description: format!("libcontainer container {id}"),
    };
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        let name = format!("runc-{id}.scope");
        check_name(&name)?;
        return Ok(unit(default, name));
    };
    let text = path.to_string_lossy();
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        return Err(Error::config(
            AT,
            format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead"
            ),
        ));
    };
    let slice = if slice.is_empty() { default } else { slice };
    check_slice(slice)?;
    let name = match (prefix, name) {
        (_, name) if name.ends_with(".slice") => name.to_owned(),
        ("", name) => format!("{name}.scope"),
        (prefix, name) => format!("{prefix}-{name}.scope"),
    };
    check_name(&name)?;
    Ok(unit(slice, name))
}

/// systemd.slice(5): dashes are the hierarchy, so none may be doubled, first or last.
fn check_slice(slice: &str) -> Result<()> {
    let stem = slice.strip_suffix(".slice").unwrap_or_default();
    let root = slice == "-.slice";
    let wrong = slice.contains('/') || stem.is_empty() || stem.split('-').any(str::is_empty);
    if wrong && !root {
        return Err(Error::config(AT, format!("invalid slice name: {slice}")));
    }
    Ok(())
}

/// systemd.unit(5), "Unit names".
fn check_name(name: &str) -> Result<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if stem.is_empty() || name.len() > 255 || !name.bytes().all(valid) {
        return Err(Error::config(AT, format!("invalid unit name: {name}"))
            .hint("letters, digits and : - _ . \\ @, at most 255"));
    }
    if name.ends_with(".slice") { check_slice(name) } else { Ok(()) }
}

/// The directory of each v1 controller, and of v2 under the empty key.
pub(in crate::cgroup) fn directories(
    unit: &Unit,
    uid: u32,
    host: &Hierarchies,
) -> BTreeMap<String, PathBuf> {
    let mut paths = BTreeMap::new();
    for hierarchy in &host.v1 {
        let directory = inside(&hierarchy.mount, unit, uid, &hierarchy.own);
        for controller in &hierarchy.controllers {
            paths.insert(controller.clone(), directory.clone());
        }
    }
    if let Some(unified) = &host.unified {
        paths.insert(String::new(), inside(&unified.mount, unit, uid, &unified.own));
    }
    paths
}

fn inside(mount: &Path, unit: &Unit, uid: u32, own: &Path) -> PathBuf {
    let base = match unit.user {
        true => user_manager(own, uid),
        false => PathBuf::new(),
    };
    let mut path = mount.join(base);
    path.extend(expand(&unit.slice));
    path.join(&unit.name)
}

/// `a-b.slice` is in `a.slice`; the root slice is the hierarchy's root.
pub(in crate::cgroup) fn expand(slice: &str) -> Vec<String> {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.filter(|end| *end > 0 && stem != "-")
        .map(|end| format!("{}.slice", &stem[..end]))
        .collect()
}

/// The cgroup of the user's systemd: beside the sessions of the user to whom this process belongs,
/// whose number may be another one in here.
fn user_manager(own: &Path, uid: u32) -> PathBuf {
    let mut base = PathBuf::new();
    for component in own.components() {
        let Component::Normal(name) = component else { continue };
        base.push(name);
        let user = name.to_str().and_then(|name| {
            name.strip_prefix("user-")?.strip_suffix(".slice")?.parse::<u32>().ok()
        });
        if let Some(uid) = user {
            return base.join(format!("user@{uid}.service"));
        }
    }
    format!("user.slice/user-{uid}.slice/user@{uid}.service").into()
}

impl Unit {
    /// A slice is made without a process, and lives without one.
    pub(super) fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// What makes it a container's unit: `Delegate` is systemd's promise to leave the cgroups
    /// below alone.
    pub(super) fn properties(&self, pid: Option<i32>) -> Vec<Property> {
        let mut properties = vec![
            Property::new("Description", Value::string(&self.description)),
            Property::new("DefaultDependencies", Value::Boolean(false)),
        ];
        match (self.is_slice(), pid) {
            (true, _) => properties.push(Property::new("Wants", Value::strings([&*self.slice]))),
            (false, pid) => {
                let pids = pid.map(|pid| Value::Uint32(pid.cast_unsigned()));
                let pids = Value::Array("u".into(), pids.into_iter().collect());
                properties.push(Property::new("Slice", Value::string(&self.slice)));
                properties.push(Property::new("Delegate", Value::Boolean(true)));
                properties.push(Property::new("PIDs", pids));
            }
        }
        for name in ["CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"] {
            properties.push(Property::new(name, Value::Boolean(true)).dispensable());
        }
        // Or one that was killed for want of memory would be known until somebody resets it.
        let collect = Value::string("inactive-or-failed");
        properties.push(Property::new("CollectMode", collect).dispensable());
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Unified;

    fn named(path: &str) -> Result<(String, String), String> {
        unit(Some(Path::new(path)), "c1", false)
            .map(|unit| (unit.slice, unit.name))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn three_parts_name_slice_and_scope() {
        assert_eq!(named("a-b.slice:cri:c1"), Ok(("a-b.slice".into(), "cri-c1.scope".into())));
        assert_eq!(named(":docker:c1"), Ok(("system.slice".into(), "docker-c1.scope".into())));
        assert_eq!(named("x.slice::c1"), Ok(("x.slice".into(), "c1.scope".into())));
        assert_eq!(named("x.slice:p:y.slice"), Ok(("x.slice".into(), "y.slice".into())));
    }

    #[test]
    fn absent_is_the_system_slice() {
        let unit = unit(None, "c1", false).expect("unit");
        assert_eq!((unit.slice.as_str(), unit.name.as_str()), ("system.slice", "runc-c1.scope"));
    }

    #[test]
    fn other_forms_are_refused() {
        assert!(named("/a/b").is_err_and(|text| text.contains("slice:prefix:name")));
        for slice in ["a/b.slice", "a--b.slice", "-a.slice", "a", ".slice"] {
            assert!(named(&format!("{slice}:p:n")).is_err_and(|text| text.contains("slice name")));
        }
        for name in ["a/b", "a b", "ä", &"x".repeat(300)] {
            assert!(named(&format!(":p:{name}")).is_err_and(|text| text.contains("unit name")));
        }
    }

    #[test]
    fn slices_are_nested_by_their_names() {
        assert_eq!(expand("a-b-c.slice"), ["a.slice", "a-b.slice", "a-b-c.slice"]);
        assert_eq!(expand("system.slice"), ["system.slice"]);
        assert!(expand("-.slice").is_empty());
    }

    fn place(own: &str, rootless: bool) -> PathBuf {
        let unified =
            Unified { mount: "/sys/fs/cgroup".into(), own: own.into(), controllers: Vec::new() };
        let host = Hierarchies { v1: Vec::new(), unified: Some(unified) };
        let unit = unit(None, "c", rootless).unwrap();
        directories(&unit, 7, &host).remove("").unwrap()
    }

    #[test]
    fn a_users_units_are_below_the_users_systemd() {
        let session = "/user.slice/user-1000.slice/session-3.scope";
        let expected = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice";
        assert_eq!(place(session, true), Path::new(expected).join("runc-c.scope"));
        assert_eq!(
            place("/system.slice/x.service", true),
            Path::new(
                "/sys/fs/cgroup/user.slice/user-7.slice/user@7.service/user.slice/runc-c.scope"
            )
        );
        assert_eq!(place(session, false), Path::new("/sys/fs/cgroup/system.slice/runc-c.scope"));
    }
}
