//! The text of a JSON document as tokens with their paths: what serde's types cannot say of it.
//!
//! Nothing here checks the document; that is serde_json's. What comes after a mistake is not looked
//! at by anybody, so a walk over a broken document only has to end.

use std::{borrow::Cow, fmt::Write as _, ops::Range};

/// A token that a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Its bytes. For [`Kind::Open`] the bracket alone, for [`Kind::Close`] likewise.
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The name of a member.
    Key,
    /// A text, number, `true`, `false` or `null`.
    Scalar,
    OpenObject,
    OpenArray,
    Close,
}

/// A path that is deeper is cut off: the specification has nothing below the tenth level.
const DEPTH_MAX: usize = 32;

/// Something that is open around the current token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// With the span of the member's name (without quotes), once there is one.
    Object(Option<Range<usize>>),
    /// With how many elements have begun.
    Array(usize),
}

/// Goes through the tokens of a document.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// From the outermost to the innermost.
    pub(super) frames: Vec<Frame>,
    /// What the token that was last returned has opened.
    opening: Option<Frame>,
    expects_key: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, frames: Vec::new(), opening: None, expects_key: false }
    }

    /// A member's name as it is meant, with its escapes resolved.
    pub(super) fn name(&self, key: &Range<usize>) -> Cow<'a, str> {
        name(self.text, key)
    }

    /// Where the last token is: `mounts[3].options`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for frame in self.frames.iter().take(DEPTH_MAX) {
            match frame {
                Frame::Object(Some(key)) => push_name(&mut path, &self.name(key)),
                Frame::Array(begun @ 1..) => drop(write!(path, "[{}]", begun - 1)),
                _ => {}
            }
        }
        if self.frames.len() > DEPTH_MAX {
            path.push('…');
        }
        path
    }

    fn open(&mut self, kind: Kind, frame: Frame) -> Token {
        self.begin_value();
        self.opening = Some(frame);
        self.token(kind, self.at + 1)
    }

    fn close(&mut self) -> Token {
        self.frames.pop();
        self.expects_key = false;
        self.token(Kind::Close, self.at + 1)
    }

    fn quoted(&mut self) -> Token {
        let end = end_of_text(self.text, self.at);
        let inside = self.at + 1..end.saturating_sub(1).max(self.at + 1);
        match self.frames.last_mut() {
            Some(Frame::Object(key)) if self.expects_key => {
                *key = Some(inside);
                self.expects_key = false;
                self.token(Kind::Key, end)
            }
            _ => {
                self.begin_value();
                self.token(Kind::Scalar, end)
            }
        }
    }

    fn bare(&mut self) -> Token {
        self.begin_value();
        let rest = &self.text[self.at + 1..];
        let ends = |byte: &u8| {
            matches!(
                byte,
                b',' | b':' | b']' | b'}' | b'[' | b'{' | b'"' | b' ' | b'\t' | b'\n' | b'\r'
            )
        };
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        self.token(Kind::Scalar, self.at + 1 + end)
    }

    fn begin_value(&mut self) {
        if let Some(Frame::Array(begun)) = self.frames.last_mut() {
            *begun += 1;
        }
    }

    fn token(&mut self, kind: Kind, end: usize) -> Token {
        let span = self.at..end;
        self.at = end;
        Token { kind, span }
    }
}

impl Iterator for Walk<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        if let Some(frame) = self.opening.take() {
            self.expects_key = matches!(frame, Frame::Object(_));
            self.frames.push(frame);
        }
        loop {
            match self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' | b':' => self.at += 1,
                b',' => {
                    self.expects_key = matches!(self.frames.last(), Some(Frame::Object(_)));
                    self.at += 1;
                }
                b'{' => return Some(self.open(Kind::OpenObject, Frame::Object(None))),
                b'[' => return Some(self.open(Kind::OpenArray, Frame::Array(0))),
                b'}' | b']' => return Some(self.close()),
                b'"' => return Some(self.quoted()),
                _ => return Some(self.bare()),
            }
        }
    }
}

/// The byte after the quote that ends the text that begins at `start`.
fn end_of_text(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn name<'a>(text: &'a [u8], key: &Range<usize>) -> Cow<'a, str> {
    let raw = &text[key.clone()];
    match raw.contains(&b'\\') {
        true => serde_json::from_slice(&text[key.start - 1..key.end + 1])
            .map_or_else(|_| String::from_utf8_lossy(raw), Cow::Owned),
        false => String::from_utf8_lossy(raw),
    }
}

/// Appends `.name`, or `["na.me"]` for a name that would look like something else.
fn push_name(path: &mut String, name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        let _ = write!(path, "[{name:?}]");
    } else {
        let dot = if path.is_empty() { "" } else { "." };
        let _ = write!(path, "{dot}{name}");
    }
}

