//! `delete`: removes what a container has left, without a shim. containerd calls it when the shim
//! is dead or did not start.

use std::{io::Write, path::Path, time::SystemTime};

use containerd_shim_protos::api::DeleteResponse;
use libcontainer::container::Container;
use protobuf::{Message, MessageField};

use crate::{
    address::{self, SCHEME},
    bundle::{self, Bundle},
    dismiss,
    error::{Doing, Result},
    events::timestamp,
    flags::Flags,
    rootfs,
    runtime::Runtime,
    sandbox::files,
};

/// Nobody saw how it ended; after this it was killed.
const KILLED: u32 = 128 + libc::SIGKILL.cast_unsigned();

pub(crate) fn run(flags: &Flags) -> Result<()> {
    let bundle = Bundle::at(&flags.bundle)?;
    let runtime = Runtime::new(bundle.options(), &flags.namespace);
    let pid = bundle.pid();
    let removed = match bundle.is_sandbox() {
        true => delete_pod(&bundle, &runtime, &flags.id),
        false => runtime.delete_now(&flags.id),
    };
    let unmounted = rootfs::unmount(&bundle.rootfs());
    // containerd logs these; what it needs is the answer.
    removed.and(unmounted).unwrap_or_else(|fault| eprintln!("{fault}"));
    if let Some(address) = bundle.address() {
        let socket = Path::new(address.trim_start_matches(SCHEME));
        dismiss::container(socket, &flags.id);
        address::remove_stale(socket)?;
    }
    let response = DeleteResponse {
        pid: pid.cast_unsigned(),
        exit_status: KILLED,
        exited_at: MessageField::some(timestamp(SystemTime::now())),
        ..Default::default()
    };
    std::io::stdout().write_all(&response.write_to_bytes()?).doing(|| "cannot answer")
}

/// What a sandbox has left, with its containers: those that share its shim and are in the care of a
/// newer containerd are not deleted one by one.
fn delete_pod(bundle: &Bundle, runtime: &Runtime, id: &str) -> Result<()> {
    let (containers, _) = Container::list(&runtime.root)?;
    let mut result = files::remove(bundle);
    for container in containers {
        let state = container.state();
        if bundle::group(&state.annotations, &state.id) == id {
            let bundle = Bundle::at(&state.bundle)?;
            let removed = runtime.delete_now(&state.id);
            result = result.and(removed).and(rootfs::unmount(&bundle.rootfs()));
        }
    }
    result
}
