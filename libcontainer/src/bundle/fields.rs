//! The members of config.json that the runtime reads past. The specification wants them ignored
//! (config.md "Extensibility"); whoever wrote one may want to know.
//!
//! Which members are known is asked of the one thing that knows, the parser: the beginning of a
//! document that ends after a value of the wrong type, `{"root":{"readOnly":1`, is a wrong value
//! if the member is known, and just too short if it is not.

use std::{collections::HashMap, fmt};

use oci_spec::runtime as oci;

use super::text::{Frame, Kind, Walk};

/// A member of config.json without effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// `mounts[3].optoins`
    pub path: String,
    pub why: Why,
}

/// Why a member has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The specification has no such member; it has one with a similar name here.
    Unknown { similar: Option<String> },
    /// It is for another platform.
    Platform(&'static str),
    /// An array where an object belongs: its elements are taken for the members in their order.
    Array,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.why {
            Why::Unknown { similar: None } => {
                write!(f, "ignoring an unknown field (config.json: {path})")
            }
            Why::Unknown { similar: Some(similar) } => write!(
                f,
                "ignoring an unknown field (config.json: {path}): did you mean {similar:?}?"
            ),
            Why::Platform(name) => {
                write!(f, "ignoring a field for {name} (config.json: {path})")
            }
            Why::Array => write!(
                f,
                "taking an array for an object (config.json: {path}): give its fields names"
            ),
        }
    }
}

/// Every member without effect in `raw`, a config.json that [`super::parse`] takes.
pub fn strays(raw: &[u8]) -> Vec<Stray> {
    let mut look = Look { schema: Schema::default(), found: Vec::new() };
    let mut walk = Walk::new(raw);
    // Beginning of a document that leads to each frame, and whether its members may have any name.
    let mut places: Vec<(String, bool)> = Vec::new();
    let mut unknown_below = None;
    while let Some(token) = walk.next() {
        let depth = walk.frames.len();
        places.truncate(depth);
        if unknown_below.is_some_and(|limit| depth > limit) {
            continue;
        }
        // The value of an unknown member is at the depth of its name.
        if unknown_below == Some(depth) && token.kind != Kind::Key {
            if matches!(token.kind, Kind::Scalar | Kind::Close) {
                unknown_below = None;
            }
            continue;
        }
        unknown_below = None;
        match token.kind {
            Kind::Key if !look.member(&walk, &places) => unknown_below = Some(depth),
            Kind::OpenObject => {
                let place = format!("{}{{", here(&walk, &places));
                let free = look.schema.takes_any_name(&place);
                places.push((place, free));
            }
            Kind::OpenArray => {
                let place = here(&walk, &places);
                look.array(&walk, &place);
                places.push((place + "[", false));
            }
            _ => {}
        }
    }
    look.found
}

