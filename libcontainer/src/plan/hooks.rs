//! The six kinds of hooks.

use oci_spec::runtime::{self as oci};
use serde::Serialize;

use super::{Text, arguments};
use crate::error::Error;

/// Programs to run at the moments of a container's life (runtime-spec, config.md "POSIX-platform
/// Hooks").
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// In the runtime's namespaces, after the root filesystem is built and before pivot_root.
    pub prestart: Vec<Hook>,
    /// As `prestart`, after it.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    pub create_container: Vec<Hook>,
    /// In the container's namespaces, just before its process is executed.
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the process was started.
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, after the container was deleted.
    pub poststop: Vec<Hook>,
}

/// One program.
#[derive(Debug, Serialize)]
pub struct Hook {
    pub path: Text,
    /// argv, with argv\[0\].
    pub args: Vec<Text>,
    /// `None`: the runtime's own environment.
    pub env: Option<Vec<Text>>,
    /// Seconds until it is killed.
    pub timeout: Option<u32>,
}

impl Hooks {
    /// Whether the parent has something to run while the child waits.
    pub(crate) fn before_pivot_in_runtime(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }
}

pub(crate) fn plan(hooks: Option<&oci::Hooks>, faults: &mut Vec<Error>) -> Hooks {
    let Some(hooks) = hooks else { return Hooks::default() };
    let mut list = |kind, hooks: &Option<Vec<oci::Hook>>| -> Vec<Hook> {
        let hooks = hooks.iter().flatten().enumerate();
        hooks
            .map(|(index, hook)| plan_one(&format!("hooks.{kind}[{index}]"), hook, faults))
            .collect()
    };
    Hooks {
        prestart: list("prestart", hooks.prestart()),
        create_runtime: list("createRuntime", hooks.create_runtime()),
        create_container: list("createContainer", hooks.create_container()),
        start_container: list("startContainer", hooks.start_container()),
        poststart: list("poststart", hooks.poststart()),
        poststop: list("poststop", hooks.poststop()),
    }
}

fn plan_one(at: &str, hook: &oci::Hook, faults: &mut Vec<Error>) -> Hook {
    if !hook.path().is_absolute() {
        let what = format!("invalid hook path {:?}: it must be absolute", hook.path());
        faults.push(Error::config(format!("{at}.path"), what));
    }
    let timeout = hook.timeout().and_then(|seconds| {
        let valid = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        if valid.is_none() {
            let what = format!("invalid timeout {seconds}: it must be greater than zero");
            faults.push(Error::config(format!("{at}.timeout"), what));
        }
        valid
    });
    let path = hook.path().as_os_str().as_encoded_bytes();
    let args = match hook.args().as_deref() {
        None | Some([]) => vec![Text::new(path, at, faults)],
        Some(args) => texts(&format!("{at}.args"), args, faults),
    };
    let env = hook.env().as_deref().map(|env| texts(&format!("{at}.env"), env, faults));
    Hook { path: Text::new(path, at, faults), args, env, timeout }
}

/// Each of `list`, as C strings.
pub(super) fn texts(at: &str, list: &[String], faults: &mut Vec<Error>) -> Vec<Text> {
    let texts = list.iter().enumerate().map(|(index, text)| {
        let at = format!("{at}[{index}]");
        arguments::check_text(&at, text, faults);
        Text::new(text.as_str(), &at, faults)
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_and_a_timeout_of_zero_are_refused() {
        let json = r#"{"createRuntime":[{"path":"/a","args":["a","b"],"timeout":3},{"path":"b","timeout":0}]}"#;
        let mut faults = Vec::new();
        let hooks = plan(Some(&serde_json::from_str(json).unwrap()), &mut faults);
        assert_eq!(hooks.create_runtime[0].timeout, Some(3));
        assert_eq!(hooks.create_runtime[0].args[1], Text::new("b", "", &mut Vec::new()));
        let faults: Vec<_> = faults.iter().map(|fault| fault.spec_path().unwrap()).collect();
        assert_eq!(faults, ["hooks.createRuntime[1].path", "hooks.createRuntime[1].timeout"]);
    }
}
