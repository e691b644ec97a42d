//! process.scheduler, process.ioPriority and process.execCPUAffinity.

use oci_spec::runtime::{self as oci, IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy};
use serde::{Serialize, Serializer};

use crate::{
    error::Error,
    mask::{CPUS, Mask},
};

/// What sched_setattr(2) is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// `SCHED_*` of sched(7).
    #[serde(serialize_with = "policy_word")]
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

/// In the order of sched.h.
const POLICIES: [LinuxSchedulerPolicy; 7] = [
    LinuxSchedulerPolicy::SchedOther,
    LinuxSchedulerPolicy::SchedFifo,
    LinuxSchedulerPolicy::SchedRr,
    LinuxSchedulerPolicy::SchedBatch,
    LinuxSchedulerPolicy::SchedIso,
    LinuxSchedulerPolicy::SchedIdle,
    LinuxSchedulerPolicy::SchedDeadline,
];

fn policy_word<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    POLICIES.get(*number as usize).serialize(serializer)
}

pub(super) fn scheduler(
    scheduler: Option<&oci::Scheduler>,
    faults: &mut Vec<Error>,
) -> Option<Scheduler> {
    let scheduler = scheduler?;
    let mut faults_of = check_priorities(scheduler);
    faults_of.extend(check_times(scheduler));
    faults_of.extend(check_flags(scheduler));
    faults.extend(
        faults_of
            .into_iter()
            .map(|(field, what)| Error::config(format!("process.scheduler.{field}"), what)),
    );
    let policy = POLICIES.iter().position(|policy| policy == scheduler.policy());
    let flags = scheduler.flags().iter().flatten();
    Some(Scheduler {
        policy: policy.unwrap_or_default() as u32,
        flags: flags.fold(0, |flags, flag| flags | flag_bit(*flag)),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0).unsigned_abs(),
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    })
}

/// Field of process.scheduler, and what is wrong there.
type Fault = (String, String);

fn check_priorities(scheduler: &oci::Scheduler) -> Vec<Fault> {
    use LinuxSchedulerPolicy::{SchedFifo, SchedIso, SchedRr};
    let mut faults = Vec::new();
    let mut fault = |field: &str, what: String| faults.push((field.to_owned(), what));
    if *scheduler.policy() == SchedIso {
        fault("policy", "SCHED_ISO is a reserved name: no kernel has this policy".into());
    }
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        fault("nice", format!("invalid scheduler.nice: {nice} is not from -20 to 19"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    let real_time = matches!(scheduler.policy(), SchedFifo | SchedRr);
    if priority != 0 && !real_time {
        let what = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        fault("priority", what.to_owned());
    } else if real_time && !(1..=99).contains(&priority) {
        fault("priority", format!("invalid scheduler.priority: {priority} is not from 1 to 99"));
    }
    faults
}

/// The least runtime of SCHED_DEADLINE, in nanoseconds (sched(7)).
const RUNTIME_MIN: u64 = 1024;

/// sched(7): runtime <= deadline <= period, where a period of 0 is the deadline.
fn check_times(scheduler: &oci::Scheduler) -> Option<Fault> {
    let times = [scheduler.runtime(), scheduler.deadline(), scheduler.period()];
    let [runtime, deadline, period] = times.map(|time| time.unwrap_or(0));
    let fault = |field: &str, what: String| Some((field.to_owned(), what));
    if *scheduler.policy() != LinuxSchedulerPolicy::SchedDeadline {
        let what =
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        let names = ["runtime", "deadline", "period"];
        let given = names.into_iter().zip([runtime, deadline, period]).find(|(_, time)| *time != 0);
        return given.and_then(|(name, _)| fault(name, what.to_owned()));
    }
    if runtime < RUNTIME_MIN {
        let what = format!("invalid scheduler.runtime: {runtime} is below {RUNTIME_MIN} ns");
        return fault("runtime", what);
    }
    if runtime > deadline {
        let what = format!("invalid scheduler.deadline: {deadline} is below runtime, {runtime}");
        return fault("deadline", what);
    }
    if period != 0 && deadline > period {
        let what = format!("invalid scheduler.period: {period} is below deadline, {deadline}");
        return fault("period", what);
    }
    None
}

fn check_flags(scheduler: &oci::Scheduler) -> Option<Fault> {
    use LinuxSchedulerFlag::{SchedFlagUtilClampMax, SchedFlagUtilClampMin};
    let clamp =
        |flag: &LinuxSchedulerFlag| matches!(flag, SchedFlagUtilClampMin | SchedFlagUtilClampMax);
    let index = scheduler.flags().iter().flatten().position(clamp)?;
    let what = "a utilisation clamp needs a value, for which the specification has no field";
    Some((format!("flags[{index}]"), what.to_owned()))
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPriority(pub u16);

const IO_CLASSES: [IOPriorityClass; 3] = [
    IOPriorityClass::IoprioClassRt,
    IOPriorityClass::IoprioClassBe,
    IOPriorityClass::IoprioClassIdle,
];

/// As in config.json.
impl Serialize for IoPriority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Words {
            class: Option<IOPriorityClass>,
            priority: u16,
        }
        let class = usize::from(self.0 >> 13).checked_sub(1);
        let class = class.and_then(|class| IO_CLASSES.get(class)).copied();
        Words { class, priority: self.0 & 7 }.serialize(serializer)
    }
}

pub(super) fn io_priority(
    priority: Option<&oci::LinuxIOPriority>,
    faults: &mut Vec<Error>,
) -> Option<IoPriority> {
    let priority = priority?;
    let class = IO_CLASSES.iter().position(|class| *class == priority.class()).unwrap_or_default();
    match u16::try_from(priority.priority()).ok().filter(|level| *level < 8) {
        Some(level) => Some(IoPriority((class as u16 + 1) << 13 | level)),
        None => {
            let what =
                format!("invalid ioPriority.Priority: {} is not from 0 to 7", priority.priority());
            faults.push(Error::config("process.ioPriority.priority", what));
            None
        }
    }
}

/// Where a process that is executed in a running container may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuAffinity {
    /// Until it is in the container's cgroup.
    pub initial: Option<Mask>,
    /// From then on.
    #[serde(rename = "final")]
    pub last: Option<Mask>,
}