/// The beginning of a document that leads to the value at hand.
fn here(walk: &Walk<'_>, places: &[(String, bool)]) -> String {
    match (places.last(), walk.frames.last()) {
        // All members of a map are alike.
        (Some((place, true)), _) => format!("{place}\"\":"),
        (Some((place, false)), Some(Frame::Object(Some(key)))) => {
            format!("{place}{}:", quoted(&walk.name(key)))
        }
        (Some((place, false)), _) => place.clone(),
        (None, _) => String::new(),
    }
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

struct Look {
    schema: Schema,
    found: Vec<Stray>,
}

impl Look {
    /// Whether the member at hand has a meaning for the parser.
    fn member(&mut self, walk: &Walk<'_>, places: &[(String, bool)]) -> bool {
        let (Some((place, free)), Some(Frame::Object(Some(key)))) =
            (places.last(), walk.frames.last())
        else {
            return true;
        };
        if *free {
            return true;
        }
        let name = walk.name(key);
        let why =
            if let Some(why) = walk.frames.len().le(&3).then(|| special(&walk.path())).flatten() {
                why
            } else if self.schema.knows(place, &name) {
                return true;
            } else {
                let searched = self.found.len() < SUGGESTIONS;
                let similar = searched.then(|| self.schema.similar(place, &name)).flatten();
                Why::Unknown { similar }
            };
        self.found.push(Stray { path: walk.path(), why });
        false
    }

    fn array(&mut self, walk: &Walk<'_>, place: &str) {
        // An object that belongs here could go on; in a list it is a wrong value.
        if self.schema.is_cut_short(format!("{place}{{")) && !place.is_empty() {
            self.found.push(Stray { path: walk.path(), why: Why::Array });
        }
    }
}

/// A document with more mistakes than that was not written by hand.
const SUGGESTIONS: usize = 100;

/// Members of the specification that mean nothing on Linux.
const PLATFORMS: [(&str, &str); 7] = [
    ("freebsd", "FreeBSD"),
    ("solaris", "Solaris"),
    ("vm", "virtual machines"),
    ("windows", "Windows"),
    ("zos", "z/OS"),
    ("process.commandLine", "Windows"),
    ("process.user.username", "Windows"),
];

/// Members that the parser's types have where the specification does not.
const ELSEWHERE: [(&str, &str); 2] =
    [("uidMappings", "linux.uidMappings"), ("gidMappings", "linux.gidMappings")];

/// Of a member that the parser knows and rtn has no use for.
fn special(path: &str) -> Option<Why> {
    let find = |list: &[(&str, &'static str)]| {
        list.iter().find(|(other, _)| *other == path).map(|(_, what)| *what)
    };
    let elsewhere = || find(&ELSEWHERE).map(|path| Why::Unknown { similar: Some(path.to_owned()) });
    find(&PLATFORMS).map(Why::Platform).or_else(elsewhere)
}

/// What the parser said about beginnings of documents.
#[derive(Debug, Default)]
struct Schema {
    answers: HashMap<String, bool>,
}

impl Schema {
    /// Whether an object that begins with `place` has a member `name`.
    fn knows(&mut self, place: &str, name: &str) -> bool {
        let member = format!("{place}{}:", quoted(name));
        // Any known member refuses at least one of these.
        !(self.is_cut_short(format!("{member}true")) && self.is_cut_short(format!("{member}1 ")))
    }

    fn takes_any_name(&mut self, place: &str) -> bool {
        self.knows(place, "no field has this name")
    }

    /// Whether the only fault of `document` is that it ends.
    fn is_cut_short(&mut self, document: String) -> bool {
        *self.answers.entry(document).or_insert_with_key(|document| {
            let parsed: Result<oci::Spec, _> = serde_json::from_slice(document.as_bytes());
            parsed.is_err_and(|error| error.is_eof())
        })
    }

    /// The known member of the object at `place` whose name is most like `name`.
    fn similar(&mut self, place: &str, name: &str) -> Option<String> {
        let allowed = (name.len() / 3).max(1);
        let mut near: Vec<_> = super::names::all()
            .map(|known| (distance(name, known), known))
            .filter(|(distance, _)| *distance <= allowed)
            .collect();
        near.sort_unstable();
        near.dedup();
        near.into_iter().find(|(_, known)| self.knows(place, known)).map(|(_, known)| known.into())
    }
}

/// How many letters to insert, remove or replace; upper and lower case are the same.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Vec<String> {
        super::super::parse(json.as_bytes()).unwrap();
        strays(json.as_bytes()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_member_is_told_with_its_path_and_a_similar_name() {
        let json = r#"{"ociVersion":"1.0.0","rooot":{"a":{"b":[1]}},
            "root":{"path":"r","readOnly":true},
            "mounts":[{"destination":"/a"},{"destination":"/b","typ":"x","whatever":1}],
            "linux":{"sysctl":{"any.thing":"1"},"timeOffsets":{"monotonic":{"seconds":1,"secs":2}},
                     "resources":{"memory":{"limt":1}},"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flag":[]}}}"#;
        let field = |path: &str, similar: &str| {
            let similar = if similar.is_empty() {
                String::new()
            } else {
                format!(": did you mean {similar:?}?")
            };
            format!("ignoring an unknown field (config.json: {path}){similar}")
        };
        assert_eq!(
            told(json),
            [
                field("rooot", "root"),
                field("root.readOnly", "readonly"),
                field("mounts[1].typ", "type"),
                field("mounts[1].whatever", ""),
                field("linux.timeOffsets.monotonic.seconds", ""),
                field("linux.resources.memory.limt", "limit"),
                field("linux.seccomp.flag", "flags"),
            ]
        );
    }

    #[test]
    fn what_is_for_other_platforms_is_told() {
        let json = r#"{"ociVersion":"1.0.0","windows":{"layerFolders":["a"]},"uidMappings":[],
            "process":{"user":{"username":"x"},"cwd":"/"}}"#;
        assert_eq!(
            told(json),
            [
                "ignoring a field for Windows (config.json: windows)",
                "ignoring an unknown field (config.json: uidMappings): did you mean \"linux.uidMappings\"?",
                "ignoring a field for Windows (config.json: process.user.username)",
            ]
        );
    }

    #[test]
    fn an_array_in_place_of_an_object_is_told() {
        let json = r#"{"ociVersion":"1.0.0","root":["rootfs",true],"mounts":[["/a"]]}"#;
        let told = told(json);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("(config.json: root)"), "{told:?}");
        assert!(told[1].contains("(config.json: mounts[0])"), "{told:?}");
    }

    #[test]
    fn names_of_maps_are_free() {
        let json = r#"{"ociVersion":"1.0.0","annotations":{"a":"b","c.d":""},
            "linux":{"resources":{"unified":{"x":"y"},"rdma":{"m":{"hcaHandles":1}}},"netDevices":{"e":{"name":"f"}}}}"#;
        assert_eq!(told(json), Vec::<String>::new());
    }

    #[test]
    fn distances() {
        assert_eq!(distance("readOnly", "readonly"), 0);
        assert_eq!(distance("typ", "type"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("optoins", "options"), 2);
    }
}
