//! Sets of CPUs or of memory nodes, in the kernel's two forms: the list of cpuset(7) (`0-3,7`) and
//! the bits that system calls take.

use serde::{Serialize, Serializer};

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Vec<u64>);

const WORD: u32 = u64::BITS;

/// More than any kernel has (NR_CPUS of x86-64 is at most 8192).
pub(crate) const CPUS: u32 = 8192;

impl Mask {
    /// Reads a list, with blanks and empty places between the commas as runc allows them.
    ///
    /// # Errors
    /// What is wrong with it; a number from `limit` on is, too.
    pub(crate) fn parse(list: &str, limit: u32) -> Result<Self, String> {
        let mut mask = Self::default();
        for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("invalid range: {range}"));
            }
            if last >= limit {
                return Err(format!("values larger than {} are not supported", limit - 1));
            }
            (first..=last).for_each(|number| mask.insert(number));
        }
        Ok(mask)
    }

    fn insert(&mut self, number: u32) {
        let word = (number / WORD) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % WORD);
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The bits as system calls take them: number 0 is the lowest of the first word.
    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        let words = (0..).step_by(WORD as usize).zip(&self.0);
        words.flat_map(|(base, word)| {
            (0..WORD).filter(move |bit| word & (1 << bit) != 0).map(move |bit| base + bit)
        })
    }
}

/// Digits only: the number's own parser would take a sign.
fn number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fault = |why| format!("parsing {text:?}: {why}");
    if !digits {
        return Err(fault("invalid syntax"));
    }
    text.parse().map_err(|_| fault("value out of range"))
}

/// As a list.
impl std::fmt::Display for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in self.numbers() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        for (index, (first, last)) in ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Mask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_bits() {
        for (list, words, back) in [
            ("0", &[1][..], "0"),
            ("0-3,7", &[0b1000_1111], "0-3,7"),
            ("63,64", &[1 << 63, 1], "63-64"),
            (" 2 ,, 1,1", &[0b110], "1-2"),
            ("007", &[1 << 7], "7"),
            ("", &[], ""),
        ] {
            let mask = Mask::parse(list, 8192).unwrap();
            assert_eq!((mask.words(), mask.to_string().as_str()), (words, back), "{list:?}");
            assert_eq!(mask.is_empty(), words.is_empty(), "{list:?}");
        }
        let last = Mask::parse("8191", 8192).unwrap();
        assert_eq!((last.words().len(), last.words()[127]), (128, 1 << 63));
    }

    #[test]
    fn what_is_no_list() {
        for list in
            ["-", "1-", "-1", "1-0", "a", "+1", "0x1", "1 2", "4294967296", "8192", "0-8192"]
        {
            assert!(Mask::parse(list, 8192).is_err(), "{list:?}");
        }
    }
}
