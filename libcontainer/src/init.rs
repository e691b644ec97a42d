//! Everything the container process does, in order. The list is docs/create.md and the runtime
//! specification's "Lifecycle". It reads the plan and decides nothing; `at` and `each` name the
//! step that failed, and the parent finds the words.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd},
};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::{fs::Mode, io::Errno, process::DumpableBehavior};

use crate::{
    cgroup, hooks,
    namespaces::{self, NamespaceFd},
    plan::{Hook, Plan, Process, Seccomp, Sysctl},
    process::{self, Label, Procfs},
    rootfs::{self, Masks, Root, Source},
    seccomp,
    step::{Failure, Step, at, each},
    sync::{Channel, ToChild, ToParent},
    sys,
};

/// What the child needs that memory cannot hold; opened by the parent before the clone.
#[derive(Debug)]
pub(crate) struct Fds {
    pub(crate) sync: Channel,
    pub(crate) procfs: Procfs,
    /// The exec fifo, which `start` writes to; without it the process runs at once.
    pub(crate) fifo: Option<OwnedFd>,
    /// Receives the pty's master.
    pub(crate) console: Option<OwnedFd>,
    /// In the order of `namespaces.joined`; empty if a joiner has entered them already.
    pub(crate) joined: Vec<NamespaceFd>,
    /// Detached mounts for what a process in a new user namespace may not reach any more.
    pub(crate) root_source: Option<OwnedFd>,
    pub(crate) sources: Vec<Option<Source>>,
}

impl Fds {
    /// Everything else that this process inherited is the parent's, such as the locked state
    /// directory, and nothing for those who may see this process.
    fn all(&self) -> Vec<BorrowedFd<'_>> {
        let optional = [&self.fifo, &self.console, &self.root_source];
        let optional = optional.into_iter().flatten().map(AsFd::as_fd);
        let sources = self.sources.iter().flatten().filter_map(Source::handle);
        let joined = self.joined.iter().map(AsFd::as_fd);
        [self.sync.as_fd()]
            .into_iter()
            .chain(self.procfs.handle())
            .chain(optional)
            .chain(sources)
            .chain(joined)
            .collect()
    }
}

/// The container process: never returns.
pub(crate) fn run(plan: &Plan, process: &Process, fds: &Fds) -> ! {
    let Err(failure) = be_born(plan, process, fds);
    let frame = failure.to_bytes();
    // Once `create` has returned, it is `start` that wants to know.
    if fds.sync.report(ToParent::Failed(failure), None).is_err()
        && let Some(fifo) = &fds.fifo
    {
        let _ = rustix::io::write(fifo, &frame);
    }
    sys::process::exit_now(1)
}

