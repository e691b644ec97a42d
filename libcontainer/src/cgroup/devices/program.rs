//! Device rules as a BPF_PROG_TYPE_CGROUP_DEVICE program (bpf(2), linux/bpf.h).
//!
//! The kernel asks it at every open and mknod of a device; 1 is yes, 0 is EPERM.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{Access, Key, Node, Rules};
use crate::sys;

/// `struct bpf_insn`, little-endian: code, registers (dst | src << 4), offset, immediate.
fn instruction(code: u8, registers: u8, offset: i16, immediate: u32) -> u64 {
    u64::from(code)
        | u64::from(registers) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate) << 32
}

// Opcodes (linux/bpf_common.h, linux/bpf.h). Comparisons are of 32 bits (BPF_JMP32, Linux 5.1), so
// that a number above i32::MAX is not sign-extended.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const JUMP_NOT_EQUAL: u8 = 0x56;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5e;
const EXIT: u8 = 0x95;

const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Loads the three words of `struct bpf_cgroup_dev_ctx` (access << 16 | kind, major, minor), then
/// one block for each exception, then the default.
pub(super) fn compile(rules: &Rules) -> Vec<u64> {
    let load = |to: u8, offset| instruction(LOAD_WORD, to | SCRATCH << 4, offset, 0);
    let mut program = vec![
        load(KIND, 0),
        instruction(AND, KIND, 0, 0xffff),
        load(ASKED, 0),
        instruction(SHIFT_RIGHT, ASKED, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    // An exception that allows needs all of what is asked; one that denies needs any of it.
    for (key, access) in &rules.exceptions {
        program.extend(block(*key, *access, !rules.allow_by_default));
    }
    program.extend(answer(rules.allow_by_default));
    program
}

fn answer(yes: bool) -> [u64; 2] {
    [instruction(MOVE, ANSWER, 0, yes.into()), instruction(EXIT, 0, 0, 0)]
}

/// Answers `yes` if device and access match; else falls through to the end of the block.
fn block(key: Key, access: Access, yes: bool) -> Vec<u64> {
    let kind = match key.node {
        Node::Block => 1,
        Node::Char => 2,
    };
    // The offset is not known yet; every jump of a block leads to its end.
    let unless = |register, value| instruction(JUMP_NOT_EQUAL, register, 0, value);
    let mut checks = vec![unless(KIND, kind)];
    checks.extend(key.major.map(|major| unless(MAJOR, major)));
    checks.extend(key.minor.map(|minor| unless(MINOR, minor)));
    if access != Access::ALL {
        checks.push(instruction(MOVE_REGISTER, SCRATCH | ASKED << 4, 0, 0));
        if yes {
            checks.push(instruction(AND, SCRATCH, 0, access.0));
            checks.push(instruction(JUMP_NOT_EQUAL_REGISTER, SCRATCH | ASKED << 4, 0, 0));
        } else {
            // Any overlap denies: what is left without the denied bits must differ.
            checks.push(instruction(AND, SCRATCH, 0, Access::ALL.without(access).0));
            checks.push(instruction(JUMP_EQUAL_REGISTER, SCRATCH | ASKED << 4, 0, 0));
        }
    }
    let end = checks.len() + 2;
    for (index, check) in checks.iter_mut().enumerate() {
        if JUMPS.contains(&(*check as u8)) {
            *check |= ((end - index - 1) as u64) << 16;
        }
    }
    checks.extend(answer(yes));
    checks
}

const JUMP_EQUAL_REGISTER: u8 = 0x1e;
const JUMPS: [u8; 3] = [JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER, JUMP_EQUAL_REGISTER];

/// Loads the program and attaches it to a v2 cgroup, beside those that its ancestors have: all of
/// them must say yes (BPF_F_ALLOW_MULTI). It goes away with the cgroup.
pub(crate) fn attach(program: &[u64], cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let loaded = sys::bpf::load_cgroup_device(program)?;
    sys::bpf::attach_cgroup_device(std::os::fd::AsFd::as_fd(&loaded), cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions that [`compile`] emits, as the kernel would.
    fn ask(program: &[u64], node: Node, major: u32, minor: u32, access: Access) -> bool {
        let kind = if node == Node::Block { 1 } else { 2 };
        let context = [access.0 << 16 | kind, major, minor];
        let mut registers = [0u32; 6];
        let mut at = 0usize;
        loop {
            let word = program[at];
            at += 1;
            let (code, immediate) = (word as u8, (word >> 32) as u32);
            let (to, from) = (((word >> 8) & 15) as usize, ((word >> 12) & 15) as usize);
            let offset = (word >> 16) as u16 as usize;
            match code {
                LOAD_WORD => registers[to] = context[offset / 4],
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                MOVE => registers[to] = immediate,
                MOVE_REGISTER => registers[to] = registers[from],
                JUMP_NOT_EQUAL if registers[to] != immediate => at += offset,
                JUMP_NOT_EQUAL_REGISTER if registers[to] != registers[from] => at += offset,
                JUMP_EQUAL_REGISTER if registers[to] == registers[from] => at += offset,
                EXIT => return registers[0] == 1,
                _ => {}
            }
        }
    }

    fn key(node: Node, major: Option<u32>, minor: Option<u32>) -> Key {
        Key { major, minor, node }
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let mut rules = Rules::default();
        for (key, access) in [
            (key(Node::Char, Some(1), Some(3)), Access::ALL),
            (key(Node::Char, Some(136), None), Access::READ.with(Access::WRITE)),
            (key(Node::Block, None, None), Access::MKNOD),
            (key(Node::Char, Some(u32::MAX), Some(1 << 31)), Access::READ),
        ] {
            rules.apply(true, key, access).expect("apply");
        }
        let program = compile(&rules);
        let may = |node, major, minor, access| ask(&program, node, major, minor, access);
        assert!(may(Node::Char, 1, 3, Access::ALL));
        assert!(!may(Node::Block, 1, 3, Access::READ) && !may(Node::Char, 1, 4, Access::READ));
        assert!(may(Node::Char, 136, 9, Access::WRITE) && !may(Node::Char, 136, 9, Access::MKNOD));
        assert!(!may(Node::Char, 136, 9, Access::ALL));
        assert!(may(Node::Block, 8, 0, Access::MKNOD) && !may(Node::Block, 8, 0, Access::READ));
        assert!(may(Node::Char, u32::MAX, 1 << 31, Access::READ));
    }

    #[test]
    fn a_denial_of_some_access_denies_every_request_for_it() {
        let mut rules = Rules { allow_by_default: true, ..Rules::default() };
        rules.apply(false, key(Node::Block, Some(8), None), Access::WRITE).expect("apply");
        rules.apply(false, key(Node::Char, Some(1), Some(1)), Access::ALL).expect("apply");
        let program = compile(&rules);
        let may = |node, major, minor, access| ask(&program, node, major, minor, access);
        assert!(may(Node::Block, 8, 0, Access::READ) && !may(Node::Block, 8, 0, Access::WRITE));
        assert!(!may(Node::Block, 8, 0, Access::READ.with(Access::WRITE)));
        assert!(!may(Node::Char, 1, 1, Access::READ) && may(Node::Char, 1, 2, Access::ALL));
    }
}
