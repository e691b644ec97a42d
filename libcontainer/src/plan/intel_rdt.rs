//! linux.intelRdt: the container's group in the resctrl file system
//! (Documentation/filesystems/resctrl.rst). enableCMT and enableMBM, which the specification 1.3
//! took back, are fields like any other that it does not have.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIntelRdt};
use serde::Serialize;

use crate::{
    error::{Error, Kind},
    host::Host,
};

/// A class of service (CLOS), and what the container is to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IntelRdt {
    /// The group's directory.
    pub path: PathBuf,
    pub origin: Origin,
    /// Lines for its `schemata`, in their order; without any the file is not written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<Schema>,
    /// Directory of the container's own monitoring group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<PathBuf>,
}

/// How the group comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// No closID: it is called like the container, and ends with it.
    Own,
    /// closID and a schema: it is made if it does not exist, and stays.
    Shared,
    /// closID alone: somebody has made it.
    Existing,
}

/// One line of `schemata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schema {
    pub line: String,
    /// JSON path.
    #[serde(skip)]
    pub at: String,
    /// Whether a group that exists must have it already.
    #[serde(skip)]
    pub compared: bool,
}

const AT: &str = "linux.intelRdt";

/// What the kernel keeps at the places of groups.
const RESERVED: [&str; 3] = ["info", "mon_data", "mon_groups"];

pub(super) fn plan(
    linux: &Linux,
    id: &str,
    host: &Host,
    faults: &mut Vec<Error>,
) -> Option<IntelRdt> {
    let rdt = linux.intel_rdt().as_ref()?;
    let schemata = schemata(rdt, faults);
    let clos = rdt.clos_id().as_deref().filter(|clos| !clos.is_empty());
    let path = directory(clos, id, host, faults)?;
    let monitoring = rdt.enable_monitoring().unwrap_or(false);
    Some(IntelRdt {
        monitoring: monitoring.then(|| path.join("mon_groups").join(id)),
        path,
        origin: match clos {
            None => Origin::Own,
            Some("/") => Origin::Existing,
            Some(_) if schemata.is_empty() => Origin::Existing,
            Some(_) => Origin::Shared,
        },
        schemata,
    })
}

fn directory(
    clos: Option<&str>,
    id: &str,
    host: &Host,
    faults: &mut Vec<Error>,
) -> Option<PathBuf> {
    let invalid = |name: &str| {
        let bad = |byte: u8| matches!(byte, b'/' | b'\n' | 0);
        matches!(name, "." | "..") || name.bytes().any(bad) || RESERVED.contains(&name)
    };
    let name = clos.unwrap_or(id);
    if clos != Some("/") && invalid(name) {
        let at = if clos.is_some() { format!("{AT}.closID") } else { AT.to_owned() };
        let error = Error::config(at, format!("invalid intelRdt.closID {name:?}"));
        faults.push(error.hint("it names a directory of the resctrl file system, or is \"/\""));
        return None;
    }
    let Some(root) = &host.resctrl else {
        faults.push(
            Error::new(Kind::Unsupported, "cannot use Intel RDT: no resctrl file system is mounted")
                .at(AT)
                .hint("`mount -t resctrl resctrl /sys/fs/resctrl` needs a processor with RDT and a kernel with CONFIG_X86_CPU_RESCTRL"),
        );
        return None;
    };
    Some(match name {
        "/" => root.clone(),
        name => root.join(Path::new(name)),
    })
}

/// l3CacheSchema first and schemata last, as the specification has it.
fn schemata(rdt: &LinuxIntelRdt, faults: &mut Vec<Error>) -> Vec<Schema> {
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (l3, mb) = (given(rdt.l3_cache_schema()), given(rdt.mem_bw_schema()));
    let mut lines = Vec::new();
    for line in l3.as_deref().unwrap_or_default().lines().filter(|line| !line.is_empty()) {
        // Before 1.3 the specification had callers who put all lines here.
        if mb.is_none() || !line.starts_with("MB:") {
            lines.push(Schema::new(line, "l3CacheSchema".to_owned(), true));
        }
    }
    if let Some(line) = mb {
        if !line.starts_with("MB:") || line.contains('\n') {
            let what = format!("invalid memBwSchema {line:?}: it is one line that begins with MB:");
            faults.push(Error::config(format!("{AT}.memBwSchema"), what));
        }
        lines.push(Schema::new(&line, "memBwSchema".to_owned(), true));
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        let schema = Schema::new(line, format!("schemata[{index}]"), false);
        if line.contains('\n') || !line.contains(':') {
            let what = format!("invalid schema {line:?}: it is one line like \"L3:0=f;1=f0\"");
            faults.push(Error::config(schema.at.clone(), what));
        }
        lines.push(schema);
    }
    lines
}

