//! The names of the systemd cgroup driver. Talking to systemd is not done here: a plan that asks
//! for this driver is refused with the unit that it would need.

use std::path::Path;

use crate::error::{Error, Kind};

const AT: &str = "linux.cgroupsPath";

/// The transient unit that cgroupsPath names: `slice:prefix:name` (runc's systemd driver).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    slice: String,
    scope: String,
}

/// Reads `slice:prefix:name`. An absent path is `system.slice` (`user.slice` rootless), prefix
/// `runc`, as runc has it; a name that ends in `.slice` is a unit of its own.
pub(super) fn unit(path: Option<&Path>, id: &str, rootless: bool) -> Result<Unit, Error> {
    let default = if rootless { "user.slice" } else { "system.slice" };
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(Unit { slice: default.into(), scope: format!("runc-{id}.scope") });
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
    let scope = match (prefix, name) {
        (_, name) if name.ends_with(".slice") => name.to_owned(),
        ("", name) => format!("{name}.scope"),
        (prefix, name) => format!("{prefix}-{name}.scope"),
    };
    Ok(Unit { slice: slice.to_owned(), scope })
}

/// systemd.slice(5): dashes are the hierarchy, so none may be doubled, first or last.
fn check_slice(slice: &str) -> Result<(), Error> {
    let stem = slice.strip_suffix(".slice").unwrap_or_default();
    let root = slice == "-.slice";
    let wrong = slice.contains('/') || stem.is_empty() || stem.split('-').any(str::is_empty);
    if wrong && !root {
        return Err(Error::config(AT, format!("invalid slice name: {slice}")));
    }
    Ok(())
}

/// Why this plan cannot be carried out.
pub(super) fn unsupported(unit: &Unit) -> Error {
    let Unit { slice, scope } = unit;
    Error::new(
        Kind::Unsupported,
        format!(
            "cannot start the unit {scope:?} in {slice:?}: systemd cgroup driver not available"
        ),
    )
    .hint("leave out --systemd-cgroup and give cgroupsPath as a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Result<(String, String), String> {
        unit(Some(Path::new(path)), "c1", false)
            .map(|unit| (unit.slice, unit.scope))
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
        assert_eq!((unit.slice.as_str(), unit.scope.as_str()), ("system.slice", "runc-c1.scope"));
    }

    #[test]
    fn other_forms_are_refused() {
        assert!(named("/a/b").is_err_and(|text| text.contains("slice:prefix:name")));
        for slice in ["a/b.slice", "a--b.slice", "-a.slice", "a", ".slice"] {
            assert!(named(&format!("{slice}:p:n")).is_err_and(|text| text.contains("slice name")));
        }
    }
}
