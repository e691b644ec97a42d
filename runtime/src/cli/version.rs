//! `rtn --version`. Callers look for the first line, `commit: ` and `spec: `.

/// The text.
pub(super) fn text() -> String {
    format!(
        "rtn version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("RTN_COMMIT"),
        libcontainer::plan::OCI_VERSION
    )
}
