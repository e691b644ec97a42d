//! linux.mountLabel: the SELinux label of what is mounted.

use std::collections::HashMap;

use super::{Action, Text, text};
use crate::error::Error;

/// crun's annotation, which podman sets: how the label is meant.
pub(in crate::plan) const CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// Those of mount(8), "SELinux context": of all files, of the filesystem, of files without one, of
/// the root.
const CONTEXT_TYPES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// The option that carries the label.
pub(in crate::plan) fn context_type(
    annotations: &Option<HashMap<String, String>>,
    faults: &mut Vec<Error>,
) -> &'static str {
    let Some(word) = annotations.as_ref().and_then(|all| all.get(CONTEXT_TYPE)) else {
        return CONTEXT_TYPES[0];
    };
    CONTEXT_TYPES.into_iter().find(|known| known == word).unwrap_or_else(|| {
        let what = format!("unknown kind of SELinux context {word:?}");
        let hint = "one of context, fscontext, defcontext, rootcontext";
        faults.push(Error::config(format!("annotations[{CONTEXT_TYPE:?}]"), what).hint(hint));
        CONTEXT_TYPES[0]
    })
}

/// The options of a filesystem with the label, where it takes one: the policy labels proc, sysfs
/// and cgroup by itself, and mqueue is labelled when it is there, as under runc and crun.
pub(super) fn with_label(
    mut data: String,
    kind: &str,
    label: Option<(&'static str, &str)>,
) -> String {
    let Some((context, label)) = label else { return data };
    if !matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2") {
        let separator = if data.is_empty() { "" } else { "," };
        data.push_str(&format!("{separator}{context}=\"{label}\""));
    }
    data
}

/// The label that is set on the root of the mount afterwards.
pub(super) fn of_root(action: &Action, label: Option<(&'static str, &str)>) -> Option<Text> {
    let (_, label) = label?;
    action.is_of(&["mqueue"]).then(|| text(label.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_more_option_of_the_kind_that_is_asked_for() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        let with =
            |data: &str, kind, context| with_label(data.to_owned(), kind, Some((context, label)));
        assert_eq!(with("", "tmpfs", "context"), format!("context=\"{label}\""));
        assert_eq!(
            with("size=1k", "overlay", "rootcontext"),
            format!("size=1k,rootcontext=\"{label}\"")
        );
        for kind in ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"] {
            assert_eq!(with("a", kind, "context"), "a", "{kind}");
        }
        assert_eq!(with_label("a".into(), "tmpfs", None), "a");
    }

    #[test]
    fn mqueue_is_labelled_afterwards() {
        let filesystem = |kind: &str| Action::Filesystem {
            fstype: text(kind.as_bytes()),
            data: text(b""),
            copy_up: false,
        };
        assert_eq!(of_root(&filesystem("mqueue"), Some(("context", "l"))), Some(text(b"l")));
        assert_eq!(of_root(&filesystem("tmpfs"), Some(("context", "l"))), None);
        assert_eq!(of_root(&filesystem("mqueue"), None), None);
    }

    #[test]
    fn the_annotation_is_one_of_four_words() {
        let read = |word: &str| {
            let mut faults = Vec::new();
            let annotations = Some(HashMap::from([(CONTEXT_TYPE.to_owned(), word.to_owned())]));
            (context_type(&annotations, &mut faults), faults.len())
        };
        assert_eq!(read("rootcontext"), ("rootcontext", 0));
        assert_eq!(read("fscontext"), ("fscontext", 0));
        assert_eq!(read("defcontext"), ("defcontext", 0));
        assert_eq!(read("nocontext"), ("context", 1));
        assert_eq!(context_type(&None, &mut Vec::new()), "context");
    }
}
