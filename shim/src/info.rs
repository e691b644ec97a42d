//! `-info`: what the runtime can do, for containerd's CRI plugin and its clients.

use std::{
    io::{IsTerminal, Read, Write},
    process::Command,
};

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::{Message, MessageField, well_known_types::any::Any};

use crate::{
    error::{Doing, Fault, Result},
    options::Options,
    runtime::Runtime,
};

/// runtime-spec, features.md, under the name by which containerd knows the type.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

pub(crate) fn print() -> Result<()> {
    let mut input = Vec::new();
    if !std::io::stdin().is_terminal() {
        std::io::stdin().read_to_end(&mut input).doing(|| "cannot read the standard input")?;
    }
    // The options alone, although what asks containerd is a RuntimeRequest that has them.
    let given = Some(Any::parse_from_bytes(&input)?).filter(|_| !input.is_empty());
    let options = given.as_ref().map(Options::from_any).transpose()?.unwrap_or_default();
    let info = RuntimeInfo {
        name: "io.containerd.rtn.v2".to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }),
        options: given.into(),
        features: MessageField::some(features(&Runtime::new(options, ""))?),
        ..Default::default()
    };
    std::io::stdout().write_all(&info.write_to_bytes()?).doing(|| "cannot answer")
}

fn features(runtime: &Runtime) -> Result<Any> {
    let program = runtime.program();
    let output = Command::new(&program).arg("features").output();
    let output = output.doing(|| format!("cannot run the runtime {program:?}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::unknown(format!("{program:?} features: {}", text.trim())));
    }
    Ok(Any { type_url: FEATURES.to_owned(), value: output.stdout, ..Default::default() })
}
