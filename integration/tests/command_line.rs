//! The command line as runc's callers use it: forms of flags, logs, `spec`, `features`, `--version`.

use std::{fs, path::Path};

use integration::{Bundle, Feature, Kind, Mode, Test, needs, only_on, wait};
use serde_json::{Value, json};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn long_flags_may_have_one_dash_and_an_equals_sign() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "flags of Go, which go-runc sends");
    let bundle = test.bundle().args(&["/bin/probe", "exit", "3"]);
    let (dir, root) =
        (bundle.dir.to_string_lossy().into_owned(), test.root().to_string_lossy().into_owned());
    for (name, arguments) in [
        ("a", vec!["-root", &root, "run", "-bundle", &dir]),
        ("b", vec!["--root", &root, "run", "-b", &dir]),
        ("c", vec!["-root", &root, "run", "-no-subreaper", "-bundle", &dir]),
    ] {
        let mut command = test.bare_command();
        command.args(arguments).arg(format!("{}{name}", test.id()));
        assert_eq!(wait::output(&mut command).status, 3, "{name}");
    }
    let mut command = test.bare_command();
    command.arg(format!("-root={root}")).args(["run", &format!("--bundle={dir}"), test.id()]);
    assert_eq!(wait::output(&mut command).status, 3);
}

#[test]
fn what_follows_an_execs_id_belongs_to_the_program() {
    let test = Test::new();
    let container = test.serve(test.bundle());
    let output = container.exec(&["/bin/echo", "--tty", "-e", "--", "-t"]);
    assert_eq!(output.ok().trim(), "--tty -e -- -t");
    container.remove();
}

#[test]
fn an_error_is_one_entry_of_the_log() {
    let test = Test::new();
    let log = test.dir().join("log.json");
    let path = log.to_string_lossy().into_owned();
    let output = test.call(&["--log", &path, "--log-format", "json", "state", test.id()]);
    output.fails();
    let lines = text(&log);
    let entries: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // containerd takes the last entry of this level.
    let error = entries.iter().rfind(|entry| entry["level"] == "error").expect("an error");
    assert!(
        error["msg"].as_str().is_some_and(|msg| !msg.is_empty()) && error["time"].is_string(),
        "{error}"
    );
    if test.runtime.is(Kind::Rtn) {
        assert_eq!(entries.len(), 1, "logged more than once: {lines}");
        assert_eq!(error["kind"], "notFound");
    }
}

#[test]
fn the_log_is_appended_to() {
    let test = Test::new();
    let log = test.dir().join("log");
    fs::write(&log, "before\n").expect("a file");
    let path = log.to_string_lossy().into_owned();
    test.call(&["--log", &path, "state", test.id()]).fails();
    let lines = text(&log);
    assert!(lines.starts_with("before\n") && lines.lines().count() > 1, "{lines}");
}

