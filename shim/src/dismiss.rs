//! A shim that lives on although containerd has given it up: it was started, and containerd died
//! before it was told what to create; or it did not answer in time.

use std::{os::unix::net::UnixStream, path::Path, time::Duration};

use containerd_shim_protos::{
    api::{DeleteRequest, ShutdownRequest},
    shim_async::TaskClient,
};
use ttrpc::{r#async::Client, context};

use crate::address::SCHEME;

/// For each of two calls; containerd gives the whole of `delete` five seconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has the shim at `socket` forget the container `id`, which has been removed, and end if it has no
/// other one. One that does not answer is left alone.
pub(crate) fn container(socket: &Path, id: &str) {
    if UnixStream::connect(socket).is_err() {
        return;
    }
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    if let Ok(executor) = executor {
        executor.block_on(forget(socket, id));
    }
}

async fn forget(socket: &Path, id: &str) {
    let Ok(client) = Client::connect(&format!("{SCHEME}{}", socket.display())).await else {
        return;
    };
    let tasks = TaskClient::new(client);
    let patience = || context::with_duration(PATIENCE);
    // Mostly it has never heard of it, and mostly it is gone when it has answered.
    let delete = DeleteRequest { id: id.to_owned(), ..Default::default() };
    let _ = tasks.delete(patience(), &delete).await;
    let shutdown = ShutdownRequest { id: id.to_owned(), ..Default::default() };
    let _ = tasks.shutdown(patience(), &shutdown).await;
}
