//! The plan for people: one block for each part of it, in the order in which create does it.
//!
//! The page is made from the plan's JSON, so it shows what `rtn plan --format json` has, and a
//! part that is not there takes no line.

mod cgroup;
mod scheduling;

use std::collections::BTreeMap;

use serde_json::Value;

/// Where a block's text begins; its name stands left of that.
const MARGIN: usize = 13;

/// The whole page.
pub(crate) fn plan(plan: &Value) -> String {
    let blocks = [
        ("container", container(plan)),
        ("namespaces", namespaces(&plan["namespaces"])),
        ("id maps", id_maps(&plan["namespaces"]["user"])),
        ("cgroup", cgroup::lines(&plan["cgroup"])),
        ("intel rdt", cgroup::intel_rdt(&plan["intelRdt"])),
        ("rootfs", rootfs(&plan["rootfs"])),
        ("mounts", table(&rows(&plan["mounts"], mount))),
        ("devices", devices(plan)),
        ("net devices", rows(&plan["netDevices"], net_device)),
        ("names", names(plan)),
        (
            "sysctls",
            rows(&plan["sysctls"], |one| {
                format!("{} = {}", one["name"].text(), one["value"].text())
            }),
        ),
        ("masked", wrap(words(&plan["maskedPaths"]))),
        ("read-only", wrap(words(&plan["readonlyPaths"]))),
        ("hooks", hooks(&plan["hooks"])),
        ("process", process(&plan["process"])),
        ("capabilities", capabilities(&plan["process"]["capabilities"])),
        ("seccomp", seccomp(&plan["seccomp"])),
        ("annotations", table(&annotations(&plan["annotations"]))),
        ("warnings", rows(&plan["warnings"], |one| one.text())),
    ];
    let blocks = blocks.iter().filter(|(_, lines)| !lines.is_empty());
    blocks.map(|(name, lines)| block(name, lines)).collect()
}

fn block(name: &str, lines: &[String]) -> String {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let lines = names.zip(lines).map(|(name, line)| format!("{name:MARGIN$}{line}"));
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// What a JSON value is on a page.
trait Words {
    fn text(&self) -> String;
    fn list(&self) -> &[Value];
}

impl Words for Value {
    /// Text without quotes; nothing for null.
    fn text(&self) -> String {
        match self {
            Self::String(text) => text.clone(),
            Self::Null => String::new(),
            other => other.to_string(),
        }
    }

    fn list(&self) -> &[Value] {
        self.as_array().map_or(&[], Vec::as_slice)
    }
}

/// One that keeps its name is named once.
fn net_device(one: &Value) -> String {
    match (one["device"].text(), one["name"].text()) {
        (device, name) if device == name => device,
        (device, name) => format!("{device} as {name}"),
    }
}

fn words(list: &Value) -> Vec<String> {
    list.list().iter().map(Words::text).collect()
}

fn rows<T>(list: &Value, row: impl Fn(&Value) -> T) -> Vec<T> {
    list.list().iter().map(row).collect()
}

/// Columns that are as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect::<String>()
    };
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

/// Words in lines that fit a page of 100 columns.
fn wrap(words: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 100 - MARGIN => *line += &format!(" {word}"),
            _ => lines.push(word),
        }
    }
    lines
}