fn be_born(plan: &Plan, process: &Process, fds: &Fds) -> Result<Infallible, Failure> {
    at(Step::Sync, namespaces::start_child())?;
    at(Step::Sync, sys::process::close_from_except(3 + process.preserve_fds, &fds.all()))?;
    enter_namespaces(plan, fds)?;
    // From here on the process is on its way into a place that others may share: nobody there may
    // trace it or look through it at the host (CVE-2016-9962).
    at(Step::Sync, rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    enter_cgroup(plan, fds)?;
    at(Step::Sync, ask_for_devices(plan, fds))?;
    at(Step::Keyring, new_keyring(plan, process, &fds.procfs))?;
    at(Step::Session, rustix::process::setsid())?;

    rustix::process::umask(Mode::empty());
    let root = build_root(plan, process, fds)?;
    at(Step::Sync, ask_for_hooks(plan, fds))?;
    run_hooks(Step::HookCreateContainer, &plan.hooks.create_container, "creating", plan)?;
    at(Step::Console, console(process, &root, fds))?;
    at(Step::Hostname, set_name(plan.hostname.as_deref(), rustix::system::sethostname))?;
    at(Step::Domainname, set_name(plan.domainname.as_deref(), rustix::system::setdomainname))?;
    each(Step::Sysctl, &plan.sysctls, |sysctl| write_sysctl(sysctl, &fds.procfs))?;
    protect_root(plan, &root)?;
    set_labels(process, &fds.procfs)?;
    at(Step::Pivot, rootfs::enter(&root, &plan.rootfs))?;
    drop(root);
    rustix::process::umask(Mode::from_raw_mode(process.umask));

    let program = become_process(process, plan.seccomp.as_ref(), &fds.sync, fds.fifo.as_ref())?;
    at(Step::Sync, fds.sync.report(ToParent::Ready, None))?;
    at(Step::Sync, fds.sync.expect_go())?;
    at(Step::Start, wait_for_start(fds.fifo.as_ref()))?;
    run_hooks(Step::HookStartContainer, &plan.hooks.start_container, "created", plan)?;
    at(Step::Exec, process::replace(&program.path, process, program.home.as_deref()))
}

/// All but the cgroup's, which hides what is above it.
fn enter_namespaces(plan: &Plan, fds: &Fds) -> Result<(), Failure> {
    let namespaces = &plan.namespaces;
    at(Step::Sync, wait_for_maps(plan, fds))?;
    at(Step::TimeOffsets, namespaces::time(namespaces, &fds.procfs))?;
    at(Step::Root, namespaces::become_root(namespaces))?;
    each(Step::Join, &fds.joined, NamespaceFd::enter)?;
    at(Step::Unshare, namespaces::unshare(namespaces))?;
    at(Step::Loopback, namespaces::loopback(namespaces))
}

fn enter_cgroup(plan: &Plan, fds: &Fds) -> Result<(), Failure> {
    let tasks = at(Step::Sync, fds.sync.expect(ToChild::Cgroup))?;
    at(Step::Cgroup, cgroup::enter(&tasks))?;
    process::use_all_cpus();
    at(Step::Cgroup, namespaces::unshare_cgroup(&plan.namespaces))
}

/// The root filesystem with everything that is mounted and made in it.
fn build_root(plan: &Plan, process: &Process, fds: &Fds) -> Result<Root, Failure> {
    let root = at(Step::Rootfs, rootfs::prepare(&plan.rootfs, fds.root_source.as_ref()))?;
    mount_all(plan, &root, fds)?;
    each(Step::Device, &plan.devices, |device| rootfs::node(&root, device))?;
    at(Step::DevLinks, dev_links(plan, &root))?;
    at(Step::Cwd, root.directory(process.cwd_path()).map(drop))?;
    Ok(root)
}

/// Makes read-only, and out of sight, what is to be: nothing of ours is written there any more.
fn protect_root(plan: &Plan, root: &Root) -> Result<(), Failure> {
    each(Step::Remount, &plan.mounts, |mount| rootfs::late_read_only(root, mount))?;
    each(Step::ReadonlyPath, &plan.readonly_paths, |path| rootfs::read_only(root, path))?;
    let mut masks = Masks::default();
    each(Step::MaskedPath, &plan.masked_paths, |path| masks.cover(root, path))?;
    drop(masks);
    at(Step::RootReadonly, rootfs::set_read_only(root, &plan.rootfs))
}

/// What the last call needs.
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) home: Option<CString>,
}

/// From root of the container to the process's user; the same for init and for exec. The order is
/// runc's, which callers' seccomp profiles are made for: without no_new_privs a filter needs
/// CAP_SYS_ADMIN and comes before the capabilities go; with it, it comes as late as possible, so
/// that the profile has to allow less.
pub(crate) fn become_process(
    process: &Process,
    seccomp: Option<&Seccomp>,
    sync: &Channel,
    fifo: Option<&OwnedFd>,
) -> Result<Program, Failure> {
    let late_filter = process.no_new_privileges;
    at(Step::Scheduler, process::set_scheduler(process.scheduler.as_ref()))?;
    at(Step::IoPriority, process::set_io_priority(process.io_priority))?;
    at(Step::MemoryPolicy, process::set_memory_policy(process.memory_policy.as_ref()))?;
    at(Step::Personality, process::personality(process.personality))?;
    at(Step::NoNewPrivileges, process::no_new_privileges(process.no_new_privileges))?;
    at(Step::Stdio, process::own_stdio(process))?;
    // What is left of the host's directories would be a way out for a path such as
    // /proc/self/fd/7/../.. (CVE-2024-21626); what the caller left open is not the container's.
    let kept: Vec<_> = [sync.as_fd()].into_iter().chain(fifo.map(AsFd::as_fd)).collect();
    at(Step::Stdio, sys::process::close_from_except(3 + process.preserve_fds, &kept))?;
    install(seccomp.filter(|_| !late_filter), sync)?;
    let own_limits = if process.rlimits_by_parent { &[][..] } else { &process.rlimits };
    each(Step::Rlimit, own_limits, |limit| process::rlimits::set(None, limit))?;
    let entered = at(Step::Cwd, process::enter_cwd_as_root(&process.cwd))?;
    at(Step::Capabilities, process::capabilities_before_ids(&process.capabilities))?;
    at(Step::Ids, process::become_user(process))?;
    at(Step::Cwd, process::enter_cwd_as_user(&process.cwd, entered))?;
    let path = at(Step::Lookup, process::find(process))?;
    let home = process.needs_home.then(|| process::home(process.uid));
    if process.entered_by_user && fifo.is_some() {
        at(Step::Sync, rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable))?;
    }
    // The parent is still there to notice if this dies from here on: it waits for Ready.
    at(Step::Sync, rustix::process::set_parent_process_death_signal(None))?;
    install(seccomp.filter(|_| late_filter), sync)?;
    Ok(Program { path, home })
}

