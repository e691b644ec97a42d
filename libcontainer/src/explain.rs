//! From a failure of the child to words: the parent owns the plan, so it knows what step 14, index
//! 3 was about.

use std::{io, os::fd::AsFd};

use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::{
    cgroup::Cgroup,
    error::{Error, Kind},
    hooks::{self, Ending},
    plan::{Mount, Plan, Process, mounts::Action},
    spawn::Child,
    step::{Failure, Step},
};

/// The error for `failure` while `plan` was carried out.
pub(crate) fn failure(plan: &Plan, failure: &Failure) -> Error {
    let index = failure.index as usize;
    match failure.step {
        Step::Mount | Step::Remount => mount(plan.mounts.get(index), failure),
        Step::HookCreateContainer | Step::HookStartContainer => hook(plan, failure),
        Step::Join => os("cannot join a namespace".into(), failure).at("linux.namespaces"),
        Step::Rootfs => {
            let what = format!("cannot set up the root filesystem {:?}", plan.rootfs.path);
            os(what, failure).at("root.path")
        }
        Step::Device => match plan.devices.get(index) {
            Some(device) => os(format!("cannot create device {:?}", device.path), failure),
            None => os("cannot create a device".into(), failure),
        },
        Step::Sysctl => match plan.sysctls.get(index) {
            Some(sysctl) => {
                let what = format!("cannot write sysctl {} = {:?}", sysctl.name, sysctl.value);
                os(what, failure).at(format!("linux.sysctl[{:?}]", sysctl.name))
            }
            None => os("cannot write a sysctl".into(), failure),
        },
        Step::ReadonlyPath | Step::MaskedPath => restricted_path(plan, failure),
        Step::Hostname => os("cannot set the hostname".into(), failure).at("hostname"),
        Step::Domainname => os("cannot set the domainname".into(), failure).at("domainname"),
        Step::Keyring => os("cannot join a new session keyring".into(), failure)
            .hint("--no-new-keyring keeps the caller's, where keyctl is forbidden"),
        step => match &plan.process {
            Some(process) => of_process(process, failure),
            None => os(format!("cannot create the container ({step:?})"), failure),
        },
    }
}

/// The error for a step that create and exec share.
pub(crate) fn of_process(process: &Process, failure: &Failure) -> Error {
    let (what, at) = match failure.step {
        Step::Lookup | Step::Exec => return program(process, failure),
        Step::CpuAffinity | Step::Scheduler | Step::IoPriority | Step::MemoryPolicy => {
            return scheduling(failure);
        }
        Step::Rlimit => {
            let cause = io::Error::from_raw_os_error(failure.errno);
            return rlimit(process, failure.index as usize, cause);
        }
        Step::OomScoreAdj => {
            let cause = io::Error::from_raw_os_error(failure.errno);
            return oom_score_adj(process.oom_score_adj.unwrap_or_default(), cause);
        }
        Step::Console => ("cannot open a pty for the process", Some("process.terminal")),
        Step::Root => ("cannot become root of the user namespace", Some("linux.uidMappings")),
        Step::Unshare => ("cannot make namespaces", Some("linux.namespaces")),
        Step::TimeOffsets => {
            ("cannot set the clocks of the time namespace", Some("linux.timeOffsets"))
        }
        Step::Loopback => ("cannot bring up the loopback interface", None),
        Step::Cgroup => ("cannot enter the cgroup", Some("linux.cgroupsPath")),
        Step::Session => ("cannot make a session", None),
        Step::DevLinks => ("cannot make the links in /dev", None),
        Step::Pivot => ("cannot pivot_root into the root filesystem", Some("root.path")),
        Step::RootReadonly => ("cannot make the root filesystem read-only", Some("root.readonly")),
        Step::Personality => ("cannot set the personality", Some("linux.personality")),
        Step::NoNewPrivileges => ("cannot set no_new_privs", Some("process.noNewPrivileges")),
        Step::ApparmorProfile => {
            ("cannot apply the AppArmor profile", Some("process.apparmorProfile"))
        }
        Step::SelinuxLabel => ("cannot apply the SELinux label", Some("process.selinuxLabel")),
        Step::Seccomp => ("cannot install the seccomp filter", Some("linux.seccomp")),
        Step::Stdio => ("cannot give the standard streams to the user", None),
        Step::Capabilities => ("cannot drop capabilities", Some("process.capabilities.bounding")),
        Step::Ids => ("cannot become the user", Some("process.user")),
        Step::Cwd => return cwd(process, failure),
        Step::Start => ("cannot wait for start", None),
        _ => ("cannot talk to the other side", None),
    };
    let error = os(what.into(), failure);
    match at {
        Some(at) => error.at(at),
        None => error,
    }
}

