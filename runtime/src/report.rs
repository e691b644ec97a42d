//! What `state` and `list` say of a container.

use std::{collections::BTreeMap, path::Path};

use libcontainer::container::{Container, Status};
use serde::Serialize;

/// The state of the runtime specification (runtime.md "State") and what runc adds to it, with
/// runc's keys in runc's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<'a> {
    oci_version: &'a str,
    pub(crate) id: &'a str,
    /// 0 for a stopped container.
    pub(crate) pid: i32,
    pub(crate) status: Status,
    pub(crate) bundle: &'a Path,
    rootfs: &'a Path,
    pub(crate) created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    /// A user name; `state` leaves it empty, as runc does.
    pub(crate) owner: String,
}

impl<'a> Report<'a> {
    pub(crate) fn new(container: &'a Container, owner: String) -> Self {
        let state = container.state();
        Self {
            oci_version: &state.oci_version,
            id: container.id(),
            pid: container.pid(),
            status: container.status(),
            bundle: &state.bundle,
            rootfs: &state.rootfs,
            created: &state.created,
            annotations: &state.annotations,
            owner,
        }
    }
}
