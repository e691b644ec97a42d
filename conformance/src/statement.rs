//! One sentence of the specification, and how a runtime is judged by it.

use std::fmt;

use integration::Test;
use serde::{Serialize, Serializer};

/// The version of the runtime specification that the quotes are from.
pub const SPEC: &str = "1.3.0";

/// A sentence of the specification that binds a runtime.
#[derive(Debug)]
pub struct Statement {
    /// Stable, lower case, dotted: the document, the section, the point. `config.mounts.order`.
    pub id: &'static str,
    /// The document and its heading: `config.md "Mounts"`.
    pub section: &'static str,
    pub level: Level,
    /// The sentence itself, or the part of it that binds. It holds the word of [`Level`].
    pub quote: &'static str,
    pub check: Check,
}

/// How a runtime is judged.
#[derive(Debug)]
pub enum Check {
    /// Panics when the runtime is wrong, returns when it is right. What is missing for a judgement
    /// on this machine or with this runtime is told by [`integration::needs`] or [`crate::skip`].
    Test(fn(&Test)),
    /// Why no test can tell: it binds somebody else, or nobody can see it.
    Untestable(&'static str),
}

/// The word of RFC 2119 in the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Must,
    MustNot,
    Required,
    Should,
    ShouldNot,
    Recommended,
    /// The author of a configuration may leave the property out. A runtime that is given it has to
    /// do what it says (runtime.md "Lifecycle", step 2), and one that lists it among its features
    /// has to have it.
    Optional,
    May,
}

impl Level {
    /// The word as the specification writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Required => "REQUIRED",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::Recommended => "RECOMMENDED",
            Self::Optional => "OPTIONAL",
            Self::May => "MAY",
        }
    }

    /// A runtime that fails is not compliant; false for advice (SHOULD, RECOMMENDED, MAY).
    pub const fn binds(self) -> bool {
        matches!(self, Self::Must | Self::MustNot | Self::Required | Self::Optional)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl Statement {
    /// The document that the sentence is in: `config.md`.
    pub fn document(&self) -> &'static str {
        self.section.split(' ').next().unwrap_or_default()
    }

    /// Its heading there: `Mounts`.
    pub fn heading(&self) -> &'static str {
        self.section.split('"').nth(1).unwrap_or_default()
    }

    /// True when a runtime can be judged by it.
    pub fn is_tested(&self) -> bool {
        matches!(self.check, Check::Test(_))
    }
}

/// A [`Statement`] whose check is still to be said: `must(…).test(f)`.
#[derive(Debug)]
pub struct Sentence {
    id: &'static str,
    section: &'static str,
    level: Level,
    quote: &'static str,
}

impl Sentence {
    /// Judged by `check`; see [`Check::Test`].
    pub const fn test(self, check: fn(&Test)) -> Statement {
        self.with(Check::Test(check))
    }

    /// Not judged, for `reason`; see [`Check::Untestable`].
    pub const fn untestable(self, reason: &'static str) -> Statement {
        self.with(Check::Untestable(reason))
    }

    const fn with(self, check: Check) -> Statement {
        let Self { id, section, level, quote } = self;
        Statement { id, section, level, quote, check }
    }
}

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident = $level:ident;)+) => {
        $($(#[$doc])*
        pub const fn $name(
            id: &'static str,
            section: &'static str,
            quote: &'static str,
        ) -> Sentence {
            Sentence { id, section, level: Level::$level, quote }
        })+
    };
}

levels! {
    /// A sentence with MUST (or SHALL).
    must = Must;
    /// A sentence with MUST NOT.
    must_not = MustNot;
    /// A property that is REQUIRED.
    required = Required;
    /// A sentence with SHOULD.
    should = Should;
    /// A sentence with SHOULD NOT.
    should_not = ShouldNot;
    /// A sentence with RECOMMENDED.
    recommended = Recommended;
    /// A property that is OPTIONAL.
    optional = Optional;
    /// A sentence with MAY.
    may = May;
}