/// The labels that the next execve takes on; it forgets that of new keys.
pub(crate) fn set_labels(process: &Process, procfs: &Procfs) -> Result<(), Failure> {
    let set =
        |module, label: &Option<String>| process::label_for_exec(procfs, module, label.as_deref());
    at(Step::ApparmorProfile, set(Label::Apparmor, &process.apparmor_profile))?;
    at(Step::SelinuxLabel, set(Label::SelinuxKeys, &process.selinux_label))?;
    at(Step::SelinuxLabel, set(Label::Selinux, &process.selinux_label))
}

fn install(seccomp: Option<&Seccomp>, sync: &Channel) -> Result<(), Failure> {
    let Some(seccomp) = seccomp else { return Ok(()) };
    if seccomp.filter.notify && seccomp.unprivileged_parent {
        // Or it could not take the listener over.
        at(Step::Sync, rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable))?;
    }
    if let Some(listener) = at(Step::Seccomp, seccomp::install(&seccomp.filter))? {
        // Stays open until execve: the parent takes it from there.
        let number = listener.into_raw_fd();
        at(Step::Sync, sync.report(ToParent::Listener(number), None))?;
    }
    Ok(())
}

fn wait_for_maps(plan: &Plan, fds: &Fds) -> Result<(), Errno> {
    match plan.namespaces.makes(LinuxNamespaceType::User) {
        true => fds.sync.expect(ToChild::Mapped).map(drop),
        false => Ok(()),
    }
}

/// Its label is the process's, or a program could not reach its own keyring under SELinux.
fn new_keyring(plan: &Plan, process: &Process, procfs: &Procfs) -> Result<(), Errno> {
    if !plan.new_keyring {
        return Ok(());
    }
    process::label_for_exec(procfs, Label::SelinuxKeys, process.selinux_label.as_deref())?;
    process::join_keyring(&plan.id)
}

fn mount_all(plan: &Plan, root: &Root, fds: &Fds) -> Result<(), Failure> {
    let mut index = 0;
    each(Step::Mount, &plan.mounts, |mount| {
        let source = fds.sources.get(index).and_then(Option::as_ref);
        index += 1;
        rootfs::mount(root, mount, source)
    })
}

fn dev_links(plan: &Plan, root: &Root) -> Result<(), Errno> {
    if plan.furnish_dev { rootfs::links(root) } else { Ok(()) }
}

/// The devices move on the parent's side, which has rights over both network namespaces.
fn ask_for_devices(plan: &Plan, fds: &Fds) -> Result<(), Errno> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    fds.sync.report(ToParent::MoveDevices, None)?;
    fds.sync.expect(ToChild::DevicesMoved).map(drop)
}

/// prestart and createRuntime run on the parent's side; without any, the two need not meet.
fn ask_for_hooks(plan: &Plan, fds: &Fds) -> Result<(), Errno> {
    if !plan.hooks.before_pivot_in_runtime() {
        return Ok(());
    }
    fds.sync.report(ToParent::RunHooks, None)?;
    fds.sync.expect(ToChild::HooksDone).map(drop)
}

fn run_hooks(step: Step, hooks: &[Hook], status: &str, plan: &Plan) -> Result<(), Failure> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = plan.hook_state(status, std::process::id() as i32);
    each(step, hooks, |hook| hooks::run(hook, &state))
}

fn console(process: &Process, root: &Root, fds: &Fds) -> Result<(), Errno> {
    let (Some(terminal), Some(console)) = (process.terminal, &fds.console) else { return Ok(()) };
    let slave = process::open_terminal(root, terminal, console.as_fd())?;
    rootfs::console(root, &slave)
}

/// `set` is sethostname(2) or setdomainname(2).
fn set_name(name: Option<&CStr>, set: fn(&[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
    name.map_or(Ok(()), |name| set(name.to_bytes()))
}

fn write_sysctl(sysctl: &Sysctl, procfs: &Procfs) -> Result<(), Errno> {
    let file = std::path::Path::new("sys").join(&sysctl.file);
    procfs.write(&file, sysctl.value.as_bytes())
}

/// The child holds the fifo open for reading and writing, so that a plain read(2), which every
/// seccomp profile allows, waits for the byte of `start` even while nobody else has it open.
fn wait_for_start(fifo: Option<&OwnedFd>) -> Result<(), Errno> {
    let Some(fifo) = fifo else { return Ok(()) };
    let mut byte = [0];
    rustix::io::retry_on_intr(|| rustix::io::read(fifo, &mut byte)).map(drop)
}
