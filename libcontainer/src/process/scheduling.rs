//! Scheduling, CPUs and memory nodes of the process that is about to be another program.

use rustix::io::Errno;

use crate::{
    mask::{CPUS, Mask},
    plan::{
        memory_policy::MemoryPolicy,
        scheduling::{CpuAffinity, IoPriority, Scheduler},
    },
    sys::scheduling::{
        SchedAttr, ioprio_set, sched_getaffinity, sched_setaffinity, sched_setattr, set_mempolicy,
    },
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

pub(crate) fn set_io_priority(priority: Option<IoPriority>) -> Result<(), Errno> {
    priority.map_or(Ok(()), |priority| ioprio_set(priority.0))
}

/// After the cgroup was entered, whose cpuset limits the nodes.
pub(crate) fn set_memory_policy(policy: Option<&MemoryPolicy>) -> Result<(), Errno> {
    policy.map_or(Ok(()), |policy| set_mempolicy(policy.mode_word(), policy.nodes.words()))
}

/// A bit for each CPU that any kernel may have.
type AllCpus = [u64; WORDS];
const WORDS: usize = (CPUS / u64::BITS) as usize;

/// Every CPU of the cpuset that this process is in, whatever its caller was restricted to: since
/// Linux 6.2 that would outlast the entry into a cgroup (sched_setaffinity(2)). As in runc, no
/// failure where it is forbidden.
pub(crate) fn use_all_cpus() {
    let _ = sched_setaffinity(&[u64::MAX; WORDS]);
}

/// The CPUs of a process that is in its cgroup now. One that was given initial CPUs and no final
/// ones is left to the kernel, as the specification wants.
pub(crate) fn set_final_cpus(affinity: &CpuAffinity) -> Result<(), Errno> {
    match affinity {
        CpuAffinity { last: Some(cpus), .. } => sched_setaffinity(cpus.words()),
        CpuAffinity { initial: Some(_), .. } => Ok(()),
        CpuAffinity { initial: None, last: None } => {
            use_all_cpus();
            Ok(())
        }
    }
}

/// This thread on certain CPUs, until the value is dropped: what it clones meanwhile starts there.
#[derive(Debug)]
pub(crate) struct Pinned(AllCpus);

impl Pinned {
    pub(crate) fn to(cpus: &Mask) -> Result<Self, Errno> {
        let mut before = [0; WORDS];
        sched_getaffinity(&mut before)?;
        sched_setaffinity(cpus.words())?;
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed there before; if a CPU has gone since, the kernel chooses.
        let _ = sched_setaffinity(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> AllCpus {
        let mut cpus = [0; WORDS];
        sched_getaffinity(&mut cpus).unwrap();
        cpus
    }

    #[test]
    fn a_pinned_thread_is_released_again() {
        let before = own();
        let first = before.iter().position(|word| *word != 0).unwrap();
        let cpu = first as u32 * 64 + before[first].trailing_zeros();
        let mask = Mask::parse(&format!("{cpu},8191"), CPUS).unwrap();
        let pinned = Pinned::to(&mask).unwrap();
        assert_eq!(own().iter().map(|word| word.count_ones()).sum::<u32>(), 1);
        drop(pinned);
        assert_eq!(own(), before);
        let none = Mask::parse("8191", CPUS).unwrap();
        assert_eq!(Pinned::to(&none).unwrap_err(), Errno::INVAL);
        assert_eq!(own(), before);
    }
}
