//! Bytes on their way from one descriptor to another, as fast as the far end takes them: what has no
//! room there stays where it is, so a slow reader slows its process down and costs no memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{event::PollFlags, io::Errno, pipe::SpliceFlags};
use tokio::sync::watch;

use super::sink::{self, Sink};
use crate::{
    error::{Doing, Result},
    log,
    ready::{self, Watched},
};

/// The capacity of a pipe.
const PIPE: usize = 65536;
/// The most that a pipe with any room takes as a whole (pipe(7), PIPE_BUF).
const ATOM: usize = 4096;
/// How often in a row one stream may go on before others have their turn.
const TURNS: usize = 16;

/// From a pipe or a terminal to `sink`, until the end or, once the process has `ended`, until there
/// is nothing left.
pub(super) fn output(
    from: OwnedFd,
    sink: Sink,
    ended: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()>> {
    let is_pipe = rustix::fs::fstat(&from).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
    });
    let pages = is_pipe && sink.takes_pages();
    let from = ready::for_reading(from);
    let from = from.doing(|| "cannot watch a stream")?;
    Ok(async move {
        match drain(&from, &sink, pages, ended).await {
            // A terminal that nobody holds any more ends in EIO; a logger may go before its process.
            Ok(()) | Err(Errno::IO | Errno::PIPE) => {}
            Err(errno) => log::warning(&format!("an output is cut off: {errno}")),
        }
        drop(from);
        sink.close().await;
    })
}

async fn drain(
    from: &Watched,
    sink: &Sink,
    pages: bool,
    mut ended: watch::Receiver<bool>,
) -> Result<(), Errno> {
    for turn in 1_usize.. {
        let moved = match pages {
            true => splice(from.get_ref().as_fd(), sink.as_fd()),
            false => pass_on(from.get_ref().as_fd(), sink),
        };
        match moved {
            Ok(0) => break,
            Ok(_) if turn % TURNS == 0 => tokio::task::yield_now().await,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match look(from.get_ref().as_fd()) {
                // The data have come since, and no room that is there already is announced.
                Look::Data if sink.has_room() => {}
                Look::Data => sink.room().await?,
                Look::End => break,
                Look::Nothing if *ended.borrow_and_update() => break,
                Look::Nothing => tokio::select! {
                    ready = from.readable() => ready.map_err(|_| Errno::IO)?.clear_ready(),
                    _ = ended.changed() => {}
                },
            },
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Moves pages from one pipe to another without copying them.
pub(super) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<usize, Errno> {
    rustix::pipe::splice(from, None, to, None, PIPE, SpliceFlags::NONBLOCK)
}

/// One read and one write that cannot fall short.
fn pass_on(from: BorrowedFd<'_>, sink: &Sink) -> Result<usize, Errno> {
    if !sink.has_room() {
        return Err(Errno::AGAIN);
    }
    let mut buffer = [0; ATOM];
    let length = rustix::io::read(from, &mut buffer)?;
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(sink, rest)?..];
    }
    Ok(length)
}

/// How [`input`] moves bytes.
type Move = fn(BorrowedFd<'_>, BorrowedFd<'_>) -> Result<usize, Errno>;

/// From the fifo of the standard input to the process, until the fifo ends or the process does.
pub(super) fn input(from: OwnedFd, to: OwnedFd, pass: Move) -> Result<impl Future<Output = ()>> {
    let doing = || "cannot watch a stream";
    let from = ready::for_reading(from).doing(doing)?;
    let to = ready::for_writing(to).doing(doing)?;
    Ok(async move {
        let _ = feed(&from, &to, pass).await;
    })
}

async fn feed(from: &Watched, to: &Watched, pass: Move) -> Result<(), Errno> {
    for turn in 1_usize.. {
        match pass(from.get_ref().as_fd(), to.get_ref().as_fd()) {
            Ok(0) => break,
            Ok(_) if turn % TURNS == 0 => tokio::task::yield_now().await,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let ready = match look(from.get_ref().as_fd()) {
                    Look::Data if sink::has_room(to) => continue,
                    Look::Data => to.writable().await,
                    Look::End => break,
                    Look::Nothing => from.readable().await,
                };
                ready.map_err(|_| Errno::IO)?.clear_ready();
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// To a terminal, which may take a part: as much as it takes leaves the fifo, no more. tee(2) copies
/// without consuming.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<usize, Errno> {
    let (peeked, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let available = rustix::pipe::tee(from, &into, ATOM, SpliceFlags::NONBLOCK)?;
    let mut buffer = [0; ATOM];
    let length = match available {
        0 => return Ok(0),
        _ => rustix::io::read(&peeked, &mut buffer)?,
    };
    let written = rustix::io::write(to, &buffer[..length])?;
    let mut taken = 0;
    while taken < written {
        taken += rustix::io::read(from, &mut buffer[..written - taken])?;
    }
    Ok(written)
}

/// What a move that came to nothing has left in its source.
enum Look {
    Data,
    Nothing,
    /// Nothing, and nobody who could write. A move to a sink that is full does not tell so.
    End,
}

fn look(fd: BorrowedFd<'_>) -> Look {
    match ready::now(fd, PollFlags::IN) {
        events if events.contains(PollFlags::IN) => Look::Data,
        events if events.contains(PollFlags::HUP) => Look::End,
        _ => Look::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::mpsc,
        thread,
        time::Duration,
    };

    use rustix::{
        event::{PollFd, poll},
        pipe::{PipeFlags, pipe_with},
    };

    use super::{super::nonblocking, *};

    /// [`output`] to a pipe on a thread of its own; the answer comes when it ends.
    #[expect(clippy::disallowed_methods, reason = "nothing clones here")]
    fn relay(from: OwnedFd, to: OwnedFd) -> mpsc::Receiver<()> {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                nonblocking(&from).expect("a pipe");
                let sink = Sink::pipe(to).expect("it can be watched");
                let (_going_on, ended) = watch::channel(false);
                output(from, sink, ended).expect("it can be watched").await;
            });
            done.send(()).expect("the test waits");
        });
        is_done
    }

    /// Its writing end does not block.
    fn full_pipe() -> (OwnedFd, OwnedFd) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        while rustix::io::write(&writer, &[0; ATOM]).is_ok() {}
        (reader, writer)
    }

    /// splice(2) finds no room, and epoll(7) finds the end of the source again and again.
    #[test]
    fn a_full_sink_hides_no_end() {
        let (from, writer) = io::pipe().expect("a pipe");
        drop(writer);
        let (_reader, full) = full_pipe();
        let is_done = relay(from.into(), full);
        is_done.recv_timeout(Duration::from_secs(300)).expect("the relay ends");
    }

    /// Data that come between a move that found none and the look at their source: the room for them
    /// has been announced long ago. Often enough for that to happen.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "nothing clones here")]
    fn room_that_is_there_is_not_waited_for() {
        let (from, mut writer) = io::pipe().expect("a pipe");
        let (reader, to) = full_pipe();
        let is_done = relay(from.into(), to);
        // Slower than who reads, so that nothing is full again.
        thread::spawn(move || {
            for number in 0..1 << 17 {
                writer.write_all(b"x").expect("a pipe");
                (0..number % 512).for_each(|_| std::hint::spin_loop());
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; ATOM];
            loop {
                match rustix::io::read(&reader, &mut buffer) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(_) => drop(poll(&mut [PollFd::new(&reader, PollFlags::IN)], None)),
                }
            }
        });
        is_done.recv_timeout(Duration::from_secs(300)).expect("everything has gone through");
    }
}
