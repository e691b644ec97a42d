//! Fills [`Facts`] from /proc and a few calls. A container may lack /proc or hide parts of it, so
//! what cannot be read is empty, never an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::Path,
};

use nix::sys::utsname;

use crate::{CAPABILITIES, Capabilities, Facts, Mount, Place, Stat, Tty};

/// `read` and `stat` are the paths to report in [`Facts::files`] and [`Facts::stats`].
pub fn facts(read: &[String], stat: &[String]) -> Facts {
    // First, before anything here opens a descriptor of its own.
    let fds = descriptors();
    let status = Status::read();
    let uname = utsname::uname().ok();
    let uname = |field: fn(&utsname::UtsName) -> &std::ffi::OsStr| {
        uname.as_ref().map(|u| field(u).to_string_lossy().into_owned()).unwrap_or_default()
    };
    Facts {
        pid: nix::unistd::getpid().as_raw(),
        ppid: nix::unistd::getppid().as_raw(),
        sid: nix::unistd::getsid(None).map(nix::unistd::Pid::as_raw).unwrap_or_default(),
        namespaces: namespaces(Path::new("/proc/self/ns")),
        uids: status.four("Uid"),
        gids: status.four("Gid"),
        groups: status.numbers("Groups").collect(),
        caps: status.capabilities(),
        no_new_privs: status.numbers("NoNewPrivs").next() == Some(1),
        seccomp: status.numbers("Seccomp").next().unwrap_or_default(),
        rlimits: rlimits(),
        umask: u32::from_str_radix(status.field("Umask"), 8).unwrap_or_default(),
        cwd: env::current_dir().map_or_else(|e| e.to_string(), |d| d.to_string_lossy().into()),
        argv: env::args().collect(),
        env: environment(),
        fds,
        exe: link("/proc/self/exe"),
        hostname: uname(utsname::UtsName::nodename),
        domainname: uname(utsname::UtsName::domainname),
        mounts: mounts(&text("/proc/self/mountinfo")),
        personality: u64::from_str_radix(text("/proc/self/personality").trim(), 16)
            .unwrap_or_default(),
        oom_score_adj: text("/proc/self/oom_score_adj").trim().parse().unwrap_or_default(),
        keyrings: keyrings(&text("/proc/keys")),
        tty: tty(),
        cgroups: text("/proc/self/cgroup").lines().map(str::to_owned).collect(),
        timens: time_offsets(),
        uid_map: id_map("/proc/self/uid_map"),
        gid_map: id_map("/proc/self/gid_map"),
        nice: stat_field(19),
        files: read.iter().map(|path| (path.clone(), content(path))).collect(),
        stats: stat.iter().map(|path| (path.clone(), lstat(path))).collect(),
    }
}

/// Namespace inodes below `directory` (`/proc/<pid>/ns`).
pub fn namespaces(directory: &Path) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.split(['[', ']']).nth(1)?.parse().ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), inode))
        })
        .collect()
}

/// Where the process with this directory (`/proc/<pid>`) is; empty where that cannot be read.
pub fn place(process: &Path) -> Place {
    let identity = |path: &str| {
        let data = fs::metadata(process.join(path)).ok()?;
        Some((data.dev(), data.ino()))
    };
    let mountinfo = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    Place {
        root: identity("root"),
        exe: identity("exe"),
        mounts: mounts(&mountinfo).into_iter().map(|mount| mount.target).collect(),
    }
}

/// Parses the text of a mountinfo file.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let mut filesystem_fields = filesystem.split(' ');
    Some(Mount {
        root: unescape(fields.next()?),
        target: unescape(fields.next()?),
        options: commas(fields.next()?),
        propagation: fields.map(str::to_owned).collect(),
        fstype: filesystem_fields.next()?.to_owned(),
        source: unescape(filesystem_fields.next()?),
        super_options: commas(filesystem_fields.next()?),
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn commas(list: &str) -> BTreeSet<String> {
    list.split(',').map(str::to_owned).collect()
}

/// lstat(2) of `path`, or the errno's name.
pub fn lstat(path: &str) -> Result<Stat, String> {
    let data = fs::symlink_metadata(path).map_err(|error| errno_name(&error))?;
    let kind = data.file_type();
    let kinds = [
        (kind.is_dir(), "dir"),
        (kind.is_symlink(), "link"),
        (kind.is_char_device(), "char"),
        (kind.is_block_device(), "block"),
        (kind.is_fifo(), "fifo"),
        (kind.is_socket(), "socket"),
    ];
    let is_device = kind.is_char_device() || kind.is_block_device();
    Ok(Stat {
        kind: kinds.iter().find(|(is, _)| *is).map_or("file", |(_, name)| name).to_owned(),
        mode: data.permissions().mode() & 0o7777,
        uid: data.uid(),
        gid: data.gid(),
        size: data.size(),
        device: is_device.then(|| {
            (nix::sys::stat::major(data.rdev()) as u32, nix::sys::stat::minor(data.rdev()) as u32)
        }),
        target: fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned()),
    })
}

/// `ENOENT` for "no such file or directory", and so on.
pub fn errno_name(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => format!("{:?}", nix::errno::Errno::from_raw(errno)),
        None => error.to_string(),
    }
}

fn content(path: &str) -> Result<String, String> {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| errno_name(&error))
}

fn text(path: &str) -> String {
    content(path).unwrap_or_default()
}

fn link(path: &str) -> String {
    fs::read_link(path).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default()
}

