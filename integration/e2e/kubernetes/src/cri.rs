//! Calls of the CRI: gRPC on containerd's socket, one connection for each.

use e2e_containerd::daemon;
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

pub use tonic::{Code, Status};

use crate::{message::Request, wait};

/// Asks the shared daemon, and waits for its answer.
///
/// # Errors
/// What it refuses.
///
/// # Panics
/// When there is no answer within [`wait::PATIENCE`].
pub fn call<R: Request>(request: R) -> Result<R::Answer, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = async {
        let answer = tokio::time::timeout(wait::PATIENCE, ask(request)).await;
        answer.unwrap_or_else(|_| panic!("no answer to {} within {:?}", R::METHOD, wait::PATIENCE))
    };
    runtime.expect("a runtime").block_on(answer)
}

async fn ask<R: Request>(request: R) -> Result<R::Answer, Status> {
    let socket = format!("unix://{}", daemon::shared().socket().display());
    let endpoint = Endpoint::from_shared(socket).expect("an address");
    let channel = endpoint.connect().await.map_err(|error| Status::from_error(error.into()))?;
    let path = format!("/runtime.v1.RuntimeService/{}", R::METHOD);
    let path = PathAndQuery::try_from(path).expect("a path");
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<R, R::Answer>::default();
    let answer = client.unary(tonic::Request::new(request), path, codec).await?;
    Ok(answer.into_inner())
}
