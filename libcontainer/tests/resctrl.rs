//! Groups of resctrl without a processor that has them.
//!
//! Two directories stand in for the file system. A plain one holds files as the kernel shows them:
//! what is written can be read back. A cgroup v1 hierarchy makes and removes groups as resctrl
//! does: a new directory has `tasks`, which takes processes, and is removed with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use libcontainer::{
    Error,
    cgroup::Hierarchies,
    plan::{IntelRdt, Origin, Schema},
    resctrl::{self, Group, Stats},
};

/// A directory of files; removed at the end.
struct StandIn(PathBuf);

impl StandIn {
    fn new(name: &str) -> Self {
        let root = format!("rtn-resctrl-{}-{name}", std::process::id());
        let root = Self(std::env::temp_dir().join(root));
        root.file("schemata", "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n");
        root.file("tasks", "1\n");
        root.file("info/last_cmd_status", "ok\n");
        root.file("info/L3/cbm_mask", "7ff\n");
        root.file("info/L3/min_cbm_bits", "1\n");
        root.file("info/L3/num_closids", "16\n");
        root.file("info/MB/bandwidth_gran", "10\n");
        root.file("info/MB/delay_linear", "1\n");
        root.file("info/MB/min_bandwidth", "10\n");
        root.file("info/MB/num_closids", "8\n");
        root
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// A group that somebody made before. The kernel's files do not keep the end of a longer text,
    /// so this one begins short.
    fn group(&self, name: &str, schemata: &str) -> PathBuf {
        self.file(&format!("{name}/schemata"), schemata);
        self.file(&format!("{name}/tasks"), "");
        fs::create_dir(self.0.join(name).join("mon_groups")).expect("mon_groups");
        self.0.join(name)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("a file")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plan(path: &Path, origin: Origin, lines: &[(&str, bool)]) -> IntelRdt {
    let schema = |(line, compared): &(&str, bool)| Schema {
        line: (*line).to_owned(),
        at: "linux.intelRdt.l3CacheSchema".to_owned(),
        compared: *compared,
    };
    let schemata = lines.iter().map(schema).collect();
    IntelRdt { path: path.to_owned(), origin, schemata, monitoring: None }
}

fn refusal(plan: &IntelRdt) -> Error {
    Group::make(plan).expect_err("refused")
}

#[test]
fn a_group_that_exists_is_joined_if_it_has_the_schema() {
    let root = StandIn::new("shared");
    let path = root.group("a", "L3:0=7ff;1=0ff\n");
    let lines = [("L3:0=7ff;1=ff", true), ("MB:0=20", false)];
    let joined = plan(&path, Origin::Shared, &lines);
    let group = Group::make(&joined).expect("the group has it");
    group.enter(4242).expect("tasks");
    group.keep();
    assert_eq!(root.text("a/schemata"), "L3:0=7ff;1=ff\nMB:0=20\n", "in one piece, in order");
    assert_eq!(root.text("a/tasks"), "4242");

    let other = plan(&path, Origin::Shared, &[("L3:0=7fe", true)]);
    let error = refusal(&other);
    assert_eq!(error.spec_path(), Some("linux.intelRdt.l3CacheSchema"));
    assert!(error.to_string().contains("does not have \"L3:0=7fe\""), "{error}");
    assert_eq!(root.text("a/schemata"), "L3:0=7ff;1=ff\nMB:0=20\n", "and is not changed");
    assert!(path.is_dir());
}

#[test]
fn without_a_schema_nothing_is_written_to_a_group_that_must_exist() {
    let root = StandIn::new("existing");
    let path = root.group("a", "L3:0=1\n");
    Group::make(&plan(&path, Origin::Existing, &[])).expect("the group").keep();
    assert_eq!(root.text("a/schemata"), "L3:0=1\n");
    let error = refusal(&plan(&root.0.join("b"), Origin::Existing, &[]));
    assert_eq!(error.spec_path(), Some("linux.intelRdt.closID"));
    assert!(!root.0.join("b").exists());
    // closID "/".
    let group = plan(&root.0, Origin::Existing, &[]);
    Group::make(&group).expect("the default group").enter(7).expect("tasks");
    assert_eq!(root.text("tasks"), "7\n", "a plain file keeps what was behind");
}

#[test]
fn a_failure_removes_what_was_made_and_nothing_else() {
    let root = StandIn::new("failure");
    root.file("info/last_cmd_status", "Invalid mask 0x5\n");
    // No kernel makes schemata in it.
    let error = refusal(&plan(&root.0.join("c1"), Origin::Own, &[("L3:0=5", true)]));
    assert_eq!(error.spec_path(), Some("linux.intelRdt"));
    assert_eq!(error.hint_text(), Some("the kernel says: Invalid mask 0x5"));
    assert!(!root.0.join("c1").exists());

    let path = root.group("a", "");
    fs::remove_dir(path.join("mon_groups")).expect("a processor that measures nothing");
    let monitored = IntelRdt {
        monitoring: Some(path.join("mon_groups/c1")),
        ..plan(&path, Origin::Existing, &[])
    };
    assert_eq!(refusal(&monitored).spec_path(), Some("linux.intelRdt.enableMonitoring"));
    assert!(path.is_dir());
    assert!(Group::make(&plan(&root.0.join("x/y"), Origin::Shared, &[])).is_err());
}

#[test]
fn an_update_writes_its_lines_and_no_other() {
    let root = StandIn::new("update");
    let path = root.group("a", "");
    resctrl::write_schemata(&path, &["L3:0=f", "MB:0=20"]).expect("schemata");
    assert_eq!(root.text("a/schemata"), "L3:0=f\nMB:0=20\n");
    let error = resctrl::write_schemata(&root.0.join("gone"), &["L3:0=f"]).expect_err("no group");
    assert!(error.to_string().contains("gone/schemata"), "{error}");
    assert!(!root.0.join("gone").exists());
}

#[test]
fn statistics_have_the_names_of_runc() {
    let root = StandIn::new("stats");
    root.file("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n");
    let path = root.group("a", "    L3:0=7f0;1=1f\n    MB:0= 20;1= 70\n");
    for (domain, value) in [("mon_L3_00", "5\n"), ("mon_L3_01", "Unavailable\n")] {
        for file in ["llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"] {
            root.file(&format!("a/mon_groups/c1/mon_data/{domain}/{file}"), value);
        }
    }
    let stats = Stats::collect(&path, Some(&path.join("mon_groups/c1")));
    let expected = serde_json::json!({
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff", "l3_cache_schema": "L3:0=7f0;1=1f",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100", "mem_bw_schema": "MB:0= 20;1= 70",
        "mbm_stats": [{"mbm_total_bytes": 5, "mbm_local_bytes": 5}, {}],
        "cmt_stats": [{"llc_occupancy": 5}, {}],
    });
    assert_eq!(serde_json::to_value(stats).expect("json"), expected);

    fs::remove_dir_all(root.0.join("info/L3")).expect("a processor without CAT");
    fs::remove_dir_all(root.0.join("info/L3_MON")).expect("or monitoring");
    let stats = serde_json::to_value(Stats::collect(&path, None)).expect("json");
    let keys: Vec<_> = stats.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["mem_bw_info", "mem_bw_schema", "mem_bw_schema_root"]);
    // The default group is its own root.
    let default = serde_json::to_value(Stats::collect(&root.0, None)).expect("json");
    assert_eq!(default["mem_bw_schema"], "MB:0=100;1=100");
}

/// A cgroup that stands in for the top of resctrl, and a process to put into its groups.
struct Hierarchy {
    root: PathBuf,
    process: Child,
}

impl Hierarchy {
    /// `None` where there is no cgroup v1.
    fn new(name: &str) -> Option<Self> {
        let host = Hierarchies::probe().expect("cgroups");
        let pids = |name: &String| name == "pids";
        let Some(mount) = host.v1.iter().find(|one| one.controllers.iter().any(pids)) else {
            println!("skipped: this host has no cgroup v1 hierarchy");
            return None;
        };
        let root = mount.mount.join(format!("rtn-resctrl-{}-{name}", std::process::id()));
        fs::create_dir(&root).expect("a cgroup (are you root?)");
        let process = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        Some(Self { root, process })
    }

    fn make(&self, group: &str) -> PathBuf {
        fs::create_dir(self.root.join(group)).expect("a cgroup");
        self.root.join(group)
    }

    fn holds(&self, group: &Path) -> bool {
        let tasks = fs::read_to_string(group.join("tasks")).expect("tasks");
        tasks.lines().any(|line| line == self.process.id().to_string())
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    fn end(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
        for group in ["a/mon_groups/c1", "a/mon_groups", "a", "c1", ""] {
            let _ = fs::remove_dir(self.root.join(group));
        }
    }
}

#[test]
fn a_group_of_its_own_comes_and_goes_with_the_container() {
    let Some(mut host) = Hierarchy::new("own") else { return };
    let path = host.root.join("c1");
    let own = plan(&path, Origin::Own, &[]);
    drop(Group::make(&own).expect("the group"));
    assert!(!path.exists(), "a container that does not come to be leaves nothing");

    let group = Group::make(&own).expect("the group");
    group.enter(host.pid()).expect("tasks");
    group.keep();
    assert!(host.holds(&path));
    // As exec does it, into what is there.
    resctrl::enter(&path, None, host.pid()).expect("tasks");
    host.end();
    resctrl::remove(&path).expect("an empty group");
    assert!(!path.exists());
    resctrl::remove(&path).expect("what is gone is gone");
    assert!(resctrl::enter(&path, None, 1).is_err());
}

#[test]
fn a_container_is_measured_in_the_group_that_it_shares() {
    let Some(host) = Hierarchy::new("shared") else { return };
    let path = host.make("a");
    host.make("a/mon_groups");
    let monitoring = path.join("mon_groups/c1");
    let shared =
        IntelRdt { monitoring: Some(monitoring.clone()), ..plan(&path, Origin::Existing, &[]) };
    let group = Group::make(&shared).expect("the group");
    group.enter(host.pid()).expect("tasks");
    assert!(host.holds(&monitoring), "in the end it is in the group below");
    assert!(Group::make(&shared).is_err(), "another container of that name");
    assert!(monitoring.is_dir(), "whose failure does not remove this one's");
}
