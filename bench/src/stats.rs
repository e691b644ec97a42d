//! Quantiles and the order of the runs.

use std::{cmp::Ordering, collections::hash_map::RandomState, hash::BuildHasher};

/// The `q`-quantile (0.0 to 1.0) of an unsorted set, linear between neighbours; 0 of nothing.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = q * last as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (rank - low as f64)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// A seed from the standard library's per-process random keys.
pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// Permutations from a splitmix64 stream: the same seed gives the same order.
#[derive(Debug)]
pub(crate) struct Shuffle(u64);

impl Shuffle {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0..n in a random order (Fisher-Yates).
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
        order
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(
            [quantile(&values, 0.0), quantile(&values, 0.5), quantile(&values, 1.0)],
            [1.0, 2.5, 4.0]
        );
        assert!((quantile(&values, 0.9) - 3.7).abs() < 1e-9);
    }

    #[test]
    fn one_value_is_every_quantile_and_nothing_is_zero() {
        assert_eq!(
            [quantile(&[7.0], 0.1), quantile(&[7.0], 0.9), quantile(&[], 0.5)],
            [7.0, 7.0, 0.0]
        );
    }

    #[test]
    fn every_round_runs_everyone_once() {
        let mut shuffle = Shuffle::new(1);
        for _ in 0..100 {
            let mut order = shuffle.permutation(4);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn everyone_is_first_equally_often() {
        let mut shuffle = Shuffle::new(1);
        let mut first = [0; 4];
        (0..4000).for_each(|_| first[shuffle.permutation(4)[0]] += 1);
        assert!(first.iter().all(|n| (900..1100).contains(n)), "{first:?}");
    }

    #[test]
    fn a_seed_repeats_its_order() {
        let order = |seed| Shuffle::new(seed).permutation(20);
        assert_eq!(order(42), order(42));
        assert_ne!(order(42), order(43));
    }
}
