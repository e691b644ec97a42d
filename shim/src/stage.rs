//! The streams of a process while it is being made.

use std::os::fd::OwnedFd;

use crate::{
    bundle::Bundle,
    error::{Fault, Result},
    io::{self, Io, Owner},
    process::Process,
    runtime::Streams,
};

/// What a process needs before the runtime makes it.
pub(crate) struct Stage {
    /// For one with a terminal, whose streams are opened when it is there.
    pub(crate) console: Option<io::Console>,
    pub(crate) io: Option<Io>,
    pub(crate) streams: Streams,
}

impl Stage {
    pub(crate) async fn set(bundle: &Bundle, process: &Process, owner: Owner<'_>) -> Result<Self> {
        if process.names.terminal {
            let console = io::console(bundle.path(), &process.exec_id)?;
            return Ok(Self { console: Some(console), io: None, streams: Streams::default() });
        }
        let (io, streams) = Io::pipes(&process.names, owner).await?;
        Ok(Self { console: None, io: Some(io), streams })
    }
}

pub(crate) async fn open_terminal(
    io: Option<Io>,
    console: Option<io::Console>,
    process: &Process,
    owner: Owner<'_>,
) -> Result<Io> {
    match (io, console) {
        (Some(mut io), _) => {
            io.begin();
            Ok(io)
        }
        (None, Some(console)) => {
            let master: OwnedFd = console.receive()?;
            Io::terminal(&process.names, owner, master).await
        }
        (None, None) => Err(Fault::unknown("a process has neither pipes nor a terminal")),
    }
}