impl Schema {
    fn new(line: &str, field: String, compared: bool) -> Self {
        Self { line: line.to_owned(), at: format!("{AT}.{field}"), compared }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::host;

    fn read(json: &str) -> (Option<IntelRdt>, Vec<String>) {
        let host = Host { resctrl: Some("/sys/fs/resctrl".into()), ..host() };
        read_on(&host, "c1", json)
    }

    fn read_on(host: &Host, id: &str, json: &str) -> (Option<IntelRdt>, Vec<String>) {
        let mut faults = Vec::new();
        let linux = serde_json::from_str(&format!(r#"{{"intelRdt":{json}}}"#)).unwrap();
        let plan = plan(&linux, id, host, &mut faults);
        (plan, faults.iter().map(ToString::to_string).collect())
    }

    fn good(json: &str) -> (String, Origin, Vec<String>) {
        let (plan, faults) = read(json);
        assert_eq!(faults, Vec::<String>::new());
        let plan = plan.unwrap();
        let lines = plan.schemata.iter().map(|schema| schema.line.clone()).collect();
        (plan.path.display().to_string(), plan.origin, lines)
    }

    #[test]
    fn the_group_by_what_is_said_of_it() {
        let group = |json: &str| {
            let (path, origin, _) = good(json);
            (path, origin)
        };
        assert_eq!(group("{}"), ("/sys/fs/resctrl/c1".into(), Origin::Own));
        assert_eq!(group(r#"{"closID":""}"#), ("/sys/fs/resctrl/c1".into(), Origin::Own));
        assert_eq!(group(r#"{"closID":"a"}"#), ("/sys/fs/resctrl/a".into(), Origin::Existing));
        let with_schema = r#"{"closID":"a","schemata":["L2:0=f"]}"#;
        assert_eq!(group(with_schema), ("/sys/fs/resctrl/a".into(), Origin::Shared));
        let default = r#"{"closID":"/","l3CacheSchema":"L3:0=f"}"#;
        assert_eq!(group(default), ("/sys/fs/resctrl".into(), Origin::Existing));
    }

    #[test]
    fn schemata_are_in_the_order_of_the_specification() {
        let (_, _, lines) = good(
            r#"{"schemata":["L2:0=f","MB:0=20"],"memBwSchema":"MB:0=10","l3CacheSchema":"L3:0=f"}"#,
        );
        assert_eq!(lines, ["L3:0=f", "MB:0=10", "L2:0=f", "MB:0=20"]);
        let (_, _, lines) =
            good(r#"{"l3CacheSchema":"MB:0=20\nL3:0=f\n","memBwSchema":"MB:0=10"}"#);
        assert_eq!(lines, ["L3:0=f", "MB:0=10"], "memBwSchema is the one that counts");
        let (_, _, lines) = good(r#"{"l3CacheSchema":"L3:0=f\nMB:0=20"}"#);
        assert_eq!(lines, ["L3:0=f", "MB:0=20"]);
        assert_eq!(good(r#"{"l3CacheSchema":"","memBwSchema":"","schemata":[]}"#).2, [""; 0]);
    }

    #[test]
    fn a_monitoring_group_is_called_like_the_container() {
        let monitoring = |json: &str| read(json).0.unwrap().monitoring;
        assert_eq!(
            monitoring(r#"{"closID":"a","enableMonitoring":true}"#),
            Some("/sys/fs/resctrl/a/mon_groups/c1".into())
        );
        assert_eq!(monitoring(r#"{"enableMonitoring":false}"#), None);
    }

    #[test]
    fn what_is_no_group_or_no_schema_is_refused() {
        for clos in [".", "..", "a/b", "/a", "//", "a\\nb", "a\\u0000", "info", "mon_groups"] {
            let (_, faults) = read(&format!(r#"{{"closID":"{clos}"}}"#));
            let place = "(config.json: linux.intelRdt.closID)";
            assert!(faults.len() == 1 && faults[0].ends_with(place), "{clos}: {faults:?}");
        }
        let reserved = Host { resctrl: Some("/r".into()), ..host() };
        assert_eq!(read_on(&reserved, "info", "{}").1.len(), 1, "as a container's id, too");
        for (json, place) in [
            (r#"{"memBwSchema":"0=10"}"#, "linux.intelRdt.memBwSchema"),
            (r#"{"memBwSchema":"MB:0=10\nL3:0=1"}"#, "linux.intelRdt.memBwSchema"),
            (r#"{"schemata":["L3:0=f","L3:0=f\nMB:0=1"]}"#, "linux.intelRdt.schemata[1]"),
            (r#"{"schemata":[""]}"#, "linux.intelRdt.schemata[0]"),
        ] {
            let (_, faults) = read(json);
            assert!(faults.len() == 1 && faults[0].contains(place), "{json}: {faults:?}");
        }
    }

    #[test]
    fn a_machine_without_resctrl_says_what_it_lacks() {
        let linux = serde_json::from_str(r#"{"intelRdt":{}}"#).unwrap();
        let mut faults = Vec::new();
        assert_eq!(plan(&linux, "c1", &host(), &mut faults), None);
        assert_eq!(faults[0].kind(), Kind::Unsupported);
        assert!(faults[0].hint_text().unwrap().contains("CONFIG_X86_CPU_RESCTRL"));
        assert_eq!(faults[0].spec_path(), Some("linux.intelRdt"));
        let none = serde_json::from_str("{}").unwrap();
        assert_eq!(plan(&none, "c1", &host(), &mut Vec::new()), None);
    }
}
