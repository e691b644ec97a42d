//! How a container comes about, until its first process waits for Start.

use std::sync::Arc;

use containerd_shim_protos::api::CreateTaskRequest;
use libcontainer::container::Container;
use tokio::sync::watch;

use crate::{
    bundle::Bundle,
    children::Child,
    common::Common,
    error::{Code, Fault, Result},
    io::{self, Owner},
    log,
    process::Process,
    rootfs,
    runtime::Runtime,
    stage::{Stage, open_terminal},
};

/// `work` for a container that is not there yet. Where it is when that is given up it stops, and with
/// it the programs that it waits for.
///
/// # Errors
/// CANCELLED then.
pub(crate) async fn unless<T>(
    mut given_up: watch::Receiver<bool>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        done = work => done,
        _ = given_up.wait_for(|given_up| *given_up) => {
            Err(Fault::new(Code::CANCELLED, "the container was deleted while it was being made"))
        }
    }
}

/// Mounts its root, opens its streams, and has the runtime make it. After a failure [`clean_up`]
/// removes what there is.
pub(crate) async fn make(
    common: &Common,
    runtime: &Runtime,
    bundle: &Bundle,
    request: &CreateTaskRequest,
    init: &Process,
) -> Result<Container> {
    rootfs::mount(&request.rootfs, &bundle.rootfs()).await?;
    let owner = owner(common, runtime, &request.id);
    let Stage { console, io, streams } = Stage::set(bundle, init, owner).await?;
    let name = console.as_ref().map(io::Console::name);
    let child = runtime.create(&request.id, bundle.path(), &bundle.pid_file(), name, streams).await;
    let child: Child = child.map_err(|fault| fault.while_doing("OCI runtime create failed"))?;
    let io = open_terminal(io, console, init, owner).await?;
    init.made(Arc::new(child), io);
    runtime.container(&request.id)
}

/// After a failure: whatever there is of a container that nobody will hear of.
pub(crate) async fn clean_up(common: &Common, runtime: &Runtime, bundle: &Bundle, id: &str) {
    let removed = runtime.command(&["delete", "--force", id], bundle.path()).await;
    let unmounted = unmount(common, bundle).await;
    let rest = removed.or_else(Fault::unless_gone).and(unmounted);
    rest.unwrap_or_else(|fault| log::error(&format!("cannot clean up {id}: {fault}")));
}

/// Takes its root away.
pub(crate) async fn unmount(common: &Common, bundle: &Bundle) -> Result<()> {
    match common.is_of_one() {
        true => rootfs::unmount(&bundle.rootfs()),
        false => rootfs::unmount_aside(bundle).await,
    }
}

pub(crate) fn owner<'a>(common: &'a Common, runtime: &Runtime, id: &'a str) -> Owner<'a> {
    let (uid, gid) = (runtime.options.io_uid, runtime.options.io_gid);
    Owner { namespace: &common.namespace, id, uid, gid }
}
