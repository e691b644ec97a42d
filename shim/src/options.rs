//! How the runtime is to be called: options of containerd, dockerd or the CRI plugin.
//!
//! containerd sends `containerd.runc.v1.Options` to a shim that it knows as io.containerd.runc.v2,
//! and to every other one `runtimeoptions.v1.Options` with the same options as TOML inside.

use containerd_shim_protos::shim::oci;
use protobuf::{
    CodedInputStream, Message, UnknownFields, rt::read_unknown_or_skip_group,
    well_known_types::any::Any,
};
use serde::{Deserialize, Serialize};
use toml_span::value::ValueInner;

use crate::error::{Doing, Fault, Result};

/// The options that this shim heeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    pub(crate) no_pivot_root: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) shim_cgroup: String,
    /// Owner of the pipes that are a container's standard streams.
    pub(crate) io_uid: u32,
    pub(crate) io_gid: u32,
    /// Path of the runtime, or a name in PATH; empty for the one beside the shim.
    pub(crate) binary_name: String,
    /// Where the runtime keeps its states; below it a directory for each namespace.
    pub(crate) root: String,
    pub(crate) systemd_cgroup: bool,
}

const RUNC: &str = "containerd.runc.v1.Options";
/// containerd 1.x registered it under another name.
const RUNTIME: [&str; 2] = ["runtimeoptions.v1.Options", "cri.runtimeoptions.v1.Options"];

impl Options {
    /// Whether [`from_any`](Self::from_any) takes it.
    pub(crate) fn knows(any: &Any) -> bool {
        name(any) == RUNC || RUNTIME.contains(&name(any))
    }

    /// Nothing at all is the default.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a type that is not known, and for what it cannot hold.
    pub(crate) fn from_any(any: &Any) -> Result<Self> {
        match name(any) {
            "" => Ok(Self::default()),
            RUNC => Ok(oci::Options::parse_from_bytes(&any.value)?.into()),
            other if RUNTIME.contains(&other) => Self::from_runtime_options(&any.value),
            other => Err(Fault::invalid(format!("options of an unknown type: {other:?}"))),
        }
    }

    /// `type_url` 1, `config_path` 2, `config_body` 3: the body wins. Others are those of
    /// a newer containerd.
    fn from_runtime_options(bytes: &[u8]) -> Result<Self> {
        let (mut path, mut body) = (String::new(), Vec::new());
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut others = UnknownFields::new();
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                // A field's number and the wire type of strings and bytes, 2.
                0x12 => path = input.read_string()?,
                0x1a => body = input.read_bytes()?,
                tag => read_unknown_or_skip_group(tag, &mut input, &mut others)?,
            }
        }
        if body.is_empty() && !path.is_empty() {
            body =
                std::fs::read(&path).doing(|| format!("cannot read runtime options {path:?}"))?;
        }
        let text = String::from_utf8(body);
        let text = text.map_err(|_| Fault::invalid("runtime options that are not UTF-8"))?;
        Self::from_toml(&text)
    }

    fn from_toml(text: &str) -> Result<Self> {
        let invalid = |error: toml_span::Error| {
            Fault::invalid(format!("cannot read runtime options (TOML): {error}"))
        };
        let mut options = Self::default();
        let mut value = toml_span::parse(text).map_err(invalid)?;
        let ValueInner::Table(table) = value.take() else { return Ok(options) };
        for (key, mut value) in table {
            options.set(&key.name, value.take())?;
        }
        Ok(options)
    }

    /// One line of TOML. Unknown keys are left alone: newer containerds know more of them.
    fn set(&mut self, key: &str, value: ValueInner<'_>) -> Result<()> {
        let wrong = || Fault::invalid(format!("runtime option {key} has a value of a wrong type"));
        match key {
            "NoPivotRoot" => self.no_pivot_root = value.as_bool().ok_or_else(wrong)?,
            "NoNewKeyring" => self.no_new_keyring = value.as_bool().ok_or_else(wrong)?,
            "SystemdCgroup" => self.systemd_cgroup = value.as_bool().ok_or_else(wrong)?,
            "ShimCgroup" => self.shim_cgroup = value.as_str().ok_or_else(wrong)?.to_owned(),
            "BinaryName" => self.binary_name = value.as_str().ok_or_else(wrong)?.to_owned(),
            "Root" => self.root = value.as_str().ok_or_else(wrong)?.to_owned(),
            "IoUid" => self.io_uid = id(&value).ok_or_else(wrong)?,
            "IoGid" => self.io_gid = id(&value).ok_or_else(wrong)?,
            _ => {}
        }
        Ok(())
    }
}

fn id(value: &ValueInner<'_>) -> Option<u32> {
    value.as_integer().and_then(|value| value.try_into().ok())
}

/// A type URL may have a host before the name.
pub(crate) fn name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

impl From<oci::Options> for Options {
    fn from(options: oci::Options) -> Self {
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any { type_url: type_url.into(), value: value.into(), ..Default::default() }
    }

    fn runtime_options(toml: &str) -> Any {
        let body = [&[0x0a, 1, b'x', 0x1a, toml.len() as u8], toml.as_bytes()].concat();
        any("runtimeoptions.v1.Options", &body)
    }

    #[test]
    fn both_forms_say_the_same() {
        let message = oci::Options {
            binary_name: "/opt/rtn".into(),
            systemd_cgroup: true,
            io_uid: 7,
            ..Default::default()
        };
        let direct = any("containerd.runc.v1.Options", &message.write_to_bytes().unwrap());
        let toml = "BinaryName = \"/opt/rtn\"\nSystemdCgroup = true\nIoUid = 7\nCriuPath = \"\"\n";
        let direct = Options::from_any(&direct).unwrap();
        let mut indirect = runtime_options(toml);
        assert_eq!(Options::from_any(&indirect).unwrap(), direct);
        // A number and a text that nobody knows yet.
        indirect.value.extend([0x20, 1, 0x2a, 1, b'x']);
        assert_eq!(Options::from_any(&indirect).unwrap(), direct);
        assert_eq!((&*direct.binary_name, direct.io_uid), ("/opt/rtn", 7));
    }

    #[test]
    fn nothing_is_the_default_and_something_else_is_refused() {
        assert_eq!(Options::from_any(&Any::new()).unwrap(), Options::default());
        assert_eq!(Options::from_any(&runtime_options("")).unwrap(), Options::default());
        let refused = |any| Options::from_any(&any).unwrap_err();
        assert!(refused(any("io.gvisor.Options", b"")).text.contains("io.gvisor.Options"));
        assert_eq!(
            refused(runtime_options("IoUid = \"x\"")).text,
            "runtime option IoUid has a value of a wrong type"
        );
        assert!(refused(runtime_options("Root = ")).text.starts_with("cannot read runtime"));
        assert!(refused(any("containerd.runc.v1.Options", b"\xff\xff")).text.contains("message"));
    }
}
