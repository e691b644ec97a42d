//! Values as people write them in annotations: the text format of GVariant ("GVariant Text
//! Format" of GLib's manual), as runc and crun take it.

use super::value::Value;

/// Reads one value: `5`, `uint64 5`, `true`, `'text'`, `['a', 'b']`, `@as []`, `(1, 'x')`.
///
/// # Errors
/// What is wrong, in words that follow "invalid value: ".
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text.trim_start(), depth: 0 };
    let value = reader.value(None)?;
    match reader.rest.trim() {
        "" => Ok(value),
        rest => Err(format!("{rest:?} follows it")),
    }
}

/// Arrays and tuples inside each other; no property of systemd's has more than three.
const DEPTH: u32 = 16;

const KEYWORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// A value of type `wanted`, or of the type that its form suggests.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.skip();
        match self.rest.chars().next() {
            None => Err("it is empty".into()),
            Some('@') => {
                let signature = self.word().trim_start_matches('@').to_owned();
                self.value(Some(&signature))
            }
            Some('[') => self.array(wanted),
            Some('(') => self.tuple(wanted),
            Some('<') => self.variant(),
            Some(quote @ ('\'' | '"')) => {
                let text = self.quoted(quote)?;
                of_text(text, wanted.unwrap_or("s"))
            }
            Some(_) => {
                let word = self.word();
                match KEYWORDS.iter().find(|(keyword, _)| *keyword == word) {
                    Some((_, signature)) => self.value(Some(signature)),
                    None => of_word(word, wanted),
                }
            }
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let mut element = match wanted.map(|wanted| wanted.strip_prefix('a')) {
            Some(None) => return Err("an array is not what its type says".into()),
            Some(Some(element)) => Some(element.to_owned()),
            None => None,
        };
        let items = self.list('[', ']', |reader, _| {
            let item = reader.value(element.as_deref())?;
            element.get_or_insert_with(|| item.signature());
            match element.as_deref() == Some(&item.signature()) {
                true => Ok(item),
                false => Err("the elements of an array differ in type".into()),
            }
        })?;
        let element = element.ok_or("an empty array needs its type, as in \"@as []\"")?;
        Ok(Value::Array(element, items))
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let types = wanted.map(fields).transpose()?;
        let items = self.list('(', ')', |reader, index| {
            let wanted = types.as_ref().and_then(|types| types.get(index));
            reader.value(wanted.map(String::as_str))
        })?;
        match types.is_some_and(|types| types.len() != items.len()) {
            true => Err("a tuple has not as many fields as its type".into()),
            false => Ok(Value::Struct(items)),
        }
    }

    fn variant(&mut self) -> Result<Value, String> {
        let mut items = self.list('<', '>', |reader, _| reader.value(None))?;
        match (items.pop(), items.is_empty()) {
            (Some(value), true) => Ok(Value::variant(value)),
            _ => Err("a variant holds one value".into()),
        }
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self, usize) -> Result<Value, String>,
    ) -> Result<Vec<Value>, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("it is nested too deeply".into());
        }
        self.take(open);
        let mut items = Vec::new();
        while !self.take(close) {
            if !items.is_empty() && !self.take(',') {
                return Err(format!("',' or {close:?} is missing"));
            }
            // A tuple of one has a comma behind it.
            if self.take(close) {
                break;
            }
            let next = item(self, items.len())?;
            items.push(next);
        }
        self.depth -= 1;
        Ok(items)
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => text.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, escaped)) => escaped,
                    None => break,
                }),
                c => text.push(c),
            }
        }
        Err(format!("a closing {quote} is missing"))
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find([' ', '\t', '\n', ',', ']', ')', '>', '[']);
        // `@as []` and `@a(ss) []`: brackets belong to a type.
        let end = if self.rest.starts_with('@') { self.rest.find([' ', '\t', '[']) } else { end };
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, what: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