pub(super) fn cpu_affinity(
    affinity: Option<&oci::ExecCPUAffinity>,
    faults: &mut Vec<Error>,
) -> CpuAffinity {
    let mut read = |field: &str, list: &Option<String>| {
        let list = list.as_deref().unwrap_or_default();
        match Mask::parse(list, CPUS) {
            Ok(mask) => Some(mask).filter(|mask| !mask.is_empty()),
            Err(why) => {
                let at = format!("process.execCPUAffinity.{field}");
                faults.push(Error::config(at, format!("bad CPU affinity {list:?}: {why}")));
                None
            }
        }
    };
    let Some(affinity) = affinity else { return CpuAffinity::default() };
    CpuAffinity {
        initial: read("initial", affinity.initial()),
        last: read("final", affinity.cpu_affinity_final()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Scheduler, Vec<String>) {
        let mut faults = Vec::new();
        let value = serde_json::from_str(json).unwrap();
        let scheduler = scheduler(Some(&value), &mut faults).unwrap();
        (
            scheduler,
            faults.iter().filter_map(|fault| fault.spec_path().map(str::to_owned)).collect(),
        )
    }

    #[test]
    fn every_policy_has_its_number() {
        for (number, rest) in [
            (0, r#""SCHED_OTHER","nice":-20"#),
            (1, r#""SCHED_FIFO","priority":99"#),
            (2, r#""SCHED_RR","priority":1"#),
            (3, r#""SCHED_BATCH","nice":19"#),
            (5, r#""SCHED_IDLE""#),
            (6, r#""SCHED_DEADLINE","runtime":1024,"deadline":2000,"period":2000"#),
            (6, r#""SCHED_DEADLINE","runtime":2000,"deadline":2000"#),
        ] {
            let (scheduler, faults) = read(&format!(r#"{{"policy":{rest}}}"#));
            assert_eq!((scheduler.policy, faults), (number, vec![]), "{rest}");
        }
    }

    #[test]
    fn what_does_not_fit_the_policy_is_told_with_its_path() {
        for (rest, field) in [
            (r#""SCHED_OTHER","nice":20"#, "nice"),
            (r#""SCHED_OTHER","priority":1"#, "priority"),
            (r#""SCHED_FIFO""#, "priority"),
            (r#""SCHED_RR","priority":100"#, "priority"),
            (r#""SCHED_FIFO","priority":-5"#, "priority"),
            (r#""SCHED_FIFO","priority":5,"runtime":1"#, "runtime"),
            (r#""SCHED_BATCH","period":1"#, "period"),
            (r#""SCHED_ISO""#, "policy"),
            (r#""SCHED_DEADLINE""#, "runtime"),
            (r#""SCHED_DEADLINE","runtime":5000"#, "deadline"),
            (r#""SCHED_DEADLINE","runtime":5000,"deadline":6000,"period":5500"#, "period"),
            (r#""SCHED_DEADLINE","runtime":5000,"deadline":6000,"priority":1"#, "priority"),
            (
                r#""SCHED_OTHER","flags":["SCHED_FLAG_RECLAIM","SCHED_FLAG_UTIL_CLAMP_MIN"]"#,
                "flags[1]",
            ),
        ] {
            let faults = read(&format!(r#"{{"policy":{rest}}}"#)).1;
            assert_eq!(faults, [format!("process.scheduler.{field}")], "{rest}");
        }
    }

    #[test]
    fn the_plan_shows_words() {
        let shown = serde_json::to_value(read(r#"{"policy":"SCHED_IDLE"}"#).0).unwrap();
        assert_eq!(shown["policy"], "SCHED_IDLE");
        let shown = serde_json::to_value(IoPriority(1 << 13 | 4)).unwrap();
        assert_eq!(shown, serde_json::json!({"class": "IOPRIO_CLASS_RT", "priority": 4}));
    }

    #[test]
    fn io_levels() {
        let read =
            |json: &str| io_priority(Some(&serde_json::from_str(json).unwrap()), &mut Vec::new());
        let word = |class: u16, level| Some(IoPriority(class << 13 | level));
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_RT","priority":0}"#), word(1, 0));
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_BE","priority":4}"#), word(2, 4));
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_IDLE","priority":7}"#), word(3, 7));
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_RT","priority":8}"#), None);
        assert_eq!(read(r#"{"class":"IOPRIO_CLASS_BE","priority":-1}"#), None);
    }

    #[test]
    fn cpus_are_beyond_1024_but_not_beyond_the_kernels() {
        let read = |json: &str| {
            let mut faults = Vec::new();
            let affinity = cpu_affinity(Some(&serde_json::from_str(json).unwrap()), &mut faults);
            (affinity, faults.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (affinity, faults) = read(r#"{"initial":"0,8191"}"#);
        assert_eq!(
            (affinity.initial.unwrap().to_string().as_str(), affinity.last),
            ("0,8191", None)
        );
        assert!(faults.is_empty());
        let (_, faults) = read(r#"{"initial":"1-0","final":"8192"}"#);
        assert!(faults[0].contains("process.execCPUAffinity.initial"), "{faults:?}");
        assert!(faults[1].contains("process.execCPUAffinity.final"), "{faults:?}");
    }
}
