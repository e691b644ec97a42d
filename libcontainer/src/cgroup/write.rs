//! One value for one cgroup file, and the collector that the conversions fill.

use serde::Serialize;

use crate::error::{Error, Kind};

/// One value for one file of the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Write {
    /// The controller's name, which says in which hierarchy the file is; `cgroup` for the files
    /// that every v2 cgroup has.
    pub controller: String,
    pub file: String,
    pub value: String,
    /// JSON path into config.json; none for an update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// File and value to use where `file` does not exist: another I/O scheduler's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or: Option<(String, String)>,
    #[serde(skip_serializing_if = "Need::is_required")]
    pub need: Need,
}

impl Write {
    pub(super) fn new(controller: &str, file: &str, value: impl ToString) -> Self {
        Self {
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
            at: None,
            or: None,
            need: Need::Required,
        }
    }
}

/// What a refusal of a [`Write`] means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    #[default]
    Required,
    /// A kernel without the file is good enough: the value only keeps an older default away.
    IfPresent,
    /// Without the right to write it the container is confined otherwise (rootless devices).
    IfPermitted,
}

impl Need {
    fn is_required(&self) -> bool {
        *self == Self::Required
    }
}

/// Collects writes, faults and warnings of a conversion.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    pub(super) writes: Vec<Write>,
    pub(super) warnings: Vec<String>,
    pub(super) faults: &'a mut Vec<Error>,
    /// Whether the resources come from config.json, so that faults have a path in it.
    from_config: bool,
}

impl<'a> Sink<'a> {
    pub(super) fn new(from_config: bool, faults: &'a mut Vec<Error>) -> Self {
        Self { writes: Vec::new(), warnings: Vec::new(), faults, from_config }
    }

    /// `at` is the path below `linux.resources`.
    pub(super) fn put(
        &mut self,
        controller: &str,
        file: &str,
        value: impl ToString,
        at: &str,
    ) -> &mut Write {
        let index = self.writes.len();
        let at = self.path(at);
        self.writes.push(Write { at, ..Write::new(controller, file, value) });
        &mut self.writes[index]
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }

    pub(super) fn fault(&mut self, at: &str, what: impl Into<String>) {
        self.refuse(Kind::InvalidConfig, at, what.into(), None);
    }

    /// A fault of another kind than a wrong value.
    pub(super) fn refuse(&mut self, kind: Kind, at: &str, what: String, hint: Option<String>) {
        let mut error = Error::new(kind, what);
        if let Some(path) = self.path(at) {
            error = error.at(path);
        }
        self.faults.push(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }

    fn path(&self, at: &str) -> Option<String> {
        self.from_config.then(|| format!("linux.resources.{at}"))
    }

    /// A number of bytes as the specification has it: 0 is unset, -1 is unlimited.
    pub(super) fn bytes(&mut self, value: Option<i64>, at: &str) -> Option<i64> {
        match value {
            Some(value) if value < -1 => {
                self.fault(at, format!("{value} is neither -1 (unlimited) nor a number of bytes"));
                None
            }
            Some(0) | None => None,
            Some(value) => Some(value),
        }
    }

    /// `major:minor` of a device; a fault if it cannot be one.
    pub(super) fn device(&mut self, major: i64, minor: i64, at: &str) -> Option<String> {
        let wrong = |number: &i64| u32::try_from(*number).is_err();
        let name = match (Some(major).filter(wrong), Some(minor).filter(wrong)) {
            (None, None) => return Some(format!("{major}:{minor}")),
            (Some(_), _) => "major",
            (None, Some(_)) => "minor",
        };
        self.fault(&format!("{at}.{name}"), format!("{major}:{minor} is not a device number"));
        None
    }

    /// A list of CPUs or memory nodes; absent and empty are unset.
    pub(super) fn list<'s>(&mut self, value: Option<&'s String>, at: &str) -> Option<&'s str> {
        let list = value?.as_str();
        if list.is_empty() {
            return None;
        }
        if !list.split(',').all(is_range) {
            self.fault(at, format!("{list:?} is not a list like \"0-3,6\""));
            return None;
        }
        Some(list)
    }

    /// A page size as it is in the names of hugetlb files; anything else could name another file
    /// (GHSA-5g49-rx9x-qfc6).
    pub(super) fn page_size<'s>(&mut self, size: &'s str, at: &str) -> Option<&'s str> {
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
        let good = number.is_some_and(|number| {
            !number.is_empty()
                && !number.starts_with('0')
                && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if !good {
            self.fault(at, format!("{size:?} is not a page size like \"2MB\" or \"1GB\""));
        }
        good.then_some(size)
    }

    /// The name of a network device, as the kernel takes it (dev_valid_name()).
    pub(super) fn interface(&mut self, name: &str, at: &str) -> bool {
        if name.len() > 15 || name.contains(['/', ':']) || matches!(name, "." | "..") {
            self.fault(at, format!("{name:?} is not the name of a network device"));
            return false;
        }
        self.word(name, at)
    }

    /// A name that goes into a line of a file: it must not end the word or the line.
    pub(super) fn word(&mut self, name: &str, at: &str) -> bool {
        let bad = |letter: char| letter.is_whitespace() || letter.is_control();
        let good = !name.is_empty() && !name.contains(bad);
        if !good {
            self.fault(at, format!("{name:?} is not a name"));
        }
        good
    }
}

/// `3` or `0-3`, with the kernel's optional `:used/group` (bitmap_parselist()).
fn is_range(part: &str) -> bool {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let (range, group) = part.split_once(':').map_or((part, None), |(r, g)| (r, Some(g)));
    let range_is_good = match range.split_once('-') {
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
        None => number(range).is_some(),
    };
    let good_group = |group: &str| {
        group
            .split_once('/')
            .is_some_and(|(used, of)| number(used).is_some() && number(of).is_some())
    };
    range_is_good && group.is_none_or(good_group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_checked() {
        for good in ["0", "0-3", "0,2-5,7", "0-15:2/4", " 1 "] {
            assert!(good.split(',').all(is_range), "{good}");
        }
        for bad in ["x", "3-1", "-1", "1-", "0-3:2", "0\n1", "0 1"] {
            assert!(!bad.split(',').all(is_range), "{bad}");
        }
    }

    #[test]
    fn a_page_size_names_no_other_file() {
        let mut faults = Vec::new();
        let mut sink = Sink::new(true, &mut faults);
        assert_eq!(sink.page_size("2MB", "a"), Some("2MB"));
        for bad in ["../../x", "", "MB", "2M", "2mb", "02MB", "2MB/", "-2MB", "+2MB"] {
            assert_eq!(sink.page_size(bad, "hugepageLimits[0].pageSize"), None, "{bad}");
        }
        assert_eq!(faults.len(), 9);
        assert_eq!(faults[0].spec_path(), Some("linux.resources.hugepageLimits[0].pageSize"));
    }
}