fn environment() -> Vec<String> {
    env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect()
}

/// Every descriptor but the one that lists them.
fn descriptors() -> BTreeMap<i32, String> {
    use nix::{dir::Dir, fcntl::OFlag, sys::stat::Mode};
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut directory) = Dir::open("/proc/self/fd", flags, Mode::empty()) else {
        return BTreeMap::new();
    };
    let own = directory.as_raw_fd();
    let numbers = directory.iter().flatten().filter_map(|entry| {
        entry.file_name().to_str().ok()?.parse().ok().filter(|number: &i32| *number != own)
    });
    numbers.map(|number| (number, link(&format!("/proc/self/fd/{number}")))).collect()
}

/// Names as in getrlimit(2) without `RLIMIT_`, in lower case.
fn rlimits() -> BTreeMap<String, (u64, u64)> {
    use nix::sys::resource::{Resource, getrlimit};
    let all = [
        ("as", Resource::RLIMIT_AS),
        ("core", Resource::RLIMIT_CORE),
        ("cpu", Resource::RLIMIT_CPU),
        ("data", Resource::RLIMIT_DATA),
        ("fsize", Resource::RLIMIT_FSIZE),
        ("locks", Resource::RLIMIT_LOCKS),
        ("memlock", Resource::RLIMIT_MEMLOCK),
        ("msgqueue", Resource::RLIMIT_MSGQUEUE),
        ("nice", Resource::RLIMIT_NICE),
        ("nofile", Resource::RLIMIT_NOFILE),
        ("nproc", Resource::RLIMIT_NPROC),
        ("rss", Resource::RLIMIT_RSS),
        ("rtprio", Resource::RLIMIT_RTPRIO),
        ("rttime", Resource::RLIMIT_RTTIME),
        ("sigpending", Resource::RLIMIT_SIGPENDING),
        ("stack", Resource::RLIMIT_STACK),
    ];
    all.into_iter()
        .filter_map(|(name, resource)| Some((name.to_owned(), getrlimit(resource).ok()?)))
        .collect()
}

/// Keyrings with our uid: `_ses.<container id>` is the one that runtimes make.
fn keyrings(keys: &str) -> Vec<String> {
    keys.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(7);
            (fields.next()? == "keyring").then(|| fields.collect::<Vec<_>>().join(" "))
        })
        .map(|description| description.split(": ").next().unwrap_or_default().to_owned())
        .collect()
}

fn tty() -> Option<Tty> {
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok()?;
    Some(Tty {
        rows: size.ws_row,
        columns: size.ws_col,
        controlling: fs::File::open("/dev/tty").is_ok(),
        name: link("/proc/self/fd/0"),
    })
}

fn time_offsets() -> BTreeMap<String, i64> {
    text("/proc/self/timens_offsets")
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
        })
        .collect()
}

fn id_map(path: &str) -> Vec<(u32, u32, u32)> {
    text(path)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse);
            Some((fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?))
        })
        .collect()
}

/// Field `index` of /proc/self/stat, counted as in proc_pid_stat(5) from 1.
fn stat_field(index: usize) -> i32 {
    let stat = text("/proc/self/stat");
    // The second field is the command in parentheses and may hold blanks.
    let after_command = stat.rsplit(") ").next().unwrap_or_default();
    after_command.split(' ').nth(index - 3).and_then(|f| f.parse().ok()).unwrap_or_default()
}

/// /proc/self/status, by field name.
struct Status(String);

impl Status {
    fn read() -> Self {
        Self(text("/proc/self/status"))
    }

    fn field(&self, name: &str) -> &str {
        let mut fields = self.0.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| *key == name).map_or("", |(_, value)| value.trim())
    }

    fn numbers(&self, name: &str) -> impl Iterator<Item = u32> {
        self.field(name).split_whitespace().filter_map(|number| number.parse().ok())
    }

    fn four(&self, name: &str) -> [u32; 4] {
        let ids: Vec<u32> = self.numbers(name).collect();
        ids.try_into().unwrap_or([u32::MAX; 4])
    }

    fn capabilities(&self) -> Capabilities {
        let set = |name| {
            let mask = u64::from_str_radix(self.field(name), 16).unwrap_or_default();
            let held = |number: &usize| mask & (1 << number) != 0;
            (0..CAPABILITIES.len()).filter(held).map(|n| CAPABILITIES[n].to_owned()).collect()
        };
        Capabilities {
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            inheritable: set("CapInh"),
            bounding: set("CapBnd"),
            ambient: set("CapAmb"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_is_taken_apart() {
        let line = "36 35 98:0 /mnt1 /a\\040b rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let mount = mount(line).expect("a mount");
        assert_eq!((mount.root.as_str(), mount.target.as_str()), ("/mnt1", "/a b"));
        assert!(mount.has("noatime"));
        assert_eq!(mount.propagation, ["shared:1", "master:2"]);
        assert_eq!((mount.fstype.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
        assert!(mount.super_options.contains("errors=continue"));
    }

    #[test]
    fn this_process_has_facts() {
        let facts = facts(&["/proc/self/comm".into(), "/none".into()], &["/dev/null".into()]);
        assert_eq!(facts.pid, std::process::id() as i32);
        assert!(facts.namespaces.contains_key("mnt") && !facts.mounts.is_empty());
        assert_eq!(facts.files["/none"], Err("ENOENT".to_owned()));
        assert_eq!(facts.stats["/dev/null"].as_ref().expect("a device").device, Some((1, 3)));
    }
}