/// The types in `(…)`; only basic ones and arrays of them, as systemd's properties have.
fn fields(signature: &str) -> Result<Vec<String>, String> {
    let inside = signature.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inside = inside.ok_or("a tuple is not what its type says")?;
    let mut fields = Vec::new();
    let mut field = String::new();
    for c in inside.chars() {
        field.push(c);
        if c != 'a' {
            fields.push(std::mem::take(&mut field));
        }
    }
    Ok(fields)
}

fn of_text(text: String, wanted: &str) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("it contains a NUL byte".into());
    }
    match wanted {
        "s" => Ok(Value::String(text)),
        "o" if text.starts_with('/') => Ok(Value::ObjectPath(text)),
        "g" if text.len() < 256 => Ok(Value::Signature(text)),
        _ => Err(format!("a string cannot be of type {wanted:?}")),
    }
}

fn of_word(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    let wrong = || match wanted {
        Some(wanted) => format!("{word:?} is not of type {wanted:?}"),
        None => format!("{word:?} is neither a number nor a string in quotes"),
    };
    let boolean = |word| match word {
        "true" => Some(Value::Boolean(true)),
        "false" => Some(Value::Boolean(false)),
        _ => None,
    };
    let float = || word.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Double);
    let value = match wanted {
        Some("b") => boolean(word),
        Some("y") => integer(word).map(Value::Byte),
        Some("n") => integer(word).map(Value::Int16),
        Some("q") => integer(word).map(Value::Uint16),
        Some("i") => integer(word).map(Value::Int32),
        Some("u") => integer(word).map(Value::Uint32),
        Some("x") => integer(word).map(Value::Int64),
        Some("t") => integer(word).map(Value::Uint64),
        Some("d") => float(),
        Some(_) => None,
        None => boolean(word).or_else(|| integer(word).map(Value::Int32)).or_else(float),
    };
    value.ok_or_else(wrong)
}

/// Decimal, `0x` hexadecimal or `0` octal, as in C.
fn integer<T: TryFrom<i128>>(word: &str) -> Option<T> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => i128::from_str_radix(&digits[2..], 16),
        [b'0', _, ..] => i128::from_str_radix(&digits[1..], 8),
        _ => digits.parse(),
    };
    let number = number.ok()?;
    T::try_from(if negative { -number } else { number }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_types() {
        assert_eq!(parse("5"), Ok(Value::Int32(5)));
        assert_eq!(parse(" uint64 123456789 "), Ok(Value::Uint64(123_456_789)));
        assert_eq!(parse("@t 0x10"), Ok(Value::Uint64(16)));
        assert_eq!(parse("true"), Ok(Value::Boolean(true)));
        assert_eq!(parse("1.5"), Ok(Value::Double(1.5)));
        assert_eq!(parse(r"'it\'s'"), Ok(Value::string("it's")));
        assert_eq!(parse("\"a, b\""), Ok(Value::string("a, b")));
        assert_eq!(parse("['a', 'b']"), Ok(Value::strings(["a", "b"])));
        assert_eq!(parse("@as []"), Ok(Value::Array("s".into(), vec![])));
        assert_eq!(
            parse("@ay [1, 2]"),
            Ok(Value::Array("y".into(), vec![Value::Byte(1), Value::Byte(2)]))
        );
        let pair = Value::Struct(vec![Value::string("/x"), Value::Uint64(3)]);
        assert_eq!(parse("('/x', uint64 3)"), Ok(pair.clone()));
        assert_eq!(parse("@a(st) [('/x', 3)]"), Ok(Value::Array("(st)".into(), vec![pair])));
    }

    #[test]
    fn what_cannot_be_read() {
        for (text, told) in [
            ("", "empty"),
            ("five", "neither"),
            ("'open", "closing"),
            ("1 2", "follows"),
            ("[]", "needs its type"),
            ("[1, 'a']", "cannot be of type"),
            ("[1, <2>]", "differ"),
            ("byte 256", "not of type"),
            ("uint64 -1", "not of type"),
            ("[1", "missing"),
            ("'a\0'", "NUL"),
            ("--1", "neither"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(told), "{text:?}: {error}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
