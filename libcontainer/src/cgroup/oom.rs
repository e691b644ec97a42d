//! Watching for the kernel's out-of-memory killer: the eventfd of cgroup v1
//! (Documentation/admin-guide/cgroup-v1/memory.rst, section 10), POLLPRI of `memory.events` on v2
//! (Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files").

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fs::{OFlags, SeekFrom, seek},
    io::Errno,
};

use super::dir::{Dir, read_all, value_of};
use crate::error::{Context, Result};

/// What woke the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oom {
    /// The cgroup ran out of memory this often since the last look. On v1 also when the killer is
    /// off; on v2 only what was killed counts.
    Happened(u64),
    /// Something else changed.
    Nothing,
    /// The cgroup has been removed or has no process any more; nothing will follow.
    Gone,
}

/// Becomes readable (POLLIN) when there may be something to tell.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// The watched file must stay open: closing it ends the notification.
    V1 {
        dir: Dir,
        _control: OwnedFd,
    },
    V2 {
        memory: Changing,
        members: Changing,
        kills: u64,
        above: Option<Above>,
    },
}

/// A file that tells by POLLPRI that it is another than when it was last read. Not by inotify: the
/// kernel takes tens of milliseconds to close an instance of that.
#[derive(Debug)]
struct Changing(OwnedFd);

impl Changing {
    /// Read once, without which it would count as changed.
    fn watched_by(epoll: &OwnedFd, dir: &Dir, file: &str) -> Result<(Self, String)> {
        let failed = |verb, cause| dir.failed(verb, file, cause);
        let this = dir.open_file(file, OFlags::RDONLY).map_err(|cause| failed("open", cause))?;
        let this = Self(this);
        let text = this.read().map_err(|cause| failed("read", cause))?;
        epoll::add(epoll, &this.0, epoll::EventData::new_u64(0), epoll::EventFlags::PRI)
            .map_err(|cause| failed("watch", cause))?;
        Ok((this, text))
    }

    /// ENODEV when the cgroup is gone.
    fn read(&self) -> Result<String, Errno> {
        seek(&self.0, SeekFrom::Start(0))?;
        read_all(&self.0)
    }
}

/// The cgroup above, which counts what happens below it and outlives the watched one: systemd removes
/// a unit's cgroup with its last process, before anybody can read there what the killer did.
#[derive(Debug)]
struct Above {
    dir: Dir,
    kills: u64,
}

impl Above {
    /// The root has no counters.
    fn of(dir: &Dir) -> Option<Self> {
        let dir = dir.parent().ok()?;
        let kills = v2_kills(&dir).ok()?;
        Some(Self { dir, kills })
    }

    fn now(&self) -> u64 {
        v2_kills(&self.dir).unwrap_or(self.kills)
    }
}

impl OomWatch {
    pub(super) fn v1(dir: Dir) -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .doing(|| "cannot create an eventfd")?;
        let control = dir
            .open_file("memory.oom_control", OFlags::RDONLY)
            .map_err(|cause| dir.failed("open", "memory.oom_control", cause))?;
        let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        dir.write("cgroup.event_control", &line)
            .map_err(|cause| dir.failed("write", "cgroup.event_control", cause))?;
        Ok(Self { fd, seen: Seen::V1 { dir, _control: control } })
    }

    pub(super) fn v2(dir: &Dir) -> Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)
            .doing(|| "cannot create an epoll instance")?;
        let (memory, events) = Changing::watched_by(&fd, dir, "memory.events")?;
        let (members, _) = Changing::watched_by(&fd, dir, "cgroup.events")?;
        let (kills, above) = (kills_in(&events), Above::of(dir));
        Ok(Self { fd, seen: Seen::V2 { memory, members, kills, above } })
    }

    /// What has happened since the last call. Does not wait.
    ///
    /// # Errors
    /// When the counters cannot be read, although the cgroup is there.
    pub fn look(&mut self) -> Result<Oom> {
        match &mut self.seen {
            Seen::V1 { dir, .. } => {
                let count = drain_eventfd(&self.fd).doing(|| "cannot read an eventfd")?;
                // Removing the cgroup signals every eventfd of it.
                match dir.exists("cgroup.event_control") {
                    false => Ok(Oom::Gone),
                    true if count == 0 => Ok(Oom::Nothing),
                    true => Ok(Oom::Happened(count)),
                }
            }
            Seen::V2 { memory, members, kills, above } => {
                let Ok(events) = members.read() else { return Ok(Oom::Gone) };
                // First, so that what comes between the two is left for struck_nearby.
                let before = above.as_ref().map(Above::now);
                let Ok(now) = memory.read().map(|text| kills_in(&text)) else {
                    return Ok(Oom::Gone);
                };
                let new = now.saturating_sub(*kills);
                *kills = now;
                if let Some((above, before)) = above.as_mut().zip(before) {
                    // What is told now is not to be told again.
                    above.kills = if new > 0 { above.now() } else { before };
                }
                match value_of(&events, "populated") {
                    _ if new > 0 => Ok(Oom::Happened(new)),
                    Some(0) => Ok(Oom::Gone),
                    _ => Ok(Oom::Nothing),
                }
            }
        }
    }

    /// Whether the killer struck since the last look that found the cgroup, here or in one beside it:
    /// all that can be known when the cgroup is gone. On v2 alone: on v1 it is never told.
    pub fn struck_nearby(&self) -> bool {
        match &self.seen {
            Seen::V2 { above: Some(above), .. } => above.now() > above.kills,
            _ => false,
        }
    }

    /// Leaves out what happened beside this cgroup until now.
    pub fn forget_nearby(&mut self) {
        if let Seen::V2 { above: Some(above), .. } = &mut self.seen {
            above.kills = above.now();
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many processes the killer took so far (v1 since Linux 4.13).
pub(super) fn v1_kills(dir: &Dir) -> Result<u64> {
    let text = dir
        .read("memory.oom_control")
        .map_err(|cause| dir.failed("read", "memory.oom_control", cause))?;
    Ok(kills_in(&text))
}

pub(super) fn v2_kills(dir: &Dir) -> Result<u64> {
    let text =
        dir.read("memory.events").map_err(|cause| dir.failed("read", "memory.events", cause))?;
    Ok(kills_in(&text))
}

fn kills_in(text: &str) -> u64 {
    value_of(text, "oom_kill").unwrap_or(0)
}

fn drain_eventfd(fd: &OwnedFd) -> Result<u64, Errno> {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::AGAIN) => Ok(0),
        Err(errno) => Err(errno),
    }
}
