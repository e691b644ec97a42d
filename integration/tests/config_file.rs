//! A config.json that cannot be read or parsed, that is huge, or that Go would read in another way.

use std::fs;

use integration::{Feature, Kind, Test, needs, only_on};
use serde_json::{Value, json};

#[test]
fn a_config_json_that_is_missing_or_malformed() {
    let test = Test::new();
    let bundle = test.bundle();
    let texts = [
        "",
        "{",
        "[]",
        "null",
        "{\"process\": 3}",
        "{\"ociVersion\": \"1.0.2\", }",
        "\u{0}\u{1}",
        "{}",
    ];
    for text in texts {
        bundle.write_text(text);
        let output = test.create_fails(&bundle);
        if test.runtime.is(Kind::Rtn) {
            output.one_line().unwrap_or_else(|what| panic!("{text:?}: {what}: {output:?}"));
            assert!(output.stderr.contains("config.json"), "{text:?}: {output:?}");
        }
    }
    fs::remove_file(bundle.dir.join("config.json")).expect("config.json");
    assert!(test.create_fails(&bundle).stderr.contains("config.json"));
    fs::create_dir(bundle.dir.join("config.json")).expect("a directory");
    test.create_fails(&bundle);
    let nowhere = test.call(&["create", "--bundle", "/not/there", test.id()]);
    assert!(nowhere.fails().contains("/not/there"), "{nowhere:?}");
}

#[test]
fn a_config_json_that_is_a_fifo_does_not_hang() {
    let test = Test::new();
    only_on!(test, [Rtn], "others wait for a writer");
    let bundle = test.bundle();
    let config = bundle.dir.join("config.json");
    fs::remove_file(&config).expect("config.json");
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    test.create_fails(&bundle);
}

#[test]
fn a_config_json_without_end_is_not_read() {
    let test = Test::new();
    only_on!(test, [Rtn], "others read until they run out of memory");
    let bundle = test.bundle();
    let config = fs::File::create(bundle.dir.join("config.json")).expect("config.json");
    config.set_len(1 << 40).expect("a hole");
    assert!(test.create_fails(&bundle).stderr.contains("larger than 64 MiB"));
}

#[test]
fn null_is_a_field_that_is_not_there() {
    let test = Test::new();
    needs!(Feature::Root);
    let bundle = test.bundle().edit(|config| {
        for field in ["hooks", "annotations", "domainname"] {
            config[field] = Value::Null;
        }
        for field in ["capabilities", "rlimits", "consoleSize", "oomScoreAdj"] {
            config["process"][field] = Value::Null;
        }
        config["process"]["user"]["additionalGids"] = Value::Null;
        config["mounts"][0]["options"] = Value::Null;
        for field in ["seccomp", "devices", "sysctl", "timeOffsets", "uidMappings"] {
            config["linux"][field] = Value::Null;
        }
    });
    let output = test.run(&bundle);
    if output.status != 0 && test.excuses(&[Kind::Crun], "takes no null for a list") {
        return;
    }
    assert!(integration::test::parse(&output.stdout).caps.bounding.is_empty());
}

#[test]
fn fields_that_nobody_knows_are_ignored_without_a_word() {
    let test = Test::new();
    let bundle = test.bundle().edit(|config| {
        config["root"]["readOnly"] = json!(true);
        config["linux"]["new"] = json!({ "a": [1, { "b": null }] });
    });
    let output = test.run(&bundle);
    output.ok();
    assert_eq!(output.stderr, "");
    only_on!(test, [Rtn], "others never say");
    let output =
        test.call(&["--debug", "run", "--bundle", &bundle.dir.to_string_lossy(), test.id()]);
    output.ok();
    for told in ["root.readOnly", "did you mean \\\"readonly\\\"", "linux.new"] {
        assert!(output.stderr.contains(told), "no {told} in {output:?}");
    }
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    let test = Test::new();
    only_on!(test, [Rtn], "others take one of the two");
    let bundle = test.bundle();
    let text = bundle.config.to_string();
    bundle.write_text(&text.replacen("\"cwd\":", "\"cwd\":\"/tmp\",\"cwd\":", 1));
    assert!(test.create_fails(&bundle).stderr.contains("(config.json: process.cwd)"));
}

#[test]
fn ten_megabytes_of_annotations_are_taken() {
    let test = Test::new();
    let bundle = test.bundle().args(&["/bin/true"]).edit(|config| {
        let annotations = (0..10_000).map(|number| {
            (format!("com.example.annotation.of.some.length/{number}"), json!("x".repeat(1000)))
        });
        config["annotations"] = Value::Object(annotations.collect());
    });
    test.run(&bundle).ok();
}

#[test]
fn texts_for_execve_up_to_its_limit() {
    const LIMIT: usize = 128 << 10;
    let test = Test::new();
    let variable = |length: usize| {
        let variable = format!("A={}", "x".repeat(length - 2));
        move |config: &mut Value| config["process"]["env"] = json!(["PATH=/bin", variable])
    };
    // The terminating NUL is part of it.
    let bundle = test.bundle().args(&["/bin/true"]).edit(variable(LIMIT - 1));
    test.run(&bundle).ok();
    let bundle = bundle.edit(variable(LIMIT));
    let output = test.run(&bundle);
    assert!(output.status != 0, "{output:?}");
    if test.runtime.is(Kind::Rtn) {
        assert!(output.stderr.contains("process.env[1]"), "{}", output.stderr);
    }
    let bundle = bundle.edit(|config| {
        let variables = (0..4096).map(|number| format!("V{number}={}", "x".repeat(1600)));
        config["process"]["env"] = json!(variables.collect::<Vec<_>>());
    });
    let output = test.run(&bundle);
    assert!(output.status != 0, "{output:?}");
    if test.runtime.is(Kind::Rtn) {
        assert!(output.stderr.contains("(config.json: process.env)"), "{output:?}");
    }
}
