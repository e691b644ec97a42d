//! What the options of a mount mean.

use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use libcontainer::plan::namespaces::IdMap;
use nix::mount::MsFlags;

use crate::error::{Fault, Result};

/// mount(2) takes a page of options, with the zero at its end.
const PAGE: usize = 4096;

const LOWER: &str = "lowerdir=";

/// The flags that are words in options: those that they set, or clear.
const FLAGS: [(&str, bool, MsFlags); 24] = [
    ("async", false, MsFlags::MS_SYNCHRONOUS),
    ("atime", false, MsFlags::MS_NOATIME),
    ("bind", true, MsFlags::MS_BIND),
    ("dev", false, MsFlags::MS_NODEV),
    ("diratime", false, MsFlags::MS_NODIRATIME),
    ("dirsync", true, MsFlags::MS_DIRSYNC),
    ("exec", false, MsFlags::MS_NOEXEC),
    ("mand", true, MsFlags::MS_MANDLOCK),
    ("noatime", true, MsFlags::MS_NOATIME),
    ("nodev", true, MsFlags::MS_NODEV),
    ("nodiratime", true, MsFlags::MS_NODIRATIME),
    ("noexec", true, MsFlags::MS_NOEXEC),
    ("nomand", false, MsFlags::MS_MANDLOCK),
    ("norelatime", false, MsFlags::MS_RELATIME),
    ("nostrictatime", false, MsFlags::MS_STRICTATIME),
    ("nosuid", true, MsFlags::MS_NOSUID),
    ("rbind", true, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("relatime", true, MsFlags::MS_RELATIME),
    ("remount", true, MsFlags::MS_REMOUNT),
    ("ro", true, MsFlags::MS_RDONLY),
    ("rw", false, MsFlags::MS_RDONLY),
    ("strictatime", true, MsFlags::MS_STRICTATIME),
    ("suid", false, MsFlags::MS_NOSUID),
    ("sync", true, MsFlags::MS_SYNCHRONOUS),
];

/// A mount as the kernel takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) flags: MsFlags,
    pub(super) data: String,
    /// To be the working directory: paths in `data` start there.
    pub(super) dir: Option<PathBuf>,
    /// Maps of users and of groups: owners that its files are to have, or those of its layers.
    pub(super) maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
    /// The source is a file, for a loop device.
    pub(super) from_file: bool,
    /// Past the page cache.
    pub(super) direct: bool,
}

impl Call {
    pub(super) fn new(flags: MsFlags, data: &str) -> Self {
        let data = data.to_owned();
        Self { flags, data, dir: None, maps: None, from_file: false, direct: false }
    }

    pub(super) fn of(mount: &Mount) -> Result<Self> {
        let mut call = Self::new(MsFlags::empty(), "");
        let mut data = Vec::new();
        if mount.type_ == "bind" {
            call.flags |= MsFlags::MS_BIND;
        }
        let (mut uids, mut gids) = (None, None);
        for option in &mount.options {
            match (FLAGS.iter().find(|(word, ..)| word == option), option.split_once('=')) {
                (Some((_, true, flag)), _) => call.flags |= *flag,
                (Some((_, false, flag)), _) => call.flags &= !*flag,
                (_, Some(("uidmap", maps))) => uids = Some(parse(maps)?),
                (_, Some(("gidmap", maps))) => gids = Some(parse(maps)?),
                _ if option == "defaults" => {}
                _ if option == "loop" => call.from_file = true,
                _ => data.push(option.as_str()),
            }
        }
        call.direct = call.from_file && data.contains(&"direct-io");
        data.retain(|option| !call.direct || *option != "direct-io");
        call.maps = match (uids, gids) {
            (None, None) => None,
            (Some(uids), Some(gids)) => Some((uids, gids)),
            _ => return Err(Fault::invalid("a rootfs mount with one of uidmap and gidmap")),
        };
        call.data = data.join(",");
        call.fit(&mount.type_)
    }

    /// Paths of layers that are mapped first get short names by that.
    fn fit(mut self, kind: &str) -> Result<Self> {
        if kind == "overlay" && self.maps.is_some() {
            return Ok(self);
        }
        if self.data.len() >= PAGE && kind == "overlay" {
            self.shorten();
        }
        match self.data.len() < PAGE {
            true => Ok(self),
            false => Err(Fault::invalid("the options of the rootfs mount are longer than a page")),
        }
    }

