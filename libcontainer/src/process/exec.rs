//! Finding the program and becoming it.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    io::Read,
    os::unix::ffi::OsStrExt,
};

use rustix::{
    fs::{Access, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::plan::{Process, process::variable};

/// The path of `args[0]`, looked up in the container's PATH as the user, so that a missing program
/// is already an error of `create`.
///
/// # Errors
/// ENOENT, EISDIR, EACCES: those that callers tell from each other (exit codes 126 and 127 of
/// `docker run`).
pub(crate) fn find(process: &Process) -> Result<CString, Errno> {
    let name = process.args.first().ok_or(Errno::INVAL)?;
    if name.to_bytes().contains(&b'/') {
        return executable(name).map(|()| CString::from(&**name));
    }
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    let path = variable(&process.env, "PATH").unwrap_or_default();
    let mut found = Err(Errno::NOENT);
    for dir in path.as_bytes().split(|byte| *byte == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        let candidate = CString::new([dir, b"/", name.to_bytes()].concat());
        let candidate = candidate.map_err(|_| Errno::INVAL)?;
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            // A later directory may have a better one; but if none has, this says more.
            Err(Errno::ACCESS) => found = Err(Errno::ACCESS),
            Err(_) => {}
        }
    }
    found
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    // Real and effective ids are the same here. A seccomp profile may forbid to ask; then execve
    // will tell.
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()) {
        Err(Errno::PERM | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

/// The home directory of `uid` by the container's /etc/passwd, or `/`.
pub(crate) fn home(uid: u32) -> CString {
    let home = passwd().and_then(|passwd| home_in(&passwd, uid));
    let text = [b"HOME=", home.as_deref().unwrap_or(b"/")].concat();
    CString::new(text).unwrap_or_else(|_| c"HOME=/".into())
}

/// Nobody needs more, and an image could bring a sparse file of terabytes.
const PASSWD_MAX: u64 = 16 << 20;

/// Non-blocking and only if it is a file: an image could bring a fifo or a device.
fn passwd() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, c"/etc/passwd", flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    let mut text = Vec::new();
    let mut file = std::fs::File::from(file).take(PASSWD_MAX);
    (kind == FileType::RegularFile && file.read_to_end(&mut text).is_ok()).then_some(text)
}

/// passwd(5): name:password:uid:gid:gecos:home:shell
fn home_in(passwd: &[u8], uid: u32) -> Option<Vec<u8>> {
    let uid = uid.to_string();
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
        let home = fields.get(5)?;
        (fields.get(2)? == &uid.as_bytes() && !home.is_empty()).then(|| home.to_vec())
    })
}

/// execve(2): everything that is not meant for the program is marked close-on-exec already.
pub(crate) fn replace(
    path: &CStr,
    process: &Process,
    home: Option<&CStr>,
) -> Result<Infallible, Errno> {
    let env = process.env.iter().map(AsRef::as_ref).chain(home);
    let env: Vec<&CStr> = env.collect();
    nix::unistd::execve(path, &process.args, &env)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nbad\nuser:x:1000:1000::/home/u:/bin/sh\nx:x:7:7:::";
        assert_eq!(home_in(passwd, 0).as_deref(), Some(&b"/root"[..]));
        assert_eq!(home_in(passwd, 1000).as_deref(), Some(&b"/home/u"[..]));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 8), None);
    }
}
