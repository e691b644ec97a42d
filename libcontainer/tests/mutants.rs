//! A real config.json, damaged in tens of thousands of ways: none makes the library panic, hang or
//! say something without a cause.

use std::{panic, time::Instant};

use libcontainer::{
    bundle,
    cgroup::{Hierarchies, Manager},
    host::Host,
    plan::{Options, Plan},
};

/// What dockerd writes for a busybox container.
const DOCKER: &[u8] = include_bytes!("../../bench/docker-config.json");
const FULL: &[u8] = include_bytes!("data/full.json");

/// Half as many of each document.
const MUTANTS: u32 = 12_000;

/// Pieces of JSON that are at the end of some number, text or nesting.
const NUMBERS: [&str; 8] = [
    "-1",
    "0",
    "1",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
];
const TEXTS: [&str; 6] = [r#""""#, r#""\u0000""#, r#""a\nb""#, r#""../..""#, r#""/""#, r#""=""#];
const OTHERS: [&str; 10] =
    ["null", "true", "1e400", "-0.0", r#""\ud800""#, "[]", "{}", "[[[[[[[[[[[[[[[[", "}}", ",\"\\"];

/// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    /// A place where a token begins: damage there gets further than damage in the middle of a word.
    fn token(&mut self, text: &[u8]) -> usize {
        let start = self.below(text.len());
        let begins = |byte: &u8| b"{}[],:\"".contains(byte);
        text[start..].iter().position(begins).map_or(start, |ahead| start + ahead)
    }
}

/// The range of the value that begins near `at`: up to the next comma or bracket.
fn value(text: &[u8], at: usize) -> std::ops::Range<usize> {
    let begins = |byte: &u8| b":[,".contains(byte);
    let start = text[at..].iter().position(begins).map_or(at, |ahead| at + ahead + 1);
    let blank = text[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let start = start + blank;
    let ends = |byte: &u8| b",]}".contains(byte);
    let end = text[start..].iter().position(ends).map_or(text.len(), |ahead| start + ahead);
    start..end
}

/// Another value of the same kind, mostly, so that the types take it.
fn replace(text: &mut Vec<u8>, at: usize, random: &mut Random) {
    let range = value(text, at);
    let piece = match text.get(range.start) {
        Some(b'"') => TEXTS[random.below(TEXTS.len())],
        Some(b'0'..=b'9' | b'-') => NUMBERS[random.below(NUMBERS.len())],
        Some(b't') => "false",
        Some(b'f') => "true",
        _ => OTHERS[random.below(OTHERS.len())],
    };
    text.splice(range, piece.bytes());
}

fn mutate(text: &mut Vec<u8>, random: &mut Random) {
    let (at, other) = (random.token(text), random.token(text));
    let (from, to) = (at.min(other), at.max(other));
    match random.below(12) {
        0 => text[at] = text[at].wrapping_add(1 + random.below(255) as u8),
        1 => drop(text.splice(at..at, OTHERS[random.below(OTHERS.len())].bytes())),
        2 => drop(text.drain(from..to.min(from + 64))),
        3 => text.truncate(at + 1),
        4 => {
            let copy = text[from..to].to_vec();
            text.splice(at..at, copy);
        }
        _ => replace(text, at, random),
    }
    if text.is_empty() {
        text.push(b'{');
    }
}

fn host() -> Host {
    Host {
        euid: 0,
        egid: 0,
        initial_user_namespace: true,
        owns_mounts: true,
        capabilities: u64::MAX,
        apparmor: true,
        selinux: true,
        cgroup: Hierarchies::default(),
        resctrl: Some("/sys/fs/resctrl".into()),
    }
}

fn options() -> Options {
    Options {
        id: "mutant".into(),
        bundle: "/bundle".into(),
        manager: Manager::Cgroupfs,
        rootless: false,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        notify_dir: None,
    }
}

/// Whether the document was one.
fn look_at(text: &[u8], host: &Host, options: &Options) -> bool {
    match bundle::parse(text) {
        Ok(spec) => {
            let strays = bundle::strays(text);
            assert!(strays.iter().all(|stray| !stray.path.is_empty()), "{strays:?}");
            if let Err(faults) = Plan::new(&spec, options, host) {
                assert!(!faults.is_empty());
                assert!(faults.iter().all(|fault| fault.spec_path().is_some()), "{faults:?}");
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            false
        }
    }
}

fn damage(original: &[u8], seed: u64) {
    let (host, options) = (host(), options());
    let mut random = Random(seed);
    let mut documents = 0;
    for number in 0..MUTANTS / 2 {
        let mut text = original.to_vec();
        for _ in 0..=random.below(2) {
            mutate(&mut text, &mut random);
        }
        let begin = Instant::now();
        let looked = panic::catch_unwind(|| look_at(&text, &host, &options));
        let shown = || String::from_utf8_lossy(&text).into_owned();
        documents += u32::from(looked.unwrap_or_else(|_| panic!("mutant {number}: {}", shown())));
        assert!(begin.elapsed().as_secs() < 60, "mutant {number} takes too long: {}", shown());
    }
    // Otherwise only the parser was tried.
    assert!(documents > MUTANTS / 20, "only {documents} mutants were documents");
}

#[test]
fn of_dockers() {
    damage(DOCKER, 1);
}

#[test]
fn of_a_full_one() {
    damage(FULL, 2);
}
