//! System call names to numbers, for every architecture that a filter of ours can meet.
//!
//! The numbers are those of the `syscalls` crate. Its own lookup compares a name with every name of
//! one architecture in turn; a profile asks some 350 names for three architectures, so the tables
//! are merged into one hash table here, by the compiler: nothing is built at run time.

/// Columns of [`Call::numbers`]: the architectures of this machine's byte order. The others can
/// never reach a filter of ours (see [`super::arch`]); of them only the names are kept, so that a
/// name of another architecture is told from a misspelt one.
pub(super) const X86_64: usize = 0;
pub(super) const X86: usize = 1;
pub(super) const X32: usize = 2;
pub(super) const AARCH64: usize = 3;
pub(super) const ARM: usize = 4;
pub(super) const RISCV64: usize = 5;
pub(super) const LOONGARCH64: usize = 6;
pub(super) const POWERPC64: usize = 7;
pub(super) const MIPS: usize = 8;
pub(super) const MIPS64: usize = 9;
const COLUMNS: usize = 10;
/// Known by name only.
const ELSEWHERE: usize = COLUMNS;

const ABSENT: u16 = u16::MAX;
/// ARM's private calls (arch/arm/include/uapi/asm/unistd.h, `__ARM_NR_BASE`) are far above the
/// others; a number from here on stands for `0xf0000` plus its low byte.
const ARM_PRIVATE: u16 = 0xf000;

/// One name, with what it is called on each architecture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    numbers: [u16; COLUMNS],
    /// The first argument of `socketcall` that means this call, or 0.
    pub(super) socketcall: u8,
    /// The first argument of `ipc` that means this call, or 0.
    pub(super) ipc: u8,
}

impl Call {
    /// The number in `column`, without the bit that marks x32 calls.
    pub(super) fn number(&self, column: usize) -> Option<u32> {
        match self.numbers[column] {
            ABSENT => None,
            number if number >= ARM_PRIVATE => Some(0xf_0000 | u32::from(number & 0xff)),
            number => Some(number.into()),
        }
    }
}

