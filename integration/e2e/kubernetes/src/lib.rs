//! A client of containerd's CRI, as kubelet is one, and the host seen from outside its pods.
//!
//! * [`cri`]: one call.
//! * [`message`]: what is said in it.
//! * [`pod`], [`container`]: handles; what they are for is removed with them.
//! * [`stream`]: the streams of `kubectl exec` and `kubectl attach`.
//! * [`daemon`]: containerd with the configuration of the manual.

pub mod container;
pub mod cri;
pub mod daemon;
pub mod message;
pub mod pod;
pub mod stream;

pub use container::Container;
pub use cri::call;
pub use e2e_common::wait;
pub use pod::Pod;
pub use stream::Stream;
