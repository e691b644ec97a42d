//! From rules to decisions: what each architecture says to each system call number.

use super::{
    action::{Action, ENOSYS, KILL},
    arch::{Arch, NATIVE, Width, X32_MARKER},
    condition::{self, Condition},
    profile::Profile,
};
use crate::Error;
use std::collections::{BTreeMap, HashMap};

/// What to say to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Always(Action),
    /// Depends on the arguments: an index into [`Tables::chains`].
    Chain(usize),
}

/// From this number on, up to the next step, the verdict is the same.
pub(super) type Step = (u32, Verdict);

#[derive(Debug)]
pub(super) struct Tables {
    /// For each value of `seccomp_data.arch`: steps in ascending order, the first at 0, no two
    /// neighbours with one verdict.
    pub(super) spaces: Vec<(u32, Vec<Step>)>,
    pub(super) chains: Vec<Chain>,
}

/// Lists of conditions in the order of trial; the first that holds decides, and if none does, the
/// profile's default action.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) width: Width,
    pub(super) trials: Vec<(Vec<Condition>, Action)>,
}

/// The decisions of `profile`. Rules that contradict each other are added to `faults`.
pub(super) fn build(profile: &Profile, faults: &mut Vec<Error>) -> Tables {
    let mut builder = Builder::new(profile);
    let arches = profile.arches.iter().filter(|arch| !arch.is_x32());
    let spaces = arches.map(|arch| (arch.audit, builder.space(arch))).collect();
    let contradictions = builder.contradictions.into_iter();
    faults.extend(contradictions.map(|(second, first)| contradiction(first, second)));
    Tables { spaces, chains: builder.chains }
}

fn contradiction(first: usize, second: usize) -> Error {
    let at = format!("linux.seccomp.syscalls[{second}].args");
    Error::config(at, "cannot give the same arguments a second action")
        .hint(format!("linux.seccomp.syscalls[{first}] decides them already"))
}

/// A rule's claim on a system call number. In one word, so that sorting is fast: by number (32
/// bits), then in the order of the profile (26 bits are more rules than a file can hold).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim(u64);

impl Claim {
    /// `bundled` is the number of the call inside of `socketcall` or `ipc`, or 0.
    fn new(number: u32, rule: usize, bundled: u8) -> Self {
        Self(u64::from(number) << 32 | (rule as u64) << 6 | u64::from(bundled))
    }

    fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn rule(self) -> usize {
        (self.0 as u32 >> 6) as usize
    }

    fn bundled(self) -> u8 {
        self.0 as u8 & 0x3f
    }

    /// The claim but for the number.
    fn kind(self) -> u32 {
        self.0 as u32
    }
}

/// The conditions of every rule, in the profile's order; see [`condition::seen_by`].
type Seen = Vec<Vec<Vec<Condition>>>;

struct Builder<'a> {
    profile: &'a Profile,
    half: Seen,
    full: Seen,
    chains: Vec<Chain>,
    /// The chains by what they were made of: many calls have the same rules.
    known: HashMap<(Width, Vec<u32>), usize>,
    /// Rules and the earlier rules that they contradict.
    contradictions: BTreeMap<usize, usize>,
}

impl<'a> Builder<'a> {
    fn new(profile: &'a Profile) -> Self {
        let seen = |width| {
            let rules = profile.rules.iter();
            rules.map(|rule| condition::seen_by(width, &rule.any)).collect()
        };
        Self {
            profile,
            half: seen(Width::Half),
            full: seen(Width::Full),
            chains: Vec::new(),
            known: HashMap::new(),
            contradictions: BTreeMap::new(),
        }
    }

    fn seen(&self, width: Width) -> &Seen {
        match width {
            Width::Half => &self.half,
            Width::Full => &self.full,
        }
    }

    /// The steps for the audit word of `arch`.
    fn space(&mut self, arch: &Arch) -> Vec<Step> {
        let mut steps = Steps(Vec::with_capacity(128));
        let newer = self.section(arch, 0, &mut steps);
        if arch.audit == NATIVE.audit {
            self.x32(newer, &mut steps);
        }
        steps.0
    }

    /// x86_64 and x32 share an audit word; bit 30 of the number tells them apart. If the profile
    /// does not list x32, its calls get what a foreign architecture gets, except -1, by which a
    /// tracer skips a call (libseccomp). But first come the newer calls, and runc tells these by
    /// bit 30 alone: numbers with bit 31 and without bit 30 are newer ones of x86_64.
    fn x32(&mut self, newer: Option<Action>, steps: &mut Steps) {
        let default = self.profile.default;
        if let Some(x32) = self.profile.arches.iter().find(|arch| arch.is_x32()) {
            let newer_x32 = self.section(x32, X32_MARKER, steps);
            steps.set(0x8000_0000, Verdict::Always(newer.unwrap_or(default)));
            steps.set(0xc000_0000, Verdict::Always(newer_x32.unwrap_or(default)));
        } else {
            steps.set(X32_MARKER, Verdict::Always(KILL));
            steps.set(0x8000_0000, Verdict::Always(newer.unwrap_or(KILL)));
            steps.set(0xc000_0000, Verdict::Always(KILL));
            steps.set(u32::MAX, Verdict::Always(default));
        }
    }

