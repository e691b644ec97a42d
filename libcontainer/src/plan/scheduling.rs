//! process.scheduler and process.ioPriority.

use oci_spec::runtime::{self as oci, IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy};
use serde::Serialize;

use crate::error::Error;

/// What sched_setattr(2) is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// `SCHED_*` of sched(7).
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    /// Nanoseconds; SCHED_DEADLINE only.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

pub(super) fn scheduler(
    scheduler: Option<&oci::Scheduler>,
    faults: &mut Vec<Error>,
) -> Option<Scheduler> {
    use LinuxSchedulerPolicy::{SchedDeadline, SchedFifo, SchedRr};
    let scheduler = scheduler?;
    let policy = *scheduler.policy();
    let mut fault = |field: &str, what: String| {
        faults.push(Error::config(format!("process.scheduler.{field}"), what));
    };
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        fault("nice", format!("invalid scheduler.nice: {nice} is not from -20 to 19"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    let real_time = matches!(policy, SchedFifo | SchedRr);
    if priority != 0 && !real_time {
        let what = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        fault("priority", what.to_owned());
    } else if real_time && !(1..=99).contains(&priority) {
        fault("priority", format!("invalid scheduler.priority: {priority} is not from 1 to 99"));
    }
    let times = [scheduler.runtime(), scheduler.deadline(), scheduler.period()];
    let times = times.map(|time| time.unwrap_or(0));
    if policy != SchedDeadline && times != [0; 3] {
        let what =
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        fault("runtime", what.to_owned());
    }
    Some(Scheduler {
        policy: number(policy),
        flags: scheduler.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag)),
        nice,
        priority: priority.unsigned_abs(),
        runtime: times[0],
        deadline: times[1],
        period: times[2],
    })
}

/// sched.h; SCHED_ISO is reserved, and refused by the kernel.
fn number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// `class << 13 | level` of ioprio_set(2).
pub(super) fn io_priority(
    priority: Option<&oci::LinuxIOPriority>,
    faults: &mut Vec<Error>,
) -> Option<u16> {
    let priority = priority?;
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(priority.priority()).ok().filter(|level| *level < 8) {
        Some(level) => Some(class << 13 | level),
        None => {
            let what =
                format!("invalid ioPriority.Priority: {} is not from 0 to 7", priority.priority());
            faults.push(Error::config("process.ioPriority.priority", what));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_what_fits_them() {
        let read = |json: &str| {
            let mut faults = Vec::new();
            let value = serde_json::from_str(json).unwrap();
            (scheduler(Some(&value), &mut faults), faults.len())
        };
        let (batch, faults) = read(r#"{"policy":"SCHED_BATCH","nice":9}"#);
        assert_eq!((batch.unwrap().policy, batch.unwrap().nice, faults), (3, 9, 0));
        for bad in [
            r#"{"policy":"SCHED_OTHER","nice":20}"#,
            r#"{"policy":"SCHED_OTHER","priority":1}"#,
            r#"{"policy":"SCHED_FIFO"}"#,
            r#"{"policy":"SCHED_FIFO","priority":5,"runtime":1}"#,
        ] {
            assert_eq!(read(bad).1, 1, "{bad}");
        }
    }

    #[test]
    fn io_levels() {
        let read =
            |json: &str| io_priority(Some(&serde_json::from_str(json).unwrap()), &mut Vec::new());
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_BE","priority":4}"#), Some(2 << 13 | 4));
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_RT","priority":8}"#), None);
    }
}