    /// The lower directories, and the options with `names` in their place.
    pub(super) fn layers(&self) -> (Vec<&Path>, String) {
        let is_lower = |option: &&str| option.starts_with(LOWER);
        let lower = self.data.split(',').find(is_lower).unwrap_or_default();
        let dirs = lower.trim_start_matches(LOWER).split(':').filter(|dir| !dir.is_empty());
        let dirs: Vec<_> = dirs.map(Path::new).collect();
        let names: Vec<_> = (0..dirs.len()).map(|number| number.to_string()).collect();
        let rest = self.data.split(',').filter(|option| !is_lower(option));
        let options = rest.map(str::to_owned).chain([format!("{LOWER}{}", names.join(":"))]);
        let options = options.filter(|option| !option.is_empty()).collect::<Vec<_>>().join(",");
        (dirs, options)
    }

    /// Makes the lower directories relative to the one in which they all are.
    fn shorten(&mut self) {
        let options: Vec<String> = self.data.split(',').map(str::to_owned).collect();
        let Some(lower) = options.iter().find_map(|option| option.strip_prefix(LOWER)) else {
            return;
        };
        let dirs: Vec<&Path> = lower.split(':').map(Path::new).collect();
        let all = |dir: &&Path| dirs.iter().all(|lower| lower.starts_with(dir) && lower != dir);
        let Some(common) = dirs[0].ancestors().find(all).map(Path::to_owned) else { return };
        let relative = dirs.iter().filter_map(|dir| dir.strip_prefix(&common).ok());
        let relative: Vec<_> = relative.map(|dir| dir.to_string_lossy()).collect();
        let shortened = format!("{LOWER}{}", relative.join(":"));
        let replaced = options.iter().map(|option| match option.starts_with(LOWER) {
            true => shortened.clone(),
            false => option.clone(),
        });
        self.data = replaced.collect::<Vec<_>>().join(",");
        self.dir = Some(common);
    }
}

/// `container:host:size`, several with commas between them (containerd, core/mount/mount_linux.go).
fn parse(text: &str) -> Result<Vec<IdMap>> {
    let invalid = || Fault::invalid(format!("invalid id mapping {text:?} of a rootfs mount"));
    let map = |text: &str| {
        let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [container, host, size] = *numbers else { return None };
        Some(IdMap { container, host, size })
    };
    text.split(',').map(|text| map(text).ok_or_else(invalid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount { type_: kind.into(), options, ..Default::default() }
    }

    #[test]
    fn words_are_flags_and_the_rest_is_data() {
        let call = Call::of(&mount("overlay", &["ro", "nosuid", "suid", "index=off"])).unwrap();
        assert_eq!((call.flags, &*call.data), (MsFlags::MS_RDONLY, "index=off"));
        let call = Call::of(&mount("bind", &["rbind", "ro"])).unwrap();
        assert_eq!(call.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
    }

    #[test]
    fn many_layers_fit_into_a_page() {
        let base = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let dirs: Vec<_> = (1000..1100).map(|number| format!("{base}/{number}/fs")).collect();
        let lower = format!("lowerdir={}", dirs.join(":"));
        let upper = format!("upperdir={base}/1/fs");
        let call = Call::of(&mount("overlay", &[&lower, &upper])).unwrap();
        assert_eq!(call.dir.as_deref(), Some(Path::new(base)));
        assert!(call.data.starts_with("lowerdir=1000/fs:1001/fs:") && call.data.contains(&upper));
    }

    #[test]
    fn too_much_is_refused() {
        let long = "x".repeat(PAGE);
        assert!(
            Call::of(&mount("tmpfs", &[&long])).unwrap_err().text.contains("longer than a page")
        );
        for options in [&["uidmap=0:1000:1"][..], &["uidmap=0:1000", "gidmap=0:0:1"]] {
            assert_eq!(
                Call::of(&mount("overlay", options)).unwrap_err().code,
                Code::INVALID_ARGUMENT
            );
        }
    }

    #[test]
    fn owners_and_files_are_no_data() {
        let options = ["lowerdir=/a/2:/a/1", "uidmap=0:1000:10,10:5000:1", "gidmap=0:7:1", "x=y"];
        let call = Call::of(&mount("overlay", &options)).unwrap();
        let map = |container, host, size| IdMap { container, host, size };
        assert_eq!(call.maps, Some((vec![map(0, 1000, 10), map(10, 5000, 1)], vec![map(0, 7, 1)])));
        let (layers, data) = call.layers();
        assert_eq!(layers, [Path::new("/a/2"), Path::new("/a/1")]);
        assert_eq!(data, "x=y,lowerdir=0:1");
        let call = Call::of(&mount("erofs", &["ro", "loop", "direct-io", "x"])).unwrap();
        assert_eq!((call.from_file, call.direct, &*call.data), (true, true, "x"));
    }
}
