//! A containerd of one's own, and the host seen from outside its containers.
//!
//! * [`daemon`]: the one containerd that all tests share: its directories, its restarts, what is
//!   left of it.
//! * [`ctr`](mod@ctr): the `ctr` command, and what it said.
//! * [`container`]: a container that is removed when its handle goes out of scope.
//! * [`image`]: busybox as an image of one layer.
//! * [`judged`]: the shim that the tests are about.
//! * [`rest`]: what must not be left of all of them, [`traces`] of one.
//! * [`victim`]: a runtime that is killed while it works.

pub mod container;
pub mod ctr;
pub mod daemon;
pub mod image;
pub mod judged;
pub mod rest;
pub mod traces;
pub mod victim;

pub use container::Container;
pub use ctr::{Output, ctr};
pub use e2e_common::wait;