#[test]
fn success_is_silent() {
    let test = Test::new();
    let log = test.dir().join("log");
    let path = log.to_string_lossy().into_owned();
    let bundle = test.bundle().args(&["/bin/true"]);
    let output =
        test.call(&["--log", &path, "run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    assert_eq!((output.ok(), output.stderr.as_str()), ("", ""));
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "");
}

#[test]
fn debug_tells_more_and_changes_nothing() {
    let test = Test::new();
    let log = test.dir().join("log");
    let path = log.to_string_lossy().into_owned();
    let bundle = test.bundle().args(&["/bin/echo", "x"]);
    let directory = bundle.dir.to_string_lossy().into_owned();
    let output = test.call(&["--debug", "--log", &path, "run", "--bundle", &directory, test.id()]);
    assert_eq!(output.ok(), "x\n");
    if !test.excuses(&[Kind::Crun], "crun has little to tell") {
        assert!(text(&log).contains("debug"));
    }
}

#[test]
fn the_version_is_in_the_form_that_engines_parse() {
    let test = Test::new();
    let version = test.call(&["--version"]);
    let lines: Vec<&str> = version.ok().lines().collect();
    assert!(lines[0].contains(" version "), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{lines:?}");
    assert_eq!(test.call(&["-v"]).ok(), version.ok());
}

#[test]
fn help_is_on_standard_output_and_no_error() {
    let test = Test::new();
    for arguments in [&["--help"] as &[&str], &["-h"], &["create", "--help"], &["exec", "--help"]] {
        if arguments == ["-h"] && test.excuses(&[Kind::Crun], "crun has no -h") {
            continue;
        }
        assert!(test.call(arguments).ok().contains("--"), "{arguments:?}");
    }
    for command in [
        "create", "start", "run", "exec", "kill", "delete", "state", "list", "ps", "pause",
        "resume", "update", "spec",
    ] {
        assert!(test.call(&["--help"]).ok().contains(command), "{command}");
    }
}

#[test]
fn spec_makes_a_bundle_that_runs() {
    let test = Test::new();
    let bundle = test.bundle();
    fs::remove_file(bundle.dir.join("config.json")).expect("config.json");
    let dir = bundle.dir.to_string_lossy();
    let rootless = Mode::current().is_rootless().then_some("--rootless");
    let spec: Vec<&str> = ["spec", "--bundle", &dir].into_iter().chain(rootless).collect();
    test.call(&spec).ok();
    test.call(&spec).fails();
    let config: Value = serde_json::from_str(&text(&bundle.dir.join("config.json"))).expect("JSON");
    assert_eq!(
        (&config["process"]["args"], &config["process"]["terminal"]),
        (&json!(["sh"]), &json!(true))
    );
    let bundle = Bundle { dir: bundle.dir, config }
        .edit(|config| config["process"]["terminal"] = json!(false));
    test.run(&bundle.args(&["/bin/true"])).ok();
}

#[test]
fn spec_for_an_ordinary_user_has_a_user_namespace() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun 1.8 writes no mappings");
    let bundle = test.bundle();
    fs::remove_file(bundle.dir.join("config.json")).expect("config.json");
    test.call(&["spec", "--rootless", "--bundle", &bundle.dir.to_string_lossy()]).ok();
    let config: Value = serde_json::from_str(&text(&bundle.dir.join("config.json"))).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.iter().any(|namespace| namespace["type"] == "user"));
    assert!(config["linux"]["uidMappings"][0]["size"] == 1, "{config}");
}

#[test]
fn the_features_are_true() {
    let test = Test::new();
    only_on!(test, [Rtn, Runc], "crun has features since 1.9");
    let features = test.call(&["features"]).json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string());
    let words = |pointer: &str| -> Vec<String> {
        let list = features
            .pointer(pointer)
            .and_then(Value::as_array)
            .unwrap_or_else(|| panic!("no {pointer}"));
        list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    assert!(words("/hooks").contains(&"createRuntime".to_owned()));
    assert!(words("/linux/namespaces").contains(&"mount".to_owned()));
    // Every option of a mount that is claimed is understood: tmpfs itself would refuse a word that
    // is left to it.
    for option in words("/mountOptions") {
        let recursive = option.starts_with('r')
            && !["ro", "rw", "relatime", "remount"].contains(&option.as_str());
        let elsewhere =
            ["bind", "remount", "idmap", "mand", "nomand", "copy-symlink", "src-nofollow"];
        if recursive || elsewhere.contains(&option.as_str()) {
            continue;
        }
        let bundle = test.bundle_named(&option).mount(json!({
            "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option],
        }));
        if option == "defaults" && test.excuses(&[Kind::Runc], "leaves the word to the filesystem")
        {
            continue;
        }
        test.run(&bundle.args(&["/bin/true"])).ok();
    }
    let actions = words("/linux/seccomp/actions");
    assert!(
        ["SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"]
            .iter()
            .all(|action| actions.iter().any(|a| a == action)),
        "{actions:?}"
    );
}

#[test]
fn the_default_state_root_is_named_after_the_runtime() {
    let test = Test::new();
    only_on!(test, [Rtn], "the others' are in use on this machine");
    needs!(Feature::Root);
    let bundle = test.bundle().serve();
    let mut command = test.bare_command();
    wait::output(command.args(["create", "--bundle"]).arg(&bundle.dir).arg(test.id())).ok();
    assert!(Path::new("/run/rtn").join(test.id()).join("state.json").exists());
    let mut command = test.bare_command();
    wait::output(command.args(["delete", "--force", test.id()])).ok();
}