/// A word of a command line as a shell would take it.
fn shell(word: &Value) -> String {
    let word = word.text();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn command(args: &Value) -> String {
    rows(args, shell).join(" ")
}

fn container(plan: &Value) -> Vec<String> {
    let keyring = if plan["newKeyring"] == true { ", session keyring of its own" } else { "" };
    let versions = format!("OCI {}{keyring}", plan["ociVersion"].text());
    vec![
        format!("{}  ({versions})", plan["id"].text()),
        format!("bundle {}", plan["bundle"].text()),
    ]
}

fn namespaces(namespaces: &Value) -> Vec<String> {
    const KINDS: [&str; 8] = ["user", "pid", "mount", "network", "ipc", "uts", "cgroup", "time"];
    let new = words(&namespaces["new"]);
    let joined = rows(&namespaces["joined"], |one| (one["type"].text(), one["path"].text()));
    let has =
        |kind: &&str| new.iter().chain(joined.iter().map(|(kind, _)| kind)).any(|own| own == kind);
    let (own, host): (Vec<_>, Vec<_>) = KINDS.into_iter().partition(has);
    let own: Vec<_> = own.into_iter().filter(|kind| new.iter().any(|new| new == kind)).collect();
    let mut lines = Vec::new();
    let mut say = |label: &str, kinds: &[&str]| {
        if !kinds.is_empty() {
            lines.push(format!("{label:8}{}", kinds.join(" ")));
        }
    };
    say("new", &own);
    for (kind, path) in &joined {
        say("joined", &[kind, path]);
    }
    say("host's", &host);
    let offsets = namespaces["timeOffsets"].text();
    lines.extend(offsets.lines().map(|line| format!("clock   {line}")));
    lines
}

fn id_maps(user: &Value) -> Vec<String> {
    let map = |label: &str, map: &Value| {
        let number = |key: &str| map[key].as_u64().unwrap_or_default();
        let range = |first: u64| format!("{first}-{}", first + number("size").saturating_sub(1));
        [
            format!("{label} {}", range(number("container"))),
            format!("are the host's {}", range(number("host"))),
        ]
    };
    let uids = rows(&user["uidMappings"], |one| map("uids", one));
    let gids = rows(&user["gidMappings"], |one| map("gids", one));
    let mut lines = table(&[uids, gids].concat());
    match user["writtenBy"].as_str() {
        Some("helpers") => lines.push("written by newuidmap and newgidmap".into()),
        Some("ownId") => lines.push("written without privilege; setgroups is denied".into()),
        _ => (),
    }
    lines
}

fn rootfs(rootfs: &Value) -> Vec<String> {
    let readonly = if rootfs["readonly"] == true { "read-only" } else { "writable" };
    let entrance = match rootfs["entrance"].as_str() {
        Some("pivotRoot") => "pivot_root",
        Some("moveMount") => "MS_MOVE and chroot",
        _ => "chroot",
    };
    let how = format!("{readonly}, {}, entered by {entrance}", rootfs["propagation"].text());
    vec![rootfs["path"].text(), how]
}

/// Index in config.json, destination, filesystem type, options, and a source that is more than the
/// type's name.
fn mount(mount: &Value) -> [String; 5] {
    let (kind, data) = action(&mount["action"]);
    let flags = |key: &str, no: &str| rows(&mount[key], |one| format!("{no}{}", one.text()));
    let mut options =
        [flags("set", ""), flags("clear", "no "), flags("setAll", "r"), flags("clearAll", "no r")]
            .concat();
    options.extend(words(&mount["propagation"]));
    options.extend(id_map(&mount["idmap"]));
    options.extend((mount["destinationNofollow"] == true).then(|| "dest-nofollow".to_owned()));
    options.extend(data);
    if mount["lateReadonly"] == true {
        options.push("(read-only once filled)".into());
    }
    let source = Some(mount["source"].text()).filter(|source| *source != kind);
    let source = source.map(|source| format!("from {source}")).unwrap_or_default();
    let index = mount["index"].as_u64().map(|index| format!("[{index}]")).unwrap_or_default();
    [index, mount["destination"].text(), kind, options.join(" "), source]
}

/// As crun writes it: `idmap=uids=0-1000-10#…;gids=…`.
fn id_map(idmap: &Value) -> Option<String> {
    let word = if idmap.as_object()?["recursive"] == true { "ridmap" } else { "idmap" };
    let ranges = |list: &str| {
        let ranges = &idmap["mapping"]["ranges"][list];
        let text = |range: &Value| {
            ["container", "host", "size"].map(|number| range[number].text()).join("-")
        };
        rows(ranges, text).join("#")
    };
    Some(match idmap["mapping"].is_object() {
        true => format!("{word}=uids={};gids={}", ranges("uids"), ranges("gids")),
        false => word.to_owned(),
    })
}

/// What makes the mount, and the options of the filesystem itself.
fn action(action: &Value) -> (String, Vec<String>) {
    let (filesystem, bind) = (&action["filesystem"], &action["bind"]);
    let kind = match action.as_str() {
        Some(word) => word.to_owned(),
        None if bind["recursive"] == true => "rbind".into(),
        None if bind.is_object() => "bind".into(),
        None if filesystem.is_object() => filesystem["type"].text(),
        None => "remount".into(),
    };
    let link = match bind["link"].as_str() {
        Some("mounted") => "src-nofollow",
        Some(_) => "copy-symlink",
        None => "",
    };
    let data = [filesystem["data"].text(), action["remount"]["data"].text(), link.to_owned()];
    let copy_up = (filesystem["copyUp"] == true).then(|| "tmpcopyup".to_owned());
    (kind, data.into_iter().filter(|data| !data.is_empty()).chain(copy_up).collect())
}

fn devices(plan: &Value) -> Vec<String> {
    match plan["furnishDev"] == false {
        true => vec!["none: /dev is a directory of the host".into()],
        false => table(&rows(&plan["devices"], device)),
    }
}

/// Path, node, mode, owner, how.
fn device(device: &Value) -> [String; 5] {
    let number = |key: &str| device[key].as_u64().unwrap_or_default();
    let letter = device["type"].text().chars().next().unwrap_or('?');
    let node = format!("{letter} {}:{}", number("major"), number("minor"));
    let owner = format!("{}:{}", number("uid"), number("gid"));
    [device["path"].text(), node, format!("{:04o}", number("mode")), owner, device["method"].text()]
}

fn names(plan: &Value) -> Vec<String> {
    let line = |key: &str| (!plan[key].is_null()).then(|| format!("{key} {}", plan[key].text()));
    ["hostname", "domainname"].into_iter().filter_map(line).collect()
}

/// Hooks and `rtn state` get them; long values are cut off.
fn annotations(annotations: &Value) -> Vec<[String; 2]> {
    const LENGTH: usize = 60;
    let all: BTreeMap<_, _> = annotations.as_object().into_iter().flatten().collect();
    let row = |(name, value): (&String, &Value)| {
        let value = shell(value).replace(char::is_control, " ");
        let cut = if value.chars().count() > LENGTH { " …" } else { "" };
        [name.clone(), value.chars().take(LENGTH).collect::<String>() + cut]
    };
    all.into_iter().map(row).collect()
}

fn hooks(hooks: &Value) -> Vec<String> {
    const KINDS: [&str; 6] =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let of_kind = |kind: &'static str| {
        let row = move |hook: &Value| {
            let limit = hook["timeout"].as_u64().map(|limit| format!("at most {limit} s"));
            let env = words(&hook["env"]).join(" ");
            let args = hook["args"].list().get(1..).unwrap_or_default().iter().map(shell);
            let args: Vec<_> = std::iter::once(shell(&hook["path"])).chain(args).collect();
            [kind.to_owned(), args.join(" "), env, limit.unwrap_or_default()]
        };
        rows(&hooks[kind], row)
    };
    table(&KINDS.into_iter().flat_map(of_kind).collect::<Vec<_>>())
}

