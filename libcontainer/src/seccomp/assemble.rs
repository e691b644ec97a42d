//! From decisions to classic BPF.
//!
//! A jump of BPF goes forward only, by at most 255 instructions if it is conditional, so the
//! program is written from its end: whatever an instruction jumps to is there already, and its
//! distance is known. The program reads: the architecture; for each one a binary search of the
//! number; then the blocks that compare arguments. Most calls are decided by their number alone, on
//! a path that the kernel can evaluate beforehand into its own table of allowed calls (Linux 5.11,
//! `seccomp_cache_prepare`), so that the filter does not run for them at all.

use super::{
    Instruction,
    action::{Action, KILL},
    arch::Width,
    condition::{Condition, Test},
    table::{Chain, Step, Tables, Verdict},
};

const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The program of `tables`, with `default` where no chain decides.
pub(super) fn assemble(tables: &Tables, default: Action) -> Vec<Instruction> {
    let mut program = Program::default();
    let chains: Vec<Target> =
        tables.chains.iter().map(|chain| program.chain(chain, default)).collect();
    let target = |verdict| match verdict {
        Verdict::Always(action) => Target::Return(action),
        Verdict::Chain(chain) => chains[chain],
    };
    let mut searches = Vec::with_capacity(tables.spaces.len());
    for (audit, steps) in tables.spaces.iter().rev() {
        let steps: Vec<(u32, Target)> =
            steps.iter().map(|&(start, verdict): &Step| (start, target(verdict))).collect();
        let search = program.search(&steps);
        searches.push((*audit, program.load(NUMBER, search)));
    }
    let mut next = Target::Return(KILL);
    for (audit, search) in searches {
        next = program.branch(libc::BPF_JEQ, audit, search, next);
    }
    program.load(ARCH, next);
    program.reversed.reverse();
    program.reversed
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Return(Action),
    /// An index into [`Program::reversed`].
    At(usize),
}

#[derive(Default)]
struct Program {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// For each action, where its nearest return is.
    returns: Vec<(Action, usize)>,
}

impl Program {
    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Target {
        self.reversed.push(Instruction { code: code as u16, jt, jf, k });
        Target::At(self.reversed.len() - 1)
    }

    /// How many instructions the next one would have to skip to be at `target`.
    fn distance(&self, target: Target) -> Option<usize> {
        let at = match target {
            Target::At(at) => at,
            Target::Return(action) => self.returns.iter().find(|known| known.0 == action)?.1,
        };
        Some(self.reversed.len() - 1 - at)
    }

    /// The distance if a conditional jump can do it.
    fn near(&self, target: Target) -> Option<u8> {
        u8::try_from(self.distance(target)?).ok()
    }

    /// Makes `target` near: by another return, or by a jump on the way.
    fn approach(&mut self, target: Target) -> Target {
        match target {
            Target::Return(action) => {
                let at = self.reversed.len();
                self.push(libc::BPF_RET | libc::BPF_K, 0, 0, action.0);
                self.returns.retain(|known| known.0 != action);
                self.returns.push((action, at));
                target
            }
            Target::At(at) => {
                let distance = (self.reversed.len() - 1 - at) as u32;
                self.push(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance)
            }
        }
    }

    /// `if accumulator <test> k` go to `yes`, else to `no`.
    fn branch(&mut self, test: u32, k: u32, mut yes: Target, mut no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // What makes one of them near can push the other out of reach, once.
        loop {
            match (self.near(yes), self.near(no)) {
                (Some(jt), Some(jf)) => {
                    return self.push(libc::BPF_JMP | test | libc::BPF_K, jt, jf, k);
                }
                (None, _) => yes = self.approach(yes),
                (_, None) => no = self.approach(no),
            }
        }
    }

