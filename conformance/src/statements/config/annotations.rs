//! config.md "Annotations".

use integration::{Bundle, Test};
use serde_json::{Value, json};

use super::{AUTHOR, refuses, remove};
use crate::{Statement, may, must, must_not, should};

const ANNOTATIONS: &str = r#"config.md "Annotations""#;

/// A key that tools write when they make a configuration from an image.
macro_rules! image {
    ($key:literal $meaning:literal) => {
        must(
            concat!("config.annotations.image.", $key),
            ANNOTATIONS,
            concat!(
                "org.opencontainers.image.",
                $key,
                " | ",
                $meaning,
                " The annotation value MUST have a valid value for the ",
                $key,
                " property as defined in the OCI image specification.",
            ),
        )
        .untestable(CONVERTER)
    };
}

const CONVERTER: &str = "it binds the tool that converts the image; the runtime only hands it on";

pub(super) const STATEMENTS: &[Statement] = &[
    may(
        "config.annotations.structure",
        ANNOTATIONS,
        "This information MAY be structured or unstructured.",
    )
    .untestable(AUTHOR),
    must("config.annotations.map", ANNOTATIONS, "Annotations MUST be a key-value map.").test(
        |test| {
            for (name, value) in [("array", json!(["a"])), ("string", json!("a=b"))] {
                refuses(test, &annotated(test, name, value));
            }
        },
    ),
    may(
        "config.annotations.absent",
        ANNOTATIONS,
        "If there are no annotations then this property MAY either be absent or an empty map.",
    )
    .test(|test| {
        test.facts(&annotated(test, "empty", json!({})));
        let absent = test.bundle_named("absent");
        test.facts(&absent.edit(|config| {
            config["annotations"] = json!({});
            remove(config, "annotations");
        }));
    }),
    must("config.annotations.keys.strings", ANNOTATIONS, "Keys MUST be strings.")
        .untestable("JSON has no other keys"),
    must_not("config.annotations.keys.empty", ANNOTATIONS, "Keys MUST NOT be an empty string.")
        .test(|test| refuses(test, &annotated(test, "bundle", json!({ "": "value" })))),
    should(
        "config.annotations.keys.reverse-domain",
        ANNOTATIONS,
        "Keys SHOULD be named using a reverse domain notation - e.g. com.example.myKey.",
    )
    .untestable(AUTHOR),
    must(
        "config.annotations.reserved",
        ANNOTATIONS,
        "The org.opencontainers namespace for keys is reserved for use by this specification, \
         annotations using keys in this namespace MUST be as described in this section.",
    )
    .untestable(AUTHOR),
    may(
        "config.annotations.image",
        ANNOTATIONS,
        "The following keys in the org.opencontainers namespaces MAY be used",
    )
    .untestable(AUTHOR),
    should(
        "config.annotations.image.use",
        ANNOTATIONS,
        "This annotation SHOULD only be used in accordance with the OCI image specification's \
         runtime conversion specification.",
    )
    .untestable(AUTHOR),
    image!("os" "Indicates the operating system the container image was built to run on."),
    image!("os.version" "Indicates the operating system version targeted by the container image."),
    image!("os.features"
        "Indicates mandatory operating system features required by the container image."),
    image!("architecture"
        "Indicates the architecture that binaries in the container image are built to run on."),
    image!("variant"
        "Indicates the variant of the architecture that binaries in the container image are built \
         to run on."),
    image!("author" "Indicates the author of the container image."),
    image!("created" "Indicates the date and time when the container image was created."),
    must(
        "config.annotations.image.stop-signal-value",
        ANNOTATIONS,
        "org.opencontainers.image.stopSignal | […] The annotation value MUST have a valid value for \
         the config.StopSignal property as defined in the OCI image specification.",
    )
    .untestable(CONVERTER),
    should(
        "config.annotations.image.stop-signal",
        ANNOTATIONS,
        "org.opencontainers.image.stopSignal | Indicates signal that SHOULD be sent by the \
         container runtimes to kill the container.",
    )
    .untestable("`kill` is given its signal by the caller, who has the annotation as well"),
    must_not(
        "config.annotations.reserved-later",
        ANNOTATIONS,
        "All other keys in the org.opencontainers namespace not specified in this above table are \
         reserved and MUST NOT be used by subsequent specifications.",
    )
    .untestable("it binds later versions of the specification"),
    must(
        "config.annotations.unknown",
        ANNOTATIONS,
        "Runtimes MUST handle unknown annotation keys like any other unknown property.",
    )
    .test(|test| {
        let unknown = json!({
            "com.example.gpu-cores": "2",
            "org.opencontainers.no-such.key": "value",
            "no domain at all": "{\"structured\": [1, 2]}",
        });
        test.facts(&annotated(test, "bundle", unknown));
    }),
    must("config.annotations.values.strings", ANNOTATIONS, "Values MUST be strings.").test(
        |test| {
            for (name, value) in [("number", json!(2)), ("list", json!(["a"])), ("map", json!({}))]
            {
                refuses(test, &annotated(test, name, json!({ "com.example.key": value })));
            }
        },
    ),
    may("config.annotations.values.empty", ANNOTATIONS, "Values MAY be an empty string.").test(
        |test| {
            let bundle = annotated(test, "bundle", json!({ "com.example.key": "" }));
            let container = test.create(&bundle);
            let state = container.state();
            container.remove();
            assert_eq!(state["annotations"]["com.example.key"], "", "{state}");
        },
    ),
];

fn annotated(test: &Test, name: &str, annotations: Value) -> Bundle {
    test.bundle_named(name).edit(|config| config["annotations"] = annotations)
}
