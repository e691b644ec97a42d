//! The image of all engines' tests in one layer, as `docker save` writes it.

use std::{
    fs,
    io::{Error, Result},
    path::{Path, PathBuf},
    process::Command,
};

/// Its name in containerd.
pub const IMAGE: &str = "docker.io/library/judged:latest";

/// The same files with another command, which waits, and reaps what becomes its child: a pod's first
/// process.
pub const PAUSE: &str = "docker.io/library/pause:latest";

/// The names, and what is run.
const IMAGES: [(&str, &[&str]); 2] =
    [(IMAGE, &["sh"]), (PAUSE, &["sh", "-c", "sleep 1000000 & wait"])];

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
    let layer = format!("sha256:{}", sum(&work.join("layer.tar"))?);
    let mut manifest = Vec::new();
    for (number, (name, command)) in IMAGES.into_iter().enumerate() {
        let config = serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        });
        let file = format!("config{number}.json");
        fs::write(work.join(&file), config.to_string())?;
        let entry =
            serde_json::json!({"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]});
        manifest.push(entry);
    }
    fs::write(work.join("manifest.json"), serde_json::to_string(&manifest)?)?;
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
