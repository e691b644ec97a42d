//! features.md and features-linux.md: what the runtime says of itself is what it does.

use integration::Test;
use serde_json::Value;

use crate::{Statement, text::without_times};

mod document;
mod linux;
mod lists;
mod rest;
mod seccomp;

pub const LISTS: &[&[Statement]] = &[
    document::STATEMENTS,
    lists::STATEMENTS,
    linux::STATEMENTS,
    seccomp::STATEMENTS,
    rest::STATEMENTS,
];

/// The features structure; `None` when the runtime has none, which the specification allows.
fn features(test: &Test) -> Option<Value> {
    let output = test.call(&["features"]);
    (output.status == 0).then(|| output.json())
}

/// The property at `pointer` of the features structure, as RFC 6901 writes it; null when the
/// structure or the property is absent.
fn feature(test: &Test, pointer: &str) -> Value {
    let found = features(test).and_then(|document| document.pointer(pointer).cloned());
    found.unwrap_or_default()
}

/// The strings of an array of strings.
#[track_caller]
fn strings(array: &Value) -> Vec<String> {
    let items = array.as_array().unwrap_or_else(|| panic!("no array: {array}"));
    let string = |item: &Value| item.as_str().map(str::to_owned);
    items.iter().map(|item| string(item).unwrap_or_else(|| panic!("no string: {item}"))).collect()
}

/// Fails unless the runtime knows each of `names`, which `put` writes into config.json. A name that
/// it knows may still be refused: this kernel lacks what it means, or it does not go with the rest.
/// So a name that nobody knows is tried as well, and none of `names` may be refused in its words.
/// A runtime that takes any name takes these.
#[track_caller]
fn recognizes(test: &Test, names: &[String], put: impl Fn(&mut Value, &str)) {
    let refusal = |name: &str| {
        let bundle = test.bundle_named(&format!("bundle-{name}")).args(&["/bin/true"]);
        let output = test.run(&bundle.edit(|config| put(config, name)));
        (output.status != 0).then(|| without_times(&output.stderr).replace(name, "NAME"))
    };
    let Some(unknown) = refusal("X_NOBODY_KNOWS") else { return };
    let strange = |name: &&String| refusal(name).is_some_and(|message| message == unknown);
    let strangers: Vec<_> = names.iter().filter(strange).collect();
    assert!(strangers.is_empty(), "listed, but not recognized: {strangers:?} ({unknown})");
}

/// A list of the features structure; returns from the check when the runtime does not tell it.
macro_rules! listed {
    ($test:expr, $pointer:expr) => {{
        let list = super::feature($test, $pointer);
        if list.is_null() {
            $crate::skip!("the runtime does not tell {}", $pointer);
        }
        super::strings(&list)
    }};
}

/// Returns from the check unless the runtime says that it has a feature.
macro_rules! claimed {
    ($test:expr, $pointer:expr) => {
        if super::feature($test, $pointer) != true {
            $crate::skip!("the runtime does not claim {}", $pointer);
        }
    };
}

use {claimed, listed};