    /// The calls of `arch`, whose numbers begin at `start`. Returns the action for the calls that
    /// are newer than the profile, if it is a special one.
    fn section(&mut self, arch: &Arch, start: u32, steps: &mut Steps) -> Option<Action> {
        let (claims, last) = self.claims(arch);
        let default = Verdict::Always(self.profile.default);
        let mut next = start;
        for claims in claims.chunk_by(|a, b| a.number() == b.number()) {
            let number = claims[0].number();
            if next < number {
                steps.set(next, default);
            }
            steps.set(number, self.verdict(arch.width, claims));
            next = number + 1;
        }
        steps.set(next, default);
        // A profile that names no call of an architecture, or only its call 0, is silent about
        // newer ones there (runc).
        let last = last.filter(|&last| last > 0 && self.profile.guards_newer)?;
        steps.set(last + 1, Verdict::Always(ENOSYS));
        Some(ENOSYS)
    }

    /// What the rules claim on `arch`, sorted, and the highest number that the profile names there.
    /// A bundled call does not count as named: libseccomp gives it a number below 0.
    fn claims(&self, arch: &Arch) -> (Vec<Claim>, Option<u32>) {
        let mut claims = Vec::with_capacity(self.profile.named.len() + 32);
        let mut last = None;
        for &(call, rule) in &self.profile.named {
            let (number, bundle) = (arch.number(call), arch.bundle(call));
            if bundle.is_none() {
                last = last.max(number);
            }
            // A rule that repeats the default action decides nothing, also against other rules
            // (runc).
            if self.profile.rules[rule].action != self.profile.default {
                claims.extend(number.map(|number| Claim::new(number, rule, 0)));
                claims.extend(bundle.map(|(number, inside)| Claim::new(number, rule, inside)));
            }
        }
        claims.sort_unstable();
        (claims, last)
    }

    /// A rule without conditions decides alone, the first one if there are several, whatever the
    /// order of the others (libseccomp).
    fn verdict(&mut self, width: Width, claims: &[Claim]) -> Verdict {
        let seen = self.seen(width);
        let always = |claim: &&Claim| claim.bundled() == 0 && seen[claim.rule()].is_empty();
        match claims.iter().find(always) {
            Some(claim) => Verdict::Always(self.profile.rules[claim.rule()].action),
            None => Verdict::Chain(self.chain(width, claims)),
        }
    }

    fn chain(&mut self, width: Width, claims: &[Claim]) -> usize {
        let key = (width, claims.iter().map(|claim| claim.kind()).collect());
        if let Some(&chain) = self.known.get(&key) {
            return chain;
        }
        let trials = self.trials(width, claims);
        self.chains.push(Chain { width, trials });
        self.known.insert(key, self.chains.len() - 1);
        self.chains.len() - 1
    }

    fn trials(&mut self, width: Width, claims: &[Claim]) -> Vec<(Vec<Condition>, Action)> {
        let mut trials = Vec::new();
        for claim in claims {
            let action = self.profile.rules[claim.rule()].action;
            let lists = conditions(&self.seen(width)[claim.rule()], claim.bundled());
            trials.extend(lists.into_iter().map(|list| (list, action, claim.rule())));
        }
        // Conditions can be equal to this architecture and different in the profile; then the
        // strictest action comes first, in the kernel's order (seccomp(2)).
        let strictness = |action: Action| action.0 as i32;
        trials.sort_by(|a, b| {
            condition::order(&a.0, &b.0).then_with(|| strictness(a.1).cmp(&strictness(b.1)))
        });
        trials.dedup_by(|later, first| (&later.0, later.1) == (&first.0, first.1));
        self.find_contradictions(&trials);
        trials.dedup_by(|later, first| later.0 == first.0);
        trials.into_iter().map(|(list, action, _)| (list, action)).collect()
    }

    /// Looks for rules that repeat conditions with another action, or take back some of an earlier
    /// rule's conditions. libseccomp refuses these too.
    fn find_contradictions(&mut self, trials: &[(Vec<Condition>, Action, usize)]) {
        for (i, (list, action, rule)) in trials.iter().enumerate() {
            let longer = trials[i + 1..].iter().take_while(|(longer, ..)| longer.starts_with(list));
            for (longer, other_action, other) in longer {
                let taken_back = longer.len() == list.len() || other < rule;
                if taken_back && action != other_action && self.really(*rule, *other) {
                    self.contradictions.entry(*rule.max(other)).or_insert(*rule.min(other));
                }
            }
        }
    }

    /// Whether the profile itself has the one's conditions in the other, not only what an
    /// architecture can see of them.
    fn really(&self, shorter: usize, longer: usize) -> bool {
        let [shorter, longer] = [shorter, longer].map(|rule| &self.profile.rules[rule].any);
        shorter.iter().any(|list| longer.iter().any(|longer| longer.starts_with(list)))
    }
}

/// The conditions of a rule when its call comes through a bundle: the first argument says which
/// call it is, and the others are compared as they are, as libseccomp does. They are not the
/// call's own arguments (those are in memory, out of a filter's sight), so that a rule with
/// conditions cannot be carried over truly.
fn conditions(any: &[Vec<Condition>], bundled: u8) -> Vec<Vec<Condition>> {
    if bundled == 0 {
        return any.to_vec();
    }
    let first = Condition::equal(0, bundled.into());
    let replaced = |all: &Vec<Condition>| {
        let others = all.iter().copied().filter(|condition| condition.index != 0);
        std::iter::once(first).chain(others).collect()
    };
    if any.is_empty() { vec![vec![first]] } else { any.iter().map(replaced).collect() }
}

struct Steps(Vec<Step>);

impl Steps {
    /// From `start` on, which is not below the last one's, the verdict is `verdict`.
    fn set(&mut self, start: u32, verdict: Verdict) {
        if self.0.last().is_some_and(|&(last, _)| last == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|&(_, last)| last != verdict) {
            self.0.push((start, verdict));
        }
    }
}