/// Where a parser was that had read `offset` bytes of `text` and found that the value just read,
/// or about to be read, is not what belongs there.
pub(super) fn value_at(text: &[u8], offset: usize) -> String {
    let mut last = None;
    let mut walk = Walk::new(text);
    while let Some(token) = walk.next() {
        let opens = matches!(token.kind, Kind::OpenObject | Kind::OpenArray);
        // Values are read whole before they are judged, but for those that open.
        let judged = if opens { token.span.start } else { token.span.end };
        if judged == offset {
            return walk.path();
        } else if judged > offset {
            break;
        }
        last = Some(token.span.start);
    }
    path_to(text, last)
}

/// The path of the token that begins at `start`.
fn path_to(text: &[u8], start: Option<usize>) -> String {
    let mut walk = Walk::new(text);
    while walk.next().is_some_and(|token| Some(token.span.start) != start) {}
    walk.path()
}

/// The values in the object or array that ends before `offset`: the byte after each, and its path.
/// Not more than a few dozen: that is enough for any object of a specification.
pub(super) fn values_of(text: &[u8], offset: usize) -> Vec<(usize, String)> {
    let mut starts = Vec::new();
    let mut walk = Walk::new(text);
    let found = std::iter::from_fn(|| walk.next()).find_map(|token| match token.kind {
        Kind::OpenObject | Kind::OpenArray => {
            starts.push(token.span.start);
            None
        }
        Kind::Close => starts.pop().filter(|_| token.span.end == offset),
        _ => None,
    });
    let (Some(start), depth) = (found, walk.frames.len() + 1) else { return Vec::new() };
    let mut walk = Walk::new(text.get(..offset - 1).unwrap_or(text));
    let mut values = Vec::new();
    while let Some(token) = walk.next() {
        let is_value = matches!(token.kind, Kind::Scalar | Kind::Close);
        if token.span.start > start && is_value && walk.frames.len() == depth && values.len() < 64 {
            values.push((token.span.end, walk.path()));
        }
    }
    values
}

/// Where the byte at `offset` is, for a mistake in the writing.
pub(super) fn place_at(text: &[u8], offset: usize) -> String {
    let mut last = None;
    for token in Walk::new(text).take_while(|token| token.span.start <= offset) {
        last = Some(token.span.start);
    }
    path_to(text, last)
}

/// The offset of a line and a column as serde_json counts them: both from 1, columns in bytes.
pub(super) fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.by_ref().take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        let mut walk = Walk::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(token) = walk.next() {
            all.push(format!("{:?} {} {}", token.kind, &text[token.span], walk.path()));
        }
        all
    }

    #[test]
    fn every_token_has_its_path() {
        let expected = [
            "OpenObject { ",
            "Key \"a\" a",
            "OpenArray [ a",
            "Scalar 1 a[0]",
            "OpenObject { a[1]",
            "Key \"b.\\\"c\" a[1][\"b.\\\"c\"]",
            "Scalar \"]\" a[1][\"b.\\\"c\"]",
            "Close } a[1]",
            "OpenArray [ a[2]",
            "Close ] a[2]",
            "Close ] a",
            "Key \"d\" d",
            "Scalar null d",
            "Close } ",
        ];
        assert_eq!(tokens(r#"{"a": [1, {"b.\"c": "]"}, []], "d":null}"#), expected);
    }

    #[test]
    fn a_broken_text_comes_to_its_end() {
        for text in ["", "{", "[[[", "]}", r#"{"a"#, r#"{"a\"#, "\"", "tru", r#"{"a":1]"#, ",,::"] {
            assert!(tokens(text).len() <= text.len(), "{text}");
        }
        let deep = "[".repeat(1 << 20);
        assert_eq!(Walk::new(deep.as_bytes()).count(), 1 << 20);
    }

    #[test]
    fn a_place_with_blanks_around_it() {
        let text = br#"{"a": [ 1 , {} ] , "b" : x }"#;
        let place = |what: &str| {
            place_at(text, text.iter().position(|b| what.contains(*b as char)).unwrap())
        };
        assert_eq!((place("1"), place("x"), place("[")), ("a[0]".into(), "b".into(), "a".into()));
        assert_eq!((value_at(text, 9), value_at(text, 10)), ("a[0]".into(), "a[0]".into()));
        assert_eq!(value_at(text, 12), "a[1]");
    }

    #[test]
    fn lines_and_columns() {
        assert_eq!(offset(b"a\nbc\nd", 2, 1), 3);
        assert_eq!(offset(b"a", 9, 9), 1);
    }
}
