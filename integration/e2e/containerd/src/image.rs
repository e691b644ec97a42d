//! The image of all engines' tests in one layer, as `docker save` writes it.

use std::{
    fs,
    io::{Error, Result},
    path::{Path, PathBuf},
    process::Command,
};

/// Its name in containerd.
pub const IMAGE: &str = "docker.io/library/judged:latest";

/// Writes the archive below `directory`.
///
/// # Errors
/// When /bin/busybox, tar or sha256sum is missing, or the disk is full.
pub fn archive(directory: &Path) -> Result<PathBuf> {
    let work = directory.join("image");
    let rootfs = work.join("rootfs");
    e2e_common::image::populate(&rootfs)?;
    tar(&rootfs, ".", &work.join("layer.tar"))?;
    fs::remove_dir_all(&rootfs)?;
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sum(&work.join("layer.tar"))?)]},
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(work.join("config.json"), config.to_string())?;
    fs::write(work.join("manifest.json"), manifest.to_string())?;
    let archive = directory.join("image.tar");
    tar(&work, ".", &archive)?;
    fs::remove_dir_all(&work)?;
    Ok(archive)
}

fn tar(directory: &Path, what: &str, archive: &Path) -> Result<()> {
    let status =
        Command::new("tar").arg("-C").arg(directory).arg("-cf").arg(archive).arg(what).status()?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("tar: {status}"))) }
}

fn sum(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output()?.stdout;
    let text = String::from_utf8_lossy(&output).into_owned();
    text.split(' ').next().map(str::to_owned).ok_or_else(|| Error::other("sha256sum"))
}
