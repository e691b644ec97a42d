use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use clap::Args;
use libcontainer::{
    Error, Kind, Result,
    cgroup::Oom,
    container::{Container, Status},
    error::Context,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
};
use serde::Serialize;

use crate::{
    cli::{Verb, value},
    globals::Globals,
    log, output,
};

#[derive(Args, Debug)]
pub(crate) struct Events {
    /// set the stats collection interval
    #[arg(long, default_value = "5s", value_parser = value::duration)]
    interval: Duration,
    /// display the container's stats then exit
    #[arg(long)]
    stats: bool,
    id: String,
}

/// One line of output, with runc's keys.
#[derive(Serialize)]
struct Event<'a, T: Serialize> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

impl Verb for Events {
    const NAME: &'static str = "events";
    const ABOUT: &'static str =
        "display container events such as OOM notifications, cpu, memory, and IO usage statistics";
    const DESCRIPTION: &'static str = r#"The events command displays information about the container. By default the
information is displayed once every 5 seconds."#;

    fn run(self, globals: &Globals) -> Result<u8> {
        if self.interval.is_zero() {
            let what = "duration interval must be greater than 0";
            return Err(Error::new(Kind::InvalidConfig, what));
        }
        let container = Container::load(&globals.root, &self.id)?;
        if container.status() == Status::Stopped {
            let what = format!("container with id {} is not running", self.id);
            return Err(Error::new(Kind::WrongState, what));
        }
        match self.stats {
            true => stats(&container)?,
            false => watch(&container, self.interval)?,
        }
        Ok(0)
    }
}

fn stats(container: &Container) -> Result<()> {
    let data = Some(container.stats()?);
    output::json(&Event { kind: "stats", id: container.id(), data })
}

/// Prints statistics every `interval` and every out-of-memory event, until the cgroup is empty.
fn watch(container: &Container, interval: Duration) -> Result<()> {
    let id = container.id();
    let mut watch = container.cgroup().oom()?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Not `+=`: on a slow machine there would be figures without end, and no event.
            next = Instant::now() + interval;
            // A reading that fails once, between two others, is no reason to stop watching.
            stats(container).unwrap_or_else(|error| log::warning(&error.to_string()));
            continue;
        }
        if !readable(&watch, left)? {
            continue;
        }
        match watch.look()? {
            Oom::Happened(count) => (0..count)
                .try_for_each(|_| output::json(&Event::<()> { kind: "oom", id, data: None }))?,
            Oom::Nothing => (),
            Oom::Gone => return Ok(()),
        }
    }
}

fn readable(watch: &impl AsFd, limit: Duration) -> Result<bool> {
    let limit = Timespec::try_from(limit).ok();
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    let ready = retry_on_intr(|| poll(&mut fds, limit.as_ref()));
    Ok(ready.doing(|| "cannot wait for events")? > 0)
}
