//! The cgroup and the resctrl group: directories, and what is written there.

use serde_json::Value;

use super::{Words, table, words, wrap};

/// The directories, then what is written there.
pub(super) fn lines(cgroup: &Value) -> Vec<String> {
    let place = &cgroup["place"];
    if place["manager"] == "disabled" {
        return vec!["that of the caller".into()];
    }
    let mut lines = directories(&place["paths"]);
    lines.extend(table(&writes(cgroup["limits"]["writes"].list())));
    lines.extend(devices(&cgroup["limits"]["devices"]));
    let controllers = words(&cgroup["limits"]["controllers"]).join(" ");
    if !controllers.is_empty() {
        lines.push(format!("controllers from above: {controllers}"));
    }
    if let Some(owner) = cgroup["limits"]["owner"].as_u64() {
        lines.push(format!("owned by the host's user {owner}"));
    }
    lines
}

/// What the program on a v2 cgroup says of devices.
fn devices(devices: &Value) -> Vec<String> {
    let Some(default) = devices["default"].as_str() else { return Vec::new() };
    let exceptions = words(&devices["exceptions"]);
    let but = if exceptions.is_empty() { "" } else { ", but for" };
    let last = exceptions.len().saturating_sub(1);
    let list = exceptions.into_iter().enumerate();
    let list = list.map(|(at, one)| if at < last { one + "," } else { one }).collect();
    let list = wrap(list).into_iter().map(|line| format!("  {line}"));
    std::iter::once(format!("devices: {default} all{but}")).chain(list).collect()
}

/// Most v1 hierarchies have the same path below their mount points: `/docker/1`, in cpu, memory, ….
fn directories(paths: &Value) -> Vec<String> {
    let paths: Vec<_> = paths.as_object().into_iter().flat_map(|paths| paths.values()).collect();
    if let [only] = paths.as_slice() {
        return vec![only.text()];
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for path in paths {
        let path = path.text();
        let below = path.strip_prefix("/sys/fs/cgroup/").and_then(|path| path.split_once('/'));
        let (hierarchy, rest) = below.unwrap_or(("/", &path));
        match groups.iter_mut().find(|(other, _)| other[1..] == *rest) {
            Some((_, hierarchies)) => hierarchies.push(hierarchy.to_owned()),
            None => groups.push((format!("/{rest}"), vec![hierarchy.to_owned()])),
        }
    }
    let lines = groups.into_iter().flat_map(|(path, hierarchies)| {
        let list = wrap(hierarchies).into_iter().map(|line| format!("  in {line}"));
        std::iter::once(path).chain(list)
    });
    lines.collect()
}

/// What in config.json asked for it, file, and value; the values of a file that is written several
/// times in a row share its name.
fn writes(writes: &[Value]) -> Vec<[String; 3]> {
    let same_file = |a: &Value, b: &Value| a["file"] == b["file"];
    let rows = writes.chunk_by(same_file).flat_map(|run| {
        let values: Vec<_> = run.iter().map(|one| one["value"].text()).collect();
        let file = std::iter::once(run[0]["file"].text()).chain(std::iter::repeat(String::new()));
        let at = asked_by(run);
        let last = values.len() - 1;
        let value = |(at, value)| if at < last { format!("{value},") } else { value };
        let lines = wrap(values.into_iter().enumerate().map(value).collect());
        let at = std::iter::once(at).chain(std::iter::repeat(String::new()));
        let cells = file.zip(lines).zip(at);
        cells.map(|((file, line), at)| [at, file, line]).collect::<Vec<_>>()
    });
    rows.collect()
}

/// The path of one write; what those of a run have in common.
fn asked_by(run: &[Value]) -> String {
    let first = run[0]["at"].text();
    match run.iter().all(|one| one["at"] == first) {
        true => first,
        false => first.split('[').next().unwrap_or_default().to_owned(),
    }
}

/// The group, the lines of its schemata, and where it is monitored.
pub(super) fn intel_rdt(rdt: &Value) -> Vec<String> {
    let Some(path) = rdt["path"].as_str() else { return Vec::new() };
    let origin = match rdt["origin"].as_str() {
        Some("own") => "the container's own",
        Some("shared") => "made if it does not exist, and kept",
        _ => "of somebody else",
    };
    let schemata = rdt["schemata"].list().iter().map(|one| format!("  {}", one["line"].text()));
    let monitoring = rdt["monitoring"].as_str().map(|path| format!("monitored in {path}"));
    std::iter::once(format!("{path}, {origin}")).chain(schemata).chain(monitoring).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hierarchies_with_the_same_path_share_a_line() {
        let v1 = directories(&json!({
            "": "/sys/fs/cgroup/unified/a/b", "cpu": "/sys/fs/cgroup/cpu/a/b",
            "memory": "/sys/fs/cgroup/memory/own/a/b", "pids": "/sys/fs/cgroup/pids/a/b",
        }));
        assert_eq!(v1, ["/a/b", "  in unified cpu pids", "/own/a/b", "  in memory"]);
        let v2 = directories(&json!({"": "/sys/fs/cgroup/a/b"}));
        assert_eq!(v2, ["/sys/fs/cgroup/a/b"]);
    }

    #[test]
    fn values_of_one_file_share_its_name() {
        let write =
            |file: &str, value: &str, at: &str| json!({"file": file, "value": value, "at": at});
        let rows = writes(&[
            write("a", "1", "x.y"),
            write("b", "2", "z[0]"),
            write("b", "3", "z[1]"),
            json!({"file": "a", "value": "4"}),
        ]);
        assert_eq!(rows, [["x.y", "a", "1"], ["z", "b", "2, 3"], ["", "a", "4"]]);
    }

    #[test]
    fn the_program_for_devices_is_told_in_words() {
        let told = devices(&json!({"default": "deny", "exceptions": ["c 1:3 rwm", "c 1:5 rwm"]}));
        assert_eq!(told, ["devices: deny all, but for", "  c 1:3 rwm, c 1:5 rwm"]);
        assert_eq!(devices(&Value::Null), Vec::<String>::new());
    }

    #[test]
    fn a_resctrl_group_is_told_with_its_lines() {
        let told = intel_rdt(&json!({
            "path": "/sys/fs/resctrl/a", "origin": "own", "schemata": [{"line": "L3:0=f"}],
            "monitoring": "/sys/fs/resctrl/a/mon_groups/b",
        }));
        let expected = [
            "/sys/fs/resctrl/a, the container's own",
            "  L3:0=f",
            "monitored in /sys/fs/resctrl/a/mon_groups/b",
        ];
        assert_eq!(told, expected);
        assert_eq!(intel_rdt(&Value::Null), Vec::<String>::new());
    }
}
