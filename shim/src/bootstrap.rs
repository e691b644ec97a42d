//! What `start` is told on its standard input, and the three forms of its answer.
//!
//! containerd up to 2.2 sends its options for the runtime as an Any, or nothing, and takes an
//! address or JSON. Since 2.3 it sends BootstrapParams and takes a BootstrapResult. Both messages
//! begin with two strings, so what tells them apart is that BootstrapParams repeat the flags.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::{Message, well_known_types::any::Any};

use crate::{
    address::{DIR, SCHEME},
    error::{Doing, Result},
    flags::Flags,
    options::Options,
};

/// A request to start, whatever form it had.
#[derive(Debug)]
pub(crate) struct Request {
    form: Form,
    pub(crate) socket_dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) debug: bool,
    /// Of containerd's ttrpc socket; empty where the environment alone says it.
    pub(crate) ttrpc_address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// containerd 1.6 and before: the address and nothing else.
    Plain,
    /// 1.7 to 2.2: JSON, for a containerd that knows this version of the task service.
    Json(u32),
    /// Since 2.3.
    Message,
}

/// The newest version of the task service that this shim serves; it serves 2 as well.
const VERSION: u32 = 3;

impl Request {
    /// # Errors
    /// When what is on the standard input is of no known form, or options cannot be understood.
    pub(crate) fn read(flags: &Flags) -> Result<Self> {
        let mut stdin = std::io::stdin();
        let mut input = Vec::new();
        if !stdin.is_terminal() {
            stdin.read_to_end(&mut input).doing(|| "cannot read the standard input")?;
        }
        let max = std::env::var("MAX_SHIM_VERSION").ok();
        Self::parse(flags, &input, max.and_then(|max| max.parse().ok()))
    }

    fn parse(flags: &Flags, input: &[u8], max_version: Option<u32>) -> Result<Self> {
        let params = BootstrapParams::parse_from_bytes(input).ok().filter(|params| {
            !params.instance_id.is_empty()
                && (&params.instance_id, &params.namespace) == (&flags.id, &flags.namespace)
        });
        let Some(params) = params else {
            return Ok(Self {
                form: max_version.map_or(Form::Plain, |max| Form::Json(max.min(VERSION))),
                socket_dir: DIR.into(),
                options: Options::from_any(&Any::parse_from_bytes(input)?)?,
                debug: flags.debug,
                ttrpc_address: String::new(),
            });
        };
        let values = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
        let options = values.filter(|value| Options::knows(value)).map(Options::from_any).next();
        let socket_dir = params.socket_dir.as_deref().filter(|dir| !dir.is_empty());
        Ok(Self {
            form: Form::Message,
            socket_dir: socket_dir.unwrap_or(DIR).into(),
            options: options.transpose()?.unwrap_or_default(),
            debug: flags.debug || params.log_level.value() < 0,
            ttrpc_address: params.containerd_ttrpc_address,
        })
    }

    /// The answer for the standard output.
    pub(crate) fn answer(&self, socket: &std::path::Path) -> Result<Vec<u8>> {
        let address = format!("{SCHEME}{}", socket.display());
        Ok(match self.form {
            Form::Plain => address.into_bytes(),
            Form::Json(version) => {
                serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"})
                    .to_string()
                    .into_bytes()
            }
            Form::Message => BootstrapResult {
                version: VERSION as i32,
                address,
                protocol: "ttrpc".into(),
                ..Default::default()
            }
            .write_to_bytes()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn flags() -> Flags {
        Flags { id: "c1".into(), namespace: "default".into(), ..Default::default() }
    }

    fn answer(input: &[u8], max: Option<u32>) -> Vec<u8> {
        let request = Request::parse(&flags(), input, max).unwrap();
        request.answer(Path::new("/run/s/x")).unwrap()
    }

    #[test]
    fn each_containerd_gets_the_answer_that_it_reads() {
        assert_eq!(answer(b"", None), b"unix:///run/s/x");
        let json: serde_json::Value = serde_json::from_slice(&answer(b"", Some(2))).unwrap();
        let expected =
            serde_json::json!({"version": 2, "address": "unix:///run/s/x", "protocol": "ttrpc"});
        assert_eq!(json, expected);
        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "default".into(),
            socket_dir: Some("/run/short".into()),
            ..Default::default()
        };
        let input = params.write_to_bytes().unwrap();
        let result = BootstrapResult::parse_from_bytes(&answer(&input, Some(2))).unwrap();
        assert_eq!((result.version, &*result.protocol), (3, "ttrpc"));
        let request = Request::parse(&flags(), &input, None).unwrap();
        assert_eq!(request.socket_dir, Path::new("/run/short"));
    }

    #[test]
    fn options_are_not_mistaken_for_parameters() {
        let options = containerd_shim_protos::shim::oci::Options {
            shim_cgroup: "/shims".into(),
            ..Default::default()
        };
        let any = Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.write_to_bytes().unwrap(),
            ..Default::default()
        };
        let request = Request::parse(&flags(), &any.write_to_bytes().unwrap(), Some(2)).unwrap();
        assert_eq!(request.options.shim_cgroup, "/shims");
        assert_eq!(request.form, Form::Json(2));
    }
}
