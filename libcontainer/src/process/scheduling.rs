//! Scheduling of the process that is about to be another program.

use rustix::io::Errno;

use crate::{
    plan::scheduling::Scheduler,
    sys::scheduling::{SchedAttr, ioprio_set, sched_setattr},
};

pub(crate) fn set_scheduler(scheduler: Option<&Scheduler>) -> Result<(), Errno> {
    let Some(scheduler) = scheduler else { return Ok(()) };
    sched_setattr(&SchedAttr {
        size: 0,
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

pub(crate) fn set_io_priority(priority: Option<u16>) -> Result<(), Errno> {
    priority.map_or(Ok(()), ioprio_set)
}