/// The call named `name`; `None` if no architecture has it.
pub(super) fn find(name: &str) -> Option<&'static Call> {
    let mut slot = TABLE.home(name);
    loop {
        let row = TABLE.slots[slot];
        if row == EMPTY {
            return None;
        }
        let call = &TABLE.rows[row as usize];
        if call.name == name {
            return Some(call);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Room for the names of all architectures (530 in Linux 6.17); the compiler says when it is full.
const ROWS: usize = 640;
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;

struct Table {
    rows: [Call; ROWS],
    used: usize,
    slots: [u16; SLOTS],
}

static TABLE: Table = build();

impl Table {
    const fn new() -> Self {
        let none = Call { name: "", numbers: [ABSENT; COLUMNS], socketcall: 0, ipc: 0 };
        Self { rows: [none; ROWS], used: 0, slots: [EMPTY; SLOTS] }
    }

    /// Where the search for `name` begins (FNV-1a).
    const fn home(&self, name: &str) -> usize {
        let bytes = name.as_bytes();
        let mut hash = 0x811c_9dc5_u32;
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        (hash ^ (hash >> 15)) as usize % self.slots.len()
    }

    /// The row of `name`, made if need be.
    const fn row(&mut self, name: &'static str) -> &mut Call {
        let mut slot = self.home(name);
        while self.slots[slot] != EMPTY && !same(self.rows[self.slots[slot] as usize].name, name) {
            slot = (slot + 1) % SLOTS;
        }
        if self.slots[slot] == EMPTY {
            self.slots[slot] = self.used as u16;
            self.rows[self.used].name = name;
            self.used += 1;
        }
        &mut self.rows[self.slots[slot] as usize]
    }

    const fn add(&mut self, name: &'static str, column: usize, number: u16) {
        // `break` is a keyword of Rust, and the crate's name for it shows that.
        let name = match name.as_bytes() {
            [b'r', b'#', ..] => name.split_at(2).1,
            _ => name,
        };
        let row = self.row(name);
        if column != ELSEWHERE {
            row.numbers[column] = number;
        }
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Adds the crate's table of one architecture.
macro_rules! add {
    ($table:ident, $arch:ident, $column:expr) => {
        let mut number = syscalls::$arch::Sysno::first().id();
        while number <= syscalls::$arch::Sysno::last().id() {
            if let Some(call) = syscalls::$arch::Sysno::new(number as usize) {
                $table.add(call.name(), $column, number as u16);
            }
            number += 1;
        }
    };
}

#[allow(long_running_const_eval)]
const fn build() -> Table {
    let mut table = Table::new();
    add!(table, x86_64, X86_64);
    add!(table, x86, X86);
    add!(table, aarch64, AARCH64);
    add!(table, arm, ARM);
    add!(table, riscv64, RISCV64);
    add!(table, loongarch64, LOONGARCH64);
    add!(table, powerpc64, POWERPC64);
    add!(table, mips, MIPS);
    add!(table, mips64, MIPS64);
    add!(table, powerpc, ELSEWHERE);
    add!(table, riscv32, ELSEWHERE);
    add!(table, s390x, ELSEWHERE);
    add!(table, sparc, ELSEWHERE);
    add!(table, sparc64, ELSEWHERE);
    generic_64(&mut table, AARCH64);
    generic_64(&mut table, LOONGARCH64);
    arm_private(&mut table);
    // Missing in the crate; arch/mips/kernel/syscalls/syscall_n64.tbl has it.
    table.add("set_mempolicy_home_node", MIPS64, 5450);
    x32(&mut table);
    multiplexed(&mut table);
    table
}

/// The crate's tables of the architectures with asm-generic numbers were made as if longs had 32
/// bits: the calls with 64-bit times (403 to 423) do not exist there, and 79 is `newfstatat`.
const fn generic_64(table: &mut Table, column: usize) {
    let mut row = 0;
    while row < table.used {
        if matches!(table.rows[row].numbers[column], 79 | 403..=423) {
            table.rows[row].numbers[column] = ABSENT;
        }
        row += 1;
    }
    table.add("newfstatat", column, 79);
}

const fn arm_private(table: &mut Table) {
    let names = ["breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls"];
    let mut at = 0;
    while at < names.len() {
        table.add(names[at], ARM, ARM_PRIVATE + at as u16 + 1);
        at += 1;
    }
}

/// x32 has the numbers of x86_64, but for the calls whose arguments hold pointers or longs in
/// memory (512 and up), and for those that it does not have
/// (arch/x86/entry/syscalls/syscall_64.tbl).
const fn x32(table: &mut Table) {
    let mut row = 0;
    while row < table.used {
        table.rows[row].numbers[X32] = table.rows[row].numbers[X86_64];
        row += 1;
    }
    let mut at = 0;
    while at < X32_OWN.len() {
        table.add(X32_OWN[at], X32, 512 + at as u16);
        at += 1;
    }
    at = 0;
    while at < X86_64_ONLY.len() {
        table.add(X86_64_ONLY[at], X32, ABSENT);
        at += 1;
    }
}

#[rustfmt::skip]
const X32_OWN: [&str; 36] = [
    "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg",
    "execve", "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack",
    "timer_create", "mq_notify", "kexec_load", "waitid", "set_robust_list", "get_robust_list",
    "vmsplice", "move_pages", "preadv", "pwritev", "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg",
    "process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt", "io_setup", "io_submit",
    "execveat", "preadv2", "pwritev2",
];

#[rustfmt::skip]
const X86_64_ONLY: [&str; 14] = [
    "uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl",
    "set_thread_area", "get_thread_area", "epoll_ctl_old", "epoll_wait_old", "vserver",
    "map_shadow_stack", "uretprobe", "uprobe",
];

const fn multiplexed(table: &mut Table) {
    let mut at = 0;
    while at < SOCKETCALL.len() {
        table.row(SOCKETCALL[at]).socketcall = at as u8 + 1;
        at += 1;
    }
    at = 0;
    while at < IPC.len() {
        table.row(IPC[at].0).ipc = IPC[at].1;
        at += 1;
    }
}

/// include/uapi/linux/net.h, from 1 on.
#[rustfmt::skip]
const SOCKETCALL: [&str; 20] = [
    "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair",
    "send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg",
    "recvmsg", "accept4", "recvmmsg", "sendmmsg",
];

/// include/uapi/linux/ipc.h.
#[rustfmt::skip]
const IPC: [(&str, u8); 12] = [
    ("semop", 1), ("semget", 2), ("semctl", 3), ("semtimedop", 4), ("msgsnd", 11), ("msgrcv", 12),
    ("msgget", 13), ("msgctl", 14), ("shmat", 21), ("shmdt", 22), ("shmget", 23), ("shmctl", 24),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, column: usize) -> Option<u32> {
        find(name).and_then(|call| call.number(column))
    }

    #[test]
    fn names_have_each_architectures_number() {
        assert_eq!(number("read", X86_64), Some(0));
        assert_eq!(number("read", X86), Some(3));
        assert_eq!(number("break", X86), Some(17));
        assert_eq!(number("openat2", AARCH64), Some(437));
        assert_eq!(number("read", MIPS), Some(4003));
        assert_eq!(number("cacheflush", ARM), Some(0xf0002));
        assert_eq!(number("newfstatat", AARCH64), Some(79));
        assert_eq!(number("clock_gettime64", AARCH64), None);
        assert_eq!(number("clock_gettime64", ARM), Some(403));
    }

    #[test]
    fn x32_has_numbers_of_its_own() {
        assert_eq!(number("read", X32), Some(0));
        assert_eq!(number("rt_sigaction", X32), Some(512));
        assert_eq!(number("pwritev2", X32), Some(547));
        assert_eq!(number("uselib", X32), None);
        assert_eq!(number("socketcall", X32), None);
    }

    #[test]
    fn a_name_of_another_architecture_is_known() {
        let call = find("s390_pci_mmio_read").expect("a call of s390x");
        assert!((0..COLUMNS).all(|column| call.number(column).is_none()));
        assert!(find("opnat").is_none());
        assert!(find("").is_none());
    }

    /// The build adds names for x32, ARM and the multiplexers by hand; a misspelt one would be a
    /// row of its own.
    #[test]
    fn every_name_is_one_of_a_crates_table() {
        let private = ["breakpoint", "usr26", "usr32", "set_tls", "get_tls"];
        for call in &TABLE.rows[..TABLE.used] {
            let known = (0..COLUMNS).filter(|&column| column != X32 && column != ARM);
            let listed = known.clone().any(|column| call.number(column).is_some())
                || private.contains(&call.name)
                || (call.number(ARM).is_some() && call.numbers[ARM] < ARM_PRIVATE)
                || elsewhere(call.name);
            assert!(listed, "{} is nobody's", call.name);
        }
    }

    fn elsewhere(name: &str) -> bool {
        name.parse::<syscalls::powerpc::Sysno>().is_ok()
            || name.parse::<syscalls::riscv32::Sysno>().is_ok()
            || name.parse::<syscalls::s390x::Sysno>().is_ok()
            || name.parse::<syscalls::sparc::Sysno>().is_ok()
            || name.parse::<syscalls::sparc64::Sysno>().is_ok()
            || name.parse::<syscalls::aarch64::Sysno>().is_ok()
    }
}
