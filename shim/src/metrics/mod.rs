//! What a container uses, in the messages that containerd knows: `io.containerd.cgroups.v1.Metrics`
//! and `io.containerd.cgroups.v2.Metrics`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use libcontainer::{cgroup::Cgroup, container::Container};
use protobuf::{Message, well_known_types::any::Any};

use crate::error::{Fault, Result};

mod v1;
mod v2;

/// The metrics of a container's cgroup, as it is found: on a hybrid host the controllers decide.
///
/// # Errors
/// NOT_FOUND when it has no cgroup any more.
pub(crate) fn collect(container: &Container) -> Result<Any> {
    of_cgroup(&container.cgroup())
}

/// The same of any cgroup.
///
/// # Errors
/// NOT_FOUND when it does not exist.
pub(crate) fn of_cgroup(cgroup: &Cgroup) -> Result<Any> {
    let dirs = cgroup.paths();
    let v1 = ["memory", "cpuacct", "cpu", "pids", "blkio"];
    match dirs.get("") {
        _ if v1.iter().any(|controller| dirs.contains_key(*controller)) => {
            any("io.containerd.cgroups.v1.Metrics", &v1::collect(&cgroup.stats()?, &dirs))
        }
        Some(dir) => any("io.containerd.cgroups.v2.Metrics", &v2::collect(&Source(dir.clone()))),
        None => Err(Fault::not_found("cgroup does not exist: not found")),
    }
}

fn any(name: &str, message: &impl Message) -> Result<Any> {
    Ok(Any { type_url: name.to_owned(), value: message.write_to_bytes()?, ..Default::default() })
}

/// A directory of a cgroup. A file that this kernel lacks is empty.
#[derive(Debug)]
struct Source(PathBuf);

impl Source {
    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    /// `max` is the largest number.
    fn number(&self, file: &str) -> u64 {
        number(self.text(file).trim())
    }

    /// Lines of a word and a number.
    fn table(&self, file: &str) -> BTreeMap<String, u64> {
        let text = self.text(file);
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(key, value)| (key.to_owned(), number(value.trim()))).collect()
    }

    /// The page sizes of `hugetlb.SIZE.FILE`.
    fn page_sizes(&self, file: &str) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut sizes: Vec<String> = names
            .filter_map(|name| {
                let size = name.strip_prefix("hugetlb.")?.strip_suffix(file)?;
                size.strip_suffix('.').filter(|size| !size.contains('.')).map(str::to_owned)
            })
            .collect();
        sizes.sort();
        sizes
    }
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
}

/// `name key=value key=value`.
fn keyed(line: &str) -> Option<(&str, BTreeMap<&str, u64>)> {
    let (name, rest) = line.split_once(' ')?;
    let pairs = rest.split_ascii_whitespace().filter_map(|pair| pair.split_once('='));
    Some((name, pairs.map(|(key, value)| (key, number(value))).collect()))
}

/// The lines of `rdma.current` or `rdma.max`: a device, its handles and its objects.
fn rdma(text: &str) -> impl Iterator<Item = (String, u32, u32)> {
    text.lines().filter_map(|line| {
        let (device, values) = keyed(line)?;
        let value =
            |key| values.get(key).map_or(0, |value| u32::try_from(*value).unwrap_or(u32::MAX));
        Some((device.to_owned(), value("hca_handle"), value("hca_object")))
    })
}

/// The name of a block device, as containerd gives it.
fn device_names() -> BTreeMap<(u64, u64), String> {
    let text = std::fs::read_to_string(Path::new("/proc/partitions")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(((major, minor), format!("/dev/{}", words.nth(1)?)))
    });
    lines.collect()
}

/// Fields of a message from lines of the same, or another, name.
macro_rules! fill {
    ($message:ident, $table:ident; $($field:ident $(= $key:literal)?),+ $(,)?) => {
        $(
            #[allow(unused_mut, unused_assignments)]
            let mut key = stringify!($field);
            $( key = $key; )?
            $message.$field = $table.get(key).copied().unwrap_or(0);
        )+
    };
}
use fill;

#[cfg(test)]
mod tests {
    #[test]
    fn rdma_has_a_line_for_each_device() {
        let text = "mlx4_0 hca_handle=2 hca_object=max\nocrdma1 hca_handle=3\n";
        let found: Vec<_> = super::rdma(text).collect();
        assert_eq!(found, [("mlx4_0".into(), 2, u32::MAX), ("ocrdma1".into(), 3, 0)]);
    }
}
