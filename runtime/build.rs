//! Puts the commit into the program, where there is one: `rtn --version` prints it.

use std::{fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=RTN_COMMIT");
    let commit = std::env::var("RTN_COMMIT").ok().or_else(|| head(Path::new("../.git")));
    println!("cargo::rustc-env=RTN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit that HEAD names; `None` outside a checkout and before the first commit.
fn head(git: &Path) -> Option<String> {
    let head = git.join("HEAD");
    let text = fs::read_to_string(&head).ok()?;
    println!("cargo::rerun-if-changed={}", head.display());
    match text.trim().strip_prefix("ref: ") {
        None => Some(text.trim().to_owned()),
        Some(branch) => loose(git, branch).or_else(|| packed(git, branch)),
    }
}

fn loose(git: &Path, branch: &str) -> Option<String> {
    let file = git.join(branch);
    println!("cargo::rerun-if-changed={}", file.display());
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

/// After `git gc` a branch is a line `<commit> <name>` of one common file.
fn packed(git: &Path, branch: &str) -> Option<String> {
    let refs = fs::read_to_string(git.join("packed-refs")).ok()?;
    let (commit, _) =
        refs.lines().filter_map(|line| line.split_once(' ')).find(|(_, name)| *name == branch)?;
    Some(commit.to_owned())
}