fn process(process: &Value) -> Vec<String> {
    if process.is_null() {
        return Vec::new();
    }
    let mut lines = vec![command(&process["args"])];
    let mut say = |label: &str, text: String| {
        if !text.is_empty() {
            lines.push(format!("{label:8}{text}"));
        }
    };
    let groups = words(&process["additionalGids"]).join(" ");
    let groups = if groups.is_empty() { groups } else { format!(" and groups {groups}") };
    let umask = process["umask"].as_u64().unwrap_or_default();
    let user = format!("{}:{}{groups}", process["uid"], process["gid"]);
    say("user", format!("{user}, umask {umask:04o}"));
    say("cwd", process["cwd"].text());
    rows(&process["env"], shell).into_iter().for_each(|variable| say("env", variable));
    say("limits", rows(&process["rlimits"], rlimit).join(", "));
    scheduling::rows(process).into_iter().for_each(|(label, text)| say(label, text));
    say("also", attributes(process).join(", "));
    lines
}

fn rlimit(limit: &Value) -> String {
    let number = |key: &str| match limit[key].as_u64() {
        Some(u64::MAX) | None => "unlimited".to_owned(),
        Some(number) => number.to_string(),
    };
    let name = limit["resource"].text();
    format!("{} {}:{}", name.trim_start_matches("RLIMIT_"), number("soft"), number("hard"))
}

fn attributes(process: &Value) -> Vec<String> {
    let mut list = Vec::new();
    let terminal = &process["terminal"];
    if !terminal.is_null() {
        let (rows, columns) = (&terminal["rows"], &terminal["columns"]);
        let size = if *rows == 0 { String::new() } else { format!(" {columns}x{rows}") };
        list.push(format!("terminal{size}"));
    }
    if process["noNewPrivileges"] == true {
        list.push("no new privileges".into());
    }
    let named = [
        ("oomScoreAdj", "oom_score_adj"),
        ("apparmorProfile", "AppArmor profile"),
        ("selinuxLabel", "SELinux label"),
        ("personality", "personality"),
    ];
    let named = named.iter().filter(|(key, _)| !process[key].is_null());
    list.extend(named.map(|(key, name)| format!("{name} {}", process[key].text())));
    match process["preserveFds"].as_u64() {
        None | Some(0) => (),
        Some(count) => list.push(format!("{count} descriptors from 3 on")),
    }
    list
}

