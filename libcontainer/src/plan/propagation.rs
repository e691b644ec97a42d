//! How mounts travel between mount namespaces (mount_namespaces(7)).

use serde::{Serialize, Serializer};

use super::mounts::options::{self, Meaning};
use crate::error::Error;

/// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`, with or without `MS_REC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation(pub u64);

impl Propagation {
    pub(crate) fn recursive(self) -> bool {
        self.0 & libc::MS_REC != 0
    }

    pub(crate) fn kind(self) -> u64 {
        self.0 & !libc::MS_REC
    }

    /// The specification's word for it.
    pub fn word(self) -> &'static str {
        const NAMES: [(u64, &str, &str); 4] = [
            (libc::MS_SHARED, "shared", "rshared"),
            (libc::MS_SLAVE, "slave", "rslave"),
            (libc::MS_PRIVATE, "private", "rprivate"),
            (libc::MS_UNBINDABLE, "unbindable", "runbindable"),
        ];
        let name = NAMES.iter().find(|(flag, ..)| *flag == self.kind());
        name.map_or("", |(_, one, all)| if self.recursive() { all } else { one })
    }
}

impl Serialize for Propagation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// linux.rootfsPropagation; a slave by default, so that the host's later mounts arrive and the
/// container's never leave.
pub(crate) fn rootfs_propagation(word: Option<&str>, faults: &mut Vec<Error>) -> Propagation {
    let default = Propagation(libc::MS_SLAVE | libc::MS_REC);
    match word.unwrap_or_default() {
        "" => default,
        word => match options::meaning(word) {
            Some(Meaning::Propagation(flags)) => Propagation(flags),
            _ => {
                let what = format!("unknown rootfsPropagation {word:?}");
                let error = Error::config("linux.rootfsPropagation", what);
                faults.push(
                    error.hint("one of shared, slave, private, unbindable, or with an r before"),
                );
                default
            }
        },
    }
}
