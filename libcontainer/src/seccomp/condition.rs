//! Comparisons of system call arguments, in the form that classic BPF can do: 32 bits at a time.

use super::arch::Width;
use crate::spec::{LinuxSeccompArg, LinuxSeccompOperator};
use std::cmp::{Ordering, Reverse};

/// `argument[index] & mask <op> value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u8,
    pub(super) test: Test,
    pub(super) mask: u64,
    pub(super) value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    GreaterOrEqual,
    Greater,
}

impl Condition {
    /// `SCMP_CMP_MASKED_EQ` has its mask in `value` and what to compare with in `valueTwo`; the bits
    /// of that outside the mask do not count.
    pub(super) fn new(arg: &LinuxSeccompArg) -> Self {
        use LinuxSeccompOperator::*;
        let index = arg.index() as u8;
        let plain = |test| Self { index, test, mask: u64::MAX, value: arg.value() };
        match arg.op() {
            ScmpCmpEq => plain(Test::Equal),
            ScmpCmpNe => plain(Test::NotEqual),
            ScmpCmpLt => plain(Test::Less),
            ScmpCmpLe => plain(Test::LessOrEqual),
            ScmpCmpGe => plain(Test::GreaterOrEqual),
            ScmpCmpGt => plain(Test::Greater),
            ScmpCmpMaskedEq => Self {
                index,
                test: Test::Equal,
                mask: arg.value(),
                value: arg.value() & arg.value_two().unwrap_or(0),
            },
        }
    }

    pub(super) fn equal(index: u8, value: u64) -> Self {
        Self { index, test: Test::Equal, mask: u64::MAX, value }
    }

    /// What an architecture of `width` can see of the condition.
    fn seen_by(mut self, width: Width) -> Self {
        self.mask &= width.mask();
        self.value &= width.mask();
        self
    }

    /// Whether the condition is `argument == value`, so that it can share loads with its like.
    pub(super) fn is_plain_equality(&self, width: Width) -> bool {
        self.test == Test::Equal && self.mask == width.mask()
    }

    pub(super) fn high(&self) -> u32 {
        (self.value >> 32) as u32
    }

    pub(super) fn low(&self) -> u32 {
        self.value as u32
    }

    /// The order in which libseccomp tries conditions on one system call. It matters where rules
    /// with different actions overlap: the highest argument first, then equalities before
    /// upper bounds before lower bounds, and of these the tightest.
    fn order(&self, other: &Self) -> Ordering {
        let rank = |condition: &Self| match condition.test {
            Test::Equal | Test::NotEqual => 0,
            Test::Less | Test::LessOrEqual => 1,
            Test::GreaterOrEqual | Test::Greater => 2,
        };
        let tightness = if rank(self) == 1 {
            self.value.cmp(&other.value)
        } else {
            other.value.cmp(&self.value)
        };
        (Reverse(self.index), rank(self))
            .cmp(&(Reverse(other.index), rank(other)))
            .then(tightness)
            .then_with(|| (self.test, self.mask).cmp(&(other.test, other.mask)))
    }
}

/// The order of [`Condition::order`] for whole lists; a list comes before those that it begins.
pub(super) fn order(a: &[Condition], b: &[Condition]) -> Ordering {
    let pairs = a.iter().zip(b).map(|(a, b)| a.order(b));
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
}

/// `any` as seen by `width`: without the conditions that always hold there. Empty if the rule
/// applies always.
pub(super) fn seen_by(width: Width, any: &[Vec<Condition>]) -> Vec<Vec<Condition>> {
    let lists: Vec<Vec<Condition>> = any
        .iter()
        .map(|all| {
            let seen = all.iter().map(|condition| condition.seen_by(width));
            // A mask without bits is equal to its (masked) value whatever the argument.
            seen.filter(|condition| condition.mask != 0).collect()
        })
        .collect();
    if lists.iter().any(Vec::is_empty) { Vec::new() } else { lists }
}