    /// Loads the word at `offset` of `struct seccomp_data` and falls through to `next`.
    fn load(&mut self, offset: u32, next: Target) -> Target {
        self.before(next);
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Makes `next` what follows the instruction that is to be written.
    fn before(&mut self, next: Target) {
        if self.distance(next) != Some(0) {
            self.approach(next);
        }
    }

    /// A balanced search of the number in the accumulator. Returns its first instruction.
    fn search(&mut self, steps: &[(u32, Target)]) -> Target {
        match *steps {
            [(_, target)] => target,
            [(_, around), (number, target), (end, after)]
                if around == after && end == number + 1 =>
            {
                self.branch(libc::BPF_JEQ, number, target, around)
            }
            _ => {
                let (below, above) = steps.split_at(steps.len() / 2);
                let yes = self.search(above);
                let no = self.search(below);
                self.branch(libc::BPF_JGE, above[0].0, yes, no)
            }
        }
    }

    fn chain(&mut self, chain: &Chain, default: Action) -> Target {
        let trials = chain.trials.as_slice();
        let alike = |a: &(Vec<Condition>, Action), b: &(Vec<Condition>, Action)| {
            share_loads(&a.0, &b.0, chain.width)
        };
        let groups: Vec<_> = trials.chunk_by(alike).collect();
        groups.into_iter().rev().fold(Target::Return(default), |next, group| match group {
            [(list, action)] => self.all(list, chain.width, Target::Return(*action), next),
            group => self.any_value(group, chain.width, next),
        })
    }

    /// Goes to `yes` if all of `list` hold, else to `no`.
    fn all(&mut self, list: &[Condition], width: Width, yes: Target, no: Target) -> Target {
        let conditions = list.iter().rev();
        conditions.fold(yes, |yes, condition| self.condition(condition, width, yes, no))
    }

    fn condition(
        &mut self,
        condition: &Condition,
        width: Width,
        yes: Target,
        no: Target,
    ) -> Target {
        match condition.test {
            Test::Equal => self.equal(condition, width, yes, no),
            Test::NotEqual => self.equal(condition, width, no, yes),
            Test::Greater => self.exceeds(libc::BPF_JGT, condition, width, yes, no),
            Test::GreaterOrEqual => self.exceeds(libc::BPF_JGE, condition, width, yes, no),
            Test::LessOrEqual => self.exceeds(libc::BPF_JGT, condition, width, no, yes),
            Test::Less => self.exceeds(libc::BPF_JGE, condition, width, no, yes),
        }
    }

    fn equal(&mut self, condition: &Condition, width: Width, yes: Target, no: Target) -> Target {
        let (high, low) = offsets(condition.index);
        let mask = condition.mask;
        let next = self.masked(low, mask as u32, condition.low(), yes, no);
        match width {
            Width::Half => next,
            Width::Full => self.masked(high, (mask >> 32) as u32, condition.high(), next, no),
        }
    }

    fn masked(&mut self, offset: u32, mask: u32, value: u32, yes: Target, no: Target) -> Target {
        if mask == 0 {
            return yes;
        }
        let test = self.branch(libc::BPF_JEQ, value, yes, no);
        if mask == u32::MAX {
            return self.load(offset, test);
        }
        self.before(test);
        let and = self.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask);
        self.load(offset, and)
    }

    /// `>` or `>=`, as `test` does it for the low word.
    fn exceeds(
        &mut self,
        test: u32,
        condition: &Condition,
        width: Width,
        yes: Target,
        no: Target,
    ) -> Target {
        let (high, low) = offsets(condition.index);
        let next = self.branch(test, condition.low(), yes, no);
        let next = self.load(low, next);
        if width == Width::Half {
            return next;
        }
        let next = self.branch(libc::BPF_JEQ, condition.high(), next, no);
        let next = self.branch(libc::BPF_JGT, condition.high(), yes, next);
        self.load(high, next)
    }

    /// One argument against several values with the same high word, each with its own action.
    fn any_value(
        &mut self,
        group: &[(Vec<Condition>, Action)],
        width: Width,
        no: Target,
    ) -> Target {
        let (high, low) = offsets(group[0].0[0].index);
        let next = group.iter().rev().fold(no, |next, (list, action)| {
            self.branch(libc::BPF_JEQ, list[0].low(), Target::Return(*action), next)
        });
        let next = self.load(low, next);
        match width {
            Width::Half => next,
            Width::Full => self.masked(high, u32::MAX, group[0].0[0].high(), next, no),
        }
    }
}

/// Whether two neighbours in a chain compare the same argument for equality with values that differ
/// in the low word only.
fn share_loads(a: &[Condition], b: &[Condition], width: Width) -> bool {
    match (a, b) {
        ([a], [b]) => {
            let equalities = a.is_plain_equality(width) && b.is_plain_equality(width);
            equalities && a.index == b.index && a.high() == b.high()
        }
        _ => false,
    }
}

/// Where the high and the low word of an argument are in `struct seccomp_data`, on the
/// little-endian machines that this is built for.
fn offsets(index: u8) -> (u32, u32) {
    let low = 16 + 8 * u32::from(index);
    (low + 4, low)
}