/// The error for a weight that was refused.
pub(crate) fn oom_score_adj(score: i32, cause: io::Error) -> Error {
    Error::os(format!("cannot set oom_score_adj to {score}"), cause)
        .at("process.oomScoreAdj")
        .hint("lowering the score needs CAP_SYS_RESOURCE in the initial user namespace")
}

/// The error for a limit that was refused.
pub(crate) fn rlimit(process: &Process, index: usize, cause: io::Error) -> Error {
    let what = match process.rlimits.get(index) {
        Some(limit) => format!("cannot set {} to {}:{}", limit.resource, limit.soft, limit.hard),
        None => "cannot set a resource limit".to_owned(),
    };
    Error::os(what, cause)
        .at(format!("process.rlimits[{index}]"))
        .hint("raising a hard limit needs CAP_SYS_RESOURCE")
}

fn scheduling(failure: &Failure) -> Error {
    match failure.step {
        Step::CpuAffinity => cpu_affinity("final", io::Error::from_raw_os_error(failure.errno)),
        Step::IoPriority => os("cannot set the I/O priority".into(), failure)
            .at("process.ioPriority")
            .hint("IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN"),
        Step::MemoryPolicy => memory_policy(failure),
        _ => scheduler(failure),
    }
}

/// The error for a list of CPUs that was refused; `field` of process.execCPUAffinity.
pub(crate) fn cpu_affinity(field: &str, cause: io::Error) -> Error {
    let errno = cause.raw_os_error();
    let error = Error::os(format!("error setting {field} CPU affinity"), cause)
        .at(format!("process.execCPUAffinity.{field}"));
    match errno {
        Some(libc::EINVAL) => error.hint("none of these CPUs is online and in the cpuset"),
        _ => error,
    }
}

fn memory_policy(failure: &Failure) -> Error {
    let what = "cannot set the NUMA memory policy";
    let error = match failure.errno {
        libc::ENOSYS => {
            Error::new(Kind::Unsupported, what).because("this kernel is built without CONFIG_NUMA")
        }
        _ => os(what.into(), failure),
    };
    match failure.errno {
        libc::EINVAL => error.at("linux.memoryPolicy").hint(
            "are the nodes online and in the cpuset (linux.resources.cpu.mems)? does this kernel know the mode? MPOL_PREFERRED_MANY came with Linux 5.15, MPOL_WEIGHTED_INTERLEAVE with 6.9",
        ),
        _ => error.at("linux.memoryPolicy"),
    }
}

fn scheduler(failure: &Failure) -> Error {
    let error = os("cannot set the scheduling policy".into(), failure).at("process.scheduler");
    match failure.errno {
        libc::EPERM => error.hint(
            "it needs CAP_SYS_NICE; SCHED_FIFO and SCHED_RR in a cgroup v1 also time of their own (linux.resources.cpu.realtimeRuntime), SCHED_DEADLINE all CPUs",
        ),
        libc::EBUSY => error.hint("the CPUs have not that much time left to promise (sched(7), SCHED_DEADLINE)"),
        _ => error,
    }
}

fn cwd(process: &Process, failure: &Failure) -> Error {
    let what =
        format!("cannot chdir to cwd ({:?}) set in config.json", process.cwd.to_string_lossy());
    let error = match failure.errno {
        libc::EXDEV => Error::new(Kind::InvalidConfig, what)
            .because("current working directory is outside of container mount namespace root -- possible container breakout detected"),
        _ => os(what, failure),
    };
    error.at("process.cwd")
}

/// Callers tell these apart by words: "executable file not found", "no such file or directory",
/// "permission denied", "is a directory".
fn program(process: &Process, failure: &Failure) -> Error {
    let name = process.args.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let error =
        Error::new(Kind::Exec, format!("unable to start container process: exec: {name:?}"));
    let error = error.at("process.args[0]");
    match failure.errno {
        libc::ENOENT if failure.step == Step::Lookup && !name.contains('/') => {
            error.because("executable file not found in $PATH")
        }
        libc::ENOENT if failure.step == Step::Exec => error
            .because(io::Error::from_raw_os_error(libc::ENOENT))
            .hint("the file exists: its interpreter (#! line or dynamic loader) does not"),
        libc::ENOEXEC => error
            .because(io::Error::from_raw_os_error(libc::ENOEXEC))
            .hint("neither a program for this machine nor a script with a #! line"),
        libc::ENOENT => error.because(format!("stat {name}: no such file or directory")),
        // execve(2) itself says EACCES, which dockerd before 23 needs for its exit status 126.
        libc::EISDIR => error.because("is a directory: permission denied"),
        errno => error.because(io::Error::from_raw_os_error(errno)),
    }
}

