use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    ops::RangeInclusive,
    path::PathBuf,
};

use clap::Args;
use libcontainer::{Error, Kind, Result, cgroup::Hierarchies, error::Context, plan::OCI_VERSION};

use crate::{cli::Verb, globals::Globals};

#[derive(Args, Debug)]
pub(crate) struct Spec {
    /// path to the root of the bundle directory
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// generate a configuration for a rootless container
    #[arg(long)]
    rootless: bool,
}

impl Verb for Spec {
    const NAME: &'static str = "spec";
    const ABOUT: &'static str = "create a new specification file";
    const USAGE: &'static str = "";
    const DESCRIPTION: &'static str = r#"The spec command creates the new specification file named "config.json" for
the bundle.

The spec generated is just a starter file. Editing of the spec is required to
achieve desired results. For example, the newly generated spec includes an args
parameter that is initially set to call the "sh" command when the container is
started. Calling "sh" may work for an ubuntu container or busybox, but will not
work for containers that do not include the "sh" program.

EXAMPLE:
  To run docker's hello-world container one needs to set the args parameter
in the spec to call hello. The following commands create a bundle for
hello-world, change the default args parameter in the spec from "sh" to
"/hello", then run the hello command in a new hello-world container named
container1:

    mkdir hello
    cd hello
    docker pull hello-world
    docker export $(docker create hello-world) > hello-world.tar
    mkdir rootfs
    tar -C rootfs -xf hello-world.tar
    rtn spec
    sed -i 's;"sh";"/hello";' config.json
    rtn run container1

In the run command above, "container1" is the name for the instance of the
container that you are starting. The name you provide for the container instance
must be unique on your host. `rtn plan` shows what the file asks for, and what
is wrong with it.

When starting a container through rtn, rtn needs root privilege. If not
already running as root, you can use sudo to give rtn root privilege.

Alternatively, you can start a rootless container, which has the ability to run
without root privileges. For this to work, the specification file needs to be
adjusted accordingly. You can pass the parameter --rootless to this command to
generate a proper rootless spec file."#;
    const ARGUMENTS: RangeInclusive<usize> = 0..=0;

    fn run(self, _: &Globals) -> Result<u8> {
        let path = self.bundle.unwrap_or_default().join("config.json");
        let text = text(self.rootless, Hierarchies::probe()?.is_v2());
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => {
                Error::new(Kind::Exists, "File config.json exists. Remove it first")
            }
            _ => Error::os(format!("cannot make {path:?}"), cause),
        })?;
        file.write_all(text.as_bytes()).doing(|| format!("cannot write {path:?}"))?;
        Ok(0)
    }
}

/// For a container that root makes, on cgroup v1.
const DEFAULT: &str = include_str!("spec.json");

/// What a rootless container must not ask for, and what it asks for instead: no group of its
/// terminals, the host's /sys and network, ids of its own, and no limits.
const ROOTLESS: [(&str, &str); 5] = [
    (",\n\t\t\t\t\"gid=5\"", ""),
    (
        "\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\"",
        "\"type\": \"none\",\n\t\t\t\"source\": \"/sys\"",
    ),
    (
        "\"source\": \"/sys\",\n\t\t\t\"options\": [",
        "\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",",
    ),
    ("\n\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t},", ""),
    (
        r#""resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},"#,
        r#""uidMappings": [
			{
				"containerID": 0,
				"hostID": UID,
				"size": 1
			}
		],
		"gidMappings": [
			{
				"containerID": 0,
				"hostID": GID,
				"size": 1
			}
		],"#,
    ),
];

fn text(rootless: bool, cgroup_v2: bool) -> String {
    let version = format!("\"ociVersion\": {OCI_VERSION:?}");
    let mut text = DEFAULT.replacen("\"ociVersion\": \"\"", &version, 1);
    if cgroup_v2 {
        text = with_namespace(&text, "cgroup");
    }
    if rootless {
        text = with_namespace(&text, "user");
        for (with_root, without) in ROOTLESS {
            text = text.replacen(with_root, without, 1);
        }
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        text = text.replacen("UID", &uid.to_string(), 1).replacen("GID", &gid.to_string(), 1);
    }
    text
}

/// `text` with one more namespace, after the others.
fn with_namespace(text: &str, kind: &str) -> String {
    const END: &str = "\n\t\t],\n\t\t\"maskedPaths\"";
    let one_more = format!(",\n\t\t\t{{\n\t\t\t\t\"type\": {kind:?}\n\t\t\t}}{END}");
    text.replacen(END, &one_more, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(rootless: bool, cgroup_v2: bool) -> Value {
        serde_json::from_str(&text(rootless, cgroup_v2)).unwrap()
    }

    fn namespaces(spec: &Value) -> Vec<&str> {
        let all = spec["linux"]["namespaces"].as_array().unwrap();
        all.iter().map(|one| one["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_default_is_for_root() {
        let default = spec(false, false);
        assert_eq!(default["ociVersion"], OCI_VERSION);
        assert_eq!(namespaces(&default), ["pid", "network", "ipc", "uts", "mount"]);
        let on_v2 = spec(false, true);
        assert_eq!(namespaces(&on_v2), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
    }

    #[test]
    fn rootless_has_no_network_no_group_and_no_limits() {
        let spec = spec(true, true);
        assert_eq!(namespaces(&spec), ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
        let uid = rustix::process::geteuid().as_raw();
        let own = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        assert_eq!(spec["linux"]["uidMappings"], own);
        assert_eq!(spec["linux"]["resources"], Value::Null);
        let sys = json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        });
        assert_eq!(spec["mounts"][5], sys);
        let pts = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
        assert_eq!(spec["mounts"][2]["options"], pts);
    }
}
