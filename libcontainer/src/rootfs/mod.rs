//! The child's work on the root filesystem. Every target is a handle that openat2(2) resolved
//! inside the root, never a joined string: whoever controls the image or a shared volume may
//! exchange any component for a symbolic link at any moment (CVE-2021-30465 and its family).
//!
//! All of it happens before pivot_root, while /proc and /dev are still the host's own.

mod copy;
mod device;
mod mask;
mod mount;
mod pivot;
mod root;
mod source;

pub(crate) use device::{console, links, node};
pub(crate) use mask::{Masks, read_only};
pub(crate) use mount::{late_read_only, mount};
pub(crate) use pivot::{enter, prepare, set_read_only};
pub(crate) use root::Root;
pub(crate) use source::{Source, open_source};
