//! Hooks that tell what they see: entries of `hooks` that run the probe.

use std::path::{Path, PathBuf};

use integration::{
    Bundle,
    bundle::{PROBE, push},
};
use serde_json::json;

/// The kinds, in the order of the lifecycle.
pub const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Adds a hook that appends what it sees to `log` under `label`, see [`integration::HookCall`].
/// A `startContainer` hook is the container's own program, so it writes to [`inside_log`].
#[must_use]
pub fn telling(bundle: Bundle, kind: &str, label: &str, log: &Path) -> Bundle {
    add(bundle, kind, label, log, 0)
}

/// The same, but the hook fails after it has told.
#[must_use]
pub fn failing(bundle: Bundle, kind: &str, label: &str, log: &Path) -> Bundle {
    add(bundle, kind, label, log, 7)
}

/// Where the `startContainer` hooks of the bundle write, as the host sees it.
pub fn inside_log(bundle: &Bundle) -> PathBuf {
    bundle.rootfs().join("hooks.log")
}

fn add(bundle: Bundle, kind: &str, label: &str, log: &Path, status: u8) -> Bundle {
    let (path, log) = match kind {
        "startContainer" => ("/bin/probe", Path::new("/hooks.log")),
        _ => (PROBE, log),
    };
    let hook = json!({ "path": path, "args": ["hook", "hook", label, log, status.to_string()] });
    bundle.edit(|config| push(&mut config["hooks"][kind], hook))
}