fn mount(mount: Option<&Mount>, failure: &Failure) -> Error {
    let Some(mount) = mount else { return os("cannot mount".into(), failure) };
    let (source, target) = (mount.source.to_string_lossy(), &mount.destination);
    let what = format!("error mounting {source:?} to rootfs at {target:?}");
    let error = os(what, failure).at(mount.at());
    match (failure.errno, &mount.action) {
        (libc::ENOENT, Action::Bind { .. }) => error.hint("does the source exist on the host?"),
        (libc::ENOTDIR, Action::Bind { .. } | Action::Filesystem { .. }) => error.hint(
            "are you trying to mount a directory onto a file (or vice-versa)? check that source and destination are of one kind",
        ),
        (libc::ENODEV, Action::Filesystem { fstype, .. }) => error.hint(format!(
            "this kernel has no filesystem {:?}; see /proc/filesystems",
            fstype.to_string_lossy()
        )),
        (libc::EINVAL, Action::Filesystem { data, .. }) if !data.is_empty() => {
            error.hint(format!("the filesystem refused its options {:?}", data.to_string_lossy()))
        }
        (libc::ELOOP, _) => error
            .hint("the destination must not be a symbolic link here, nor lead into /proc by one"),
        (libc::EBUSY, Action::Bind { .. } | Action::Filesystem { .. }) => {
            error.hint("the destination must not be the root of the container itself")
        }
        (libc::ENOSYS, _) => error.hint("recursive mount attributes need Linux 5.12"),
        (libc::EEXIST, Action::Bind { .. }) => {
            error.hint("something else than this link is there already")
        }
        _ => error,
    }
}

fn hook(plan: &Plan, failure: &Failure) -> Error {
    let (field, hooks) = match failure.step {
        Step::HookCreateContainer => ("createContainer", &plan.hooks.create_container),
        _ => ("startContainer", &plan.hooks.start_container),
    };
    let index = failure.index as usize;
    match hooks.get(index) {
        Some(hook) => {
            let ending = Ending::from_code(failure.errno);
            hooks::explain(field, index, hook, ending, &failure.detail.text())
        }
        None => Error::new(Kind::Hook, format!("error running a {field} hook")),
    }
}

fn restricted_path(plan: &Plan, failure: &Failure) -> Error {
    let (verb, field, paths) = match failure.step {
        Step::MaskedPath => ("mask", "maskedPaths", &plan.masked_paths),
        _ => ("make read-only", "readonlyPaths", &plan.readonly_paths),
    };
    let index = failure.index as usize;
    let path = paths.get(index).map(|path| path.display().to_string()).unwrap_or_default();
    os(format!("cannot {verb} {path:?}"), failure).at(format!("linux.{field}[{index}]"))
}

fn os(what: String, failure: &Failure) -> Error {
    Error::os(what, io::Error::from_raw_os_error(failure.errno))
}

/// The child is gone and left no word: by whom it was ended says why.
pub(crate) fn death(child: &Child, cgroup: &Cgroup) -> Error {
    let error = Error::new(Kind::Os, "container process died while it was being made");
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), options).ok().flatten();
    if cgroup.oom_kills().is_ok_and(|kills| kills > 0) {
        return error
            .because("killed for want of memory (OOM)")
            .hint("the memory limit could be too low: linux.resources.memory.limit");
    }
    match status.as_ref().and_then(WaitIdStatus::terminating_signal) {
        Some(libc::SIGSYS) => error
            .because("killed by seccomp")
            .hint("the profile forbids a call between installing the filter and execve; it must allow read, write and execve"),
        Some(signal) => error.because(format!("killed by signal {signal}")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn what_a_kernel_lacks_is_named() {
        let refused = |step, errno| scheduling(&Failure::new(step, errno));
        let error = refused(Step::MemoryPolicy, Errno::NOSYS);
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("CONFIG_NUMA"), "{error}");
        let error = refused(Step::MemoryPolicy, Errno::INVAL);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("cpuset")), "{error:?}");
        let error = refused(Step::Scheduler, Errno::PERM);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("CAP_SYS_NICE")), "{error:?}");
        let error = refused(Step::CpuAffinity, Errno::INVAL);
        assert_eq!(error.spec_path(), Some("process.execCPUAffinity.final"));
    }
}