/// The sets that are equal share their lines.
fn capabilities(sets: &Value) -> Vec<String> {
    const SETS: [&str; 5] = ["bounding", "effective", "permitted", "inheritable", "ambient"];
    let mut groups: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for set in SETS.into_iter().filter(|set| sets[set].is_array()) {
        let names = rows(&sets[set], |name| name.text().trim_start_matches("CAP_").to_lowercase());
        match groups.iter_mut().find(|(_, others)| *others == names) {
            Some((with, _)) => with.push(set),
            None => groups.push((vec![set], names)),
        }
    }
    let lines = groups.into_iter().flat_map(|(sets, names)| {
        let names = if names.is_empty() { vec!["none".into()] } else { names };
        let list = wrap(names).into_iter().map(|line| format!("  {line}"));
        std::iter::once(sets.join(", ")).chain(list)
    });
    lines.collect()
}

fn seccomp(seccomp: &Value) -> Vec<String> {
    let filter = &seccomp["filter"];
    if filter.is_null() {
        return Vec::new();
    }
    let rules = filter["rules"].as_object().into_iter().flatten();
    let row =
        |(action, count): (&String, &Value)| [action.clone(), format!("{count} system calls")];
    let otherwise = [filter["defaultAction"].text(), "all others".into()];
    let newer = filter["newerCallsReturnEnosys"] == true;
    let newer = newer.then(|| ["SCMP_ACT_ERRNO(38)".into(), "calls newer than the profile".into()]);
    let mut lines = table(&rules.map(row).chain(newer).chain([otherwise]).collect::<Vec<_>>());
    let mut about = vec![words(&filter["architectures"]).join(" ").replace("SCMP_ARCH_", "")];
    about.push(format!("{} instructions", filter["instructions"]));
    about.extend(rows(&filter["flags"], |flag| format!("flag {}", flag.text())));
    lines.push(about.join(", "));
    let listener = seccomp["listenerPath"].as_str();
    lines.extend(listener.map(|path| format!("listener goes to {path}")));
    let metadata = seccomp["listenerMetadata"].as_str().filter(|text| !text.is_empty());
    lines.extend(metadata.map(|text| format!("with the metadata {}", shell(&text.into()))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_that_is_not_there_takes_no_line() {
        let page = plan(&json!({"id": "a", "bundle": "/b", "ociVersion": "1.3.0"}));
        let first = "container    a  (OCI 1.3.0)\n             bundle /b\n";
        assert!(page.starts_with(first), "{page}");
        assert!(!page.contains("mounts"), "{page}");
    }

    #[test]
    fn every_option_of_a_mount_is_shown() {
        let row = mount(&json!({
            "index": 2, "destination": "/tmp", "source": "tmpfs", "set": ["nosuid"], "clear": ["noexec"],
            "setAll": ["ro"], "propagation": ["rslave"], "lateReadonly": true,
            "action": {"filesystem": {"type": "tmpfs", "data": "size=1k", "copyUp": true}},
        }));
        let options = "nosuid no noexec rro rslave size=1k tmpcopyup (read-only once filled)";
        assert_eq!(row, ["[2]", "/tmp", "tmpfs", options, ""]);
        let bind = mount(
            &json!({"destination": "/b", "source": "/a", "action": {"bind": {"recursive": true}}}),
        );
        assert_eq!(bind, ["", "/b", "rbind", "", "from /a"]);
        let mapped = mount(&json!({
            "index": 0, "destination": "/b", "source": "/a", "destinationNofollow": true,
            "action": {"bind": {"recursive": false, "link": "mounted"}},
            "idmap": {"recursive": false, "mapping": {"ranges": {
                "uids": [{"container": 0, "host": 1, "size": 2}, {"container": 5, "host": 6, "size": 7}],
                "gids": [{"container": 0, "host": 3, "size": 4}],
            }}},
        }));
        let options = "idmap=uids=0-1-2#5-6-7;gids=0-3-4 dest-nofollow src-nofollow";
        assert_eq!(mapped, ["[0]", "/b", "bind", options, "from /a"]);
    }

    #[test]
    fn equal_sets_of_capabilities_are_shown_once() {
        let sets = json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "ambient": []});
        assert_eq!(capabilities(&sets), ["bounding, effective", "  kill", "ambient", "  none"]);
    }

    #[test]
    fn a_word_with_a_space_is_quoted() {
        assert_eq!(command(&json!(["sh", "-c", "echo 'x'", ""])), r"sh -c 'echo '\''x'\''' ''");
    }

    #[test]
    fn lines_end_before_the_page_does() {
        let lines = wrap(vec!["x".repeat(30); 5]);
        assert!(lines.iter().all(|line| line.len() <= 100 - MARGIN), "{lines:?}");
        assert_eq!(lines.len(), 3);
    }
}
